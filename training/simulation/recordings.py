"""Simulated detections of moving people in simulated cameras: 'clean' and 'hard', the protocol of docs/methods/multiview.md.

Named simulated wherever it is used: nothing here is a real detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.skeletons import Skeleton
from training.multiview import heatmaps
from training.multiview.recording import Chunk
from training.poses.cameras import Camera

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Detector:
    """How far a simulated detector is off. Shares are of joints, limb joints, joints and views."""

    noise_px: float = 6.0
    wide_share: float = 0.1
    wide: float = 2.5
    outliers: float = 0.0
    swaps: float = 0.0
    missing: float = 0.0
    lost_views: float = 0.0
    second_peak: float = 0.5  # of wrong detections, those that keep a weaker peak at the right place
    second_height: float = 0.5


CLEAN = Detector()
HARD = Detector(outliers=0.05, swaps=0.05, missing=0.05, lost_views=0.02)


def studio(
    rng: np.random.Generator,
    count: int = 4,
    *,
    focal_px: float = 1150.0,
    size: int = 1000,
    away_mm: float = 5200.0,
    high_mm: Sequence[float] = (1600.0,),
) -> tuple[Camera, ...]:
    """Cameras in the corners of a room, `high_mm` above its floor (in turn), looking at 0.9 m above its middle. World: mm, z up."""
    cameras = []
    for n in range(count):
        turn = 2 * np.pi * (n + 0.5) / count + rng.normal(0, 0.1)
        place = np.array(
            [away_mm * np.cos(turn), away_mm * np.sin(turn), high_mm[n % len(high_mm)] + rng.normal(0, 50)]
        )
        ahead = np.array([0, 0, 900.0]) - place
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(ahead, right), ahead])
        matrix = np.array([[focal_px, 0, size / 2 - 0.5], [0, focal_px, size / 2 - 0.5], [0, 0, 1.0]])
        cameras.append(Camera(f"cam{n + 1}", (size, size), matrix, np.zeros(5), rotation, -rotation @ place))
    return tuple(cameras)


@dataclass(frozen=True)
class Detected:
    """`peaks` F x V x J x 2 x 3 (x px, y px, height), the first the detection; `right_px` where the joints really are."""

    peaks: Float[np.ndarray, "F V J 2 3"]
    right_px: Float[np.ndarray, "F V J 2"]

    @property
    def pixels(self) -> Float[np.ndarray, "F V J 2"]:
        return self.peaks[..., 0, :2]

    @property
    def score(self) -> Float[np.ndarray, "F V J"]:
        return self.peaks[..., 0, 2]


def detect(
    world_mm: Float[np.ndarray, "F J 3"],
    cameras: tuple[Camera, ...],
    skeleton: Skeleton,
    detector: Detector,
    rng: np.random.Generator,
    bias_px: Float[np.ndarray, "V J 2"] | None = None,
) -> Detected:
    """Noisy detections of joints F x J x 3; `bias_px` V x J x 2 is a detector's habit in a view."""
    right = np.stack([camera.project(world_mm) for camera in cameras], axis=1)
    frames, views, joints = right.shape[:3]
    noise = detector.noise_px * np.where(rng.random((frames, views, joints)) < detector.wide_share, detector.wide, 1.0)
    noisy = right + noise[..., None] * rng.standard_normal(right.shape)
    if bias_px is not None:
        noisy = noisy + bias_px
    seen = noisy.copy()
    wrong = np.zeros((frames, views, joints), dtype=bool)
    limbs = [
        [(skeleton.index(a), skeleton.index(b)) for a, b in skeleton.twins if any(part in a for part in parts)]
        for parts in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
    ]
    for limb in limbs:
        swapped = rng.random((frames, views)) < detector.swaps
        for a, b in limb:
            seen[swapped, a], seen[swapped, b] = noisy[swapped, b], noisy[swapped, a]
            wrong[swapped, a] = wrong[swapped, b] = True
    box = heatmaps.boxes(right, np.ones(right.shape[:3]))[:, :, None]
    anywhere = box[..., :2] + rng.random(right.shape) * box[..., 2:]
    out = rng.random(wrong.shape) < detector.outliers
    seen, wrong = np.where(out[..., None], anywhere, seen), wrong | out
    height = np.clip(
        0.9
        - 0.02 * np.linalg.norm(noisy - right, axis=-1) / max(detector.noise_px, 1e-9)
        + rng.normal(0, 0.08, wrong.shape),
        0.35,
        1.0,
    )
    height = np.where(wrong, np.clip(height - rng.uniform(0, 0.3, wrong.shape), 0.35, 1.0), height)
    gone = (rng.random(wrong.shape) < detector.missing) | (rng.random((frames, views, 1)) < detector.lost_views)
    height = np.where(gone, 0.0, height)
    second = np.where(wrong & ~gone & (rng.random(wrong.shape) < detector.second_peak), detector.second_height, 0.0)
    first = np.concatenate([seen, height[..., None]], axis=-1)
    other = np.concatenate([noisy, second[..., None] * height[..., None]], axis=-1)
    return Detected(np.stack([first, other], axis=3), right)


@dataclass(frozen=True)
class SimulatedViews:
    """A source of a Recording: the heatmaps of simulated detections, made when they are read."""

    detected: Detected

    @property
    def frames(self) -> int:
        return len(self.detected.peaks)

    def read(self, frames: Sequence[int]) -> Chunk:
        some = Detected(self.detected.peaks[list(frames)], self.detected.right_px[list(frames)])
        maps = maps_of(some)
        return Chunk(*maps.peaks(), maps)


def maps_of(detected: Detected, size: int = 64, sigma: float = 1.0, scale: float = 1.25) -> heatmaps.Maps:
    """Heatmaps over the box of the person, as a detector works: a box from elsewhere, not from its own answers."""
    box = heatmaps.boxes(detected.right_px, np.ones(detected.right_px.shape[:3]), scale)
    return heatmaps.of_peaks(detected.peaks, box, size, sigma)
