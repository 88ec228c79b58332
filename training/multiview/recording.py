"""A multi-view recording as the harvester reads it: cameras, a skeleton, and detections or heatmaps a few frames at a time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.skeletons import Skeleton
from training.harvest.archives import bounded
from training.harvest.arrays import Stretch
from training.harvest.harvester import BadRecording
from training.multiview.heatmaps import Maps
from training.poses.cameras import Camera

Array = NDArray[np.float64]
MOST_UNPACKED = 2 << 30  # of one file of heatmaps, which is read whole
OUTSIDE_SHARE, OUTSIDE_BY = 0.2, 0.1  # a fifth of the detections a tenth of the picture beyond its edge: another size


@dataclass(frozen=True)
class Chunk:
    """Detections of some frames, F x V x J x 2 px and score F x V x J (0: missing), and a detector's own heatmaps if there are any."""

    pixels: Float[np.ndarray, "F V J 2"]
    score: Float[np.ndarray, "F V J"]
    maps: Maps | None = None


@runtime_checkable
class Source(Protocol):
    """Where detections come from; nothing holds more than was asked for."""

    @property
    def frames(self) -> int: ...

    def read(self, frames: Sequence[int]) -> Chunk: ...


@dataclass(frozen=True)
class Recording:
    """`source` has a view per camera, in their order, and a joint per keypoint of the skeleton, in its order.

    `stretches`: of several people, whose rows `source` has end to end; without them its rows are the frames of one."""

    cameras: tuple[Camera, ...]
    skeleton: Skeleton
    source: Source
    fps: float = 30.0
    stretches: tuple[Stretch, ...] = ()

    @property
    def people(self) -> tuple[Stretch, ...]:
        """The rows of each person."""
        return self.stretches or (Stretch(0, 0, self.source.frames, 0),)

    def spread(self, most: int, of: Stretch | None = None) -> Chunk:
        """At most so many rows from all over the recording, or of one person."""
        first, rows = (of.row, of.rows) if of else (0, self.source.frames)
        some = np.linspace(first, first + rows - 1, min(most, rows)).round().astype(int)
        return self.source.read(some.tolist())

    def chunks(self, start: int, size: int) -> Iterator[tuple[Stretch, list[int], Chunk]]:
        """Rows from `start` on, some at a time, each time of one person."""
        for person in self.people:
            for first in range(max(start, person.row), person.row + person.rows, size):
                rows = list(range(first, min(first + size, person.row + person.rows)))
                yield person, rows, self.source.read(rows)


@dataclass(frozen=True)
class Detections:
    """All detections in one array, F x V x J x 3 (x px, y px, score), in memory or mapped from disk."""

    values: Float[np.ndarray, "F V J 3"]

    @property
    def frames(self) -> int:
        return len(self.values)

    def read(self, frames: Sequence[int]) -> Chunk:
        some = np.asarray(self.values[list(frames)], dtype=np.float64)
        known = np.isfinite(some).all(axis=-1) & (some[..., 2] > 0)
        return Chunk(
            np.where(known[..., None], some[..., :2], 0.0), np.where(known, np.minimum(some[..., 2], 1.0), 0.0)
        )


class HeatmapFiles:
    """A folder of npz files with `heatmaps` F x V x J x H x W and `to_map` F x V x 4, in the order of their names; 8-bit maps count as
    share of 255. Only one file is open at a time. Raises BadRecording."""

    def __init__(self, folder: Path, views: int, joints: int) -> None:
        self.files = sorted(folder.glob("*.npz"))
        if not self.files:
            raise BadRecording(f"{folder.name} holds no .npz", field="heatmaps", fix="bring heatmaps as npz files")
        self.counts = []
        for file in self.files:
            shape = self._maps(file).shape
            if len(shape) != 5 or shape[1:3] != (views, joints):
                raise BadRecording(
                    f"{file.name}: heatmaps are {shape}, not frames x {views} x {joints} x height x width",
                    field="heatmaps",
                )
            self.counts.append(shape[0])
        self.frames = sum(self.counts)
        self.open: tuple[int, Maps] | None = None

    @staticmethod
    def _maps(file: Path) -> NDArray[np.generic]:
        try:
            bounded(file, MOST_UNPACKED)
            with np.load(file, allow_pickle=False) as data:
                return data["heatmaps"]
        except (KeyError, ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile) as error:
            raise BadRecording(
                f"{file.name}: no npz with the arrays heatmaps and to_map ({error})", field="heatmaps"
            ) from None

    def _file(self, number: int) -> Maps:
        if self.open is None or self.open[0] != number:
            values = self._maps(self.files[number])
            scale = 255.0 if values.dtype == np.uint8 else 1.0
            try:
                with np.load(self.files[number], allow_pickle=False) as data:
                    maps = Maps(
                        np.asarray(values, dtype=np.float32) / np.float32(scale), data["to_map"].astype(np.float64)
                    )
            except (KeyError, ValueError) as error:
                raise BadRecording(f"{self.files[number].name}: {error}", field="heatmaps") from None
            self.open = number, maps
        return self.open[1]

    def read(self, frames: Sequence[int]) -> Chunk:
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        values, places = [], []
        for frame in frames:
            number = int(np.searchsorted(starts, frame, side="right")) - 1
            maps = self._file(number)
            values.append(maps.values[frame - starts[number]])
            places.append(maps.to_map[frame - starts[number]])
        maps = Maps(np.stack(values), np.stack(places))
        return Chunk(*maps.peaks(), maps)


def fitting(recording: Recording, chunk: Chunk) -> None:
    """Are these detections of pictures of the calibrated size? Raises BadRecording, naming the camera."""
    for v, camera in enumerate(recording.cameras):
        known = chunk.score[:, v] > 0
        if known.sum() < 20:
            continue
        size = np.array(camera.size, dtype=np.float64)
        off = np.maximum(-chunk.pixels[:, v] / size, chunk.pixels[:, v] / size - 1).max(axis=-1)[known]
        share = float((off > OUTSIDE_BY).mean())
        if share > OUTSIDE_SHARE:
            raise BadRecording(
                f"{share:.0%} of the detections of {camera.name} lie outside of its {camera.size[0]} x {camera.size[1]} px",
                field="calibration",
                fix="bring the calibration of the pictures' size, or cameras and detections in one order",
            )
