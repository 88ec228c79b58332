"""Pages of training: the runs, one run with its curves and measures, starting one."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse

from labeling.models import Release
from training import runs
from training.catalogs import training_methods
from training.models import Model, Run
from webapp.accounts.roles import STAFF, Role, require
from webapp.refusal import Invalid, Refusal

SEES = (*STAFF, Role.RESEARCHER)


@login_required
def run_list(request: HttpRequest) -> HttpResponse:
    require(request.user, *SEES)
    rows = Run.objects.select_related("release__campaign", "job", "model").order_by("-created_at")
    return render(
        request,
        "run_list.html",
        {
            "page": Paginator(rows, 20).get_page(request.GET.get("page")),
            "can_train": request.user.is_one_of(Role.ADMIN, Role.RESEARCHER),
        },
    )


@login_required
def run_new(request: HttpRequest) -> HttpResponse:
    require(request.user, Role.ADMIN, Role.RESEARCHER)
    if request.method == "POST":
        try:
            release = (
                Release.objects.select_related("campaign__dataset__skeleton")
                .filter(uuid=request.POST.get("release") or None)
                .first()
            )
            if release is None:
                raise Invalid("Choose a release.", field="release")
            options = {k: request.POST[k] for k in ("epochs", "seed") if request.POST.get(k, "").strip()}
            parent = request.POST.get("start_from")
            run = runs.start(
                request.user,
                release,
                name=request.POST.get("name", ""),
                preset=request.POST.get("preset", "nearer"),
                options=options,
                start_from=UUID(parent) if parent else None,
            )
            return redirect("run", run.uuid)
        except (Refusal, ValueError) as error:
            messages.error(request, str(error))
    return render(
        request,
        "run_new.html",
        {
            "releases": Release.objects.select_related("campaign").order_by("-created_at")[:200],
            "presets": training_methods["lifter"].extra["presets"],
            "models": Model.objects.order_by("-created_at")[:200],
            "chosen": request.GET.get("release", ""),
        },
    )


@login_required
def run_page(request: HttpRequest, identity: UUID) -> HttpResponse:
    require(request.user, *SEES)
    run = get_object_or_404(
        Run.objects.select_related("release__campaign", "job", "started_from", "model"), uuid=identity
    )
    start = {
        "curves": reverse("runs-curves", args=[run.uuid]),
        "job": reverse("jobs-detail", args=[run.job.uuid]),
        "finished": run.job.finished,
    }
    found = run.metrics or {}
    rows = []
    if found:
        rows.append(("this run", found))
        if "noise_free" in found:
            rows.append(("trained on noise-free labels (same pairs, true order)", found["noise_free"]))
        if "chance" in found:
            rows.append(("chance", found["chance"]))
    return render(
        request,
        "run.html",
        {
            "run": run,
            "start": start,
            "rows": rows,
            "lines": run.job.lines.all(),
            "model": getattr(run, "model", None),
            "may_stop": request.user.is_one_of(Role.ADMIN) or run.created_by_id == request.user.pk,
        },
    )


urls = [
    path("runs/", run_list, name="run-list"),
    path("runs/new/", run_new, name="run-new"),
    path("runs/<uuid:identity>/", run_page, name="run"),
]
