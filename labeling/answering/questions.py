"""A question as it goes over the wire to the annotator's page, and back."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal

from django.urls import reverse
from django.utils.crypto import salted_hmac
from pydantic import BaseModel, ConfigDict, Field

from labeling.answering.assignment import Lease
from labeling.answering.voting import AnswerTelemetry
from labeling.campaigns.tutorial import Step, token_of, tries_of
from labeling.models import Person
from labeling.pictures import Crop, crop_of
from labeling.skeletons import twin_of, words

Closer = Literal["first", "second", "same"]


class Ring(BaseModel):
    """One of the two marked keypoints; x and y are fractions of the shown picture's width and height."""

    keypoint: str
    words: str
    x: float
    y: float
    occluded: bool


class Question(BaseModel):
    """What to show. `green_is_first` and `green_on_left` were drawn at random and are recorded with the answer."""

    id: str
    token: str
    picture: str
    width: int
    height: int
    first: Ring
    second: Ring
    green_is_first: bool
    green_on_left: bool
    to_go: int
    delay_ms: int


class NextRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    have: list[uuid.UUID] = Field(default_factory=list, max_length=10, description="ids of questions held by the page")


class VoteRequest(AnswerTelemetry):
    token: str = Field(min_length=1, max_length=300)
    closer: Closer
    key: uuid.UUID = Field(description="made by the page once per answer; sent again unchanged on a retry")


class VoteResponse(BaseModel):
    to_go: int
    answered: int
    session_finished: bool


class UndoRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: uuid.UUID


class SkipRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: uuid.UUID = Field(description="id of the question that is given back")
    reason: Literal["picture", "keypoint", "person", "other"]
    words: str = Field("", max_length=400)


class Skipped(BaseModel):
    skipped: str


class Ending(BaseModel):
    kind: Literal["done", "nothing_left", "budget_spent", "tutorial_failed", "paused", "closed", "excluded"]
    title: str
    text: str
    url: str = Field(
        description="where a recruited person goes now; empty where there is no such address, or it is not earned"
    )
    again: bool = Field(description="whether it may be worth looking again")


class AppealRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = Field(min_length=1, max_length=2000, description="why the decision is wrong")


class Appealed(BaseModel):
    standing: str
    reason: str
    appeal: str


class TutorialQuestion(BaseModel):
    number: int
    token: str
    picture: str
    width: int
    height: int
    first: Ring
    second: Ring
    green_is_first: bool
    green_on_left: bool
    delay_ms: int


class TutorialState(BaseModel):
    passed: bool
    finished_try: bool
    tries_left: int
    try_number: int
    length: int
    answered: int
    right: int
    pass_share: float
    question: TutorialQuestion | None


class TutorialAnswerRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int = Field(ge=0, le=100)
    token: str = Field(min_length=1, max_length=300)
    closer: Literal["first", "second"]
    response_ms: int | None = Field(None, ge=0, le=86_400_000)


class TutorialFeedback(BaseModel):
    correct: bool
    closer: Literal["first", "second"]
    reason: str
    state: TutorialState


class CampaignState(BaseModel):
    """What the page needs before the first question."""

    id: str
    name: str
    state: str
    instructions: str
    delay_ms: int
    session_length: int
    allow_same: bool
    tutorial_passed: bool
    has_tutorial: bool
    answered: int


def _ring(person: Person, index: int, names: list[str], crop: Crop, mirrored: bool = False) -> Ring:
    """In a flipped picture left and right change names as well as places."""
    x, y, state = person.keypoints[index]
    left, top = crop.place(x, y)
    name = twin_of(names[index], names) if mirrored else names[index]
    return Ring(
        keypoint=name, words=words(name), x=round(1 - left, 5) if mirrored else left, y=top, occluded=state == 1
    )


def turned(identity: uuid.UUID) -> bool:
    """Whether a question is shown with its second keypoint as `first`: for half of them, whatever their kind.

    Pairs are stored in the skeleton's order; a mirror probe would be known by names that come the other way round.
    """
    return bool(salted_hmac("nearer.turned", identity.hex).digest()[0] & 1)


def as_stored(identity: uuid.UUID, closer: Closer) -> Closer:
    """An answer about a question as it was shown, in the order in which the question is stored; and the other way round."""
    return {"first": "second", "second": "first"}.get(closer, closer) if turned(identity) else closer  # type: ignore[return-value]


def question(lease: Lease) -> Question:
    assignment, campaign = lease.assignment, lease.campaign
    asked, mirrored, person = assignment.asked, assignment.mirrored, assignment.person
    crop = crop_of(person)
    names = campaign.dataset.skeleton.keypoints
    rings = [
        _ring(person, asked.first, names, crop, mirrored),
        _ring(person, asked.second, names, crop, mirrored),
    ]
    other = turned(assignment.uuid)
    return Question(
        id=str(assignment.uuid),
        token=lease.token,
        picture=reverse("picture", args=[assignment.uuid]),
        width=crop.size[0],
        height=crop.size[1],
        first=rings[other],
        second=rings[not other],
        green_is_first=assignment.green_is_first != other,
        green_on_left=assignment.green_on_left,
        to_go=lease.to_go,
        delay_ms=campaign.delay_ms,
    )


def tutorial_state(step: Step, now: datetime) -> TutorialState:
    campaign, asked = step.participation.campaign, None
    if step.question is not None and step.attempt is not None:
        q = step.question
        names = q.person.image.dataset.skeleton.keypoints
        crop = crop_of(q.person)
        asked = TutorialQuestion(
            number=step.position,
            token=token_of(step, now),
            picture=reverse("tutorial-picture", args=[campaign.uuid, step.attempt.number, step.position]),
            width=crop.size[0],
            height=crop.size[1],
            first=_ring(q.person, q.first, names, crop),
            second=_ring(q.person, q.second, names, crop),
            green_is_first=step.green_is_first,
            green_on_left=step.green_on_left,
            delay_ms=campaign.delay_ms,
        )
    used = step.attempt.number if step.attempt else 0
    finished = bool(step.attempt and step.attempt.finished_at)
    return TutorialState(
        passed=step.passed,
        finished_try=finished,
        tries_left=max(0, tries_of(step.participation) - used),
        try_number=used,
        length=step.length,
        answered=step.position,
        right=step.right,
        pass_share=campaign.tutorial_pass_share,
        question=asked,
    )
