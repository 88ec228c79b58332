"""Buttons that make depth priors."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import path
from django.views.decorators.http import require_POST

from labeling.models import Dataset, Release
from training.priors import depth_priors
from training.runs.pages import _uuid
from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import Role, require
from webapp.errors import Refusal


@login_required
@require_POST
def prior_new(request: PageRequest) -> HttpResponse:
    """The button of a release's page: make a depth prior of its labels."""
    require(request.user, Role.ADMIN)
    release = get_object_or_404(Release.objects.select_related("campaign"), uuid=_uuid(request.POST.get("release", "")))
    try:
        return redirect("job", depth_priors.start(request.user, release, {"name": request.POST.get("name", "")}).uuid)
    except Refusal as error:
        messages.error(request, str(error))
        return redirect("release", release.uuid)


@login_required
@require_POST
def pose_prior_new(request: PageRequest) -> HttpResponse:
    """The button of a data set's page: expect the depths of similar poses."""
    require(request.user, Role.ADMIN)
    dataset = get_object_or_404(Dataset.objects.select_related("skeleton"), uuid=_uuid(request.POST.get("dataset", "")))
    try:
        return redirect("job", depth_priors.start_from_poses(request.user, dataset, request.POST.get("name", "")).uuid)
    except Refusal as error:
        messages.error(request, str(error))
        return redirect("dataset", dataset.uuid)


urls = [
    path("priors/new/", prior_new, name="prior-new"),
    path("priors/poses/", pose_prior_new, name="pose-prior-new"),
]
