"""BVH motion files: a hierarchy of joints with offsets and channels, then one line of channel values per frame.

Own parser: those on PyPI are unkept or read no end sites. World: y up, as BVH has it; lengths in the file's unit.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.poses import rotations
from training.poses.mocap import LEAST_MM, MOST_MM, BadMotion, Motion, height_mm

MOST_JOINTS, MOST_VALUES = 500, 200_000_000
_MOTION = re.compile(r"\sMOTION\s", re.IGNORECASE)
_FRAMES = re.compile(r"\s*frames\s*:\s*(\d+)\s+frame\s+time\s*:\s*(\S+)", re.IGNORECASE)
CHANNELS = ("Xposition", "Yposition", "Zposition", "Xrotation", "Yrotation", "Zrotation")


@dataclass
class _Joint:
    name: str
    parent: int
    offset: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    channels: list[str] = field(default_factory=list)


UNITS_MM = (10.0, 1000.0, 25.4, 1.0)  # cm as usual, m (Blender), inches, mm


def read_bvh(path: Path, unit_mm: float | None = None) -> Motion:
    """All joints (end sites as '<parent>_end') of a BVH file; `unit_mm`: the file's unit, which it does not say: the first of
    UNITS_MM in which a person has a person's size. Raises BadMotion."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise BadMotion(f"{path.name}: {error}") from None
    parts = _MOTION.split(text, maxsplit=1)
    words = parts[0].split()
    if not words or words[0].upper() != "HIERARCHY" or len(parts) < 2:
        raise BadMotion(f"{path.name}: no BVH file: HIERARCHY and MOTION are missing")
    joints = _hierarchy(words[1:], path.name)
    seconds, values = _motion(parts[1], sum(len(j.channels) for j in joints), path.name)
    positions = _positions(joints, values)
    if unit_mm is None:
        size = height_mm(positions)
        unit_mm = next((u for u in UNITS_MM if LEAST_MM <= size * u <= MOST_MM), UNITS_MM[0])
    return Motion(
        [j.name for j in joints],
        (positions * unit_mm).astype(np.float32),
        1 / seconds if seconds else 30.0,
    )


def _hierarchy(words: list[str], name: str) -> list[_Joint]:
    joints: list[_Joint] = []
    stack: list[int] = []
    tokens = iter(words)
    try:
        for word in tokens:
            word = word.upper()
            if word in ("ROOT", "JOINT", "END"):
                named = list(itertools.takewhile(lambda w: w != "{", tokens))  # 3ds Max has blanks in names
                parent = stack[-1] if stack else -1
                joints.append(_Joint(f"{joints[parent].name}_end" if word == "END" else " ".join(named), parent))
                stack.append(len(joints) - 1)
            elif word == "}":
                stack.pop()
            elif word == "OFFSET":
                joints[stack[-1]].offset = [float(next(tokens)) for _ in range(3)]
            elif word == "CHANNELS":
                joints[stack[-1]].channels = [next(tokens).capitalize() for _ in range(int(next(tokens)))]
                if unknown := set(joints[stack[-1]].channels) - set(CHANNELS):
                    raise BadMotion(f"{name}: unknown channel {sorted(unknown)[0]!r}")
            else:
                raise BadMotion(f"{name}: {word[:40]!r} is no part of a BVH hierarchy")
    except (StopIteration, IndexError, ValueError) as error:
        raise BadMotion(f"{name}: the hierarchy is broken ({error})") from None
    if not joints or stack or len(joints) > MOST_JOINTS:
        raise BadMotion(f"{name}: the hierarchy is empty, unclosed, or has over {MOST_JOINTS} joints")
    return joints


def _motion(text: str, channels: int, name: str) -> tuple[float, NDArray[np.float64]]:
    try:
        start = _FRAMES.match(text)
        if start is None:
            raise ValueError("'Frames: N' and 'Frame Time: S' are missing")
        frames, seconds = int(start[1]), float(start[2])
        values = np.array(text[start.end() :].split(), dtype=np.float64)
    except ValueError as error:
        raise BadMotion(f"{name}: the motion part is broken ({error})") from None
    if frames < 1 or frames * channels != len(values) or len(values) > MOST_VALUES or not np.isfinite(values).all():
        raise BadMotion(f"{name}: {frames} frames of {channels} channels do not fit {len(values)} finite values")
    return seconds, values.reshape(frames, channels)


def _positions(joints: list[_Joint], values: NDArray[np.float64]) -> NDArray[np.float64]:
    frames = len(values)
    place = np.zeros((frames, len(joints), 3))
    turn = np.zeros((frames, len(joints), 3, 3))
    column = 0
    for n, joint in enumerate(joints):
        local = np.broadcast_to(np.eye(3), (frames, 3, 3))
        offset = np.broadcast_to(np.array(joint.offset), (frames, 3)).copy()
        moved = [c for c in joint.channels if c.endswith("position")]
        if moved:
            offset[:, ["XYZ".index(c[0]) for c in moved]] = 0.0
        for channel in joint.channels:
            value = values[:, column]
            column += 1
            if channel.endswith("position"):
                offset[:, "XYZ".index(channel[0])] = value
            else:
                local = local @ rotations.about("XYZ".index(channel[0]), np.radians(value))
        parent = joint.parent
        place[:, n] = offset if parent < 0 else place[:, parent] + np.einsum("fij,fj->fi", turn[:, parent], offset)
        turn[:, n] = local if parent < 0 else turn[:, parent] @ local
    return place
