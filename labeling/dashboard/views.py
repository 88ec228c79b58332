"""Pages for admins, reviewers and researchers, and the annotator's entrance. They call verbs and hold no rules."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from labeling import access, aggregation, campaigns, catalogs, pictures, quality, reports
from labeling.api.views import release_file
from labeling.dashboard import campaign_form, plots
from labeling.importing import storing
from labeling.models import Campaign, CrowdRun, Dataset, Image, Label, Participation, Release, SkeletonRow
from labeling.releasing import freeze
from labeling.skeletons import BUILT_IN, words
from webapp import clock
from webapp.accounts import people, throttle
from webapp.accounts.roles import STAFF, Role, require
from webapp.jobs.models import Job
from webapp.pages import Ranked
from webapp.refusal import Invalid, NotFound, Refusal
from webapp.typed import read

SEES = (*STAFF, Role.RESEARCHER)


@login_required
def work(request: HttpRequest) -> HttpResponse:
    """The annotator's entrance: campaigns that can be worked on."""
    rows = access.open_to(request.user).order_by("name")
    page = Paginator(rows, 30).get_page(request.GET.get("page"))
    seats = {s.campaign_id: s for s in Participation.objects.filter(annotator=request.user, campaign__in=list(page))}
    return render(
        request, "work.html", {"page": page, "rows": [{"campaign": c, "seat": seats.get(c.pk)} for c in page]}
    )


@login_required
@require_POST
def appeal(request: HttpRequest, identity: UUID) -> HttpResponse:
    """Ask the admins to look again at a pause or an exclusion."""
    try:
        access.appeal(request.user, identity, request.POST.get("text", ""))
        messages.success(request, "The admins will read what you wrote.")
    except Refusal as error:
        messages.error(request, str(error))
    return redirect("work")


@login_required
def annotate(request: HttpRequest, identity: UUID) -> HttpResponse:
    """The page on which people answer."""
    campaign = get_object_or_404(Campaign, uuid=identity)
    access.participate(request.user, campaign)
    start = {"api": reverse("annotate-state", args=[campaign.uuid]), "home": reverse("index"), "name": campaign.name}
    start |= {"login": reverse("login"), "person": str(request.user.uuid)}
    return render(request, "annotate.html", {"campaign": campaign, "start": start})


@login_required
def preview(request: HttpRequest, identity: UUID) -> HttpResponse:
    """The page on which people answer, for staff who only look: nothing is counted."""
    require(request.user, *STAFF)
    campaign = get_object_or_404(access.visible_to(request.user), uuid=identity)
    start = {"api": reverse("preview-state", args=[campaign.uuid]), "home": reverse("campaign", args=[campaign.uuid])}
    start |= {"name": campaign.name, "login": reverse("login"), "person": str(request.user.uuid)}
    return render(request, "annotate.html", {"campaign": campaign, "start": start, "preview": True})


def join(request: HttpRequest, key: str) -> HttpResponse:
    """An invitation link. Who has no account yet may make one, also where registration is closed."""
    campaign = get_object_or_404(Campaign, entry_key=key, access=Campaign.Access.INVITE)
    if not request.user.is_authenticated:
        people.invite(request)
        return redirect(f"{reverse('register')}?{urlencode({'next': request.path})}")
    access.participate(request.user, campaign, invited=True)
    return redirect("annotate", campaign.uuid)


def enter(request: HttpRequest, key: str) -> HttpResponse:
    """A recruiter's link with the person's id in the address, e.g. ?PROLIFIC_PID=..."""
    campaign = get_object_or_404(Campaign, entry_key=key, access=Campaign.Access.RECRUITER)
    if request.user.is_authenticated and not request.user.is_recruited:
        # Whoever runs the study tries the link: the session stays, and nobody becomes a participant.
        return render(request, "enter_preview.html", {"campaign": campaign, "parameters": request.GET.items()})
    throttle.take(throttle.ENTRIES, throttle.address_of(request))
    account = access.enter_as_recruited(campaign, request.GET)
    if request.user != account:
        login(request, account, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("annotate", campaign.uuid)


@login_required
def campaign_list(request: HttpRequest) -> HttpResponse:
    require(request.user, *SEES)
    rows = access.visible_to(request.user).select_related("dataset").order_by("-created_at")
    page = Paginator(rows, 20).get_page(request.GET.get("page"))
    return render(request, "campaign_list.html", {"page": page, "can_create": request.user.is_one_of(Role.ADMIN)})


@login_required
def campaign_new(request: HttpRequest) -> HttpResponse:
    require(request.user, Role.ADMIN)
    if request.method == "POST":
        try:
            dataset = Dataset.objects.select_related("skeleton").filter(name=request.POST.get("dataset")).first()
            if dataset is None:
                raise Invalid("Choose a data set.", field="dataset")
            throttle.take(throttle.heavy(), str(request.user.pk))
            campaign, _ = campaigns.create(
                request.user, dataset, read(campaigns.CampaignPlan, campaign_form.plan_of(request.POST))
            )
            return redirect("campaign", campaign.uuid)
        except Refusal as error:
            messages.error(request, str(error))
    return render(request, "campaign_new.html", {"groups": campaign_form.inputs(request.POST)})


@login_required
def campaign_plan(request: HttpRequest) -> HttpResponse:
    """The budget planner: what votes will buy and cost, before the first one."""
    require(request.user, Role.ADMIN)
    asked, found, drawn = quality.PlanConfig(), None, []
    given = {k: v for k in quality.PlanConfig.model_fields if (v := request.GET.get(k, "").strip())}
    try:
        asked = read(quality.PlanConfig, given)
        found = quality.plan(asked, request.GET.get("skeleton") or "lsp-14")
        drawn = [plots.outlook(found["curve"], asked.risk)]
    except Refusal as error:
        messages.error(request, str(error))
    fields = [(n, f.description, getattr(asked, n)) for n, f in quality.PlanConfig.model_fields.items()]
    skeletons = sorted({*BUILT_IN, *SkeletonRow.objects.values_list("name", flat=True)})
    return render(
        request,
        "campaign_plan.html",
        {"fields": fields, "found": found, "plots": drawn, "asked": asked, "skeletons": skeletons, "get": request.GET},
    )


@login_required
def campaign_page(request: HttpRequest, identity: UUID) -> HttpResponse:
    """One campaign: progress, people, labels, releases, and what can be done next."""
    require(request.user, *SEES)
    campaign = get_object_or_404(access.visible_to(request.user).select_related("dataset__skeleton"), uuid=identity)
    staff = request.user.is_one_of(*STAFF)
    jobs = Job.objects.filter(subject=str(campaign.uuid))[:5]
    known = list(campaign.known_questions.values("use").annotate(n=Count("pk")).order_by("use"))
    page = Paginator(aggregation.annotators(campaign), 50).get_page(request.GET.get("page")) if staff else None
    return render(
        request,
        "campaign.html",
        {
            "campaign": campaign,
            "staff": staff,
            "admin": request.user.is_one_of(Role.ADMIN),
            "progress": aggregation.progress_of(campaign),
            "crowd_runs": campaign.crowd_runs.all()[:10],
            "releases": campaign.releases.all()[:10],
            "models": catalogs.crowd_models,
            "reports": reports.of(campaign).filter(resolved_at=None).count() if staff else 0,
            "page": page,
            "annotators": aggregation.annotator_rows(campaign, list(page)) if page else [],
            "jobs": jobs if staff else [],
            "known": known,
            "made": {k["use"]: k["n"] for k in known},
        },
    )


@login_required
@require_POST
def campaign_act(request: HttpRequest, identity: UUID) -> HttpResponse:
    """One door for the buttons of a campaign's page."""
    require(request.user, *STAFF)
    campaign = get_object_or_404(access.visible_to(request.user), uuid=identity)
    do = request.POST.get("do", "")
    try:
        if do in ("open", "pause", "close"):
            campaigns.move(request.user, campaign, do)
        elif do == "aggregate":
            throttle.take(throttle.heavy(), str(request.user.pk))
            return redirect("job", aggregation.start(request.user, campaign, request.POST.get("model", "")).uuid)
        elif do == "release":
            throttle.take(throttle.heavy(), str(request.user.pk))
            return redirect("job", freeze.start(request.user, campaign, note=request.POST.get("note", "")).uuid)
        elif do == "new-link":
            campaigns.renew_link(request.user, campaign)
            messages.success(request, "The campaign has a new link; the old one opens nothing any more.")
        elif do == "delete":
            return redirect("job", campaigns.delete(request.user, campaign).uuid)
        elif do == "standing":
            seat = _seat_of(campaign, request.POST.get("seat", ""))
            access.set_standing(request.user, seat, request.POST.get("standing", ""), request.POST.get("reason", ""))
        elif do == "grant-try":
            access.grant_try(request.user, _seat_of(campaign, request.POST.get("seat", "")))
        else:
            raise Invalid("Unknown action.", field="do", value=do)
    except Refusal as error:
        messages.error(request, str(error))
    return redirect("campaign", campaign.uuid)


def _seat_of(campaign: Campaign, text: str) -> Participation:
    try:
        seat = campaign.participations.filter(pseudonym=UUID(text)).first()
    except ValueError:
        seat = None
    if seat is None:
        raise NotFound("No such annotator in this campaign.", field="seat", value=text[:40])
    return seat


@login_required
def campaign_labels(request: HttpRequest, identity: UUID) -> HttpResponse:
    """The riskiest labels first. Who looks can no longer answer in the campaign."""
    require(request.user, *STAFF)
    campaign = get_object_or_404(access.visible_to(request.user).select_related("dataset__skeleton"), uuid=identity)
    last = campaign.crowd_runs.first()
    access.note_answers_seen(request.user, campaign)
    names = [words(name) for name in campaign.dataset.skeleton.keypoints]
    page = _label_pages(last).get_page(request.GET.get("page"))
    cards = [
        {
            "image": label.pair.first_person.image,
            "first": names[label.pair.first],
            "second": names[label.pair.second],
            "closer": names[label.pair.first if label.p_first_closer >= 0.5 else label.pair.second],
            "sure": round(100 * (1 - label.risk)),
            "votes": label.votes_used,
        }
        for label in page
    ]
    return render(request, "campaign_labels.html", {"campaign": campaign, "page": page, "cards": cards, "run": last})


def _label_pages(last: CrowdRun | None) -> Paginator:
    if last is None:
        return Paginator([], 48)
    labels = last.labels.order_by("-risk", "pair_id")

    def fetch(pairs: list[int]) -> list[Label]:
        found = {
            label.pair_id: label
            for label in last.labels.filter(pair__in=pairs).select_related("pair__first_person__image")
        }
        return [found[pair] for pair in pairs if pair in found]

    count = last.measures.get("pairs")
    return Ranked(labels.values_list("pair_id", flat=True), fetch, labels.count() if count is None else count, 48)


@login_required
def campaign_participants(request: HttpRequest, identity: UUID) -> StreamingHttpResponse:
    """The people of a campaign as a table: who they are, who sent them, what they did. For paying them."""
    require(request.user, Role.ADMIN)
    campaign = get_object_or_404(access.visible_to(request.user), uuid=identity)
    people = aggregation.annotators(campaign).prefetch_related("sessions")
    writer = csv.writer(_Line())

    def lines() -> Iterator[str]:
        yield writer.writerow(PARTICIPANT_COLUMNS)
        for seat in people.iterator(chunk_size=500):
            finished = sum(session.finished_at is not None for session in seat.sessions.all())
            yield writer.writerow(
                (
                    *(seat.pseudonym, seat.annotator.username, seat.annotator.recruiter_id, seat.recruiter_study),
                    *(seat.recruiter_session, seat.standing, seat.answer_count, finished, round(seat.worked_s)),
                )
            )

    response = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="participants.csv"'
    response["Cache-Control"] = "no-store"
    return response


PARTICIPANT_COLUMNS = (
    *("pseudonym", "name", "participant", "study", "session", "standing", "answers", "finished_sessions", "worked_s"),
)


class _Line:
    """What csv writes to: hands each line on."""

    def write(self, line: str) -> str:
        return line


@login_required
def campaign_reports(request: HttpRequest, identity: UUID) -> HttpResponse:
    """Questions that annotators gave back, and why."""
    require(request.user, *STAFF)
    campaign = get_object_or_404(access.visible_to(request.user).select_related("dataset__skeleton"), uuid=identity)
    if request.method == "POST":
        key = request.POST.get("report", "")
        report = (
            reports.of(campaign).filter(pk=int(key)).first()
            if key.isascii() and key.isdigit() and len(key) < 18
            else None
        )
        if report is None:
            raise NotFound("There is no such report.", field="report")
        reports.settle(request.user, report, clock.now())
        return redirect("campaign-reports", campaign.uuid)
    page = Paginator(reports.of(campaign), 48).get_page(request.GET.get("page"))
    names = [words(name) for name in campaign.dataset.skeleton.keypoints]
    cards = [
        {
            "report": r,
            "image": r.assignment.people[0].image,
            "asked": f"{names[r.assignment.asked.first]} or {names[r.assignment.asked.second]}",
            "by": r.assignment.participation.annotator.username,
        }
        for r in page
    ]
    return render(request, "campaign_reports.html", {"campaign": campaign, "page": page, "cards": cards})


@login_required
def campaign_quality(request: HttpRequest, identity: UUID) -> HttpResponse:
    """Forecast, arms, labels beside the truth, annotators, the least known people. Shows nobody's answers."""
    require(request.user, *STAFF)
    campaign = get_object_or_404(access.visible_to(request.user).select_related("dataset__skeleton"), uuid=identity)
    last = campaign.crowd_runs.first()
    truth = quality.label_truth(last) if last else {}
    given = quality.answers(campaign)
    everybody, single = quality.curves(given)
    alpha = quality.agreement(given)
    drawn = [plots.reliability(truth["reliability"])] if truth else []
    if everybody:
        drawn.append(plots.psychometric(everybody, "Psychometric curve of all annotators"))
    names = [words(name) for name in campaign.dataset.skeleton.keypoints]
    page = Paginator(quality.annotators(campaign), 50).get_page(request.GET.get("page"))
    return render(
        request,
        "campaign_quality.html",
        {
            "campaign": campaign,
            "run": last,
            "forecast": quality.forecast(campaign, timezone.now()),
            "alpha": None if alpha != alpha else alpha,
            "arms": _arms(campaign, truth),
            "truth": truth,
            "scores": [{"title": title, **truth[key]} for key, title in SCORED.items() if key in truth],
            "plots": drawn,
            "page": page,
            "annotators": quality.people(campaign, list(page), single),
            "cards": [{"about": d, "joint": names[d.joint]} for d in quality.riskiest(campaign)],
        },
    )


SCORED = {
    "all": "all",
    "plain": "the same without the prior",
    "test": "chosen by information",
    "control": "asked uniformly (control)",
    "voted": "pairs with votes",
    "never": "pairs nobody was asked about",
}


def _arms(campaign: Campaign, truth: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [] if campaign.mode == Campaign.Mode.FIXED else quality.arms(campaign)
    titles = {False: "by information", True: "uniform (control)"}
    return [
        {
            **row,
            "title": titles[row["control"]],
            "per_person": row["votes"] / max(row["people"], 1),
            "scores": truth.get("control" if row["control"] else "test")
            or (truth.get("all") if len(rows) == 1 else None),
        }
        for row in rows
    ]


@login_required
def dataset_list(request: HttpRequest) -> HttpResponse:
    require(request.user, *STAFF)
    rows = Dataset.objects.select_related("skeleton").annotate(image_count=Count("images")).order_by("name")
    return render(request, "dataset_list.html", {"page": Paginator(rows, 20).get_page(request.GET.get("page"))})


@login_required
def dataset_page(request: HttpRequest, identity: UUID) -> HttpResponse:
    require(request.user, *STAFF)
    dataset = get_object_or_404(Dataset.objects.select_related("skeleton"), uuid=identity)
    page = Paginator(dataset.images.annotate(n=Count("people")).order_by("pk"), 48).get_page(request.GET.get("page"))
    return render(request, "dataset.html", {"dataset": dataset, "page": page})


@login_required
def dataset_import(request: HttpRequest) -> HttpResponse:
    """Upload annotations and pictures."""
    require(request.user, Role.ADMIN)
    report = None
    if request.method == "POST":
        try:
            for field in ("annotations", "pictures"):
                if field not in request.FILES:
                    raise Invalid("Choose a file.", field=field)
            throttle.take(throttle.heavy(), str(request.user.pk))
            fields = ("dataset", "format", "licence", "attribution", "description")
            plan = read(storing.ImportConfig, {k: request.POST.get(k, "") for k in fields})
            return redirect(
                "job", storing.receive(request.user, plan, request.FILES["annotations"], request.FILES["pictures"]).uuid
            )
        except Refusal as error:
            messages.error(request, str(error))
            report = error.more.get("report")
    return render(
        request, "dataset_import.html", {"formats": catalogs.import_formats, "report": report, "post": request.POST}
    )


@login_required
def thumbnail(request: HttpRequest, identity: UUID) -> HttpResponse:
    require(request.user, *STAFF)
    image = get_object_or_404(Image, uuid=identity)
    response = HttpResponse(pictures.thumbnail_of(image).read_bytes(), content_type="image/jpeg")
    response["Cache-Control"] = "private, max-age=86400"
    return response


@login_required
def release_page(request: HttpRequest, identity: UUID) -> HttpResponse:
    require(request.user, *SEES)
    release = get_object_or_404(Release.objects.select_related("campaign", "crowd_run"), uuid=identity)
    return render(
        request,
        "release.html",
        {
            "release": release,
            "files": release.manifest["files"].items(),
            "runs": release.training_runs.select_related("job"),
            "can_train": request.user.is_one_of(Role.ADMIN, Role.RESEARCHER),
        },
    )


@login_required
def release_list(request: HttpRequest) -> HttpResponse:
    require(request.user, *SEES)
    rows = Release.objects.select_related("campaign").order_by("-created_at")
    return render(request, "release_list.html", {"page": Paginator(rows, 20).get_page(request.GET.get("page"))})


@login_required
def release_download(request: HttpRequest, identity: UUID, name: str) -> HttpResponse:
    require(request.user, *SEES)
    release = get_object_or_404(Release, uuid=identity)
    if name not in release.manifest["files"]:
        raise Http404
    return release_file(request.user, release, name)


urls = [
    path("work/", work, name="work"),
    path("annotate/<uuid:identity>/appeal/", appeal, name="appeal"),
    path("annotate/<uuid:identity>/", annotate, name="annotate"),
    path("campaigns/<uuid:identity>/preview/", preview, name="campaign-preview"),
    path("join/<str:key>/", join, name="join"),
    path("enter/<str:key>/", enter, name="enter"),
    path("campaigns/", campaign_list, name="campaign-list"),
    path("campaigns/plan/", campaign_plan, name="campaign-plan"),
    path("campaigns/new/", campaign_new, name="campaign-new"),
    path("campaigns/<uuid:identity>/", campaign_page, name="campaign"),
    path("campaigns/<uuid:identity>/act/", campaign_act, name="campaign-act"),
    path("campaigns/<uuid:identity>/labels/", campaign_labels, name="campaign-labels"),
    path("campaigns/<uuid:identity>/participants.csv", campaign_participants, name="campaign-participants"),
    path("campaigns/<uuid:identity>/reports/", campaign_reports, name="campaign-reports"),
    path("campaigns/<uuid:identity>/quality/", campaign_quality, name="campaign-quality"),
    path("datasets/", dataset_list, name="dataset-list"),
    path("datasets/import/", dataset_import, name="dataset-import"),
    path("datasets/<uuid:identity>/", dataset_page, name="dataset"),
    path("images/<uuid:identity>/thumbnail.jpg", thumbnail, name="thumbnail"),
    path("releases/", release_list, name="release-list"),
    path("releases/<uuid:identity>/", release_page, name="release"),
    path("releases/<uuid:identity>/<str:name>", release_download, name="release-file"),
]
