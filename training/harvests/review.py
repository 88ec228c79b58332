"""Harvests: take a multi-view upload, decide about pseudo-labels, undo, publish. The work is in `training.harvests.jobs`. No torch here."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Literal
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from pydantic import Field

from training.harvests import corrections
from training.harvests.frames import skeleton_of
from training.models import Changed, Harvest, PseudoLabel, Review
from webapp import audit, rows
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, require
from webapp.config import Config
from webapp.errors import Conflict, Invalid

Verdict = PseudoLabel.Verdict


class Rule(Config):
    """Which pseudo-labels a decision is about; all that is said must hold."""

    frame: int | None = Field(None, ge=0)
    last_frame: int | None = Field(None, ge=0, description="with `frame`: up to here")
    person: int | None = Field(None, ge=1, description="of several people, by the number that the findings give")
    joint: str = Field("", max_length=40, description="a keypoint's name")
    camera: str = Field("", max_length=80, description="the camera whose detection fits worst")
    most_error_px: float | None = Field(None, ge=0, description="mean reprojection error at most")
    least_error_px: float | None = Field(None, ge=0)
    surest: float | None = Field(None, ge=0.0001, le=1, description="the surest share of each joint's pseudo-labels")
    verdict: Literal["", "waiting", "accepted", "rejected"] = Field("", description="as it is now")


# review


def matching(harvest: Harvest, rule: Rule) -> QuerySet[PseudoLabel]:
    """The pseudo-labels that a rule is about. Raises Invalid for an unknown joint."""
    labels = PseudoLabel.objects.filter(harvest=harvest)
    if rule.frame is not None:
        last = rule.frame if rule.last_frame is None else rule.last_frame
        labels = labels.filter(frame__gte=rule.frame, frame__lte=last)
    elif rule.last_frame is not None:
        raise Invalid("Say where the frames begin.", field="frame", fix="give frame and last_frame")
    if rule.person is not None:
        labels = labels.filter(_of_person(harvest, rule.person))
    names = skeleton_of(harvest).keypoints
    if rule.joint:
        if rule.joint not in names:
            raise Invalid("This skeleton has no such joint.", field="joint", value=rule.joint)
        labels = labels.filter(joint=names.index(rule.joint))
    if rule.camera:
        cameras = [c["name"] for c in harvest.cameras]
        if rule.camera not in cameras:
            raise Invalid("This recording has no such camera.", field="camera", value=rule.camera)
        labels = labels.filter(worst_view=cameras.index(rule.camera))
    if rule.most_error_px is not None:
        labels = labels.filter(error_px__lte=rule.most_error_px)
    if rule.least_error_px is not None:
        labels = labels.filter(error_px__gte=rule.least_error_px)
    if rule.verdict:
        labels = labels.filter(verdict=rule.verdict)
    if rule.surest is not None and rule.surest < 1:
        labels = labels.filter(_surest(harvest, len(names), rule.surest))
    return labels


def _of_person(harvest: Harvest, person: int) -> Q:
    clips = [clip for clip in (harvest.report or {}).get("clips", []) if clip["person"] == person - 1]
    if not clips:
        raise Invalid("This harvest has no such person.", field="person", value=person)
    return reduce(or_, (Q(frame__gte=clip["row"], frame__lt=clip["row"] + clip["rows"]) for clip in clips))


def _surest(harvest: Harvest, joints: int, share: float) -> Q:
    """Of each joint the share of its pseudo-labels with the least uncertainty."""
    bounds = Q(pk__in=[])
    for joint in range(joints):
        every = PseudoLabel.objects.filter(harvest=harvest, joint=joint).order_by("uncertainty")
        kept = round(share * every.count())
        if kept:
            bounds |= Q(joint=joint, uncertainty__lte=every.values_list("uncertainty", flat=True)[kept - 1])
    return bounds


def decide(actor: Account, harvest: Harvest, verdict: str, rule: Rule) -> Review:
    """Accept, reject or reopen all pseudo-labels that a rule is about; those that stand so already are left alone.

    Raises NotAllowed, Invalid, Conflict where nothing would change.
    """
    require(actor, *STAFF)
    if verdict not in Verdict.values:
        raise Invalid("Unknown verdict.", field="verdict", value=verdict, fix=f"one of {', '.join(Verdict.values)}")
    if harvest.report is None:
        raise Conflict("The harvest is not finished.", field="harvest")
    with transaction.atomic():
        Harvest.objects.select_for_update().get(pk=harvest.pk)  # reviews of one harvest come one after the other
        changing = list(matching(harvest, rule).exclude(verdict=verdict).values_list("pk", "verdict"))
        if not changing:
            raise Conflict("This changes nothing: no pseudo-label that fits stands otherwise.", field="rule")
        review = Review.objects.create(
            harvest=harvest,
            reviewer=actor,
            verdict=verdict,
            rule=rule.model_dump(exclude_defaults=True),
            labels=len(changing),
        )
        rows.write(Changed, ("review_id", "label_id", "before"), ((review.pk, pk, before) for pk, before in changing))
        PseudoLabel.objects.filter(pk__in=Changed.objects.filter(review=review).values("label")).update(verdict=verdict)
        audit.record(actor, "harvest.review", harvest, verdict=verdict, labels=len(changing))
    return review


class Undo(Config):
    """Which decision is to be taken back: where another is the newest by now, nothing is."""

    review: UUID | None = Field(None, description="its id; nothing: the newest, whichever it is")


def undo(actor: Account, harvest: Harvest, asked: Undo | None = None) -> Review:
    """Take back the newest decision that stands, which has to be the one that is `asked` for. Raises NotAllowed, Conflict."""
    require(actor, *STAFF)
    with transaction.atomic():
        Harvest.objects.select_for_update().get(pk=harvest.pk)
        review = Review.objects.filter(harvest=harvest, undone_at=None).first()
        if review is None:
            raise Conflict("There is no decision to take back.", field="harvest")
        if asked and asked.review not in (None, review.uuid):
            raise Conflict(
                "Somebody has decided or undone since.", field="review", fix="look at the history, then undo"
            )
        for before in Verdict.values:
            back = Changed.objects.filter(review=review, before=before).values("label")
            PseudoLabel.objects.filter(pk__in=back).update(verdict=before)
        corrections.take_back(review)
        review.undone_at, review.undone_by = timezone.now(), actor
        review.save(update_fields=["undone_at", "undone_by"])
        audit.record(actor, "harvest.undo", harvest, review=str(review.uuid))
    return review
