"""All that an admin decides about a campaign, as typed configurations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from labeling.campaigns import reference_questions
from webapp.config import Config


class PairPolicy(Config):
    """Which pairs are asked: `random` draws `per_person` of all pairs, as in the paper (5); `all` asks each of them."""

    name: Literal["random", "all"] = "random"
    per_person: int = Field(5, ge=1, le=5000, description="pairs per person, drawn without replacement")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of the draw: the same seed makes the same pairs")


class CampaignPlan(Config):
    """All that an admin decides about a campaign; the dashboard's form and the API's schema are made from it."""

    name: str = Field(min_length=1, max_length=120)
    keypoints: list[str] = Field([], description="keypoints asked about; empty = all of the skeleton")
    pair_policy: PairPolicy = PairPolicy()
    votes_per_pair: int = Field(5, ge=1, le=100, description="votes of different people per pair")
    delay_ms: int = Field(750, ge=0, le=60_000, description="how long people look before an answer is accepted")
    session_length: int = Field(25, ge=1, le=500, description="comparisons in one sitting")
    lease_s: int = Field(900, ge=1, le=86_400, description="after so long an unanswered question returns to the queue")
    allow_same: bool = Field(False, description="offer 'same distance' (the paper does not)")
    gold_share: float = Field(0.0, ge=0, le=0.5, description="share of questions with known answer")
    gold_questions: int | None = Field(
        None,
        ge=0,
        le=reference_questions.MOST_GOLD,
        description="how many gold questions to make where truth is known; empty = so many that none is asked more often "
        "than an ordinary pair: fewer can be told by people who talk to each other",
    )
    tutorial_questions: int = Field(6, ge=0, le=20, description="tutorial length; needs people with known truth")
    tutorial_dataset: str = Field(
        "", description="a data set with known truth, by its uuid; empty = the campaign's own"
    )
    tutorial_pass_share: float = Field(0.6, ge=0, le=1, description="share of right answers that passes")
    tutorial_tries: int = Field(3, ge=1, le=20, description="how often the tutorial may be tried")
    instructions: str = Field("", max_length=5000)
    access: Literal["open", "invite", "recruiter"] = "open"
    recruiter_parameter: str = Field("PROLIFIC_PID", max_length=40, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    completion_url: str = Field(
        "", max_length=200, description="where recruited people are sent when their work is done"
    )
    screened_out_url: str = Field("", max_length=200, description="where they are sent after a failed tutorial")
    no_work_url: str = Field("", max_length=200, description="where they are sent when there is no work for them")
    budget_votes: int | None = Field(None, ge=1, le=2**31 - 1, description="most votes to collect; empty = no limit")
    mode: Literal["fixed", "adaptive", "adaptive-prior"] = Field(
        "fixed",
        description="fixed: so many votes on each pair (the paper); adaptive: the most informative pair next, all pairs "
        "labelled; adaptive-prior: the same, starting from expected depths",
    )
    prior: str = Field("", description="of mode adaptive-prior, by its uuid; empty = the newest of the data set")
    stop_risk: float = Field(0.0, ge=0, le=0.5, description="adaptive: a person is done at this mean risk")
    least_votes: int = Field(1, ge=0, le=1000, description="adaptive: every person gets at least so many votes")
    most_votes: int = Field(25, ge=1, le=1000, description="adaptive: and at most so many")
    control_share: float = Field(
        0.0, ge=0, le=0.5, description="adaptive: share of people asked uniformly and without a prior, to compare"
    )
    probe_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of questions asked again flipped, colours swapped, to see whether answers stay",
    )
    guard: Literal["flag", "pause"] = Field("flag", description="what happens to suspicious annotators")
    pay_per_vote: float = Field(0.0, ge=0, le=1000, description="pay of one answer, for wage and budget")
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="of the pay, three letters")


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
