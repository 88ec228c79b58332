"""Simulated pictures of simulated people: limbs as flat strokes, seen by cameras of differing looks.

People wear suits whose limbs differ in colour, so that sides can be told in every view: what a detector gets wrong then hangs on the suit
and on the camera's tint, not on the pose.
For tests and benchmarks of what a 2D network learns; nothing here is a photograph, and it is named simulated wherever it is used.
N pictures, J joints, B strokes (bones); pictures N x 3 x S x S in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.skeletons import Skeleton
from training.poses.cameras import Camera

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
SCALE = 1.25
SUIT = {
    "left arm": (0.85, 0.25, 0.20),
    "right arm": (0.20, 0.35, 0.85),
    "left leg": (0.85, 0.65, 0.15),
    "right leg": (0.15, 0.70, 0.50),
    "torso": (0.50, 0.50, 0.50),
}


@dataclass(frozen=True)
class Clothes:
    """What a person wears: a colour and a half width (mm) per bone, hair and face."""

    colour: Float[np.ndarray, "T 3"]
    width_mm: Float[np.ndarray, " T"]
    hair: Float[np.ndarray, " 3"]
    face: Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Lighting:
    """How a camera renders: background colours (left, right), gains, noise and blur."""

    ground: Float[np.ndarray, "2 3"]
    gain: Float[np.ndarray, " 3"]
    noise: float


def clothes(rng: np.random.Generator, skeleton: Skeleton, loose: float = 1.0, vary: float = 0.1) -> Clothes:
    """A suit in the SUIT's colours, each part off by a normal of `vary`; `loose` widens it."""
    skin = np.array([0.8, 0.6, 0.5]) * rng.uniform(0.5, 1.2)
    parts = {part: np.array(colour) + rng.normal(0, vary, 3) for part, colour in SUIT.items()}
    colours: list[Array] = []
    widths: list[float] = []
    for a, b in skeleton.bones:
        names = {part for n in (a, b) for part in n.split("_")}
        side = "left" if "left" in names else "right"
        if "wrist" in names:
            colours.append(0.7 * parts[f"{side} arm"])
            widths.append(45)
        elif "elbow" in names:
            colours.append(parts[f"{side} arm"])
            widths.append(55 * loose)
        elif "ankle" in names:
            colours.append(0.7 * parts[f"{side} leg"])
            widths.append(60 * loose)
        elif "knee" in names:
            colours.append(parts[f"{side} leg"])
            widths.append(80 * loose)
        elif "head" in names or "chin" in names:
            colours.append(skin)
            widths.append(85)
        elif names & {"left", "right"}:  # hips and shoulders show their side
            colours.append(
                0.6 * parts["torso"]
                + 0.4 * parts[f"{side} {'leg' if 'hip' in names and 'shoulder' not in names else 'arm'}"]
            )
            widths.append(90 * loose)
        else:
            colours.append(parts["torso"])
            widths.append(100 * loose)
    return Clothes(
        np.clip(np.array(colours) + rng.normal(0, 0.03, (len(colours), 3)), 0, 1),
        np.array(widths, dtype=float) * rng.uniform(0.85, 1.2),
        rng.uniform(0, 0.5, 3),
        np.clip(skin * 1.15, 0, 1),
    )


def lighting(rng: np.random.Generator, harsh: float = 1.0) -> Lighting:
    """A camera's background, tint and noise; `harsh` multiplies how far from neutral tints and noise are."""
    return Lighting(
        rng.uniform(0.1, 0.9, (2, 3)), np.exp(rng.normal(0, 0.12 * harsh, 3)), harsh * float(rng.uniform(0.02, 0.06))
    )


def render(
    world_mm: Float[np.ndarray, "N J 3"],
    camera: Camera,
    skeleton: Skeleton,
    worn: Clothes,
    seen_as: Lighting,
    rng: np.random.Generator,
    size: int = 64,
) -> tuple[Float[np.ndarray, "N 3 S S"], Float[np.ndarray, "N J 2"], Float[np.ndarray, "N 4"]]:
    """Pictures of world poses N x J x 3; keypoints N x J x 2 in their pixels; to_map N x 4 from the camera's pixels to theirs."""
    flat, depth = camera.project(world_mm), camera.see(world_mm)[..., 2]
    low, high = flat.min(axis=1), flat.max(axis=1)
    side = (high - low).max(axis=1) * SCALE * rng.uniform(0.95, 1.1, len(flat))
    corner = (low + high) / 2 + rng.normal(0, 0.02, (len(flat), 2)) * side[:, None] - side[:, None] / 2
    scale = (size - 1) / side
    to_map = np.concatenate([np.stack([scale, scale], axis=1), -scale[:, None] * corner], axis=1)
    points = flat * scale[:, None, None] + to_map[:, None, 2:]
    mm = camera.matrix[0, 0] / depth.mean(axis=1) * scale  # pixels per mm
    return _strokes(points, depth, world_mm, camera, skeleton, worn, seen_as, mm, rng, size), points, to_map


def _strokes(
    points: Array,
    depth: Array,
    world_mm: Array,
    camera: Camera,
    skeleton: Skeleton,
    worn: Clothes,
    seen_as: Lighting,
    mm: Array,
    rng: np.random.Generator,
    size: int,
) -> Floats:
    count = len(points)
    bones = np.array([(skeleton.index(a), skeleton.index(b)) for a, b in skeleton.bones])
    y, x = np.mgrid[:size, :size].astype(np.float32)
    share = (x / (size - 1))[None, None]
    picture = (1 - share) * seen_as.ground[0][None, :, None, None] + share * seen_as.ground[1][None, :, None, None]
    picture = np.broadcast_to(picture, (count, 3, size, size)).astype(np.float32).copy()
    facing = _faces(world_mm, camera, skeleton)
    far = depth[:, bones].mean(axis=2)
    order = np.argsort(-far, axis=1)
    head = [n for n, (a, b) in enumerate(skeleton.bones) if "head" in (a, b)]
    rows = np.arange(count)
    for place in range(len(bones)):
        bone = order[:, place]
        a, b = points[rows, bones[bone, 0]].astype(np.float32), points[rows, bones[bone, 1]].astype(np.float32)
        along = b - a
        t = (
            (x[None] - a[:, 0, None, None]) * along[:, 0, None, None]
            + (y[None] - a[:, 1, None, None]) * along[:, 1, None, None]
        ) / ((along**2).sum(axis=1)[:, None, None] + 1e-6)
        t = np.clip(t, 0, 1)
        dx = x[None] - a[:, 0, None, None] - t * along[:, 0, None, None]
        dy = y[None] - a[:, 1, None, None] - t * along[:, 1, None, None]
        wide = (worn.width_mm[bone] * mm).astype(np.float32)[:, None, None]
        cover = np.clip(wide - np.sqrt(dx * dx + dy * dy) + 0.5, 0, 1)[:, None]
        colour = worn.colour[bone]
        for n in head:
            colour = np.where((bone == n)[:, None], np.where(facing[:, None], worn.face, worn.hair), colour)
        shade = (0.8 + 0.2 * np.clip(1 - np.abs(dx + dy) / (2 * wide + 1e-6), 0, 1))[:, None]
        picture = picture * (1 - cover) + cover * shade * colour[:, :, None, None].astype(np.float32)
    picture *= seen_as.gain[None, :, None, None].astype(np.float32)
    picture += rng.normal(0, seen_as.noise, picture.shape).astype(np.float32)
    return np.clip(picture, 0, 1).astype(np.float32)


def _faces(world_mm: Array, camera: Camera, skeleton: Skeleton) -> NDArray[np.bool_]:
    """Does a person look towards the camera? The chest's normal, from shoulders and hips."""
    left, right = world_mm[:, skeleton.index("left_shoulder")], world_mm[:, skeleton.index("right_shoulder")]
    hips = (world_mm[:, skeleton.index("left_hip")] + world_mm[:, skeleton.index("right_hip")]) / 2
    up = (left + right) / 2 - hips
    ahead = np.cross(left - right, up)
    return np.asarray((ahead * (camera.centre - hips)).sum(axis=1) > 0)
