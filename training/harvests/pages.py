"""Pages of harvests: the list, uploads of recordings and of videos, one harvest with its report, and the review."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_POST
from django.views.generic import RedirectView

from labeling.skeletons import BUILT_IN, words
from training.catalogs import harvesters
from training.harvest.harvester import FILES
from training.harvests import frames, publication, review, uploads
from training.models import Harvest, Model
from training.runs import fine_tunes
from webapp.accounts import throttle
from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import STAFF, Role, require
from webapp.errors import Refusal
from webapp.forms import USUAL, Form
from webapp.typed import read


@login_required
def harvest_list(request: PageRequest) -> HttpResponse:
    require(request.user, *STAFF)
    counted = {v: Count("pseudo_labels", filter=Q(pseudo_labels__verdict=v)) for v in review.Verdict.values}
    harvests = (
        Harvest.objects.select_related("job")
        .defer("report", "cameras")
        .annotate(**counted)
        .order_by("-created_at", "-pk")
    )
    page = Paginator(harvests, 20).get_page(request.GET.get("page"))
    return render(
        request,
        "harvests/list.html",
        {"page": page, "can_start": request.user.is_one_of(Role.ADMIN), "harvesters": harvesters},
    )


@login_required
def harvest_new(request: PageRequest, harvester: str) -> HttpResponse:
    """Upload a recording for one of the harvesters."""
    require(request.user, Role.ADMIN)
    offer = uploads.offer_of(harvester)
    sent = request.POST or None
    skeletons = {"skeleton": [("", "as the files say"), *((name, name) for name in BUILT_IN)]}
    form = Form(offer.plan, sent, offered=skeletons, leave_out=("options", "models"))
    options = Form(offer.config, sent, empty_is=USUAL)
    lifts = "models" in offer.plan.model_fields
    if request.method == "POST":
        try:
            options.read()
            more = {"models": request.POST.getlist("models")} if lifts else {}
            plan = form.read(options=options.values(), **more)
            throttle.take(throttle.heavy(), str(request.user.pk))
            return redirect("harvest", uploads.receive(request.user, offer.name, plan, request.FILES).uuid)
        except Refusal as error:
            form.note(error)
    models = list(Model.objects.order_by("-created_at")[:200]) if lifts else []
    chosen = request.POST.getlist("models") or [str(m.uuid) for m in models[:1]]
    shown = {"offer": offer, "form": form, "options": options, "lifts": lifts, "models": models, "chosen": chosen}
    return render(request, "harvests/new.html", shown)


@login_required
def harvest_page(request: PageRequest, identity: UUID) -> HttpResponse:
    require(request.user, *STAFF)
    harvest = get_object_or_404(Harvest.objects.select_related("job"), uuid=identity)
    verdicts = harvest.pseudo_labels.values_list("verdict").annotate(n=Count("pk"))
    counts = dict.fromkeys(review.Verdict.values, 0) | dict(verdicts)
    report = harvest.report or {}
    return render(
        request,
        "harvests/harvest.html",
        {
            "harvest": harvest,
            "report": report,
            "joints": [
                j | {"words": words(j["name"]), "missed": harvest.frames - j["found"]} for j in report.get("joints", [])
            ],
            "counts": counts,
            "files": FILES.values(),
            "clips": report.get("clips", [])[:200],
            "tunable": Model.objects.filter(keypoints=frames.skeleton_of(harvest).keypoints).order_by("-created_at")[
                :50
            ]
            if report
            else [],
            "can_tune": request.user.is_one_of(Role.ADMIN),
            "can_publish": request.user.is_one_of(Role.ADMIN) and bool(report.get("shown")),
        },
    )


@login_required
def harvest_review(request: PageRequest, identity: UUID) -> HttpResponse:
    require(request.user, *STAFF)
    harvest = get_object_or_404(Harvest.objects.select_related("job"), uuid=identity)
    if harvest.report is None:
        return redirect("harvest", harvest.uuid)
    skeleton = frames.skeleton_of(harvest)
    island = {
        "url": reverse("harvests-detail", args=[harvest.uuid]),
        "joints": list(skeleton.keypoints),
        "bones": [[skeleton.index(a), skeleton.index(b)] for a, b in skeleton.bones],
        "cameras": [c["name"] for c in harvest.cameras],
        "inlier_px": harvest.config["options"].get("inlier_px", 0),
        "video": harvest.source == "video",
        "people": sorted({clip["person"] + 1 for clip in harvest.report.get("clips", [])}),
        "fps": harvest.fps,
    }
    return render(request, "harvests/review.html", {"harvest": harvest, "island": island, "joints": skeleton.keypoints})


@login_required
@require_POST
def harvest_publish(request: PageRequest, identity: UUID) -> HttpResponse:
    harvest = get_object_or_404(Harvest.objects.select_related("job"), uuid=identity)
    try:
        fields = {
            k: v for k in ("dataset", "pairs_per_person", "least_joints") if (v := request.POST.get(k, "").strip())
        }
        return redirect("job", publication.publish(request.user, harvest, read(publication.PublishPlan, fields)).uuid)
    except Refusal as error:
        messages.error(request, str(error))
        return redirect("harvest", harvest.uuid)


@login_required
@require_POST
def harvest_tune(request: PageRequest, identity: UUID) -> HttpResponse:
    """Fine-tune a lifter on this harvest's pseudo-labels."""
    harvest = get_object_or_404(Harvest.objects.select_related("job"), uuid=identity)
    try:
        names = ("fidelity_weight", "bones_weight", "epochs", "learning_rate")
        options = {k: v for k in names if (v := request.POST.get(k, "").strip())}
        fields = {k: v for k in ("start_from", "learn_from") if (v := request.POST.get(k, "").strip())}
        plan = read(fine_tunes.TunePlan, fields | {"options": options})
        return redirect("run", fine_tunes.start(request.user, harvest, plan).uuid)
    except Refusal as error:
        messages.error(request, str(error))
        return redirect("harvest", harvest.uuid)


urls = [
    path("harvests/", harvest_list, name="harvest-list"),
    path("harvests/new/<slug:harvester>/", harvest_new, name="harvest-new"),
    path("harvests/new/", RedirectView.as_view(pattern_name="harvest-new"), {"harvester": "multiview"}),
    path("harvests/video/", RedirectView.as_view(pattern_name="harvest-new"), {"harvester": "video"}),
    path("harvests/<uuid:identity>/", harvest_page, name="harvest"),
    path("harvests/<uuid:identity>/review/", harvest_review, name="harvest-review"),
    path("harvests/<uuid:identity>/publish/", harvest_publish, name="harvest-publish"),
    path("harvests/<uuid:identity>/tune/", harvest_tune, name="harvest-tune"),
]
