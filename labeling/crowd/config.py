"""Options of the crowd models: plain pydantic, so that a web request can show them without loading a model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from webapp.config import Config


class PaperConfig(Config):
    """The paper's model (Branson et al. 2017; Ronchi et al. 2018)."""

    rounds: int = Field(10, ge=1, le=1000, description="EM rounds at most (paper: 10)")
    pooled_strength: float = Field(15.0, gt=0, le=1e6, description="pseudo-votes behind the pooled priors")
    annotator_strength: float = Field(10.0, gt=0, le=1e6, description="pseudo-votes behind each annotator's rates")
    mean_skill: float = Field(0.8, gt=0, lt=1, description="prior mean of both rates")


class Rounds(Config):
    """Iterations of one of crowd-kit's models."""

    rounds: int = Field(100, ge=1, le=10_000, description="iterations at most")


class TwoCoinConfig(Config):
    """Two error rates per annotator, their priors fitted to the crowd."""

    rounds: int = Field(50, ge=1, le=1000, description="rounds at most")
    tolerance: float = Field(1e-3, gt=0, le=0.1, description="stop when no probability moves by more")


class EaseConfig(Config):
    """Annotators with skill and biases, questions that differ."""

    kind: Literal["ease", "shared"] = Field(
        "ease", description="ease: questions differ in ease; shared: some mislead everybody"
    )
    rounds: int = Field(60, ge=1, le=1000, description="rounds at most")
    tolerance: float = Field(5e-3, gt=0, le=0.1, description="stop when no probability moves by more")


class DepthConfig(Config):
    """The perceived depths of each picture, behind all its votes."""

    rounds: int = Field(30, ge=1, le=500, description="rounds at most")
    damping: float = Field(0.6, gt=0, le=1, description="share of each step taken; lower is slower and safer")
    tolerance: float = Field(0.01, gt=0, le=0.5, description="stop when no vote's weight moves by more")
    shared_mm: float = Field(60.0, gt=0, le=1000, description="mm per joint, misperception before gold says otherwise")
    strength: float = Field(10.0, gt=0, le=1e4, description="annotators behind the prior shares of their kinds")
    gold_strength: float = Field(5.0, gt=0, le=1e4, description="gold pictures behind the prior misperception")


class ChosenConfig(Config):
    """Choice between the question-level models by held-out votes."""

    sample: int = Field(20_000, ge=10, le=10_000_000, description="questions at most on which candidates are compared")
    turns: int = Field(2, ge=1, le=5, description="how many fifths of the votes are held out in turn")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of sample and fifths")
