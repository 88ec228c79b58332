"""Options of the multi-view harvester."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from webapp.config import Config


class HarvestConfig(Config):
    """How 3D joints are found and which of them are kept. Lengths in millimetres unless they say otherwise."""

    grid: Literal[16, 24, 32, 48, 64, 80, 96] = Field(
        64, description="voxels along an edge of the cube; 32 is a preview"
    )
    cube_mm: float = Field(2000.0, ge=200, le=20_000, description="edge of the cube around the person")
    tolerance_cells: float = Field(
        1.0, gt=0, le=10, description="limb lengths may be off by so many voxels (eps of eq. 4)"
    )
    background: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="heatmap floor (delta) for four views; fewer views take less, see docs/methods/multiview.md",
    )
    precision: Literal["float32", "float64"] = Field("float32", description="of messages; float64 is the reference")
    estimate: Literal["mode", "mean"] = Field(
        "mode", description="mean of the marginal around its mode, or of all of it"
    )
    keep_share: float = Field(0.7, gt=0, le=1, description="most certain share of each joint's estimates that is kept")
    rank_by: Literal["determinant", "local", "entropy"] = Field("determinant", description="the measure of certainty")
    heatmap_px: int = Field(64, ge=16, le=512, description="edge of heatmaps made of detections")
    box_scale: float = Field(1.25, ge=1, le=4, description="heatmaps cover the box of the detections times this")
    sigma_cells: float = Field(1.0, gt=0, le=10, description="spread of a detection on its heatmap")
    least_score: float = Field(0.3, ge=0, lt=1, description="detections below count as missing")
    inlier_px: float = Field(
        15.0, gt=0, le=500, description="of RANSAC, which centres the cube and starts limb lengths"
    )
    undistort: bool = Field(True, description="lenses bend; False compares with tools that ignore it")
    frames_at_once: int = Field(8, ge=1, le=256, description="frames in memory together")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of RANSAC's pairs among many cameras")
