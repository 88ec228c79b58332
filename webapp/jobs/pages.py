"""Pages of jobs: the list, and one job with its progress, log and result."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import READERS, require
from webapp.errors import Refusal
from webapp.jobs import leftovers, run
from webapp.jobs.api import visible_to


@login_required
def job_list(request: PageRequest) -> HttpResponse:
    require(request.user, *READERS)
    jobs = visible_to(request.user).select_related("created_by")
    return render(request, "jobs/list.html", {"page": Paginator(jobs, 30).get_page(request.GET.get("page"))})


@login_required
def job_page(request: PageRequest, identity: UUID) -> HttpResponse:
    require(request.user, *READERS)
    job = get_object_or_404(visible_to(request.user), uuid=identity)
    if request.method == "POST":
        try:
            (run.retry if request.POST.get("do") == "retry" else run.cancel)(request.user, job)
        except Refusal as error:
            messages.error(request, str(error))
        return redirect("job", job.uuid)
    return render(
        request,
        "jobs/job.html",
        {"job": job, "lines": job.lines.all(), "continue_until": leftovers.may_continue_until(job)},
    )
