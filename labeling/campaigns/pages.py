"""Pages of campaigns: list, form, one campaign and its buttons, participants, reports. They call verbs and hold no rules."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.views.decorators.http import require_POST

from labeling import catalogs
from labeling.aggregation import aggregate
from labeling.answering import reports
from labeling.campaigns import lifecycle, participants
from labeling.campaigns.plan import CampaignPlan, NewCampaign
from labeling.models import Campaign, Dataset, DepthPrior, Participation
from labeling.releasing import freeze
from labeling.skeletons import words
from webapp import clock, rows
from webapp.accounts import throttle
from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import READERS, STAFF, Role, require
from webapp.errors import Invalid, NotFound, Refusal
from webapp.forms import Form
from webapp.jobs.models import Job


@login_required
def campaign_list(request: PageRequest) -> HttpResponse:
    require(request.user, *READERS)
    campaigns = participants.visible_to(request.user).select_related("dataset").order_by("-created_at")
    page = Paginator(campaigns, 20).get_page(request.GET.get("page"))
    return render(request, "campaigns/list.html", {"page": page, "can_create": request.user.is_one_of(Role.ADMIN)})


@login_required
def campaign_new(request: PageRequest) -> HttpResponse:
    require(request.user, Role.ADMIN)
    form = Form(NewCampaign, request.POST or None, offered=_offered())
    if request.method == "POST":
        try:
            asked = form.read()
            dataset = Dataset.objects.select_related("skeleton").filter(uuid=asked.dataset).first()
            if dataset is None:
                raise Invalid("Choose a data set.", field="dataset")
            throttle.take(throttle.heavy(), str(request.user.pk))
            plan = CampaignPlan(**asked.model_dump(exclude={"dataset"}))
            campaign, _ = lifecycle.create(request.user, dataset, plan)
            return redirect("campaign", campaign.uuid)
        except Refusal as error:
            form.note(error)
    return render(request, "campaigns/new.html", {"form": form})


def _offered() -> dict[str, list[tuple[str, str]]]:
    """What the database offers to a new campaign."""
    datasets = [(str(uuid), name) for name, uuid in Dataset.objects.order_by("name").values_list("name", "uuid")]
    priors = DepthPrior.objects.select_related("dataset")
    return {
        "dataset": datasets,
        "tutorial_dataset": [("", "the campaign's own"), *datasets],
        "prior": [("", "the data set's newest"), *((str(p.uuid), f"{p.name} ({p.dataset.name})") for p in priors)],
    }


@login_required
@rows.snapshot()
def campaign_page(request: PageRequest, identity: UUID) -> HttpResponse:
    """One campaign: progress, people, labels, releases, and what can be done next."""
    require(request.user, *READERS)
    campaign = get_object_or_404(
        participants.visible_to(request.user).select_related("dataset__skeleton"), uuid=identity
    )
    staff = request.user.is_one_of(*STAFF)
    jobs = Job.objects.filter(subject=str(campaign.uuid))[:5]
    known = list(campaign.reference_questions.values("use").annotate(n=Count("pk")).order_by("use"))
    page = Paginator(aggregate.annotators(campaign), 50).get_page(request.GET.get("page")) if staff else None
    return render(
        request,
        "campaigns/campaign.html",
        {
            "campaign": campaign,
            "staff": staff,
            "admin": request.user.is_one_of(Role.ADMIN),
            "progress": aggregate.progress_of(campaign),
            "aggregation_runs": campaign.aggregation_runs.all()[:10],
            "releases": campaign.releases.all()[:10],
            "models": catalogs.crowd_models,
            "reports": reports.of(campaign).filter(resolved_at=None).count() if staff else 0,
            "page": page,
            "annotators": aggregate.annotator_rows(campaign, list(page)) if page else [],
            "jobs": jobs if staff else [],
            "known": known,
            "made": {k["use"]: k["n"] for k in known},
        },
    )


@login_required
@require_POST
def campaign_act(request: PageRequest, identity: UUID) -> HttpResponse:
    """One door for the buttons of a campaign's page."""
    require(request.user, *STAFF)
    campaign = get_object_or_404(participants.visible_to(request.user), uuid=identity)
    do = request.POST.get("do", "")
    try:
        if do in ("open", "pause", "close"):
            lifecycle.move(request.user, campaign, do)
        elif do == "aggregate":
            throttle.take(throttle.heavy(), str(request.user.pk))
            return redirect("job", aggregate.start(request.user, campaign, request.POST.get("model", "")).uuid)
        elif do == "release":
            throttle.take(throttle.heavy(), str(request.user.pk))
            return redirect("job", freeze.start(request.user, campaign, note=request.POST.get("note", "")).uuid)
        elif do == "new-link":
            lifecycle.renew_link(request.user, campaign)
            messages.success(request, "The campaign has a new link; the old one opens nothing any more.")
        elif do == "delete":
            return redirect("job", lifecycle.delete(request.user, campaign).uuid)
        elif do == "standing":
            participation = _participation_of(campaign, request.POST.get("participation", ""))
            participants.set_standing(
                request.user, participation, request.POST.get("standing", ""), request.POST.get("reason", "")
            )
        elif do == "grant-try":
            participants.grant_try(request.user, _participation_of(campaign, request.POST.get("participation", "")))
        else:
            raise Invalid("Unknown action.", field="do", value=do)
    except Refusal as error:
        messages.error(request, str(error))
    return redirect("campaign", campaign.uuid)


def _participation_of(campaign: Campaign, text: str) -> Participation:
    try:
        participation = campaign.participations.filter(pseudonym=UUID(text)).first()
    except ValueError:
        participation = None
    if participation is None:
        raise NotFound("No such annotator in this campaign.", field="participation", value=text[:40])
    return participation


@login_required
def campaign_participants(request: PageRequest, identity: UUID) -> StreamingHttpResponse:
    """The people of a campaign as a table: who they are, who sent them, what they did. For paying them."""
    require(request.user, Role.ADMIN)
    campaign = get_object_or_404(participants.visible_to(request.user), uuid=identity)
    people = aggregate.annotators(campaign).prefetch_related("sessions")
    writer = csv.writer(_Line())

    def lines() -> Iterator[str]:
        yield writer.writerow(PARTICIPANT_COLUMNS)
        for participation in people.iterator(chunk_size=500):
            finished = sum(session.finished_at is not None for session in participation.sessions.all())
            yield writer.writerow(
                (
                    *(
                        participation.pseudonym,
                        participation.annotator.username,
                        participation.annotator.recruiter_id,
                        participation.recruiter_study,
                    ),
                    *(
                        participation.recruiter_session,
                        participation.standing,
                        participation.answer_count,
                        finished,
                        round(participation.worked_s),
                    ),
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
def campaign_reports(request: PageRequest, identity: UUID) -> HttpResponse:
    """Questions that annotators gave back, and why."""
    require(request.user, *STAFF)
    campaign = get_object_or_404(
        participants.visible_to(request.user).select_related("dataset__skeleton"), uuid=identity
    )
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
            "image": r.assignment.person.image,
            "asked": f"{names[r.assignment.asked.first]} or {names[r.assignment.asked.second]}",
            "by": r.assignment.participation.annotator.username,
        }
        for r in page
    ]
    return render(request, "campaigns/reports.html", {"campaign": campaign, "page": page, "cards": cards})


urls = [
    path("campaigns/", campaign_list, name="campaign-list"),
    path("campaigns/new/", campaign_new, name="campaign-new"),
    path("campaigns/<uuid:identity>/", campaign_page, name="campaign"),
    path("campaigns/<uuid:identity>/act/", campaign_act, name="campaign-act"),
    path("campaigns/<uuid:identity>/participants.csv", campaign_participants, name="campaign-participants"),
    path("campaigns/<uuid:identity>/reports/", campaign_reports, name="campaign-reports"),
]
