"""All that an admin decides about a campaign, as typed configurations."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from labeling.campaigns import reference_questions
from webapp.config import Config, shown

MODES = {
    "fixed": "fixed: so many votes on each pair (the paper)",
    "adaptive": "adaptive: the most informative pair next, all pairs labelled",
    "adaptive-prior": "adaptive, starting from expected depths",
}
POLICIES = {"random": "drawn at random (the paper)", "all": "all pairs of a person"}
ACCESS = {"open": "open to all annotators", "invite": "by invitation link", "recruiter": "by a recruiter's link"}
GUARDS = {"flag": "are shown to admins", "pause": "are paused until an admin decides"}


class PairPolicy(Config):
    """Which pairs are asked: `random` draws `per_person` of all pairs, as in the paper (5); `all` asks each of them."""

    name: Literal["random", "all"] = Field(
        "random", title="Pairs", json_schema_extra=shown("What is asked", choices=POLICIES)
    )
    per_person: int = Field(
        5,
        ge=1,
        le=5000,
        title="Pairs per person",
        description="drawn without replacement",
        json_schema_extra=shown("What is asked"),
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        title="Seed of the pairs",
        description="the same seed makes the same pairs",
        json_schema_extra=shown("What is asked"),
    )


class CampaignPlan(Config):
    """All that an admin decides about a campaign; the dashboard's form and the API's schema are made from it."""

    name: str = Field(min_length=1, max_length=120, title="Name", json_schema_extra=shown("What is asked", first=True))
    keypoints: list[str] = Field(
        [],
        description="names of the keypoints asked about (in a form separated by commas); empty = all of the skeleton",
        title="Keypoints",
        json_schema_extra=shown("What is asked", wide=True),
    )
    pair_policy: PairPolicy = PairPolicy()
    instructions: str = Field(
        "",
        max_length=5000,
        title="Instructions for annotators",
        json_schema_extra=shown("What annotators read", wide=True, lines=4),
    )
    mode: Literal["fixed", "adaptive", "adaptive-prior"] = Field(
        "fixed",
        description="fixed: so many votes on each pair (the paper); adaptive: the most informative pair next, all pairs "
        "labelled; adaptive-prior: the same, starting from expected depths",
        title="Mode",
        json_schema_extra=shown("How many votes", choices=MODES),
    )
    votes_per_pair: int = Field(
        5,
        ge=1,
        le=100,
        description="votes of different people per pair",
        title="Votes per pair",
        json_schema_extra=shown("How many votes"),
    )
    budget_votes: int | None = Field(
        None,
        ge=1,
        le=2**31 - 1,
        description="most votes to collect; empty = no limit",
        title="Budget of votes",
        json_schema_extra=shown("How many votes"),
    )
    prior: str = Field(
        "",
        description="what mode adaptive-prior starts from; empty = the newest of the data set",
        title="Depth prior",
        json_schema_extra=shown("Adaptive modes only"),
    )
    stop_risk: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="adaptive: a person is done at this mean risk",
        title="Stop at mean risk",
        json_schema_extra=shown("Adaptive modes only"),
    )
    least_votes: int = Field(
        1,
        ge=0,
        le=1000,
        description="adaptive: every person gets at least so many votes",
        title="Least votes per person",
        json_schema_extra=shown("Adaptive modes only"),
    )
    most_votes: int = Field(
        25,
        ge=1,
        le=1000,
        description="adaptive: and at most so many",
        title="Most votes per person",
        json_schema_extra=shown("Adaptive modes only"),
    )
    control_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="adaptive: share of people asked uniformly and without a prior, to compare",
        title="Share asked uniformly",
        json_schema_extra=shown("Adaptive modes only"),
    )
    access: Literal["open", "invite", "recruiter"] = Field(
        "open", title="Access", json_schema_extra=shown("Who answers", choices=ACCESS)
    )
    recruiter_parameter: str = Field(
        "PROLIFIC_PID",
        max_length=40,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        title="Parameter with the person's id",
        json_schema_extra=shown("Who answers"),
    )
    completion_url: str = Field(
        "",
        max_length=200,
        description="where recruited people are sent when their work is done",
        title="Completion address",
        json_schema_extra=shown("Who answers"),
    )
    screened_out_url: str = Field(
        "",
        max_length=200,
        description="where they are sent after a failed tutorial",
        title="Address after a failed tutorial",
        json_schema_extra=shown("Who answers"),
    )
    no_work_url: str = Field(
        "",
        max_length=200,
        description="where they are sent when there is no work for them",
        title="Address when there is no work",
        json_schema_extra=shown("Who answers"),
    )
    pay_per_vote: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="pay of one answer, for wage and budget",
        title="Pay per answer",
        json_schema_extra=shown("Pay"),
    )
    currency: str = Field(
        "USD",
        pattern=r"^[A-Z]{3}$",
        description="of the pay, three letters",
        title="Currency",
        json_schema_extra=shown("Pay"),
    )
    delay_ms: int = Field(
        750,
        ge=0,
        le=60_000,
        description="how long people look before an answer is accepted",
        title="Delay before an answer (ms)",
        json_schema_extra=shown("One question"),
    )
    session_length: int = Field(
        25,
        ge=1,
        le=500,
        description="comparisons in one sitting",
        title="Comparisons per session",
        json_schema_extra=shown("One question"),
    )
    lease_s: int = Field(
        900,
        ge=1,
        le=86_400,
        description="after so long an unanswered question returns to the queue",
        title="Time to answer (s)",
        json_schema_extra=shown("One question"),
    )
    allow_same: bool = Field(
        False,
        description="offer 'same distance' (the paper does not)",
        title="Offer the answer 'same distance' (the paper does not)",
        json_schema_extra=shown("One question"),
    )
    gold_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of questions with known answer",
        title="Share of gold questions",
        json_schema_extra=shown("Quality"),
    )
    gold_questions: int | None = Field(
        None,
        ge=0,
        le=reference_questions.MOST_GOLD,
        description="how many gold questions to make where truth is known; empty = so many that none is asked more often "
        "than an ordinary pair: fewer can be told by people who talk to each other",
        title="Number of gold questions",
        json_schema_extra=shown("Quality"),
    )
    probe_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of questions asked again flipped, colours swapped, to see whether answers stay",
        title="Share of mirror probes",
        json_schema_extra=shown("Quality"),
    )
    guard: Literal["flag", "pause"] = Field(
        "flag",
        description="what happens to suspicious annotators",
        title="Suspicious annotators",
        json_schema_extra=shown("Quality", choices=GUARDS),
    )
    tutorial_questions: int = Field(
        6,
        ge=0,
        le=20,
        description="tutorial length; needs people with known truth",
        title="Tutorial questions",
        json_schema_extra=shown("Tutorial"),
    )
    tutorial_dataset: str = Field(
        "",
        description="a data set whose people have known depths; empty = the campaign's own; without known depths there is no tutorial",
        title="Tutorial from data set",
        json_schema_extra=shown("Tutorial"),
    )
    tutorial_pass_share: float = Field(
        0.6,
        ge=0,
        le=1,
        description="share of right answers that passes",
        title="Share right to pass",
        json_schema_extra=shown("Tutorial"),
    )
    tutorial_tries: int = Field(
        3,
        ge=1,
        le=20,
        description="how often the tutorial may be tried",
        title="Tries of the tutorial",
        json_schema_extra=shown("Tutorial"),
    )


class NewCampaign(CampaignPlan):
    """A campaign to be, and the data set it asks about."""

    dataset: UUID = Field(title="Data set", json_schema_extra=shown("What is asked", first=True))


class CampaignChange(Config):
    """What may be changed in a campaign at any time: nothing that was asked or answered depends on it."""

    name: str | None = Field(None, min_length=1, max_length=120)
    instructions: str | None = Field(None, max_length=5000)
    delay_ms: int | None = Field(None, ge=0, le=60_000)
    session_length: int | None = Field(None, ge=1, le=500, description="of sessions that start from now on")
    lease_s: int | None = Field(None, ge=1, le=86_400)
    tutorial_pass_share: float | None = Field(None, ge=0, le=1)
    tutorial_tries: int | None = Field(None, ge=1, le=20)
    completion_url: str | None = Field(None, max_length=200)
    screened_out_url: str | None = Field(None, max_length=200)
    no_work_url: str | None = Field(None, max_length=200)
    budget_votes: int | None = Field(None, ge=1, le=2**31 - 1)
    stop_risk: float | None = Field(None, ge=0, le=0.5)
    guard: Literal["flag", "pause"] | None = None
    pay_per_vote: float | None = Field(None, ge=0, le=1000)
    currency: str | None = Field(None, pattern=r"^[A-Z]{3}$")
