"""What every harvester leaves behind: arrays on disk, one row a frame, written piece by piece and gone on with after a kill.

F frames (of several people, or of a video's clips: the rows of their stretches, end to end), V views, J joints; mm in the world frame, px.
Nothing is ever NaN: where there is no estimate the outcome says why and the position is 0. `state.json` says how far the arrays are in force.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray

from labeling.skeletons import Skeleton
from webapp.errors import InputError


class BadArrays(InputError):
    """Arrays of a harvest that cannot be written or read."""


class Outcome(IntEnum):
    """What became of one joint in one frame. The numbers stand in files: they never change."""

    FOUND = 0
    NOBODY = 1  # nobody is seen, or by too few views
    INFERRED = 2  # this joint is not seen well enough: it follows from other joints, or from its neighbours in time
    OUTSIDE = 3  # the best place is on the surface of the space that was searched, or beyond it
    CONTRADICTION = 4  # no pose satisfies limbs and views


WORDS = {
    Outcome.FOUND: "found",
    Outcome.NOBODY: "nobody is seen, or by fewer than two views",
    Outcome.INFERRED: "not seen well enough: follows from other joints",
    Outcome.OUTSIDE: "outside of the cube",
    Outcome.CONTRADICTION: "limbs and views contradict each other",
}


def counts(outcome: UInt8[np.ndarray, "F J"]) -> dict[str, int]:
    """How often each outcome occurs, in words; those that never do are left out."""
    number = np.bincount(np.asarray(outcome).ravel(), minlength=len(Outcome))
    return {WORDS[o]: int(number[o]) for o in Outcome if number[o] or o == Outcome.FOUND}


# name: shape of one frame (V views, J joints), dtype on disk
ARRAYS: dict[str, tuple[str, str]] = {
    "position": ("J3", "<f8"),  # mm, world
    "covariance": ("J33", "<f4"),  # mm^2
    "uncertainty": ("J", "<f4"),  # what kept joints are ranked by: less is surer
    "outcome": ("J", "|u1"),
    "seen": ("VJ", "|b1"),  # a detection that was used
    "offset_px": ("VJ2", "<f4"),  # detection minus reprojection, 0 where unseen
    "kept": ("J", "|b1"),  # becomes a pseudo-label
}
EXTRA: dict[str, tuple[str, str]] = {
    "before": ("J3", "<f4"),  # mm, world: the estimate before smoothing
    "expected_mm": ("J", "<f4"),  # expected error
    "method": ("", "|u1"),  # 1 where a plain method had to stand in
}


@dataclass(frozen=True)
class Stretch:
    """Rows `row` to `row + rows` of the arrays, which show one person (`person` from 0 on; shown and written from 1 on) in the recording's
    frames from `first_frame` on."""

    person: int
    row: int
    rows: int
    first_frame: int


def frame_of_row(stretches: Sequence[Stretch], rows: int) -> Int[np.ndarray, " R"]:
    """The recording's frame of each row; rows are frames where there are no stretches."""
    if not stretches:
        return np.arange(rows)
    return np.concatenate([np.arange(s.rows) + s.first_frame for s in stretches])


def lanes(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """As few lists of stretches as can be of which none overlap in time; whoever is seen at once is in different ones."""
    every: list[list[Stretch]] = []
    for stretch in sorted(stretches, key=lambda s: (s.first_frame, s.person)):
        free = next((lane for lane in every if lane[-1].first_frame + lane[-1].rows <= stretch.first_frame), None)
        if free is None:
            every.append([stretch])
        else:
            free.append(stretch)
    return every


@dataclass(frozen=True)
class Size:
    """Of a harvest: F frames, V views, J joints."""

    frames: int
    views: int
    joints: int

    def of(self, letters: str) -> tuple[int, ...]:
        return (self.frames, *({"V": self.views, "J": self.joints}.get(x) or int(x) for x in letters))


@dataclass(frozen=True)
class HarvestArrays:
    """The arrays of ARRAYS, mapped from disk, and those of EXTRA that the harvester writes."""

    position: Float[np.ndarray, "F J 3"]
    covariance: Float[np.ndarray, "F J 3 3"]
    uncertainty: Float[np.ndarray, "F J"]
    outcome: UInt8[np.ndarray, "F J"]
    seen: Bool[np.ndarray, "F V J"]
    offset_px: Float[np.ndarray, "F V J 2"]
    kept: Bool[np.ndarray, "F J"]
    extra: Mapping[str, NDArray[Any]]

    @property
    def error_px(self) -> Float[np.ndarray, "F V J"]:
        """Distance of detection and reprojection."""
        return np.asarray(np.linalg.norm(self.offset_px, axis=-1))

    def named(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ARRAYS} | dict(self.extra)


def read(folder: Path) -> HarvestArrays:
    """The arrays of a harvest that was written. Raises BadArrays."""
    there = [name for name in EXTRA if (folder / f"{name}.npy").exists()]
    try:
        mapped = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in (*ARRAYS, *there)
        }
    except (OSError, ValueError) as error:
        raise BadArrays(
            f"this is no harvest: {error}", field="harvest", fix="name a folder that a harvest wrote"
        ) from None
    return HarvestArrays(**{name: mapped[name] for name in ARRAYS}, extra={name: mapped[name] for name in there})


def save(path: Path, values: NDArray[Any]) -> None:
    """An array as .npy, whole or not at all."""
    part = path.with_suffix(".part.npy")
    np.save(part, values)
    part.replace(path)


class Writing:
    """Arrays that are being written: `arrays`, of which `done` steps (frames, windows: the harvester's own) are in force.

    A step is written by `append` and put into force by `advance`; whoever is killed in between writes it again.
    """

    def __init__(self, folder: Path, key: str, notes: Mapping[str, Any], arrays: HarvestArrays, done: int) -> None:
        self.arrays, self.done = arrays, done
        self._path, self._key, self._notes = folder / "state.json", key, notes

    def append(self, first: int, rows: Mapping[str, Any]) -> None:
        """Write rows from frame `first` on, by the arrays' names. `kept` is decided at the end: it need not be among them."""
        named = self.arrays.named()
        for name, values in rows.items():
            named[name][first : first + len(values)] = values
        self._flush()

    def advance(self, done: int) -> None:
        self.done = done
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps({"key": self._key, "done": done, **self._notes}))
        os.replace(part, self._path)

    def keep(self, kept: Bool[np.ndarray, "F J"]) -> HarvestArrays:
        """Say which joints are kept (F x J); the arrays are whole then."""
        self.arrays.kept[:] = kept
        self._flush()
        return self.arrays

    def _flush(self) -> None:
        for values in self.arrays.named().values():
            values.flush()  # type: ignore[attr-defined]


def start(
    folder: Path,
    size: Size,
    made_of: Sequence[Any],
    *,
    extra: Sequence[str] = (),
    notes: Mapping[str, Any] | None = None,
) -> Writing:
    """Arrays to write in `folder`: those of an earlier call with the same input, to go on with, else new ones.

    `made_of`: all that the result depends on, of which the text is compared; `notes`: what else `state.json` shall say.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(repr(list(made_of)).encode()).hexdigest()
    try:
        saved = json.loads((folder / "state.json").read_text())
        done = int(saved["done"]) if saved["key"] == key else 0
    except (OSError, ValueError, KeyError):
        done = 0
    mapped = {name: _mapped(folder, name, size, fresh=done == 0) for name in (*ARRAYS, *extra)}
    arrays = HarvestArrays(**{name: mapped[name] for name in ARRAYS}, extra={name: mapped[name] for name in extra})
    writing = Writing(folder, key, notes or {}, arrays, done)
    writing.advance(done)
    return writing


def _mapped(folder: Path, name: str, size: Size, *, fresh: bool) -> NDArray[Any]:
    letters, kind = (ARRAYS | EXTRA)[name]
    path = folder / f"{name}.npy"
    if not fresh:
        return np.lib.format.open_memmap(path, "r+")
    return np.lib.format.open_memmap(path, "w+", dtype=np.dtype(kind), shape=size.of(letters))


def notes_of(folder: Path) -> dict[str, Any]:
    """The `notes` with which the arrays of `folder` were started."""
    saved = json.loads((folder / "state.json").read_text())
    return {name: value for name, value in saved.items() if name not in ("key", "done")}


def summary(result: HarvestArrays, skeleton: Skeleton) -> dict[str, Any]:
    """The least that a report says: what was found and kept, per joint and in all; plain numbers."""
    good, kept, error = result.outcome == Outcome.FOUND, np.asarray(result.kept), result.error_px
    joints = []
    for j, name in enumerate(skeleton.keypoints):
        seen = np.asarray(result.seen[:, :, j])
        spread = np.sqrt(np.trace(result.covariance[:, j].astype(np.float64), axis1=-2, axis2=-1) / 3)
        joints.append(
            {
                "name": name,
                "found": int(good[:, j].sum()),
                "kept": int(kept[:, j].sum()),
                "median_px": round(float(np.median(error[:, :, j][seen])), 2) if seen.any() else 0.0,
                "spread_mm": round(float(np.median(spread)), 1),
            }
        )
    totals = {"frames": len(kept), "found": int(good.sum()), "kept": int(kept.sum()), "median_px": 0.0}
    if result.seen.any():
        totals["median_px"] = round(float(np.median(error[result.seen])), 2)
    return totals | {"outcomes": counts(result.outcome), "joints": joints, "cameras": [], "findings": [], "shown": []}
