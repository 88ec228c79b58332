"""Votes in tables -> crowd model -> labels, versioned. Nothing is overwritten: every run is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Avg, Count, F, Max, Q, Sum
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from labeling import percepts, quality
from labeling.catalogs import crowd_models
from labeling.crowd import depth
from labeling.crowd.config import DepthConfig
from labeling.crowd.votes import Votes, agreement
from labeling.models import AnnotatorScore, Campaign, CrowdRun, GoldAnswer, Label, Percept, Vote
from labeling.models.vote import SAME, SECOND
from labeling.percepts import counted_votes
from webapp import rows
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, require
from webapp.catalog import Config, Offer, UnknownOffer
from webapp.jobs import run
from webapp.jobs.models import Job
from webapp.refusal import Conflict, Invalid

DEFAULT_MODEL = "paper"


def default_model(campaign: Campaign) -> str:
    return DEFAULT_MODEL if campaign.mode == Campaign.Mode.FIXED else "depth"


class AggregateConfig(Config):
    campaign: str
    model: str = DEFAULT_MODEL
    options: dict[str, Any] = Field(default_factory=dict)
    judge_only: bool = False


def start(actor: Account | None, campaign: Campaign, model: str = "", options: dict[str, Any] | None = None) -> Job:
    """Enqueue a run of a crowd model; "" is the campaign's own. Raises Invalid for an unknown model or wrong options."""
    if actor is not None:
        require(actor, *STAFF)
    model = model or default_model(campaign)
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
    """Job: fit the model, write one CrowdRun with its labels and annotator scores in one transaction.

    The depth model is fitted whatever model makes the labels: it says what kind each annotator is and what to ask next.
    """
    campaign = Campaign.objects.select_related("dataset__skeleton", "prior").get(uuid=config.campaign)
    if config.judge_only:
        return _judge(work, campaign)
    offer = crowd_models[config.model]
    options = offer.config.model_validate(config.options)
    whole = bool(offer.extra.get("whole_pictures"))
    with transaction.atomic():  # one snapshot; server-side cursors need it
        fit = percepts.refit(campaign, options if whole else DepthConfig(), work.progress)
        alone = not campaign.pairs.exclude(first_person=F("second_person")).exists()
        if whole and fit is not None and alone and len(fit.made):
            merged = Merged.of(fit)
            work.say(f"{merged.votes} votes of {len(merged.seat_ids)} annotators; {offer.title}")
        else:
            merged = _merged(work, campaign, offer, options)
            merged = merged.with_pictures(fit) if whole and fit is not None else merged
        recent = quality.recent(campaign)
    with transaction.atomic():
        work.hold()
        Campaign.objects.select_for_update().get(pk=campaign.pk)
        number = (campaign.crowd_runs.aggregate(n=Max("number"))["n"] or 0) + 1
        crowd_run = CrowdRun.objects.create(
            campaign=campaign,
            number=number,
            model=config.model,
            config=options.model_dump(),
            votes_used=merged.votes,
            last_vote=merged.last_vote,
            created_by=work.actor,
            measures=merged.measures,
        )
        rows.write_columns(Label, merged.labels(crowd_run))
        AnnotatorScore.objects.bulk_create(
            (AnnotatorScore(run=crowd_run, **score) for score in merged.scores()), batch_size=500
        )
        if fit is not None:
            percepts.store(campaign, fit)
            flagged = quality.judge(campaign, fit.seat_ids, fit.belief, fit.made, recent)
            work.say(f"{flagged} annotators look suspicious")
    return {"crowd_run": str(crowd_run.uuid), "number": number, "labels": len(merged.pair_ids), **crowd_run.measures}


def _judge(work: run.Work, campaign: Campaign) -> dict[str, Any]:
    """Learn anew who looks and what is known of each person, without a version of labels: what the queue needs every few
    minutes, where a version would be millions of rows."""
    with transaction.atomic():
        fit = percepts.refit(campaign, DepthConfig(), work.progress)
        recent = quality.recent(campaign)
    if fit is None:
        return {"flagged": 0}
    with transaction.atomic():
        work.hold()
        Campaign.objects.select_for_update().get(pk=campaign.pk)
        percepts.store(campaign, fit)
        return {"flagged": quality.judge(campaign, fit.seat_ids, fit.belief, fit.made, recent)}


@dataclass(frozen=True)
class Merged:
    """What a crowd model made of a campaign's votes, by pair and by annotator."""

    pair_ids: NDArray[np.int64]
    p_first: NDArray[np.float64]
    plain: NDArray[np.float64] | None
    count: NDArray[np.int64]
    seat_ids: NDArray[np.int64]
    made: NDArray[np.int64]
    agreed: NDArray[np.float64]
    skill: NDArray[np.float64]
    votes: int
    last_vote: int
    notes: dict[str, Any]

    @property
    def measures(self) -> dict[str, Any]:
        risk = np.minimum(self.p_first, 1 - self.p_first)
        return {
            "mean_risk": round(float(risk.mean()), 6),
            "pairs": len(self.pair_ids),
            "annotators": len(self.seat_ids),
            "mean_agreement": round(float(np.average(self.agreed, weights=self.made)), 6),
            **self.notes,
        }

    @classmethod
    def of(cls, fit: percepts.Refit) -> Merged:
        """The depth model's outcome, where every pair lies within one person."""
        return cls(
            pair_ids=fit.pair_ids,
            p_first=np.clip(fit.p_first, 0.0, 1.0),
            plain=fit.plain,
            count=fit.votes_used,
            seat_ids=fit.seat_ids,
            made=fit.made,
            agreed=fit.agreement,
            skill=depth.skill_of(fit.belief),
            votes=int((fit.vote_ids > 0).sum()),
            last_vote=int(fit.vote_ids.max(initial=0)),
            notes=_notes(fit),
        )

    def with_pictures(self, fit: percepts.Refit) -> Merged:
        """The depth model's labels; pairs between two people keep those of single questions."""
        inside = np.isin(self.pair_ids, fit.pair_ids)
        order = np.argsort(np.concatenate([fit.pair_ids, self.pair_ids[~inside]]))

        def joined(ours: NDArray, others: NDArray) -> NDArray:
            return np.concatenate([ours, others[~inside]])[order]

        return replace(
            self,
            pair_ids=joined(fit.pair_ids, self.pair_ids),
            p_first=np.clip(joined(fit.p_first, self.p_first), 0.0, 1.0),
            plain=None if fit.plain is None else joined(fit.plain, self.p_first),
            count=joined(fit.votes_used, self.count),
            notes=_notes(fit),
        )

    def labels(self, crowd_run: CrowdRun) -> dict[str, NDArray]:
        """Columns of the table of labels."""
        found = {
            "run_id": np.full(len(self.pair_ids), crowd_run.pk),
            "pair_id": self.pair_ids,
            "p_first_closer": self.p_first,
            "risk": np.minimum(self.p_first, 1 - self.p_first),
            "votes_used": np.minimum(self.count, 32_767),
        }
        return found if self.plain is None else found | {"p_first_closer_plain": self.plain}

    def scores(self) -> Iterator[dict[str, Any]]:
        for seat, n, a, s in zip(self.seat_ids.tolist(), self.made.tolist(), self.agreed.tolist(), self.skill.tolist()):
            yield {"participation_id": seat, "votes": n, "agreement": a, "skill": None if s != s else s}


def _notes(fit: percepts.Refit) -> dict[str, Any]:
    """What the depth model learned of the crowd."""
    crowd = fit.state.crowd
    kinds: dict[str, float] = {}
    for kind, share in zip(depth.KINDS, crowd.shares.tolist()):
        kinds[kind.name] = kinds.get(kind.name, 0.0) + share
    return {
        "shared_mm": round(crowd.shared_mm, 2),
        "slant": round(crowd.slant, 5),
        "rounds": fit.state.rounds,
        "surprising_votes": fit.surprising,
        "people_contradicted": fit.contradicted,
        "kinds": {name: round(share, 4) for name, share in kinds.items()},
    }


def _merged(work: run.Work, campaign: Campaign, offer: Offer, options: Any) -> Merged:
    """Fit a model of single questions; for the depth model a two-coin one, whose labels serve pairs between two people."""
    given = (
        counted_votes(campaign)
        .exclude(closer=SAME)
        .order_by("pk")
        .values_list("pk", "pair_id", "participation_id", "closer", "side_seen")
    )
    batches = [
        np.array([(*row, percepts.LOOKS.get(look, -1)) for *row, look in batch], dtype=np.int64)
        for batch in rows.read(given)
    ]
    if not batches:
        raise Conflict("There are no votes yet.", field="campaign")
    table = np.concatenate(batches)
    pair_ids, question = np.unique(table[:, 1], return_inverse=True)
    seat_ids, annotator = np.unique(table[:, 2], return_inverse=True)
    shown = table[:, 4] if (table[:, 4] >= 0).all() else None
    votes = Votes(question, annotator, table[:, 3] == SECOND, len(pair_ids), len(seat_ids), shown)
    work.say(f"{len(table)} votes of {len(seat_ids)} annotators on {len(pair_ids)} pairs; {offer.title}")
    if offer.extra.get("whole_pictures"):
        offer, options = crowd_models["two-coin"], crowd_models["two-coin"].config()
    result = offer.load()(votes, options, gold=None, previous=None, progress=work.progress)
    return Merged(
        pair_ids=pair_ids,
        p_first=1 - result.p_second,
        plain=None,
        count=votes.per_question(),
        seat_ids=seat_ids,
        made=np.bincount(annotator, minlength=len(seat_ids)),
        agreed=agreement(votes, result.p_second),
        skill=result.skill,
        votes=len(table),
        last_vote=int(table[:, 0].max()),
        notes={key: result.notes[key] for key in ("model", "held_out") if key in result.notes},
    )


def aggregate_open_campaigns() -> int:
    """The schedule: enqueue a merge for every open fixed campaign that has votes newer than its last one."""
    rung = 0
    for campaign, newest in _with_news(Campaign.Mode.FIXED):
        last = campaign.crowd_runs.first()
        if last is None or last.last_vote < newest:
            start(None, campaign, last.model if last and last.model in crowd_models else "")
            rung += 1
    return rung


def judge_open_campaigns() -> int:
    """The schedule: enqueue a look at annotators and people of every open adaptive campaign with new votes."""
    rung = 0
    for campaign, newest in _with_news(Campaign.Mode.ADAPTIVE, Campaign.Mode.PRIOR):
        if campaign.crowd.get("last_vote", 0) < newest:
            config = AggregateConfig(campaign=str(campaign.uuid), model="depth", judge_only=True)
            run.enqueue(None, "aggregate", config.model_dump(), title=f"Look at the votes of {campaign.name}"[:200])
            rung += 1
    return rung


def _with_news(*modes: str) -> Iterator[tuple[Campaign, int]]:
    """Open campaigns of these modes with counted votes, for which no merge waits or runs; and their newest vote."""
    for campaign in Campaign.objects.filter(state=Campaign.State.OPEN, mode__in=modes):
        newest = counted_votes(campaign).aggregate(n=Max("pk"))["n"]
        waiting = Job.objects.filter(
            kind="aggregate", config__campaign=str(campaign.uuid), state__in=["queued", "running"]
        )
        if newest and not waiting.exists():
            yield campaign, newest


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
    done = sums["finished"]
    if campaign.mode != Campaign.Mode.FIXED:  # people are done, not pairs; at most so many votes for each
        people = Percept.objects.filter(campaign=campaign).aggregate(
            n=Count("pk"), done=Count("pk", filter=Q(open=False))
        )
        needed, done = people["n"] * campaign.most_votes, people["done"]
    return {
        "pairs": sums["pairs"],
        "pairs_finished": done,
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
