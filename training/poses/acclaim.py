"""Acclaim motion: a skeleton (ASF) and a motion (AMC), as the CMU database has them. World y up.

Own parser: those that exist are scripts without errors or tests. A bone's axis frame C, its local turn M and direction d
(global, unit) give its end: parent's end + length * (parent's turn C M C^-1) d.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.poses import rotations
from training.poses.mocap import BadMotion, Motion

CMU_UNIT_MM = 25.4 / 0.45
MOST_FRAMES = 1_000_000


@dataclass
class _Bone:
    name: str
    direction: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    dof: list[str] = field(default_factory=list)
    parent: str = "root"


def read_acclaim(asf: Path, amc: Path, fps: float = 120.0) -> Motion:
    """Ends of all bones (and 'root') over time, mm. Raises BadMotion naming the file and line's first word."""
    bones, order, radians = _skeleton(asf)
    frames, own = _frames(amc, bones)
    radians = radians if own is None else own
    return Motion(["root", *order], (_positions(bones, order, frames, radians) * CMU_UNIT_MM).astype(np.float32), fps)


def _euler(values: NDArray[np.float64], order: str) -> NDArray[np.float64]:
    """Turn about x, then y, then z for order 'XYZ' (global axes): F x 3 x 3 of F x 3 radians."""
    turn = np.broadcast_to(np.eye(3), (len(values), 3, 3))
    for column, letter in enumerate(order.upper()):
        turn = rotations.about("XYZ".index(letter), values[:, column]) @ turn
    return turn


def _skeleton(path: Path) -> tuple[dict[str, _Bone], list[str], bool]:
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    except OSError as error:
        raise BadMotion(f"{path.name}: {error}") from None
    parsed, line = _Asf(), list[str]()
    try:
        for line in lines:
            if line and not line[0].startswith("#"):
                parsed.take(line)
    except (ValueError, IndexError, KeyError) as error:
        raise BadMotion(f"{path.name}: {' '.join(line)[:60]!r} cannot be read ({error})") from None
    if not parsed.order:
        raise BadMotion(f"{path.name}: no ASF skeleton: there are no bones")
    return parsed.bones, _parents_first(parsed.bones, parsed.order, path.name), parsed.radians


class _Asf:
    """An ASF file as far as its lines were taken: bones by name, their order, whether angles are in radians."""

    def __init__(self) -> None:
        self.bones = {"root": _Bone("root", dof=["tx", "ty", "tz", "rx", "ry", "rz"])}
        self.order: list[str] = []
        self.radians = False
        self._section, self._root_axis = "", "XYZ"
        self._bone: _Bone | None = None

    def take(self, line: list[str]) -> None:
        word = line[0].lower()
        if word.startswith(":"):
            self._section = word
        elif self._section == ":units" and word == "angle":
            self.radians = line[1].lower().startswith("rad")
        elif self._section == ":root":
            self._root(word, line)
        elif self._section == ":bonedata":
            self._bonedata(word, line)
        elif self._section == ":hierarchy" and word not in ("begin", "end"):
            for child in line[1:]:
                self.bones[child].parent = word

    def _root(self, word: str, line: list[str]) -> None:
        if word == "axis":
            self._root_axis = line[1]
        elif word == "orientation":
            angles = np.radians([[float(v) for v in line[1:4]]])
            self.bones["root"].axis = _euler(angles, self._root_axis)[0]
        elif word == "order":
            self.bones["root"].dof = [d.lower() for d in line[1:]]

    def _bonedata(self, word: str, line: list[str]) -> None:
        if word == "begin":
            self._bone = _Bone("")
        elif word == "end" and self._bone:
            self.bones[self._bone.name] = self._bone
            self.order.append(self._bone.name)
        elif self._bone:
            _field(self._bone, word, line)


def _parents_first(bones: dict[str, _Bone], order: list[str], name: str) -> list[str]:
    done, left = ["root"], list(order)
    while left:
        ready = [b for b in left if bones[b].parent in done]
        if not ready:
            raise BadMotion(f"{name}: bone {left[0]!r} hangs on no bone that hangs on the root")
        done += ready
        left = [b for b in left if b not in ready]
    return done[1:]


def _field(bone: _Bone, word: str, line: list[str]) -> None:
    if word == "name":
        bone.name = line[1]
    elif word == "direction":
        bone.direction = np.array([float(v) for v in line[1:4]])
    elif word == "length":
        bone.length = float(line[1])
    elif word == "axis":
        bone.axis = _euler(np.radians([[float(v) for v in line[1:4]]]), line[4])[0]
    elif word == "dof":
        bone.dof = [d.lower() for d in line[1:]]


def _frames(path: Path, bones: dict[str, _Bone]) -> tuple[dict[str, NDArray[np.float64]], bool | None]:
    """Values by bone, and whether the motion itself says that they are in radians; None where it does not."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise BadMotion(f"{path.name}: {error}") from None
    values: dict[str, list[list[float]]] = {name: [] for name in bones}
    frames, radians = 0, None
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0][0] in "#:":
            if words and words[0].lower() in (":radians", ":degrees"):
                radians = words[0].lower() == ":radians"
            continue
        if len(words) == 1 and words[0].isdigit():
            frames += 1
            continue
        bone = bones.get(words[0])
        if bone is None or len(words) - 1 != len(bone.dof) or not frames:
            raise BadMotion(
                f"{path.name}: line {number}: {words[0][:40]!r} with {len(words) - 1} values is not in the skeleton"
            )
        try:
            values[bone.name].append([float(v) for v in words[1:]])
        except ValueError as error:
            raise BadMotion(f"{path.name}: line {number}: {error}") from None
    if not 0 < frames <= MOST_FRAMES:
        raise BadMotion(f"{path.name}: holds {frames} frames; wanted 1 to {MOST_FRAMES}")
    by_name = {}
    for name, bone in bones.items():
        if bone.dof and len(values[name]) != frames:
            raise BadMotion(f"{path.name}: {name!r} has {len(values[name])} of {frames} frames")
        by_name[name] = np.array(values[name]).reshape(frames, -1) if bone.dof else np.zeros((frames, 0))
        if not np.isfinite(by_name[name]).all():
            raise BadMotion(f"{path.name}: {name!r} holds numbers that are not finite")
    return by_name, radians


def _positions(
    bones: dict[str, _Bone], order: list[str], frames: dict[str, NDArray[np.float64]], radians: bool
) -> NDArray[np.float64]:
    count = len(frames["root"])
    place: dict[str, NDArray[np.float64]] = {}
    turn: dict[str, NDArray[np.float64]] = {}
    for name in ["root", *order]:
        bone, values = bones[name], frames[name]
        angles = np.zeros((count, 3))
        moved = np.zeros((count, 3))
        for column, dof in enumerate(bone.dof):
            if dof[0] in "rt" and dof[1:] in ("x", "y", "z"):
                (angles if dof[0] == "r" else moved)[:, "xyz".index(dof[1])] = values[:, column]
        local = bone.axis @ _euler(angles if radians else np.radians(angles), "XYZ") @ bone.axis.T
        if name == "root":
            place[name], turn[name] = moved, local
            continue
        turn[name] = turn[bone.parent] @ local
        place[name] = place[bone.parent] + bone.length * turn[name] @ bone.direction
    return np.stack([place[n] for n in ["root", *order]], axis=1)
