"""Pages of harvests: the list, uploads of recordings and of videos, one harvest with its report, and the review."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.uploadedfile import UploadedFile
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from labeling.skeletons import BUILT_IN, words
from training.harvests import frames, publication, review, uploads, video_uploads
from training.models import Harvest, Model
from training.multiview.config import HarvestConfig
from training.runs import fine_tunes
from training.video.config import VideoConfig
from webapp.accounts import throttle
from webapp.accounts.roles import STAFF, Role, require
from webapp.config import Config
from webapp.errors import Invalid, Refusal
from webapp.forms import USUAL, Form
from webapp.typed import read


@login_required
def harvest_list(request: HttpRequest) -> HttpResponse:
    require(request.user, *STAFF)
    counted = {v: Count("pseudo_labels", filter=Q(pseudo_labels__verdict=v)) for v in review.Verdict.values}
    harvests = (
        Harvest.objects.select_related("job")
        .defer("report", "cameras")
        .annotate(**counted)
        .order_by("-created_at", "-pk")
    )
    page = Paginator(harvests, 20).get_page(request.GET.get("page"))
    return render(request, "harvests/list.html", {"page": page, "can_start": request.user.is_one_of(Role.ADMIN)})


def _skeletons() -> dict[str, list[tuple[str, str]]]:
    return {"skeleton": [("", "as the files say"), *((name, name) for name in BUILT_IN)]}


def _forms(request: HttpRequest, plan: type[Config], options: type[Config], *leave_out: str) -> tuple[Form, Form]:
    """The form of an upload, and the one of its options."""
    sent = request.POST or None
    first = Form(plan, sent, offered=_skeletons(), leave_out=("options", *leave_out))
    return first, Form(options, sent, empty_is=USUAL)


def _file_of(request: HttpRequest, field: str) -> UploadedFile:
    if field not in request.FILES:
        raise Invalid("Choose a file.", field=field)
    return request.FILES[field]


@login_required
def harvest_new(request: HttpRequest) -> HttpResponse:
    """Upload a recording."""
    require(request.user, Role.ADMIN)
    form, options = _forms(request, uploads.HarvestPlan, HarvestConfig)
    if request.method == "POST":
        try:
            files = [_file_of(request, name) for name in ("calibration", "detections")]
            options.read()
            plan = form.read(options=options.values())
            throttle.take(throttle.heavy(), str(request.user.pk))
            return redirect("harvest", uploads.receive(request.user, plan, *files, request.FILES.get("views")).uuid)
        except Refusal as error:
            form.note(error)
    return render(request, "harvests/new.html", {"form": form, "options": options})


@login_required
def harvest_video(request: HttpRequest) -> HttpResponse:
    """Upload a video's keypoints or poses."""
    require(request.user, Role.ADMIN)
    form, options = _forms(request, video_uploads.VideoPlan, VideoConfig, "models")
    if request.method == "POST":
        try:
            file = _file_of(request, "detections")
            options.read()
            plan = form.read(options=options.values(), models=request.POST.getlist("models"))
            throttle.take(throttle.heavy(), str(request.user.pk))
            harvest = video_uploads.receive(request.user, plan, file, request.FILES.get("video"))
            return redirect("harvest", harvest.uuid)
        except Refusal as error:
            form.note(error)
    models = Model.objects.order_by("-created_at")[:200]
    chosen = request.POST.getlist("models") or [str(m.uuid) for m in models[:1]]
    return render(
        request,
        "harvests/new_video.html",
        {"form": form, "options": options, "models": models, "chosen": chosen},
    )


@login_required
def harvest_page(request: HttpRequest, identity: UUID) -> HttpResponse:
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
            "files": review.FILES,
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
def harvest_review(request: HttpRequest, identity: UUID) -> HttpResponse:
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
        "inlier_px": harvest.config.get("inlier_px", 0),
        "video": harvest.source == "video",
        "fps": harvest.fps,
    }
    return render(request, "harvests/review.html", {"harvest": harvest, "island": island, "joints": skeleton.keypoints})


@login_required
@require_POST
def harvest_publish(request: HttpRequest, identity: UUID) -> HttpResponse:
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
def harvest_tune(request: HttpRequest, identity: UUID) -> HttpResponse:
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
    path("harvests/new/", harvest_new, name="harvest-new"),
    path("harvests/video/", harvest_video, name="harvest-video"),
    path("harvests/<uuid:identity>/", harvest_page, name="harvest"),
    path("harvests/<uuid:identity>/review/", harvest_review, name="harvest-review"),
    path("harvests/<uuid:identity>/publish/", harvest_publish, name="harvest-publish"),
    path("harvests/<uuid:identity>/tune/", harvest_tune, name="harvest-tune"),
]
