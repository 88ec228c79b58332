"""Campaigns: what is asked, of whom, how often; who takes part; sessions, gold and tutorial questions."""

from __future__ import annotations

import secrets
import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from labeling.models.dataset import Dataset, Person


def entry_key() -> str:
    return secrets.token_urlsafe(12)


class Campaign(models.Model):
    """`pair_count` and `votes_wanted` are sums over its pairs, kept because pages ask for them; `tutorial_length` is the
    number of questions in one try, drawn from the campaign's tutorial questions."""

    class State(models.TextChoices):
        DRAFT = "draft"
        OPEN = "open"
        PAUSED = "paused"
        CLOSED = "closed"

    class Access(models.TextChoices):
        OPEN = "open"  # every annotator of this site
        INVITE = "invite"  # who opened the invitation link
        RECRUITER = "recruiter"  # who was sent by a recruiter with its id in the address

    class Mode(models.TextChoices):
        FIXED = "fixed"  # the paper's protocol: so many votes on each pair
        ADAPTIVE = "adaptive"  # the most informative pair of the least known person next
        PRIOR = "adaptive-prior"  # the same, starting from a lifter's or a pose library's depths

    class Guard(models.TextChoices):
        FLAG = "flag"  # suspicious annotators are shown to the admins
        PAUSE = "pause"  # and paused, with the reason, until somebody decides

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=120, unique=True)
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="campaigns")
    state = models.CharField(max_length=6, choices=State.choices, default=State.DRAFT)
    keypoints = models.JSONField()
    pair_policy = models.JSONField()
    votes_per_pair = models.PositiveSmallIntegerField(default=5)
    delay_ms = models.PositiveIntegerField(default=750)
    session_length = models.PositiveSmallIntegerField(default=25)
    lease_s = models.PositiveIntegerField(default=900)
    allow_same = models.BooleanField(default=False)
    gold_share = models.FloatField(default=0.0)
    tutorial_pass_share = models.FloatField(default=0.6)
    tutorial_tries = models.PositiveSmallIntegerField(default=3)
    tutorial_length = models.PositiveSmallIntegerField(default=0)
    instructions = models.TextField(blank=True, default="")
    access = models.CharField(max_length=9, choices=Access.choices, default=Access.OPEN)
    entry_key = models.CharField(max_length=32, default=entry_key, unique=True)
    recruiter_parameter = models.CharField(max_length=40, default="PROLIFIC_PID")
    completion_url = models.URLField(blank=True, default="")
    screened_out_url = models.URLField(blank=True, default="")
    no_work_url = models.URLField(blank=True, default="")
    budget_votes = models.PositiveIntegerField(null=True)
    mode = models.CharField(max_length=14, choices=Mode.choices, default=Mode.FIXED)
    prior = models.ForeignKey("labeling.DepthPrior", models.PROTECT, null=True, related_name="campaigns")
    stop_risk = models.FloatField(default=0.0)
    least_votes = models.PositiveSmallIntegerField(default=1)
    most_votes = models.PositiveSmallIntegerField(default=25)
    control_share = models.FloatField(default=0.0)
    probe_share = models.FloatField(default=0.0)
    guard = models.CharField(max_length=5, choices=Guard.choices, default=Guard.FLAG)
    pay_per_vote = models.FloatField(default=0.0)
    currency = models.CharField(max_length=3, default="USD")
    crowd = models.JSONField(default=dict)
    pair_count = models.PositiveIntegerField(default=0)
    votes_wanted = models.PositiveBigIntegerField(default=0)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=Q(votes_per_pair__gte=1, votes_per_pair__lte=100), name="campaign_votes"),
            models.CheckConstraint(condition=Q(session_length__gte=1), name="campaign_session_length"),
            models.CheckConstraint(condition=Q(gold_share__gte=0, gold_share__lte=0.5), name="campaign_gold_share"),
            models.CheckConstraint(condition=Q(lease_s__gte=1), name="campaign_lease"),
            models.CheckConstraint(
                condition=Q(tutorial_pass_share__gte=0, tutorial_pass_share__lte=1), name="campaign_pass_share"
            ),
            models.CheckConstraint(
                condition=Q(mode__in=["fixed", "adaptive", "adaptive-prior"], guard__in=["flag", "pause"]),
                name="campaign_mode_is_known",
            ),
            models.CheckConstraint(
                condition=Q(
                    *(
                        ("stop_risk__gte", 0),
                        ("stop_risk__lte", 0.5),
                        ("control_share__gte", 0),
                        ("control_share__lte", 0.5),
                    ),
                    *(("most_votes__gte", 1), ("pay_per_vote__gte", 0)),
                    *(("probe_share__gte", 0), ("probe_share__lte", 0.5)),
                ),
                name="campaign_stop_rule",
            ),
        ]


class Participation(models.Model):
    """One annotator in one campaign: the tutorial's outcome, standing, and where the queue was left.

    `belief` is the last aggregation's distribution over the kinds of annotators of `crowd.depth`; `flag` says what looks wrong
    about the answers, in words; `cleared_at` that an admin let the annotator go on: the quality check pauses nobody twice.
    `cursors[k]` is the rank up to which this annotator has seen the pairs with k takers: the queue continues there, so that
    its speed does not depend on how many pairs there are or were answered.

    Sums, changed in the transaction of each answer under this row's lock, so that no page has to read millions of votes:
    `answer_count` answers that stand, of every kind; of these `vote_count` on pairs, with `green_count` and `left_count`
    chosen and `response_ms_sum` of `timed_count`; `gold_count` gold questions and `gold_right` at their first answer;
    `probe_count`, `probes_same`; `pairs_finished` whose last vote came from here (less those reopened); `worked_s` seconds
    between `paid_count` answers, breaks left out. `tutorial_granted`: tries that an admin gave on top of the campaign's.
    """

    class Standing(models.TextChoices):
        ACTIVE = "active"
        PAUSED = "paused"
        BLOCKED = "blocked"

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="participations")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="participations")
    pseudonym = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    standing = models.CharField(max_length=7, choices=Standing.choices, default=Standing.ACTIVE)
    standing_reason = models.CharField(max_length=400, blank=True, default="")
    appeal = models.CharField(max_length=2000, blank=True, default="")
    appealed_at = models.DateTimeField(null=True)
    belief = models.JSONField(default=list)
    flag = models.CharField(max_length=200, blank=True, default="")
    flagged_at = models.DateTimeField(null=True)
    cleared_at = models.DateTimeField(null=True)
    tutorial_passed_at = models.DateTimeField(null=True)
    tutorial_tries = models.PositiveSmallIntegerField(default=0)
    cursors = models.JSONField(default=list)
    tutorial_granted = models.PositiveSmallIntegerField(default=0)
    answer_count = models.PositiveIntegerField(default=0)
    vote_count = models.PositiveIntegerField(default=0)
    green_count = models.PositiveIntegerField(default=0)
    left_count = models.PositiveIntegerField(default=0)
    timed_count = models.PositiveIntegerField(default=0)
    response_ms_sum = models.PositiveBigIntegerField(default=0)
    gold_count = models.PositiveIntegerField(default=0)
    gold_right = models.PositiveIntegerField(default=0)
    probe_count = models.PositiveIntegerField(default=0)
    probes_same = models.PositiveIntegerField(default=0)
    pairs_finished = models.IntegerField(default=0)
    paid_count = models.PositiveIntegerField(default=0)
    worked_s = models.FloatField(default=0.0)
    exhausted_until = models.DateTimeField(null=True)
    last_answer_at = models.DateTimeField(null=True)
    recruiter_study = models.CharField(max_length=128, blank=True, default="")
    recruiter_session = models.CharField(max_length=128, blank=True, default="")
    joined_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "annotator"], name="annotator_once_per_campaign"),
            models.CheckConstraint(condition=Q(standing__in=["active", "paused", "blocked"]), name="standing_is_known"),
        ]


class SawAnswers(models.Model):
    """Somebody looked at other people's answers of a campaign and can no longer answer in it."""

    campaign = models.ForeignKey(Campaign, models.CASCADE)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["campaign", "account"], name="saw_answers_once")]


class Session(models.Model):
    """A sitting of `length` comparisons."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    participation = models.ForeignKey(Participation, models.CASCADE, related_name="sessions")
    length = models.PositiveSmallIntegerField()
    answered = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["participation"], condition=Q(finished_at=None), name="one_open_session_per_annotator"
            ),
            models.CheckConstraint(condition=Q(answered__lte=F("length")), name="session_not_longer_than_planned"),
        ]


class ReferenceQuestion(models.Model):
    """A question whose answer is known: gold (mixed into the stream) or tutorial (with feedback, in order)."""

    class Use(models.TextChoices):
        GOLD = "gold"
        TUTORIAL = "tutorial"

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="reference_questions")
    use = models.CharField(max_length=8, choices=Use.choices)
    position = models.PositiveSmallIntegerField()
    person = models.ForeignKey(Person, models.PROTECT)
    first = models.PositiveSmallIntegerField()
    second = models.PositiveSmallIntegerField()
    second_closer = models.BooleanField()
    gap_mm = models.FloatField()
    reason = models.CharField(max_length=20)
    asked = models.PositiveIntegerField(default=0, db_default=0, help_text="how often it was handed out as gold")

    class Meta:
        ordering = ["use", "position"]
        indexes = [models.Index(fields=["campaign", "use", "asked", "position"], name="reference_question_least_asked")]
        constraints = [
            models.UniqueConstraint(fields=["campaign", "use", "position"], name="reference_question_position_once"),
            models.CheckConstraint(condition=~Q(first=F("second")), name="reference_question_two_keypoints"),
        ]
