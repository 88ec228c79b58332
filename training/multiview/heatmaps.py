"""Heatmaps of joints around a person: from detections, or a detector's own; and how pixels lie on them.

F frames, V views, J joints, K peaks; a heatmap is `size` cells high and wide over a square box of the picture, cell centres at whole
numbers. `to_map` F x V x 4 says scale x, y and offset x, y: cell = scale * px + offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from webapp.errors import InputError

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
LEAST_BOX_PX = 16.0


class BadHeatmaps(InputError):
    """Arrays that are no heatmaps. `field` names the one that is wrong."""


@dataclass(frozen=True)
class Maps:
    """`values` F x V x J x H x W in 0..1, `to_map` F x V x 4. A heatmap without any value says nothing about its joint."""

    values: Float[np.ndarray, "F V J H W"]
    to_map: Float[np.ndarray, "F V 4"]

    def __post_init__(self) -> None:
        if self.values.ndim != 5 or self.to_map.shape != (*self.values.shape[:2], 4):
            raise BadHeatmaps(
                f"heatmaps {self.values.shape} and to_map {self.to_map.shape} do not fit", field="heatmaps"
            )
        if not np.isfinite(self.values).all() or self.values.min(initial=0.0) < 0:
            raise BadHeatmaps("heatmaps hold NaN, infinity or negative values", field="heatmaps")
        if not np.isfinite(self.to_map).all() or (self.to_map[..., :2] <= 0).any():
            raise BadHeatmaps("to_map must be finite, with positive scales", field="to_map")

    @property
    def has_peak(self) -> Bool[np.ndarray, "F V J"]:
        """F x V x J: is there anything on the heatmap?"""
        return np.asarray(self.values.max(axis=(3, 4)) > 0)

    def peaks(self) -> tuple[Float[np.ndarray, "F V J 2"], Float[np.ndarray, "F V J"]]:
        """The largest cell of each heatmap moved a quarter towards its larger neighbours (Newell et al. 2016): px and height."""
        frames, views, joints, height, width = self.values.shape
        flat = self.values.reshape(frames, views, joints, -1)
        best = flat.argmax(axis=-1)
        top = np.take_along_axis(flat, best[..., None], axis=-1)[..., 0].astype(np.float64)
        y, x = best // width, best % width

        def at(dy: int, dx: int) -> Array:
            yy, xx = np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)
            return np.take_along_axis(flat, (yy * width + xx)[..., None], axis=-1)[..., 0].astype(np.float64)

        cell = np.stack([x + 0.25 * np.sign(at(0, 1) - at(0, -1)), y + 0.25 * np.sign(at(1, 0) - at(-1, 0))], axis=-1)
        pixels = (cell - self.to_map[:, :, None, 2:]) / self.to_map[:, :, None, :2]
        return np.where(top[..., None] > 0, pixels, 0.0), top


def boxes(
    pixels: Float[np.ndarray, "F V J 2"],
    score: Float[np.ndarray, "F V J"],
    scale: float = 1.25,
    least_score: float = 0.0,
) -> Float[np.ndarray, "F V 4"]:
    """Square boxes F x V x 4 (left, top, width, height px) around detections times `scale`; width 0 where there is none."""
    there = np.asarray((score > least_score) & np.isfinite(pixels).all(axis=-1))
    low = np.where(there[..., None], pixels, np.inf).min(axis=2)
    high = np.where(there[..., None], pixels, -np.inf).max(axis=2)
    some = np.asarray(there.any(axis=2))
    low, high = np.where(some[..., None], low, 0.0), np.where(some[..., None], high, 0.0)
    side = np.where(some, np.maximum((high - low).max(axis=-1), LEAST_BOX_PX) * scale, 0.0)
    corner = (low + high) / 2 - side[..., None] / 2
    return np.concatenate([corner, side[..., None], side[..., None]], axis=-1)


def of_peaks(
    peaks: Float[np.ndarray, "F V J K 3"], box: Float[np.ndarray, "F V 4"], size: int = 64, sigma: float = 1.0
) -> Maps:
    """Gaussians around peaks F x V x J x K x 3 (x px, y px, height; 0: none) on the boxes; where they overlap the larger counts."""
    frames, views, joints, count = peaks.shape[:4]
    side = np.where(box[..., 2:] > 0, box[..., 2:], 1.0)
    scale = (size - 1) / side
    to_map = np.concatenate([scale, -scale * box[..., :2]], axis=-1)
    cells = np.arange(size)
    values = np.zeros((frames, views, joints, size, size), dtype=np.float32)
    for k in range(count):
        at = peaks[..., k, :2] * scale[:, :, None] + to_map[:, :, None, 2:]
        height = np.where(np.isfinite(peaks[..., k, :]).all(axis=-1) & (box[:, :, None, 2] > 0), peaks[..., k, 2], 0.0)
        x, y = (np.exp(-((cells - np.nan_to_num(at[..., a, None])) ** 2) / (2 * sigma**2)) for a in (0, 1))
        one = (height[..., None] * y)[..., :, None].astype(np.float32) * x[..., None, :].astype(np.float32)
        np.maximum(values, one, out=values)
    return Maps(np.clip(values, 0.0, 1.0), to_map)


def of_detections(
    pixels: Float[np.ndarray, "F V J 2"],
    score: Float[np.ndarray, "F V J"],
    *,
    scale: float = 1.25,
    size: int = 64,
    sigma: float = 1.0,
    least_score: float = 0.3,
) -> Maps:
    """Gaussians of the height of their scores around detections F x V x J x 2; those below `least_score` say nothing."""
    known = np.asarray((score > least_score) & np.isfinite(pixels).all(axis=-1))
    kept = np.where(known, score, 0.0)
    peaks = np.concatenate([np.where(known[..., None], pixels, 0.0), kept[..., None]], axis=-1)
    return of_peaks(peaks[..., None, :], boxes(pixels, kept, scale), size, sigma)
