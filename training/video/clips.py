"""Who is who over time in one camera, and where to cut: people come in no order, leave, cross and jump.

A track follows the detection nearest to where its last two put it. It ends when it is not seen for `gap_s`, when a whole body jumps
further than a body moves, and when two people come so close that exchanging them would fit as well: behind it new clips begin, since who
is who is not known. F frames, P detections a frame, J joints; px.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from training.video.config import ClipConfig
from webapp.progress import Progress, silent

Floats = NDArray[np.floating]
LEAST_JOINTS = 3
FAR = 1e6
AT_ONCE = 4096  # frames read from a mapped file


@dataclass(frozen=True)
class Clip:
    """One person from frame `first` on: `slots` F, which detection of each frame is he, -1 where he is not seen; `why` it ended."""

    person: int
    first: int
    slots: Int[np.ndarray, " F"]
    why: str = "the video ends"


@dataclass
class _Track:
    person: int
    first: int
    place: Floats  # J x 3 as last seen
    speed: Floats  # J x 2 px a frame
    seen: int  # frame
    slots: list[int] = field(default_factory=list)

    def expected(self, frame: int) -> Floats:
        away = min(frame - self.seen, 3)
        return np.asarray(self.place[:, :2] + away * self.speed)


@dataclass(frozen=True)
class Followed:
    """`clips` in order of their beginning; `left_out` clips too short; `crossings` frames where two people could be exchanged."""

    clips: list[Clip]
    left_out: int
    crossings: list[int]


def alone(score: Float[np.ndarray, "F P J"]) -> Followed:
    """Clips of people whom a predictor of 3D has followed already, one a person, from first to last seen. `score` F x P x J."""
    clips: list[Clip] = []
    for person in range(score.shape[1]):
        there = np.flatnonzero((score[:, person] > 0).any(axis=1))
        if len(there):
            slots = np.full(there[-1] - there[0] + 1, -1)
            slots[there - there[0]] = person
            clips.append(Clip(len(clips), int(there[0]), slots))
    return Followed(clips, 0, [])


def follow(
    people: Float[np.ndarray, "F P J 3"], fps: float, config: ClipConfig, *, progress: Progress = silent
) -> Followed:
    """Clips of F x P x J x 3 (px, px, score; 0: missing)."""
    there = np.stack([(people[:, p, :, 2] > 0).sum(axis=1) >= LEAST_JOINTS for p in range(people.shape[1])], axis=1)
    follower = _Follower(config, max(1, round(config.gap_s * fps)))
    some = people[:0]
    for frame in range(len(people)):
        if frame % AT_ONCE == 0:
            progress(frame, len(people), "frames followed")
            some = np.asarray(people[frame : frame + AT_ONCE])  # out of the mapped file
        follower.see(frame, some[frame % AT_ONCE], np.flatnonzero(there[frame]))
    for track in list(follower.live):
        follower.end(track, "the video ends")
    done = follower.done
    least = min(max(1, round(config.least_s * fps)), max((len(c.slots) for c in done), default=1))
    kept = sorted((c for c in done if len(c.slots) >= least), key=lambda c: (c.first, c.person))
    numbered = [Clip(n, c.first, c.slots, c.why) for n, c in enumerate(kept)]
    return Followed(numbered, len(done) - len(kept), follower.crossings)


class _Follower:
    """Tracks of people, frame by frame: `live` ones, those that are `done`, frames in which two people cross."""

    def __init__(self, config: ClipConfig, gap: int) -> None:
        self.config, self.gap = config, gap
        self.live: list[_Track] = []
        self.done: list[Clip] = []
        self.crossings: list[int] = []
        self._count = 0

    def end(self, track: _Track, why: str) -> None:
        self.live.remove(track)
        self.done.append(Clip(track.person, track.first, np.array(track.slots[: track.seen - track.first + 1]), why))

    def see(self, frame: int, people: Floats, slots: NDArray[np.intp]) -> None:
        """Continue tracks by the people of one frame, `slots` of which are there; end and begin others."""
        for track in list(self.live):
            if frame - track.seen > self.gap:
                self.end(track, f"not seen for {self.config.gap_s:g} s")
        cost = _costs(self.live, people, slots, frame, self.config)
        rows, columns = linear_sum_assignment(cost) if cost.size else (np.zeros(0, int), np.zeros(0, int))
        taken = {int(r): int(c) for r, c in zip(rows, columns) if cost[r, c] < FAR}
        crossing: set[int] = set()
        for a, b in _doubtful(cost, taken, self.config):
            crossing |= {a, b}
            self.crossings.append(frame)
        used = set()
        for number, track in enumerate(list(self.live)):
            if number in crossing:
                self.end(track, "another person crosses")
            elif number in taken:
                used.add(taken[number])
                _extend(track, people[slots[taken[number]]], int(slots[taken[number]]), frame)
        for column, slot in enumerate(slots.tolist()):
            if column not in used:
                self._begin(people[slot].astype(np.float64), slot, frame)
        self.live.sort(key=lambda t: t.first)

    def _begin(self, place: Floats, slot: int, frame: int) -> None:
        self.live.append(_Track(self._count, frame, place, np.zeros((len(place), 2)), frame, [slot]))
        self._count += 1


def _extend(track: _Track, place: Floats, slot: int, frame: int) -> None:
    both = (place[:, 2] > 0) & (track.place[:, 2] > 0)
    moved = (place[:, :2] - track.place[:, :2]) / (frame - track.seen)
    shared = _median(moved[both]) if both.any() else np.zeros(2)
    track.speed = np.where(both[:, None], 0.5 * track.speed + 0.5 * shared, shared)
    track.place = np.where((place[:, 2] > 0)[:, None], place, track.place).astype(np.float64)
    track.slots += [-1] * (frame - track.seen - 1) + [slot]
    track.seen = frame


def _median(values: Floats) -> Floats:
    """Of a few rows: ten times as fast as numpy's, which is called twice for every frame."""
    ordered = np.sort(values, axis=0)
    return np.asarray((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


def _size(place: Floats) -> float:
    some = place[place[:, 2] > 0, :2]
    return float(max(np.ptp(some, axis=0).max(), 1.0)) if len(some) > 1 else 1.0


def _costs(live: list[_Track], people: Floats, slots: NDArray[np.int64], frame: int, config: ClipConfig) -> Floats:
    """Median distance of common joints over the person's size; FAR beyond what a body moves."""
    cost = np.full((len(live), len(slots)), FAR)
    for r, track in enumerate(live):
        expected, size = track.expected(frame), _size(track.place)
        for c, slot in enumerate(slots.tolist()):
            both = (people[slot, :, 2] > 0) & (track.place[:, 2] > 0)
            if both.sum() < LEAST_JOINTS:
                continue
            gap = people[slot, both, :2] - expected[both]
            off = float(_median(np.sqrt((gap**2).sum(axis=1)))) / size
            if off < config.jump * min(frame - track.seen, 3):
                cost[r, c] = off
    return cost


def _doubtful(cost: Floats, taken: dict[int, int], config: ClipConfig) -> list[tuple[int, int]]:
    """Pairs of tracks that could be exchanged: it would cost little more than the assignment taken."""
    gaps = []
    rows = sorted(taken)
    for n, a in enumerate(rows):
        for b in rows[n + 1 :]:
            other = cost[a, taken[b]] + cost[b, taken[a]]
            if other - cost[a, taken[a]] - cost[b, taken[b]] < config.crossing:
                gaps.append((a, b))
    return gaps
