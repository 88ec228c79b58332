"""The pages of a campaign's quality: forecast, arms, truth, annotators, the riskiest labels, and the budget planner."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import path
from django.utils import timezone

from labeling.campaigns import participants
from labeling.models import AggregationRun, Campaign, Label, SkeletonRow
from labeling.quality import forecast, plots, report, truth
from labeling.skeletons import BUILT_IN, words
from webapp import rows
from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import STAFF, Role, require
from webapp.errors import Refusal
from webapp.pagination import Ranked
from webapp.typed import read


@login_required
def campaign_plan(request: PageRequest) -> HttpResponse:
    """The budget planner: what votes will buy and cost, before the first one."""
    require(request.user, Role.ADMIN)
    asked, result, drawn = forecast.PlanConfig(), None, []
    entered = {k: v for k in forecast.PlanConfig.model_fields if (v := request.GET.get(k, "").strip())}
    try:
        asked = read(forecast.PlanConfig, entered)
        result = forecast.plan(asked, request.GET.get("skeleton") or "lsp-14")
        drawn = [plots.outlook(result["curve"], asked.risk)]
    except Refusal as error:
        messages.error(request, str(error))
    fields = [(n, f.description, getattr(asked, n)) for n, f in forecast.PlanConfig.model_fields.items()]
    skeletons = sorted({*BUILT_IN, *SkeletonRow.objects.values_list("name", flat=True)})
    return render(
        request,
        "quality/plan.html",
        {"fields": fields, "found": result, "plots": drawn, "asked": asked, "skeletons": skeletons, "get": request.GET},
    )


@login_required
def campaign_labels(request: PageRequest, identity: UUID) -> HttpResponse:
    """The riskiest labels first. Who looks can no longer answer in the campaign."""
    require(request.user, *STAFF)
    campaign = get_object_or_404(
        participants.visible_to(request.user).select_related("dataset__skeleton"), uuid=identity
    )
    participants.note_answers_seen(request.user, campaign)
    return _labels(request, campaign)


@rows.snapshot()
def _labels(request: PageRequest, campaign: Campaign) -> HttpResponse:
    last = campaign.aggregation_runs.first()
    names = [words(name) for name in campaign.dataset.skeleton.keypoints]
    page = _label_pages(last).get_page(request.GET.get("page"))
    cards = [
        {
            "image": label.pair.person.image,
            "first": names[label.pair.first],
            "second": names[label.pair.second],
            "closer": names[label.pair.first if label.p_first_closer >= 0.5 else label.pair.second],
            "sure": round(100 * (1 - label.risk)),
            "votes": label.votes_used,
        }
        for label in page
    ]
    return render(request, "quality/labels.html", {"campaign": campaign, "page": page, "cards": cards, "run": last})


def _label_pages(last: AggregationRun | None) -> Paginator:
    if last is None:
        return Paginator([], 48)
    labels = last.labels.order_by("-risk", "pair_id")

    def fetch(pairs: list[int]) -> list[Label]:
        labels = {
            label.pair_id: label for label in last.labels.filter(pair__in=pairs).select_related("pair__person__image")
        }
        return [labels[pair] for pair in pairs if pair in labels]

    count = last.measures.get("pairs")
    return Ranked(labels.values_list("pair_id", flat=True), fetch, labels.count() if count is None else count, 48)


@login_required
@rows.snapshot()
def campaign_quality(request: PageRequest, identity: UUID) -> HttpResponse:
    """Forecast, arms, labels beside the truth, annotators, the least known people. Shows nobody's answers."""
    require(request.user, *STAFF)
    campaign = get_object_or_404(
        participants.visible_to(request.user).select_related("dataset__skeleton"), uuid=identity
    )
    last = campaign.aggregation_runs.first()
    beside_truth = truth.label_truth(last) if last else {}
    votes = truth.answers(campaign)
    everybody, single = truth.curves(votes)
    alpha = truth.agreement(votes)
    drawn = [plots.reliability(beside_truth["reliability"])] if beside_truth else []
    if everybody:
        drawn.append(plots.psychometric(everybody, "Psychometric curve of all annotators"))
    names = [words(name) for name in campaign.dataset.skeleton.keypoints]
    page = Paginator(report.annotators(campaign), 50).get_page(request.GET.get("page"))
    return render(
        request,
        "quality/quality.html",
        {
            "campaign": campaign,
            "run": last,
            "forecast": forecast.forecast(campaign, timezone.now()),
            "alpha": None if alpha != alpha else alpha,
            "arms": _arms(campaign, beside_truth),
            "truth": beside_truth,
            "scores": [{"title": title, **beside_truth[key]} for key, title in SCORED.items() if key in beside_truth],
            "plots": drawn,
            "page": page,
            "annotators": report.people(campaign, list(page), single),
            "cards": [{"about": d, "joint": names[d.joint]} for d in report.riskiest(campaign)],
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


def _arms(campaign: Campaign, scores: dict[str, Any]) -> list[dict[str, Any]]:
    arms = [] if campaign.mode == Campaign.Mode.FIXED else report.arms(campaign)
    titles = {False: "by information", True: "uniform (control)"}
    return [
        {
            **row,
            "title": titles[row["control"]],
            "per_person": row["votes"] / max(row["people"], 1),
            "scores": scores.get("control" if row["control"] else "test")
            or (scores.get("all") if len(arms) == 1 else None),
        }
        for row in arms
    ]


urls = [
    path("campaigns/plan/", campaign_plan, name="campaign-plan"),
    path("campaigns/<uuid:identity>/labels/", campaign_labels, name="campaign-labels"),
    path("campaigns/<uuid:identity>/quality/", campaign_quality, name="campaign-quality"),
]
