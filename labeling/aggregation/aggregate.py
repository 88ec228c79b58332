"""Votes in tables -> crowd model -> labels, versioned. Nothing is overwritten: every run keeps its measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery, Sum
from numpy.typing import NDArray
from pydantic import Field

from labeling.aggregation import refit, snapshot
from labeling.aggregation.snapshot import counted_votes
from labeling.catalogs import crowd_models, person_models
from labeling.crowd import depth
from labeling.crowd.config import DepthConfig
from labeling.crowd.votes import agreement
from labeling.models import AggregationRun, AnnotatorScore, Assignment, Campaign, DepthPosterior, Label, Participation
from labeling.quality import suspicion
from webapp import audit, rows, typed
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, require
from webapp.catalog import Offer, UnknownOffer
from webapp.config import Config
from webapp.errors import Conflict, Invalid
from webapp.jobs import run
from webapp.jobs.models import Job, State

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
        typed.read(crowd_models[model].config, options or {})
    except UnknownOffer as error:
        raise Invalid(str(error), field="model", value=model) from None
    if not counted_votes(campaign).exists():
        raise Conflict("There are no votes yet.", field="campaign", fix="wait for the first answers")
    config = AggregateConfig(campaign=str(campaign.uuid), model=model, options=options or {})
    return run.enqueue(actor, "aggregate", config.model_dump(), title=f"Aggregate the votes of {campaign.name}")


def run_aggregation(context: run.JobContext, config: AggregateConfig) -> dict[str, Any]:
    """Job: read votes, fit the model, write one AggregationRun with its labels and annotator scores.

    Nobody waits for it: reading is one snapshot, fitting holds no transaction, and what it found is written in short
    steps, each after a look whether this attempt may still write. The run is seen when its last step gives it a number.
    The depth model is fitted whatever model makes the labels: it says what kind each annotator is and what to ask next.
    """
    campaign = Campaign.objects.select_related("dataset__skeleton", "prior").get(uuid=config.campaign)
    read = snapshot.read(campaign)
    recent = suspicion.recent(campaign)
    if config.judge_only:
        return _judge(context, campaign, read, recent)
    offer = crowd_models[config.model]
    options = offer.config.model_validate(config.options)
    if not len(read.vote):
        raise Conflict("There are no votes yet.", field="campaign")
    fit = refit.refit(campaign, read, options if isinstance(options, DepthConfig) else DepthConfig(), context.progress)
    if config.model in person_models and fit is not None:
        aggregated = Aggregated.of(fit)
        context.say(f"{aggregated.votes} votes of {len(aggregated.participation_ids)} annotators; {offer.title}")
    else:
        aggregated = _aggregated(context, read, offer, options)
    del read
    aggregation_run = _write(context, campaign, config.model, options.model_dump(), aggregated)
    if fit is not None:
        refit.store(campaign, fit, context.check)
        flagged = suspicion.judge(campaign, fit.participation_ids, fit.belief, fit.vote_count, recent)
        context.say(f"{flagged} annotators look suspicious")
    for _ in thin(campaign):
        context.check()
    return {
        "aggregation_run": str(aggregation_run.uuid),
        "number": aggregation_run.number,
        "labels": len(aggregated.pair_ids),
        **aggregation_run.measures,
    }


def _judge(
    context: run.JobContext, campaign: Campaign, read: snapshot.Snapshot, recent: suspicion.Recent
) -> dict[str, Any]:
    """Learn anew who looks and what is known of each person, without a version of labels: what the queue needs every few
    minutes, where a version would be millions of rows."""
    fit = refit.refit(campaign, read, DepthConfig(), context.progress)
    if fit is None:
        return {"flagged": 0}
    refit.store(campaign, fit, context.check)
    return {"flagged": suspicion.judge(campaign, fit.participation_ids, fit.belief, fit.vote_count, recent)}


AT_ONCE = 20_000  # labels written in one transaction


def _write(
    context: run.JobContext, campaign: Campaign, model: str, config: dict[str, Any], aggregated: Aggregated
) -> AggregationRun:
    """Labels first, in short transactions, under a run without a number; the number makes them count, all at once."""
    for dead in AggregationRun.every.filter(campaign=campaign, number=None).exclude(
        job__state__in=(State.RUNNING, State.CANCELLING), job__attempt=F("attempt")
    ):
        for _ in rows.delete_in_steps(dead.labels.all()):
            context.check()
        AggregationRun.every.filter(pk=dead.pk).delete()
    with transaction.atomic():
        context.hold()
        aggregation_run = AggregationRun.every.create(
            campaign=campaign,
            job=context.job,
            attempt=context.job.attempt,
            model=model,
            config=config,
            votes_used=aggregated.votes,
            last_vote=aggregated.last_vote,
            created_by=context.actor,
            measures=aggregated.measures,
        )
    labels = aggregated.labels(aggregation_run)
    total = len(aggregated.pair_ids)
    size = rows.at_once(AT_ONCE)
    for start in range(0, total, size):
        with transaction.atomic():
            rows.write_columns(Label, {name: column[start : start + size] for name, column in labels.items()})
        context.progress(min(total, start + size), total, "labels")
    scores = [AnnotatorScore(run=aggregation_run, **score) for score in aggregated.scores()]
    with transaction.atomic():
        AnnotatorScore.objects.bulk_create(scores, batch_size=500)
        context.hold()
        Campaign.objects.select_for_update(no_key=True).get(pk=campaign.pk)
        aggregation_run.number = (campaign.aggregation_runs.aggregate(n=Max("number"))["n"] or 0) + 1
        aggregation_run.save(update_fields=["number"])
        audit.record(context.actor, "campaign.aggregate", campaign, run=aggregation_run.number, model=model)
    return aggregation_run


KEPT = 2  # newest runs whose labels stay although no release needs them


def thin(campaign: Campaign) -> Iterator[int]:
    """Delete the labels of older runs that no release is made of; their measures stay. In short steps."""
    unneeded = (
        campaign.aggregation_runs.filter(release=None, labels_kept=True).exclude(model="imported").order_by("-number")
    )
    for old in unneeded[KEPT:]:
        # A release that is just being made of this run reads in one snapshot and does not notice.
        if AggregationRun.objects.filter(pk=old.pk, release=None).update(labels_kept=False):
            yield from rows.delete_in_steps(old.labels.all())


@dataclass(frozen=True)
class Aggregated:
    """What a crowd model made of a campaign's votes, by pair and by annotator."""

    pair_ids: NDArray[np.int64]
    p_first: NDArray[np.float64]
    without_prior: NDArray[np.float64] | None
    count: NDArray[np.int64]
    participation_ids: NDArray[np.int64]
    vote_count: NDArray[np.int64]
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
            "annotators": len(self.participation_ids),
            # Where no pair has two votes there is nobody to agree with.
            "mean_agreement": round(float(np.average(self.agreed, weights=self.vote_count)), 6)
            if self.count.max() > 1
            else None,
            **self.notes,
        }

    @classmethod
    def of(cls, fit: refit.Refit) -> Aggregated:
        """The depth model's outcome."""
        return cls(
            pair_ids=fit.pair_ids,
            p_first=np.clip(fit.p_first, 0.0, 1.0),
            without_prior=fit.without_prior,
            count=fit.votes_used,
            participation_ids=fit.participation_ids,
            vote_count=fit.vote_count,
            agreed=fit.agreement,
            skill=depth.skill_of(fit.belief),
            votes=fit.votes,
            last_vote=fit.last_vote,
            notes=_notes(fit),
        )

    def labels(self, aggregation_run: AggregationRun) -> dict[str, NDArray]:
        """Columns of the table of labels."""
        columns = {
            "run_id": np.full(len(self.pair_ids), aggregation_run.pk),
            "pair_id": self.pair_ids,
            "p_first_closer": self.p_first,
            "risk": np.minimum(self.p_first, 1 - self.p_first),
            "votes_used": np.minimum(self.count, 32_767),
        }
        return columns if self.without_prior is None else columns | {"p_first_closer_without_prior": self.without_prior}

    def scores(self) -> Iterator[dict[str, Any]]:
        for participation, n, a, s in zip(
            self.participation_ids.tolist(), self.vote_count.tolist(), self.agreed.tolist(), self.skill.tolist()
        ):
            yield {"participation_id": participation, "votes": n, "agreement": a, "skill": None if s != s else s}


def _notes(fit: refit.Refit) -> dict[str, Any]:
    """What the depth model learned of the crowd."""
    crowd = fit.crowd
    kinds: dict[str, float] = {}
    for kind, share in zip(depth.KINDS, crowd.shares.tolist()):
        kinds[kind.name] = kinds.get(kind.name, 0.0) + share
    return {
        "shared_mm": round(crowd.shared_mm, 2),
        "slant": round(crowd.slant, 5),
        "rounds": fit.rounds,
        "surprising_votes": fit.surprising,
        "people_contradicted": fit.contradicted,
        "kinds": {name: round(share, 4) for name, share in kinds.items()},
    }


def _aggregated(context: run.JobContext, read: snapshot.Snapshot, offer: Offer, options: Any) -> Aggregated:
    """Fit a model of single questions."""
    votes, pair_ids = read.questions()
    context.say(
        f"{len(read.vote)} votes of {len(read.participation_ids)} annotators on {len(pair_ids)} pairs; {offer.title}"
    )
    result = offer.load()(votes, options, gold=None, progress=context.progress)
    return Aggregated(
        pair_ids=pair_ids,
        p_first=1 - result.p_second,
        without_prior=None,
        count=votes.per_question(),
        participation_ids=read.participation_ids,
        vote_count=np.bincount(read.participation, minlength=len(read.participation_ids)),
        agreed=agreement(votes, result.p_second),
        skill=result.skill,
        votes=len(read.vote),
        last_vote=read.last_vote,
        notes={key: result.notes[key] for key in ("model", "held_out") if key in result.notes},
    )


def aggregate_open_campaigns() -> int:
    """The schedule: enqueue an aggregation for every open fixed campaign that has votes newer than its last one."""
    started = 0
    last = AggregationRun.objects.filter(campaign=OuterRef("pk")).order_by("-number")
    news = {"last_model": Subquery(last.values("model")[:1]), "last_used": Subquery(last.values("last_vote")[:1])}
    for campaign in _with_news(Campaign.Mode.FIXED, **news):
        if campaign.last_used is None or campaign.last_used < campaign.newest:
            start(None, campaign, campaign.last_model if campaign.last_model in crowd_models else "")
            started += 1
    return started


def judge_open_campaigns() -> int:
    """The schedule: enqueue a look at annotators and people of every open adaptive campaign with new votes."""
    started = 0
    for campaign in _with_news(Campaign.Mode.ADAPTIVE, Campaign.Mode.PRIOR):
        if campaign.crowd.get("last_vote", 0) < campaign.newest:
            config = AggregateConfig(campaign=str(campaign.uuid), model="depth", judge_only=True)
            run.enqueue(None, "aggregate", config.model_dump(), title=f"Judge the annotators of {campaign.name}")
            started += 1
    return started


def _with_news(*modes: str, **columns: Any) -> Iterator[Any]:
    """Open campaigns of these modes with counted votes, for which no aggregation waits or runs; `newest`: their newest
    vote. Two queries, whatever the number of campaigns."""
    unfinished = Job.objects.filter(kind="aggregate", state__in=[State.QUEUED, State.RUNNING])
    waiting = set(unfinished.values_list("subject", flat=True))
    campaigns = Campaign.objects.filter(state=Campaign.State.OPEN, mode__in=modes)
    newest = Subquery(snapshot.newest_vote(OuterRef("pk")))
    for campaign in campaigns.annotate(newest=newest, **columns).filter(newest__isnull=False):
        if str(campaign.uuid) not in waiting:
            yield campaign


def progress_of(campaign: Campaign) -> dict[str, Any]:
    """Where a campaign stands, from kept sums: pairs, votes counted and needed, finished pairs."""
    sums = campaign.participations.aggregate(
        counted=Sum("vote_count", filter=~Q(standing=Participation.Standing.BLOCKED)), finished=Sum("pairs_finished")
    )
    leased = Assignment.objects.filter(
        state=Assignment.State.LEASED, participation__campaign=campaign, pair__isnull=False
    ).count()
    campaign.refresh_from_db(fields=["pair_count", "votes_wanted"])
    counted, needed, done = sums["counted"] or 0, campaign.votes_wanted, sums["finished"] or 0
    if campaign.mode != Campaign.Mode.FIXED:  # people are done, not pairs; at most so many votes for each
        people = DepthPosterior.objects.filter(campaign=campaign).aggregate(
            n=Count("pk"), done=Count("pk", filter=Q(open=False))
        )
        needed, done = people["n"] * campaign.most_votes, people["done"]
    if campaign.budget_votes is not None:
        needed = min(needed, campaign.budget_votes)
    return {
        "pairs": campaign.pair_count,
        "pairs_finished": done,
        "votes_counted": counted,
        "votes_needed": needed,
        "leased": leased,
        "share_done": round(counted / needed, 4) if needed else 0.0,
    }


def annotators(campaign: Campaign) -> QuerySet[Participation]:
    """Participations in the order of tables; a page takes a slice and gives it to `annotator_rows`."""
    return campaign.participations.select_related("annotator").order_by("pk")


def annotator_rows(campaign: Campaign, some: list[Participation]) -> list[dict[str, Any]]:
    """One row per annotator: votes, speed, agreement with the last aggregation, gold accuracy, colour and side bias."""
    last = campaign.aggregation_runs.first()
    scores = {s.participation_id: s for s in last.scores.filter(participation__in=some)} if last else {}

    def share(part: float, whole: int) -> float | None:
        return round(part / whole, 4) if whole else None

    return [
        {
            "participation": str(participation.pseudonym),
            "name": participation.annotator.username,
            "simulated": participation.annotator.is_simulated,
            "standing": participation.standing,
            "reason": participation.standing_reason,
            "participant": participation.annotator.recruiter_id,
            "study": participation.recruiter_study,
            "session": participation.recruiter_session,
            "tutorial": _tutorial_words(participation),
            "answers": participation.answer_count,
            "votes": participation.vote_count,
            "response_ms": round(participation.response_ms_sum / participation.timed_count)
            if participation.timed_count
            else None,
            "agreement": round(scores[participation.pk].agreement, 4) if participation.pk in scores else None,
            "skill": round(s, 4)
            if participation.pk in scores and (s := scores[participation.pk].skill) is not None
            else None,
            "gold_answers": participation.gold_count,
            "gold_accuracy": share(participation.gold_right, participation.gold_count),
            "green_share": share(participation.green_count, participation.vote_count),
            "left_share": share(participation.left_count, participation.vote_count),
            "last_vote": participation.last_answer_at.isoformat() if participation.last_answer_at else None,
        }
        for participation in some
    ]


def _tutorial_words(participation: Participation) -> str:
    if participation.tutorial_passed_at:
        return "passed"
    allowed = participation.campaign.tutorial_tries + participation.tutorial_granted
    if not participation.tutorial_tries:
        return ""
    return (
        "failed"
        if participation.tutorial_tries >= allowed
        else f"failed {participation.tutorial_tries} of {allowed} tries"
    )
