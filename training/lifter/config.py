"""The lifter's configuration: one typed object for command line, API and dashboard."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from webapp.catalog import Config


class LifterConfig(Config):
    """Defaults are our own preset 'nearer'; `PAPER` is as the authors coded it (docs/methods/lifter.md)."""

    hidden: int = Field(1024, ge=8, le=8192, description="width of the fully connected layers")
    stages: Literal[1, 2] = Field(1, description="residual stages (paper: 1)")
    dropout: float = Field(0.5, ge=0, lt=1)
    epochs: int = Field(300, ge=1, le=100_000)
    batch: int = Field(64, ge=2, le=65_536, description="poses per step")
    learning_rate: float = Field(1e-3, gt=0, le=1)
    schedule: Literal["cosine", "step"] = Field("cosine", description="step: times 0.96 every 100,000 steps (paper)")
    clip_norm: float = Field(1.0, gt=0, le=1e6, description="global gradient norm")
    slope: float = Field(2.5, gt=0, le=100, description="lambda of the relative loss")
    relative_weight: float = Field(1.0, ge=0, le=100)
    reprojection_weight: float = Field(0.1, ge=0, le=100)
    root_weight: float = Field(1.0, ge=0, le=100)
    skeleton_weight: float = Field(1.0, ge=0, le=2, description="above 2 training collapses (docs/methods/lifter.md)")
    scale_range: float = Field(1.0, gt=0, le=1e4, description="largest scale of the scaled orthographic camera")
    targets: Literal["soft", "hard"] = Field("soft", description="soft: cross-entropy against prob; hard: its sign")
    pairs: Literal["all", "one"] = Field("all", description="pairs of a pose per step; one is drawn anew (paper)")
    input_scale: Literal["person", "pixels"] = Field("person", description="person: every pose scaled to one size")
    mirror: bool = Field(True, description="mirror half of the poses in each step, left and right swapped")
    rotate_deg: float = Field(20.0, ge=0, le=180, description="turn poses in the picture by up to this angle")
    seed: int = Field(0, ge=0, le=2**31 - 1)


PAPER = LifterConfig(
    epochs=100, schedule="step", targets="hard", pairs="one", input_scale="pixels", mirror=False, rotate_deg=0.0
)
PRESETS = {"nearer": LifterConfig(), "paper": PAPER}
