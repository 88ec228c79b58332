"""Options of the crowd models: plain pydantic, so that a web request can show them without loading a model."""

from __future__ import annotations

from pydantic import Field

from webapp.catalog import Config


class PaperConfig(Config):
    """The paper's model (Branson et al. 2017; Ronchi et al. 2018)."""

    rounds: int = Field(10, ge=1, le=1000, description="EM rounds at most (paper: 10)")
    pooled_strength: float = Field(15.0, gt=0, le=1e6, description="pseudo-votes behind the pooled priors")
    annotator_strength: float = Field(10.0, gt=0, le=1e6, description="pseudo-votes behind each annotator's rates")
    mean_skill: float = Field(0.8, gt=0, lt=1, description="prior mean of both rates")


class Rounds(Config):
    """Iterations of one of crowd-kit's models."""

    rounds: int = Field(100, ge=1, le=10_000, description="iterations at most")
