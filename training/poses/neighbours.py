"""What depth do similar poses have? A search for 2D keypoints among the views of a library of 3D poses.

Frame of libraries: mm, x right, y down, z away from a level camera. M poses, V views, N people, J joints. Needs nothing but 2D
keypoints, so it says something about a picture before anybody has voted; how much depends on what the library covers.
Source: nearest 2D poses of a projected library, as in Iqbal et al. 2018 and LCR-Net++ (Rogez et al. 2019, 3.7); docs/methods/crowd.md,
'Similar poses'. Searched by 2D coordinates themselves, not by an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from webapp.errors import InputError

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
AUTHORED = Path(__file__).with_name("authored.npz")
PITCH_DEG, ROLL_DEG = (-10.0, 20.0), 5.0
NEAREST, SHARPNESS = 32, 0.002  # neighbours, and the similarity over which their weight falls by e
LEAST_JOINTS = 4
AT_ONCE = 256
NOISE = 0.025  # of the 2D keypoints of a self-test, over their norm: about 2 cm on a grown person


class PoorLibrary(InputError):
    """A library that cannot answer: too few poses, joints missing, or not finite."""


@dataclass(frozen=True)
class Library:
    """3D poses, M x J x 3."""

    keypoints: tuple[str, ...]
    poses_mm: Float[np.ndarray, "M J 3"]

    def __post_init__(self) -> None:
        if self.poses_mm.ndim != 3 or self.poses_mm.shape[1:] != (len(self.keypoints), 3):
            raise PoorLibrary(f"poses must be M x {len(self.keypoints)} x 3, not {self.poses_mm.shape}")
        if len(self.poses_mm) < 100:
            raise PoorLibrary(f"{len(self.poses_mm)} poses are too few: bring at least 100")
        if not np.isfinite(self.poses_mm).all():
            raise PoorLibrary("a pose holds NaN or infinity")

    @classmethod
    def authored(cls) -> Library:
        """Our own poses: 1,500 drawn by `manage.py author_poses`; CC0."""
        with np.load(AUTHORED, allow_pickle=False) as file:
            return cls(tuple(file["keypoints"].tolist()), file["poses_mm"].astype(np.float64))

    def seen_as(self, keypoints: tuple[str, ...], between: dict[str, dict[str, float]]) -> Library:
        """The same poses with other joints; `between` puts joints that are missing between those there are."""
        place = {name: np.eye(len(self.keypoints))[n] for n, name in enumerate(self.keypoints)}
        rows = []
        for name in keypoints:
            parts = {name: 1.0} if name in place else between.get(name, {})
            if not parts or not set(parts) <= set(place):
                raise PoorLibrary(f"the library knows nothing of the joint {name}")
            rows.append(sum(share * place[part] for part, share in parts.items()))
        return Library(keypoints, np.einsum("kj,mjc->mkc", np.array(rows), self.poses_mm))


@dataclass(frozen=True)
class Views:
    """Poses seen from all sides: `flat` V x J x 2 and `depth` V x J (mm, about their means), `pose` V."""

    flat: Float[np.ndarray, "V J 2"]
    depth: Float[np.ndarray, "V J"]
    pose: Int[np.ndarray, " V"]


def look_at(library: Library, sides: int = 24, seed: int = 0, most: int = 300_000) -> Views:
    """Every pose and its mirror image from `sides` directions each, by level to tilted cameras far away (orthographic).

    Mirroring needs no names: a view seen from behind a mirror is a view of the twin pose only if joints are renamed, so left and
    right are exchanged by name.
    """
    rng = np.random.default_rng(seed)
    twin = {n: _other_side(n) for n in library.keypoints}
    order = [library.keypoints.index(twin[n]) if twin[n] in library.keypoints else k for k, n in enumerate(twin)]
    mirrored = library.poses_mm[:, order] * np.array([-1.0, 1.0, 1.0])
    poses = np.concatenate([library.poses_mm, mirrored])
    pose = np.tile(np.arange(len(library.poses_mm)), 2).repeat(sides)
    row = np.arange(len(poses)).repeat(sides)
    turn = np.tile(np.arange(sides) / sides, len(poses)) + rng.random(len(poses)).repeat(sides)
    if len(row) > most:
        some = np.sort(rng.choice(len(row), most, replace=False))
        row, pose, turn = row[some], pose[some], turn[some]
    yaw = 2 * np.pi * turn
    pitch, roll = np.radians(rng.uniform(*PITCH_DEG, len(row))), np.radians(rng.normal(0, ROLL_DEG, len(row)))
    x, y, z = np.moveaxis(poses[row], -1, 0)
    c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    x, z = c * x - s * z, s * x + c * z
    c, s = np.cos(pitch)[:, None], np.sin(pitch)[:, None]
    y, z = c * y - s * z, s * y + c * z
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    x, y = c * x - s * y, s * x + c * y
    flat = np.stack([x, y], axis=-1)
    return Views(
        (flat - flat.mean(axis=1, keepdims=True)).astype(np.float32),
        (z - z.mean(axis=1, keepdims=True)).astype(np.float32),
        pose,
    )


def _other_side(name: str) -> str:
    for a, b in (("left", "right"), ("right", "left")):
        if name.startswith(a):
            return b + name[len(a) :]
    return name


def expected_depths(
    views: Views,
    keypoints_px: Float[np.ndarray, "N J 2"],
    known: Bool[np.ndarray, "N J"],
    *,
    nearest: int = NEAREST,
    not_pose: Int[np.ndarray, " N"] | None = None,
) -> Float[np.ndarray, "N J"]:
    """Depth of every joint (N x J, mm about the mean), the weighted mean of the most similar views.

    `known` N x J: joints that have a 2D position; the others are completed. People with fewer than LEAST_JOINTS of them, or
    without extent, get NaN. `not_pose`: a pose of the library that each person must not be compared with (self-tests).
    """
    people, joints = known.shape
    depths = np.full((people, joints), np.nan)
    known = known & np.isfinite(keypoints_px).all(axis=-1)
    masks, group = np.unique(known, axis=0, return_inverse=True)
    for number, mask in enumerate(masks):
        if mask.sum() < LEAST_JOINTS:
            continue
        library = _unit(views.flat[:, mask])
        who = np.flatnonzero(group.ravel() == number)
        for start in range(0, len(who), AT_ONCE):
            some = who[start : start + AT_ONCE]
            asked = _unit(keypoints_px[some][:, mask].astype(np.float32))
            similar = asked @ library.T
            if not_pose is not None:
                similar[views.pose[None] == not_pose[some, None]] = -2.0
            best = np.argpartition(-similar, nearest - 1, axis=1)[:, :nearest]
            value = np.take_along_axis(similar, best, axis=1).astype(np.float64)
            weight = np.exp((value - value.max(axis=1, keepdims=True)) / SHARPNESS)
            weight /= weight.sum(axis=1, keepdims=True)
            depths[some] = np.einsum("nk,nkj->nj", weight, views.depth[best])
            depths[some[~np.isfinite(asked).all(axis=1)]] = np.nan
    return depths - depths.mean(axis=1, keepdims=True)


def _unit(flat: Floats) -> Floats:
    """Rows without place and size; NaN where there is no extent."""
    moved = flat - flat.mean(axis=1, keepdims=True)
    rows = moved.reshape(len(moved), -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def error_covariance(views: Views, seed: int = 0, count: int = 1500) -> Float[np.ndarray, "J J"]:
    """Covariance (mm^2, J x J) of the errors of `expected_depths` about poses left out of the library, 2D noise included."""
    rng = np.random.default_rng(seed)
    some = rng.choice(len(views.flat), min(count, len(views.flat)), replace=False)
    flat = views.flat[some].astype(np.float64)
    size = np.linalg.norm(flat.reshape(len(flat), -1), axis=1)[:, None, None] / np.sqrt(flat.shape[1])
    seen = flat + NOISE * size * rng.standard_normal(flat.shape)
    guess = expected_depths(views, seen, np.ones(flat.shape[:2], dtype=bool), not_pose=views.pose[some])
    off = views.depth[some] - guess
    return np.asarray(off.T @ off / len(off) + np.eye(off.shape[1]))
