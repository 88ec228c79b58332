"""Which frame a file belongs to: by the number in its name, so that a missing file leaves its frame empty."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"\d{1,18}")  # longer ones are no frames, and Python does not read them
SPARSE = 4  # a frame range that many times longer than its files are many is counted by their order


def in_order(name: str) -> list[tuple[int, int, str]]:
    """A key to sort names by as people count: frame2 before frame10."""
    parts = re.split(r"(\d{1,18})", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts if part]


def numbers(names: Sequence[str]) -> list[int] | None:
    """The number that counts through names which are otherwise alike; None where there is no such one."""
    if len({_NUMBER.sub("#", name) for name in names}) != 1:
        return None
    columns = list(zip(*(map(int, _NUMBER.findall(name)) for name in names)))
    counting = [column for column in columns if len(set(column)) == len(names)]
    varying = [column for column in columns if len(set(column)) > 1] or columns[-1:]
    return list(varying[0]) if len(varying) == 1 and varying[0] in counting else None


@dataclass(frozen=True)
class Timeline:
    """`places`: frame of every name, by camera; `frames` in all; `notes` say what is missing."""

    places: list[list[int]]
    frames: int
    notes: tuple[str, ...] = ()


def of(cameras: Sequence[str], names: Sequence[Sequence[str]]) -> Timeline:
    """Frames of the names of each camera's files (without their endings), which run together where they are numbered alike."""
    every = [numbers(view) if view else [] for view in names]
    counted = [view for view in every if view]
    most = max((len(view) for view in names), default=0)
    if not counted or any(view is None for view in every):
        return _by_order(names)
    starts = [min(view) for view in counted]
    apart = max(starts) > min(max(view) for view in counted)  # each camera counts from a beginning of its own
    first = [(min(view) if apart else min(starts)) if view else 0 for view in every if view is not None]
    offsets = [[n - start for n in view or []] for view, start in zip(every, first)]
    step = math.gcd(*(n for view in offsets for n in view)) or 1
    places = [[n // step for n in view] for view in offsets]
    frames = max((max(view) for view in places if view), default=0) + 1
    if frames > SPARSE * most + 16:
        return _by_order(
            names, "the numbers in the names of the files are too far apart for frames: taken in their order"
        )
    notes = []
    for camera, view in zip(cameras, places):
        missing = sorted(set(range(frames)) - set(view))
        if missing:
            notes.append(f"{camera}: {len(missing)} of {frames} frames have no file, the first of them {missing[0]}")
    return Timeline(places, frames, tuple(notes))


def _by_order(names: Sequence[Sequence[str]], *notes: str) -> Timeline:
    places = []
    for view in names:
        order = sorted(range(len(view)), key=lambda n: in_order(view[n]))
        rank = {n: place for place, n in enumerate(order)}
        places.append([rank[n] for n in range(len(view))])
    frames = max((len(view) for view in names), default=0)
    uneven = len({len(view) for view in names}) > 1
    unequal = (f"the cameras have {', '.join(str(len(view)) for view in names)} files",) if uneven else ()
    return Timeline(places, frames, (*notes, *unequal))
