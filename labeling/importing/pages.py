"""Pages of data sets: list, one data set, import, thumbnails."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.uploadedfile import UploadedFile
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path

from labeling import catalogs, pictures
from labeling.importing import storing
from labeling.models import Dataset, Image
from webapp.accounts import throttle
from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import STAFF, Role, require
from webapp.errors import Invalid, Refusal
from webapp.forms import sent
from webapp.typed import read


@login_required
def dataset_list(request: PageRequest) -> HttpResponse:
    require(request.user, *STAFF)
    rows = Dataset.objects.select_related("skeleton").annotate(image_count=Count("images")).order_by("name")
    return render(request, "importing/list.html", {"page": Paginator(rows, 20).get_page(request.GET.get("page"))})


@login_required
def dataset_page(request: PageRequest, identity: UUID) -> HttpResponse:
    require(request.user, *STAFF)
    dataset = get_object_or_404(Dataset.objects.select_related("skeleton"), uuid=identity)
    page = Paginator(dataset.images.annotate(n=Count("people")).order_by("pk"), 48).get_page(request.GET.get("page"))
    return render(request, "importing/dataset.html", {"dataset": dataset, "page": page})


def _file(request: PageRequest, field: str) -> UploadedFile:
    file = request.FILES.get(field)
    if not isinstance(file, UploadedFile):
        raise Invalid("Choose a file.", field=field)
    return file


@login_required
def dataset_import(request: PageRequest) -> HttpResponse:
    """Upload annotations and pictures."""
    require(request.user, Role.ADMIN)
    report = None
    if request.method == "POST":
        try:
            annotations, pictures = _file(request, "annotations"), _file(request, "pictures")
            throttle.take(throttle.heavy(), str(request.user.pk))
            fields = ("dataset", "format", "licence", "attribution", "description")
            rows = {"bad_rows": "leave-out" if "leave_out" in request.POST else "refuse"}
            plan = read(storing.ImportConfig, {k: request.POST.get(k, "") for k in fields} | rows)
            return redirect("job", storing.receive(request.user, plan, annotations, pictures).uuid)
        except Refusal as error:
            messages.error(request, str(error))
            report = error.more.get("report")
    return render(
        request, "importing/import.html", {"formats": catalogs.import_formats, "report": report, "sent": sent(request)}
    )


@login_required
def thumbnail(request: PageRequest, identity: UUID) -> HttpResponse:
    require(request.user, *STAFF)
    image = get_object_or_404(Image, uuid=identity)
    response = HttpResponse(pictures.thumbnail_of(image).read_bytes(), content_type="image/jpeg")
    response["Cache-Control"] = "private, max-age=86400"
    return response


urls = [
    path("datasets/", dataset_list, name="dataset-list"),
    path("datasets/import/", dataset_import, name="dataset-import"),
    path("datasets/<uuid:identity>/", dataset_page, name="dataset"),
    path("images/<uuid:identity>/thumbnail.jpg", thumbnail, name="thumbnail"),
]
