"""Campaigns: create, prepare (pairs, tutorial, gold), open, pause, close."""

from __future__ import annotations

import random
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import IntegrityError, transaction
from django.urls import reverse

from labeling.aggregation import posteriors
from labeling.campaigns import pairs, reference_questions
from labeling.campaigns.plan import CampaignChange, CampaignPlan
from labeling.models import (
    Assignment,
    Campaign,
    Dataset,
    DepthPosterior,
    DepthPrior,
    Label,
    Pair,
    Person,
    QuestionReport,
    ReferenceQuestion,
)
from labeling.models.campaign import entry_key
from webapp import audit, rows
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.config import Config
from webapp.errors import Conflict, Invalid
from webapp.jobs import run
from webapp.jobs.models import Job


class PrepareConfig(Config):
    campaign: str
    gold_questions: int | None = 0
    tutorial_questions: int = 0
    tutorial_dataset: str = ""


def create(actor: Account, dataset: Dataset, plan: CampaignPlan) -> tuple[Campaign, Job]:
    """Record a campaign in draft and start the job that makes its pairs, tutorial and gold questions."""
    require(actor, Role.ADMIN)
    plan = plan.model_copy(update={"name": _printable(plan.name)})
    chosen = _keypoints(dataset, plan)
    _check(plan)
    if plan.mode != "fixed":  # every pair can be asked, and is labelled
        plan = plan.model_copy(update={"pair_policy": plan.pair_policy.model_copy(update={"name": "all"})})
    row = Campaign(
        dataset=dataset,
        keypoints=chosen,
        pair_policy=plan.pair_policy.model_dump(),
        prior=_prior(dataset, plan),
        created_by=actor,
        **plan.model_dump(exclude={"keypoints", "pair_policy", "prior", *PrepareConfig.model_fields} - {"campaign"}),
    )
    preparation = PrepareConfig(
        campaign=str(row.uuid),
        gold_questions=plan.gold_questions if plan.gold_share else 0,
        tutorial_questions=plan.tutorial_questions,
        tutorial_dataset=plan.tutorial_dataset,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            audit.record(actor, "campaign.create", row, plan=plan.model_dump(mode="json"))
            job = run.enqueue(actor, "prepare-campaign", preparation.model_dump(), title=f"Prepare {row.name}")
    except IntegrityError:
        raise Conflict("A campaign of this name exists.", field="name", value=plan.name, fix="choose another") from None
    return row, job


def _keypoints(dataset: Dataset, plan: CampaignPlan) -> list[str]:
    """The keypoints that are asked about, in the skeleton's order. Raises Invalid."""
    names = dataset.skeleton.keypoints
    chosen = plan.keypoints or list(names)
    for name in chosen:
        if name not in names:
            raise Invalid(
                f"{name[:40]!r} is no keypoint of this skeleton.",
                field="keypoints",
                value=name,
                fix=f"choose from {', '.join(names)}",
            )
    if len(set(chosen)) < 2 or len(set(chosen)) != len(chosen):
        raise Invalid("A campaign needs at least two different keypoints.", field="keypoints", value=chosen)
    return sorted(chosen, key=names.index)


def _check(plan: CampaignPlan) -> None:
    """What one field alone cannot say. Raises Invalid."""
    _check_addresses(plan.model_dump())
    if plan.tutorial_dataset:
        _known_dataset(plan.tutorial_dataset)
    if plan.mode != "fixed" and plan.least_votes > plan.most_votes:
        raise Invalid(
            f"Every person cannot get at least {plan.least_votes} and at most {plan.most_votes} votes.",
            field="least_votes",
            value=plan.least_votes,
            fix="not more than most_votes",
        )


def _check_addresses(plan: dict[str, Any]) -> None:
    for field in ("completion_url", "screened_out_url", "no_work_url"):
        address = plan.get(field)
        try:
            if address:
                URLValidator(schemes=["https"])(address)
        except ValidationError:
            raise Invalid(
                "Not an https address.", field=field, value=address, fix="the whole address, with https://"
            ) from None


def change(actor: Account, campaign: Campaign, change_to: CampaignChange) -> Campaign:
    """Change some settings of a campaign. Raises NotAllowed, Invalid, Conflict."""
    require(actor, Role.ADMIN)
    news = {name: value for name, value in change_to.model_dump().items() if name in change_to.model_fields_set}
    for name, value in news.items():
        if value is None and name != "budget_votes":  # a budget may be lifted
            raise Invalid("This setting has no 'none'.", field=name, fix="leave it out")
    if "name" in news:
        news["name"] = _printable(news["name"])
    _check_addresses(news)
    before = {name: getattr(campaign, name) for name in news}
    try:
        with transaction.atomic():
            Campaign.objects.filter(pk=campaign.pk).update(**news)
            audit.record(actor, "campaign.change", campaign, before=before, after=news)
    except IntegrityError:
        raise Conflict("This name is taken.", field="name", value=news.get("name"), fix="choose another") from None
    campaign.refresh_from_db()
    return campaign


def _printable(name: str) -> str:
    name = " ".join(name.split())
    if not name or not name.isprintable():
        raise Invalid("A campaign needs a printable name.", field="name", value=name)
    return name


def _known_dataset(identity: str) -> Dataset:
    try:
        dataset = Dataset.objects.select_related("skeleton").filter(uuid=identity).first()
    except ValidationError:
        dataset = None
    if dataset is None:
        raise Invalid(
            "No such data set.", field="tutorial_dataset", value=identity, fix="the id of a data set with known depths"
        )
    return dataset


def _prior(dataset: Dataset, plan: CampaignPlan) -> DepthPrior | None:
    if plan.mode != "adaptive-prior":
        if plan.prior:
            raise Invalid("Only mode adaptive-prior takes a prior.", field="prior", fix="leave it empty")
        return None
    known = dataset.priors.all()
    try:
        prior = known.filter(uuid=plan.prior).first() if plan.prior else known.first()
    except ValidationError:
        prior = None
    if prior is None:
        raise Invalid(
            "This data set has no such depth prior.",
            field="prior",
            value=plan.prior,
            fix="make one from a trained model first, or choose mode adaptive",
        )
    return prior


def _control(campaign: Campaign) -> set[int]:
    """The people of the uniform arm, drawn by the policy's seed."""
    if campaign.mode == Campaign.Mode.FIXED or not campaign.control_share:
        return set()
    people = list(Person.objects.filter(image__dataset=campaign.dataset).order_by("pk").values_list("pk", flat=True))
    rng = random.Random(f"control {campaign.pair_policy['seed']}")
    return set(rng.sample(people, round(campaign.control_share * len(people))))


def run_preparation(context: run.JobContext, config: PrepareConfig) -> dict[str, Any]:
    """Job: make pairs, tutorial and gold questions of a draft campaign.

    In steps, so that nobody waits for it: while `pair_count` is 0 the campaign cannot be opened and shows none of them. What an
    attempt before this one left is deleted first.
    """
    campaign = Campaign.objects.select_related("dataset__skeleton", "prior").get(uuid=config.campaign)
    if campaign.state != Campaign.State.DRAFT or campaign.pair_count:
        return {"pairs": campaign.pairs.count(), "note": "was prepared already"}
    _clear(campaign, context)
    pair_count = pairs.make(campaign, context.progress)
    if not pair_count:
        raise Invalid(
            "No person has two of the campaign's keypoints.",
            field="keypoints",
            fix="choose other keypoints or import people with keypoints",
        )
    rows.refresh_statistics(Pair)
    posteriors.prepare(campaign, _control(campaign), context.check)
    gold_count = (
        reference_questions.gold_needed(campaign, pair_count)
        if config.gold_questions is None
        else config.gold_questions
    )
    gold = reference_questions.make_gold(campaign, gold_count)
    tutorial = reference_questions.make_tutorial(campaign, config.tutorial_questions, config.tutorial_dataset)
    with transaction.atomic():
        context.hold()
        Campaign.objects.filter(pk=campaign.pk).update(
            pair_count=pair_count, votes_wanted=pair_count * campaign.votes_per_pair, tutorial_length=tutorial
        )
    context.say(f"{pair_count} pairs, {tutorial} tutorial questions, {gold} gold questions")
    return {"pairs": pair_count, "tutorial_questions": tutorial, "gold_questions": gold}


def _clear(campaign: Campaign, context: run.JobContext) -> None:
    """Delete, in short transactions, the many rows of a campaign that nobody answered."""
    for many in (
        Label.objects.filter(run__campaign=campaign),
        QuestionReport.objects.filter(assignment__campaign=campaign),
        Assignment.objects.filter(campaign=campaign),
        ReferenceQuestion.objects.filter(campaign=campaign, tutorialanswer=None),
        DepthPosterior.objects.filter(campaign=campaign),
        Pair.objects.filter(campaign=campaign),
    ):
        for done in rows.delete_in_steps(many):
            context.progress(done, 0, f"{many.model._meta.verbose_name_plural} deleted")


_MOVES = {
    "open": ({"draft", "paused"}, "open"),
    "pause": ({"open"}, "paused"),
    "close": ({"draft", "open", "paused"}, "closed"),
}


def move(actor: Account, campaign: Campaign, to: str) -> Campaign:
    """Open, pause or close a campaign."""
    require(actor, Role.ADMIN)
    if to not in _MOVES:
        raise Invalid("No such move.", field="move", value=to, fix="choose open, pause or close")
    sources, target = _MOVES[to]
    campaign.refresh_from_db(fields=["pair_count"])
    if to == "open" and not campaign.pair_count:
        raise Conflict("The campaign has no pairs yet.", field="state", fix="wait until its preparation is done")
    with transaction.atomic():
        if not Campaign.objects.filter(pk=campaign.pk, state__in=sources).update(state=target):
            campaign.refresh_from_db()
            raise Conflict(f"A campaign that is {campaign.state} cannot {to}.", field="state", value=campaign.state)
        audit.record(actor, f"campaign.{to}", campaign)
    campaign.refresh_from_db()
    return campaign


def renew_link(actor: Account, campaign: Campaign) -> str:
    """Give the campaign another invitation or recruiter's link: the one that got into wrong hands opens nothing any more.

    Who has a participation keeps it. Returns the new link's path. Raises NotAllowed, Conflict.
    """
    require(actor, Role.ADMIN)
    if campaign.access == Campaign.Access.OPEN:
        raise Conflict("A campaign open to all annotators has no link.", field="access", value=campaign.access)
    with transaction.atomic():
        Campaign.objects.filter(pk=campaign.pk).update(entry_key=entry_key())
        audit.record(actor, "campaign.new-link", campaign)
    campaign.refresh_from_db(fields=["entry_key"])
    return reverse("join" if campaign.access == Campaign.Access.INVITE else "enter", args=[campaign.entry_key])


class DeleteConfig(Config):
    campaign: str


def delete(actor: Account, campaign: Campaign) -> Job:
    """Start to delete a campaign that nobody answered. One with votes is closed, not deleted."""
    require(actor, Role.ADMIN)
    with transaction.atomic():
        # No question is handed out any more, and those that were are void from here on.
        Campaign.objects.select_for_update(no_key=True).get(pk=campaign.pk)
        _refuse_if_answered(campaign)
        Campaign.objects.filter(pk=campaign.pk).update(state=Campaign.State.CLOSED)
        audit.record(actor, "campaign.delete", campaign, name=campaign.name)
        config = DeleteConfig(campaign=str(campaign.uuid)).model_dump()
        return run.enqueue(actor, "delete-campaign", config, title=f"Delete {campaign.name}")


def run_deletion(context: run.JobContext, config: DeleteConfig) -> dict[str, Any]:
    """Job: delete a campaign in short transactions. The schema refuses to delete what a vote points to."""
    campaign = Campaign.objects.filter(uuid=config.campaign).first()
    if campaign is None:
        return {"note": "was deleted already"}
    _refuse_if_answered(campaign)
    _clear(campaign, context)
    with transaction.atomic():
        context.hold()
        _refuse_if_answered(campaign)
        campaign.delete()
    return {"deleted": campaign.name}


def _refuse_if_answered(campaign: Campaign) -> None:
    if campaign.answers.exists():
        raise Conflict("This campaign has votes; votes are never deleted.", field="campaign", fix="close it instead")
