"""Pages of releases and their files."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path

from labeling.models import Release
from labeling.releasing.api import release_file
from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import READERS, Role, require


@login_required
def release_page(request: PageRequest, identity: UUID) -> HttpResponse:
    require(request.user, *READERS)
    release = get_object_or_404(Release.objects.select_related("campaign", "aggregation_run"), uuid=identity)
    return render(
        request,
        "releasing/release.html",
        {
            "release": release,
            "files": release.manifest["files"].items(),
            "runs": release.training_runs.select_related("job"),
            "can_train": request.user.is_one_of(Role.ADMIN, Role.RESEARCHER),
        },
    )


@login_required
def release_list(request: PageRequest) -> HttpResponse:
    require(request.user, *READERS)
    rows = Release.objects.select_related("campaign").order_by("-created_at")
    return render(request, "releasing/list.html", {"page": Paginator(rows, 20).get_page(request.GET.get("page"))})


@login_required
def release_download(request: PageRequest, identity: UUID, name: str) -> FileResponse:
    require(request.user, *READERS)
    release = get_object_or_404(Release, uuid=identity)
    if name not in release.manifest["files"]:
        raise Http404
    return release_file(request.user, release, name)


urls = [
    path("releases/", release_list, name="release-list"),
    path("releases/<uuid:identity>/", release_page, name="release"),
    path("releases/<uuid:identity>/<str:name>", release_download, name="release-file"),
]
