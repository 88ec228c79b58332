"""Assignments (leases), and the append-only answers given to them."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from labeling.models.campaign import Campaign, Participation, ReferenceQuestion, Session
from labeling.models.dataset import Pair, Person

FIRST, SECOND, SAME = 0, 1, 2  # which keypoint is closer to the camera


class Assignment(models.Model):
    """One question handed to one annotator: a pair, a gold question that looks like any other, or a mirror probe: a question
    this annotator answered before, with the picture flipped and the colours swapped, to see whether the answer stays.

    `mirrored`: the picture is shown flipped. Where there are probes half of all questions are, so that it betrays none."""

    class State(models.TextChoices):
        LEASED = "leased"
        ANSWERED = "answered"
        RETURNED = "returned"
        SKIPPED = "skipped"  # given back by the annotator, who does not get it again

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    campaign = models.ForeignKey(Campaign, models.CASCADE, db_index=False)
    participation = models.ForeignKey(Participation, models.CASCADE, related_name="assignments", db_index=False)
    session = models.ForeignKey(Session, models.CASCADE, related_name="assignments")
    pair = models.ForeignKey(Pair, models.CASCADE, null=True, db_index=False)
    gold = models.ForeignKey(ReferenceQuestion, models.CASCADE, null=True, db_index=False)
    probe_of = models.ForeignKey("labeling.Answer", models.CASCADE, null=True, related_name="probes")
    state = models.CharField(max_length=8, choices=State.choices, default=State.LEASED)
    leased_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True)
    green_is_first = models.BooleanField()
    green_on_left = models.BooleanField()
    mirrored = models.BooleanField(default=False, db_default=False)
    tries = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pair", "participation"], condition=~Q(state="returned"), name="pair_once_per_annotator"
            ),
            models.UniqueConstraint(
                fields=["gold", "participation"], condition=~Q(state="returned"), name="gold_once_per_annotator"
            ),
            models.UniqueConstraint(fields=["probe_of"], condition=~Q(state="returned"), name="vote_probed_once"),
            models.CheckConstraint(
                condition=Q(pair__isnull=True, gold__isnull=False, probe_of__isnull=True)
                | Q(pair__isnull=False, gold__isnull=True, probe_of__isnull=True)
                | Q(pair__isnull=True, gold__isnull=True, probe_of__isnull=False),
                name="assignment_asks_one_thing",
            ),
        ]
        indexes = [
            models.Index(fields=["participation", "leased_at"], name="lease_open", condition=Q(state="leased")),
            models.Index(fields=["expires_at"], name="lease_expiry", condition=Q(state="leased")),
        ]

    @property
    def kind(self) -> Answer.Kind:
        """What an answer to it will be."""
        if self.pair_id is not None:
            return Answer.Kind.VOTE
        return Answer.Kind.GOLD if self.gold_id is not None else Answer.Kind.PROBE

    @property
    def presentation(self) -> str:
        """The colour of the keypoint `first`, and the side of its button."""
        side = "left" if self.green_is_first == self.green_on_left else "right"
        return f"{'green' if self.green_is_first else 'pink'}-{side}"

    @property
    def asked(self) -> Pair | ReferenceQuestion:
        """The two keypoints in question: `first` and `second`."""
        return self.gold or self._pair

    @property
    def _pair(self) -> Pair:
        """The pair of an ordinary question, or of the vote that is probed. The schema knows that there is one."""
        pair = self.pair if self.probe_of is None else self.probe_of.pair
        assert pair is not None  # noqa: S101
        return pair

    @property
    def person(self) -> Person:
        """Whom the question is about."""
        return self.asked.person


class Answer(models.Model):
    """What was answered to an assignment. Never changed, never deleted; an undo is a retraction that points here.

    A vote is about a pair; answers to gold questions and mirror probes are about the annotator. `as_expected`: a gold
    answer agrees with the known depth, a probe's with the annotator's own first vote; a vote has no such thing.
    `campaign` is the assignment's, kept so that one campaign's answers are read without all others'."""

    class Kind(models.TextChoices):
        VOTE = "vote"
        GOLD = "gold"
        PROBE = "probe"

    key = models.UUIDField(unique=True)
    kind = models.CharField(max_length=5, choices=Kind.choices, default=Kind.VOTE, db_default=Kind.VOTE)
    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="answers", db_index=False)
    participation = models.ForeignKey(Participation, models.CASCADE, related_name="answers")
    assignment = models.ForeignKey(Assignment, models.CASCADE, related_name="answers", db_index=False)
    pair = models.ForeignKey(Pair, models.CASCADE, null=True, related_name="votes")
    number = models.PositiveSmallIntegerField()
    closer = models.PositiveSmallIntegerField()
    as_expected = models.BooleanField(null=True)
    presentation = models.CharField(max_length=12, default="")
    leased_at = models.DateTimeField()
    received_at = models.DateTimeField()
    response_ms = models.PositiveIntegerField(null=True)
    toggles = models.PositiveSmallIntegerField(default=0)
    zoom = models.FloatField(default=1.0)
    viewport = models.CharField(max_length=24, blank=True, default="")
    by = models.CharField(max_length=10, blank=True, default="")
    app_version = models.CharField(max_length=40, blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "number"], name="answer_number_once"),
            models.CheckConstraint(
                condition=Q(closer__in=[FIRST, SECOND, SAME]), name="answer_names_a_keypoint_or_same"
            ),
            models.CheckConstraint(
                condition=Q(kind="vote", pair__isnull=False, as_expected__isnull=True)
                | Q(kind__in=["gold", "probe"], pair__isnull=True, as_expected__isnull=False),
                name="answer_is_of_its_kind",
            ),
        ]
        indexes = [models.Index(fields=["campaign", "id"], name="answer_of_campaign")]


class Votes(models.Manager["Vote"]):
    def get_queryset(self) -> models.QuerySet[Vote]:
        return super().get_queryset().filter(kind=Answer.Kind.VOTE)


class Vote(Answer):
    """An answer about a pair: the only kind that labels are made of."""

    objects = Votes()  # type: ignore[misc]

    class Meta:
        proxy = True


class Retraction(models.Model):
    """An undo of exactly one answer."""

    key = models.UUIDField(unique=True)
    answer = models.OneToOneField(Answer, models.CASCADE, related_name="retraction")
    at = models.DateTimeField()


class TutorialTry(models.Model):
    """One go at a campaign's tutorial, kept on the server: a reload continues it.

    `drawn`: [key of the question, green is first, green is on the left] in the order of asking, other ones in every try.
    """

    participation = models.ForeignKey(Participation, models.CASCADE, related_name="tutorial_tries_made")
    number = models.PositiveSmallIntegerField()
    drawn = models.JSONField(default=list)
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    passed = models.BooleanField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["participation", "number"], name="tutorial_try_once")]


class TutorialAnswer(models.Model):
    attempt = models.ForeignKey(TutorialTry, models.CASCADE, related_name="answers")
    question = models.ForeignKey(ReferenceQuestion, models.CASCADE)
    closer = models.PositiveSmallIntegerField()
    correct = models.BooleanField()
    shown_at = models.DateTimeField()
    at = models.DateTimeField()
    response_ms = models.PositiveIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["attempt", "question"], name="tutorial_answer_once")]
