"""How a heatmap network is trained, as a typed configuration: no torch here."""

from __future__ import annotations

from pydantic import Field

from webapp.config import Config


class HeatmapConfig(Config):
    """How a heatmap network is trained; the defaults are those of personalising."""

    epochs: int = Field(4, ge=1, le=10_000)
    batch: int = Field(4, ge=1, le=4096)
    learning_rate: float = Field(2.5e-4, gt=0, le=1)
    sigma_px: float = Field(1.0, gt=0, le=20, description="spread of targets, cells of the heatmap")
    turn_deg: float = Field(30.0, ge=0, le=180, description="pictures are turned by up to this")
    scale: float = Field(0.25, ge=0, lt=1, description="and made larger or smaller by up to this share")
    flip: float = Field(0.5, ge=0, le=1, description="share of pictures mirrored, left and right joints exchanged")
    seed: int = Field(0, ge=0, le=2**31 - 1)
