"""Votes in tables -> crowd model -> labels, versioned. Nothing is overwritten: every run is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Avg, Count, F, Max, Q, Sum
from pydantic import Field, ValidationError

from labeling.catalogs import crowd_models
from labeling.crowd.votes import Votes, agreement
from labeling.models import AnnotatorScore, Campaign, CrowdRun, GoldAnswer, Label, Participation, Vote
from labeling.models.vote import SAME, SECOND
from webapp import rows
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, require
from webapp.catalog import Config, UnknownOffer
from webapp.jobs import run
from webapp.jobs.models import Job
from webapp.refusal import Conflict, Invalid

DEFAULT_MODEL = "paper"


class AggregateConfig(Config):
    campaign: str
    model: str = DEFAULT_MODEL
    options: dict[str, Any] = Field(default_factory=dict)


def counted_votes(campaign: Campaign) -> Any:
    """Votes that were not taken back, of annotators who are not blocked."""
    return Vote.objects.filter(pair__campaign=campaign, retraction__isnull=True).exclude(
        participation__standing=Participation.Standing.BLOCKED
    )


def start(
    actor: Account | None, campaign: Campaign, model: str = DEFAULT_MODEL, options: dict[str, Any] | None = None
) -> Job:
    """Enqueue a run of a crowd model. Raises Invalid for an unknown model or wrong options."""
    if actor is not None:
        require(actor, *STAFF)
    try:
        crowd_models[model].config.model_validate(options or {})
    except UnknownOffer as error:
        raise Invalid(str(error), field="model", value=model) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid(
            first["msg"], field=".".join(map(str, first["loc"])) or "options", value=first.get("input")
        ) from None
    if not counted_votes(campaign).exists():
        raise Conflict("There are no votes yet.", field="campaign", fix="wait for the first answers")
    config = AggregateConfig(campaign=str(campaign.uuid), model=model, options=options or {})
    return run.enqueue(actor, "aggregate", config.model_dump(), title=f"Merge the votes of {campaign.name}")


def perform(work: run.Work, config: AggregateConfig) -> dict[str, Any]:
    """Job: fit the model, write one CrowdRun with its labels and annotator scores in one transaction."""
    campaign = Campaign.objects.get(uuid=config.campaign)
    given = list(
        counted_votes(campaign)
        .exclude(closer=SAME)
        .order_by("pk")
        .values_list("pk", "pair_id", "participation_id", "closer")
        .iterator(chunk_size=10_000)
    )
    if not given:
        raise Conflict("There are no votes yet.", field="campaign")
    table = np.array(given, dtype=np.int64)
    pair_ids, question = np.unique(table[:, 1], return_inverse=True)
    seat_ids, annotator = np.unique(table[:, 2], return_inverse=True)
    votes = Votes(question, annotator, table[:, 3] == SECOND, len(pair_ids), len(seat_ids))
    offer = crowd_models[config.model]
    options = offer.config.model_validate(config.options)
    work.say(f"{len(given)} votes of {len(seat_ids)} annotators on {len(pair_ids)} pairs; {offer.title}")
    result = offer.load()(votes, options, gold=None, previous=None, progress=work.progress)
    count, agreed = votes.per_question(), agreement(votes, result.p_second)
    made = np.bincount(annotator, minlength=len(seat_ids))
    with transaction.atomic():
        work.hold()
        Campaign.objects.select_for_update().get(pk=campaign.pk)
        number = (campaign.crowd_runs.aggregate(n=Max("number"))["n"] or 0) + 1
        crowd_run = CrowdRun.objects.create(
            campaign=campaign,
            number=number,
            model=config.model,
            config=options.model_dump(),
            votes_used=len(given),
            last_vote=int(table[:, 0].max()),
            created_by=work.actor,
            measures={
                "mean_risk": round(float(result.risk.mean()), 6),
                "pairs": len(pair_ids),
                "annotators": len(seat_ids),
                "mean_agreement": round(float(np.average(agreed, weights=made)), 6),
            },
        )
        labels = zip(pair_ids.tolist(), result.p_second.tolist(), result.risk.tolist(), count.tolist(), strict=True)
        rows.write(
            Label,
            ("run_id", "pair_id", "p_first_closer", "risk", "votes_used"),
            ((crowd_run.pk, key, 1 - p, risk, n) for key, p, risk, n in labels),
        )
        AnnotatorScore.objects.bulk_create(
            AnnotatorScore(
                run=crowd_run,
                participation_id=int(seat),
                votes=int(n),
                agreement=float(a),
                skill=None if np.isnan(s) else float(s),
            )
            for seat, n, a, s in zip(seat_ids, made, agreed, result.skill)
        )
    return {"crowd_run": str(crowd_run.uuid), "number": number, "labels": len(pair_ids), **crowd_run.measures}


def aggregate_open_campaigns() -> int:
    """The schedule: enqueue a run for every open campaign that has votes newer than its last run."""
    rung = 0
    for campaign in Campaign.objects.filter(state=Campaign.State.OPEN):
        newest = counted_votes(campaign).aggregate(n=Max("pk"))["n"]
        last = campaign.crowd_runs.first()
        waiting = Job.objects.filter(
            kind="aggregate", config__campaign=str(campaign.uuid), state__in=["queued", "running"]
        )
        if newest and (last is None or last.last_vote < newest) and not waiting.exists():
            start(None, campaign, last.model if last and last.model in crowd_models else DEFAULT_MODEL)
            rung += 1
    return rung


def progress_of(campaign: Campaign) -> dict[str, Any]:
    """Where a campaign stands, in two queries: pairs, votes counted and needed, finished pairs."""
    sums = campaign.pairs.aggregate(
        pairs=Count("pk"),
        counted=Sum("votes_counted"),
        needed=Sum("votes_needed"),
        finished=Count("pk", filter=Q(votes_counted=F("votes_needed"))),
        leased=Sum(F("taken") - F("votes_counted")),
    )
    counted, needed = sums["counted"] or 0, sums["needed"] or 0
    return {
        "pairs": sums["pairs"],
        "pairs_finished": sums["finished"],
        "votes_counted": counted,
        "votes_needed": needed,
        "leased": sums["leased"] or 0,
        "share_done": round(counted / needed, 4) if needed else 0.0,
    }


def annotator_table(campaign: Campaign) -> list[dict[str, Any]]:
    """One row per annotator: votes, speed, agreement with the last merge, gold accuracy, colour and side bias."""

    def green() -> Q:
        first_green = Q(side_seen__startswith="green", closer=0)
        return first_green | Q(side_seen__startswith="pink", closer=1)

    def left() -> Q:
        return Q(side_seen__endswith="left", closer=0) | Q(side_seen__endswith="right", closer=1)

    votes = {
        r["participation"]: r
        for r in Vote.objects.filter(pair__campaign=campaign, retraction__isnull=True)
        .order_by()
        .values("participation")
        .annotate(
            n=Count("pk"),
            response_ms=Avg("response_ms"),
            green=Count("pk", filter=green()),
            left=Count("pk", filter=left()),
            last=Max("received_at"),
        )
    }
    gold = {
        r["seat"]: r
        for r in GoldAnswer.objects.filter(assignment__campaign=campaign, retraction__isnull=True)
        .order_by()
        .values(seat=F("assignment__participation"))
        .annotate(n=Count("pk"), right=Count("pk", filter=Q(correct=True)))
    }
    last = campaign.crowd_runs.first()
    scores = {s.participation_id: s for s in last.scores.all()} if last else {}
    rows = []
    for seat in campaign.participations.select_related("annotator").order_by("pk"):
        v, g, s = votes.get(seat.pk), gold.get(seat.pk), scores.get(seat.pk)
        rows.append(
            {
                "seat": str(seat.pseudonym),
                "name": seat.annotator.username,
                "simulated": seat.annotator.is_simulated,
                "standing": seat.standing,
                "reason": seat.standing_reason,
                "votes": v["n"] if v else 0,
                "response_ms": round(v["response_ms"]) if v and v["response_ms"] is not None else None,
                "agreement": round(s.agreement, 4) if s else None,
                "skill": round(s.skill, 4) if s and s.skill is not None else None,
                "gold_answers": g["n"] if g else 0,
                "gold_accuracy": round(g["right"] / g["n"], 4) if g else None,
                "green_share": round(v["green"] / v["n"], 4) if v else None,
                "left_share": round(v["left"] / v["n"], 4) if v else None,
                "last_vote": v["last"].isoformat() if v else None,
            }
        )
    return rows
