"""Virtual cameras around moving people: 3D poses become 2D views with known depth.

World frame: mm, y up, right-handed, floor at y = 0. Camera frame: mm, x right, y down, z away from the camera. N views,
J joints. Everything that these views are used for is simulated and named so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.releasing.reading import Poses, unlabelled
from labeling.skeletons import Skeleton
from training.poses import rotations
from training.poses.mocap import Clip

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Studio:
    """Where cameras stand and how people differ (docs/methods/lifter.md, 'Virtual views')."""

    azimuths_deg: tuple[float, ...] = (45.0, 135.0, 225.0, 315.0)
    azimuth_jitter_deg: float = 10.0
    distance_mm: tuple[float, float] = (4600.0, 5400.0)
    height_mm: float = 1500.0
    pitch_deg: float = 10.0
    focal_px: float = 1145.0
    picture_px: int = 1000
    place_mm: float = 800.0
    size_sd: float = 0.05
    bone_sd: float = 0.05
    fps: float = 15.0
    most_per_clip: int = 260


def reshape_people(
    poses_mm: Float[np.ndarray, "N J 3"], skeleton: Skeleton, factor: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "N J 3"]:
    """Scale each bone of the tree: poses N x J x 3, factor one per tree bone; the root stays where it is."""
    out = poses_mm.copy()
    for (parent, child), by in zip(skeleton.tree, factor, strict=True):
        out[:, child] = out[:, parent] + by * (poses_mm[:, child] - poses_mm[:, parent])
    return out


def _factors(skeleton: Skeleton, studio: Studio, rng: np.random.Generator) -> Array:
    """Size of one subject and of its bones, left as long as right."""
    size = 1 + studio.size_sd * rng.standard_normal()
    group = skeleton.groups(skeleton.tree)
    drawn = 1 + studio.bone_sd * rng.standard_normal(max(group) + 1)
    return np.asarray(size * drawn[group])


def project(clips: Sequence[Clip], skeleton: Skeleton, studio: Studio, seed: int) -> Poses:
    """Every clip seen by all cameras, as unlabelled Poses with true camera-frame depth (absolute, mm).

    One virtual subject and place per clip; clips are thinned to `studio.fps` and cut to `most_per_clip` poses, spread
    evenly. Views of a pose follow each other. Drawn from (seed, clip's name), so a clip looks the same in every set.
    """
    truths, pixels, names, groups, splits = [], [], [], [], []
    for clip in clips:
        rng = np.random.default_rng([seed, *clip.name.encode()])
        step = max(1, round(clip.fps / studio.fps))
        poses = clip.poses_mm[::step].astype(np.float64)
        if len(poses) > studio.most_per_clip:
            poses = poses[np.linspace(0, len(poses) - 1, studio.most_per_clip).round().astype(int)]
        poses = reshape_people(poses, skeleton, _factors(skeleton, studio, rng))
        poses[..., [0, 2]] += rng.uniform(-studio.place_mm, studio.place_mm, 2)
        turn = np.radians(
            np.array(studio.azimuths_deg)
            + rng.uniform(-studio.azimuth_jitter_deg, studio.azimuth_jitter_deg, len(studio.azimuths_deg))
        )
        away = rng.uniform(*studio.distance_mm, len(turn))
        place = np.stack([away * np.sin(turn), np.full(len(turn), studio.height_mm), away * np.cos(turn)], -1)
        truth = np.einsum(
            "vij,fvjc->fvic",
            _world_to_camera(turn, studio.pitch_deg),
            (poses[:, None] - place[:, None]).swapaxes(-1, -2),
        )
        truth = truth.swapaxes(-1, -2).reshape(-1, poses.shape[1], 3)
        truths.append(truth)
        pixels.append(studio.focal_px * truth[..., :2] / truth[..., 2:] + studio.picture_px / 2)
        names += [f"{clip.name}/{f:05d}/{v}" for f in range(len(poses)) for v in range(len(turn))]
        groups += [clip.action] * len(truth)
        splits += [clip.split] * len(truth)
    every = np.concatenate(pixels)
    focal, principal = np.full((len(every), 2), studio.focal_px), np.full((len(every), 2), studio.picture_px / 2)
    return replace(
        unlabelled(skeleton, names, every, focal, principal),
        split=np.array(splits),
        truth_mm=np.concatenate(truths),
        action=np.array(groups),
    )


def _world_to_camera(turn: Array, pitch_deg: float) -> Array:
    """World to camera, V x 3 x 3: cameras at azimuth `turn` (from +z towards +x) look at the axis, tilted down."""
    s, c = np.sin(turn), np.cos(turn)
    zero, one = np.zeros_like(turn), np.ones_like(turn)
    right = np.stack([c, zero, -s], -1)
    down = np.stack([zero, -one, zero], -1)
    forward = np.stack([-s, zero, -c], -1)
    level = np.stack([right, down, forward], -2)
    return np.asarray(rotations.about(0, np.radians(pitch_deg)) @ level)
