"""Pages of training: the runs, one run with its curves and measures, runs side by side, starting one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.utils.html import format_html

from labeling.models import Release
from training.catalogs import training_methods
from training.models import Model, Run
from training.runs import launch, plots
from webapp.accounts import throttle
from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import READERS, STAFF, Role, require
from webapp.errors import Invalid, Refusal
from webapp.forms import Form, sent

MOST_COMPARED = 6
COLUMNS = {
    "true_error": "Order error, true order",
    "label_error": "against the labels",
    "mpjpe_mm": "MPJPE",
    "n_mpjpe_mm": "N-MPJPE",
    "coded_scale_mm": "Scale-aligned (as coded)",
    "pa_mpjpe_mm": "PA-MPJPE",
    "pck_150mm": "PCK 150",
    "auc_150mm": "AUC 150",
}


@login_required
def run_list(request: PageRequest) -> HttpResponse:
    require(request.user, *READERS)
    rows = Run.objects.select_related("release__campaign", "job", "model").defer("details").order_by("-created_at")
    return render(
        request,
        "runs/list.html",
        {
            "page": Paginator(rows, 20).get_page(request.GET.get("page")),
            "can_train": request.user.is_one_of(Role.ADMIN, Role.RESEARCHER),
        },
    )


def _chosen(text: str, field: str) -> UUID:
    """The id, or nobody's where none was chosen."""
    try:
        return UUID(text) if text else UUID(int=0)
    except ValueError:
        raise Invalid("This is no id of ours.", field=field, value=text[:60], fix="choose from the list") from None


@login_required
def run_new(request: PageRequest) -> HttpResponse:
    require(request.user, Role.ADMIN, Role.RESEARCHER)
    offer = training_methods["lifter"]
    form = Form(offer.config, request.POST or None, empty_is="of the preset")
    if request.method == "POST":
        try:
            release = (
                Release.objects.select_related("campaign__dataset__skeleton")
                .filter(uuid=_chosen(request.POST.get("release", ""), "release"))
                .first()
            )
            if release is None:
                raise Invalid("Choose a release.", field="release")
            parent = request.POST.get("start_from")
            throttle.take(throttle.heavy(), str(request.user.pk))
            run = launch.start(
                request.user,
                release,
                name=request.POST.get("name", ""),
                preset=request.POST.get("preset", "nearer"),
                options=form.values(),
                start_from=_chosen(parent, "start_from") if parent else None,
            )
            return redirect("run", run.uuid)
        except Refusal as error:
            form.note(error)
    return render(
        request,
        "runs/new.html",
        {
            "releases": Release.objects.select_related("campaign").order_by("-created_at")[:200],
            "presets": offer.presets,
            "form": form,
            "models": Model.objects.order_by("-created_at")[:200],
            "sent": sent(request),
            "chosen": request.POST.get("release") or request.GET.get("release", ""),
        },
    )


def _row(name: str, metrics: dict[str, Any]) -> tuple[str, list[tuple[Any, str]]]:
    intervals = metrics.get("interval_95", {})
    cells = []
    for key in COLUMNS:
        value = metrics.get(key)
        low_high = intervals.get(key)
        cells.append(("–" if value is None else value, f"{low_high[0]:.1f} to {low_high[1]:.1f}" if low_high else ""))
    return name, cells


@login_required
def run_page(request: PageRequest, identity: UUID) -> HttpResponse:
    require(request.user, *READERS)
    run = get_object_or_404(
        Run.objects.select_related("release__campaign", "job", "started_from", "model"), uuid=identity
    )
    metrics, details = run.metrics or {}, run.details or {}
    rows = []
    if metrics:
        rows.append(_row("this run", metrics))
        if "parent" in metrics:
            rows.append(_row("the model it started from", metrics["parent"]))
        if "noise_free" in metrics:
            rows.append(_row("trained on noise-free labels (same pairs, true order)", metrics["noise_free"]))
        if "chance" in metrics:
            rows.append(_row("chance", metrics["chance"]))
    viewer = {k: details[k] for k in ("joints", "bones", "examples", "worst") if k in details}
    return render(
        request,
        "runs/run.html",
        {
            "run": run,
            "columns": COLUMNS.values(),
            "rows": rows,
            "plots": plots.plots_of([run]),
            "worst": plots.with_pictures(run, details.get("worst", []), request.user.is_one_of(*STAFF)),
            "viewer": viewer,
            "lines": run.job.lines.all(),
            "model": getattr(run, "model", None),
            "may_stop": request.user.is_one_of(Role.ADMIN) or run.created_by_id == request.user.pk,
            "curves": [{"name": run.name, "url": reverse("runs-curves", args=[run.uuid])}],
        },
    )


@login_required
def run_compare(request: PageRequest) -> HttpResponse:
    """Runs side by side: `?run=<uuid>&run=<uuid>`, up to six."""
    require(request.user, *READERS)
    asked = []
    for text in request.GET.getlist("run")[:MOST_COMPARED]:
        try:
            asked.append(UUID(text))
        except ValueError:
            messages.error(request, f"“{text[:60]}” is not the id of a run.")
    known = {r.uuid: r for r in Run.objects.select_related("release__campaign", "job").filter(uuid__in=asked)}
    chosen = [known[w] for w in dict.fromkeys(asked) if w in known]
    return render(
        request,
        "runs/compare.html",
        {
            "runs": chosen,
            "columns": COLUMNS.values(),
            "rows": [_row(run.name, run.metrics or {}) for run in chosen],
            "linked": [format_html('<a href="{}">{}</a>', reverse("run", args=[r.uuid]), r.name) for r in chosen],
            "differing": plots.differing(chosen),
            "plots": plots.plots_of(chosen),
            "curves": [{"name": run.name, "url": reverse("runs-curves", args=[run.uuid])} for run in chosen],
        },
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


urls = [
    path("runs/", run_list, name="run-list"),
    path("runs/new/", run_new, name="run-new"),
    path("runs/compare/", run_compare, name="run-compare"),
    path("runs/<uuid:identity>/", run_page, name="run"),
]
