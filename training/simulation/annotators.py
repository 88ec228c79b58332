"""Simulated labels: what annotators might have said of poses whose depth is known. Never called anything but simulated."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from labeling.releasing.reading import Poses
from webapp.config import Config


class LabelConfig(Config):
    """How labels are simulated; depths are camera depths, mm."""

    pairs: int | Literal["all"] = 5
    noise: Literal["none", "annotators"] = "annotators"
    flipped: float = 0.0
    tie_below_mm: float = 0.0
    pixel_sd: float = 0.0
    pitch_deg: float = 0.0
    seed: int = 0


def correct_probability(gap_mm: Float[np.ndarray, "*N"]) -> Float[np.ndarray, " *N"]:
    """P(an aggregated label is right) = min(0.5 + 0.0125 per cm, 1): the authors' line fitted to their annotators."""
    return np.minimum(0.5 + 0.00125 * np.abs(gap_mm), 1.0).astype(np.float64)


def label(poses: Poses, config: LabelConfig) -> Poses:
    """Poses with `pairs` different random pairs each and simulated labels, drawn once per pair.

    `annotators`: right with `correct_probability`; `flipped`: this share is turned round afterwards;
    `tie_below_mm`: gaps up to it are ties (p 0.5); `pixel_sd`: noise on 2D (px); `pitch_deg`: judged along the horizontal,
    by annotators who do not see that the camera looks down by so much.
    """
    rng = np.random.default_rng(config.seed)
    joints, people = len(poses.skeleton.keypoints), len(poses.names)
    every_first, every_second = np.triu_indices(joints, 1)
    count = len(every_first) if config.pairs == "all" else min(config.pairs, len(every_first))
    which = np.argsort(rng.random((people, len(every_first)), dtype=np.float32), axis=1)[:, :count]
    first, second = every_first[which].ravel(), every_second[which].ravel()
    swap = rng.random(len(first)) < 0.5
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    pose = np.repeat(np.arange(people), count)
    gap = depth_gap(poses, pose, first, second, config.pitch_deg)
    second_closer = gap > 0
    if config.noise == "annotators":
        second_closer ^= rng.random(len(gap)) >= correct_probability(gap)
    second_closer ^= rng.random(len(gap)) < config.flipped
    p = np.where(np.abs(gap) <= config.tie_below_mm, 0.5, second_closer) if config.tie_below_mm else second_closer
    pixels = poses.keypoints_px
    if config.pixel_sd:
        pixels = pixels + config.pixel_sd * rng.standard_normal(pixels.shape)
    return replace(poses, keypoints_px=pixels, pose=pose, first=first, second=second, p_second=p.astype(np.float64))


def depth_gap(
    poses: Poses,
    pose: Int[np.ndarray, " P"],
    first: Int[np.ndarray, " P"],
    second: Int[np.ndarray, " P"],
    pitch_deg: float = 0.0,
) -> Float[np.ndarray, " P"]:
    """Camera depth of the first minus that of the second keypoint (mm); positive: the second is closer."""
    pitch = np.radians(pitch_deg)
    z = np.cos(pitch) * poses.truth_mm[..., 2] - np.sin(pitch) * poses.truth_mm[..., 1]
    return np.asarray(z[pose, first] - z[pose, second])


def noise_free(poses: Poses) -> Poses:
    """The same pairs, labelled by the true order."""
    gap = depth_gap(poses, poses.pose, poses.first, poses.second)
    return replace(poses, p_second=(gap > 0).astype(np.float64))
