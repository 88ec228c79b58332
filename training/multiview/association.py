"""Who is who: the same person in several views, and the same subject from frame to frame.

People of one view come in no order. Two people of two views are the same if their joints triangulate with a small reprojection error;
groups grow from the best pair, one person a view. A subject that is known already is looked for in every view where its last places and
its speed put it, so that people who cross in one view are told apart by the others.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from training.multiview.triangulation import linear, reprojected
from training.poses.cameras import Camera
from webapp.progress import Progress, silent

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
LEAST_JOINTS, MOST_OFF = 4, 3.0  # joints in common; times the inlier distance
STRIDE_MM = 600.0  # between two frames nobody's middle moves further
SAME_MM = 300.0  # two bodies are never so near to each other joint by joint
EXPECTED_FOR = 3  # frames for which somebody unseen is expected to go on as before
FOLLOWS = 0.2  # how much of its speed a subject changes in a frame: less is blind to turns, more follows the noise
FAR = 1e6
AT_ONCE, SAID_EVERY = 4096, 256  # frames read from a mapped file; frames between two words of progress


@dataclass(frozen=True)
class Subject:
    """One person of a recording from frame `first` on: `slots` R x V, which detection of a view is the person, -1: not seen there."""

    first: int
    slots: Int[np.ndarray, "R V"]

    @property
    def last(self) -> int:
        return self.first + len(self.slots) - 1

    @property
    def seen_in(self) -> int:
        """Frames in which two views show the person."""
        return int(((self.slots >= 0).sum(axis=1) >= 2).sum())

    @property
    def views(self) -> float:
        """How many views show the person, in the mean over the frames in which two do."""
        count = (self.slots >= 0).sum(axis=1)
        return float(count[count >= 2].mean()) if (count >= 2).any() else 0.0

    def detections(self, people: Float[np.ndarray, "F V P J 3"]) -> Float[np.ndarray, "R V J 3"]:
        """The subject's own out of those of everybody (the whole recording's), 0 where it is not seen."""
        frame = np.arange(self.first, self.last + 1)[:, None]
        own = np.asarray(people[frame, np.arange(people.shape[1])[None], np.maximum(self.slots, 0)])
        return np.where((self.slots >= 0)[..., None, None], own, np.float32(0))


@dataclass(frozen=True)
class Followed:
    """`subjects`, the most seen first; `brief` are those seen in fewer frames than was asked for."""

    subjects: list[Subject]
    brief: list[Subject]


def follow(
    cameras: Sequence[Camera],
    people: Float[np.ndarray, "F V P J 3"],
    *,
    inlier_px: float,
    least_score: float,
    least_frames: int = 1,
    most_away: int = 300,
    progress: Progress = silent,
) -> Followed:
    """Everybody whom two views see, out of detections of people in no order (F x V x P x J x 3: px, px, score; 0 missing).

    Who comes back within `most_away` frames near where they were last seen is the same subject."""
    follower = _Follower(cameras, inlier_px, least_score, most_away)
    some = people[:0]
    for frame in range(len(people)):
        if frame % SAID_EVERY == 0:
            progress(frame, len(people), "frames followed")
        if frame % AT_ONCE == 0:
            some = np.asarray(people[frame : frame + AT_ONCE])
        follower.see(frame, some[frame % AT_ONCE])
    every = [track.subject() for track in (*follower.gone, *follower.tracks)]
    every.sort(key=lambda s: (-int((s.slots >= 0).sum()), s.first))
    # Who is seen briefly in a long recording is left out, but a short recording is not left empty.
    least = min(least_frames, max((s.seen_in for s in every), default=1))
    return Followed([s for s in every if s.seen_in >= least], [s for s in every if s.seen_in < least])


@dataclass
class _Track:
    """A subject while it is followed: J x 3 mm as last triangulated (NaN: unknown), its speed (mm a frame), the frame it was last seen."""

    first: int
    place: Array
    seen: int
    speed: Array = field(default_factory=lambda: np.zeros(3))
    slots: list[NDArray[np.int64]] = field(default_factory=list)

    def expected(self, frame: int) -> Array:
        return self.place + min(frame - self.seen, EXPECTED_FOR) * self.speed

    def extend(self, frame: int, place: Array, slots: NDArray[np.int64]) -> None:
        """Seen again: joints J x 3 mm, and which detection of each of V views it is."""
        moved = (place - self.place) / (frame - self.seen)
        if frame - self.seen <= EXPECTED_FOR and np.isfinite(moved).all(axis=1).any():
            self.speed = (1 - FOLLOWS) * self.speed + FOLLOWS * _middle(moved)
        else:
            self.speed = np.zeros(3)
        known = np.isfinite(place).all(axis=1, keepdims=True)
        fresh = frame - self.seen <= EXPECTED_FOR
        carried = self.expected(frame) if fresh else np.full_like(place, np.nan)
        self.place = np.where(known, place, carried)
        self.slots += [np.full_like(slots, -1)] * (frame - self.seen - 1) + [slots]
        self.seen = frame

    def subject(self) -> Subject:
        return Subject(self.first, np.stack(self.slots))


class _Follower:
    """Tracks of people through the frames of a recording."""

    def __init__(self, cameras: Sequence[Camera], inlier_px: float, least_score: float, most_away: int) -> None:
        self.cameras, self.inlier_px, self.least_score, self.most_away = cameras, inlier_px, least_score, most_away
        self.tracks: list[_Track] = []
        self.gone: list[_Track] = []  # away for too long to come back

    def see(self, frame: int, people: Floats) -> None:
        """Go on with the tracks by the people of one frame, V x P x J x 3; begin others."""
        if any(frame - track.seen > self.most_away for track in self.tracks):
            self.gone += [track for track in self.tracks if frame - track.seen > self.most_away]
            self.tracks = [track for track in self.tracks if frame - track.seen <= self.most_away]
        there = (people[..., 2] > self.least_score).sum(axis=-1) >= LEAST_JOINTS
        live = [track for track in self.tracks if frame - track.seen <= EXPECTED_FOR]
        slots = self._expected(live, frame, people, there)
        places = self._checked(people, slots)
        left = people.copy()
        left[~there] = 0.0
        for track, own, place in zip(live, slots, places):
            if (own >= 0).sum() >= 2:
                track.extend(frame, place, own)
                for v in np.flatnonzero(own >= 0):
                    left[v, own[v]] = 0.0
        if ((left[..., 2] > self.least_score).any(axis=(1, 2))).sum() >= 2:
            self._begin(frame, left)

    def _expected(self, live: list[_Track], frame: int, people: Floats, there: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Tracks x views: which detection lies where each track is expected, -1 for none."""
        slots = np.full((len(live), len(people)), -1)
        if not live:
            return slots
        place = np.stack([track.expected(frame) for track in live])
        pixels = reprojected(self.cameras, place)
        for v, camera in enumerate(self.cameras):
            some = np.flatnonzero(there[v])
            if not len(some):
                continue
            mm_a_px = np.maximum(_depth(camera, place), 1.0) / camera.matrix[0, 0]
            cost = _costs(pixels[:, v], people[v, some], self.least_score) * mm_a_px[:, None]
            reach = STRIDE_MM * np.array([min(frame - track.seen, EXPECTED_FOR) for track in live])
            cost = np.where(cost < reach[:, None], cost, FAR)
            for row, column in zip(*linear_sum_assignment(cost)):
                if cost[row, column] < FAR:
                    slots[row, v] = some[column]
        return slots

    def _checked(self, people: Floats, slots: NDArray[np.int64]) -> Array:
        """Triangulated joints of each track (K x J x 3 mm), after views that contradict the others are taken out of `slots`."""
        views = np.arange(len(people))[None]
        while True:  # each time round takes a view out of a track, or is the last
            own = np.where((slots >= 0)[..., None, None], people[views, np.maximum(slots, 0)], 0.0).astype(np.float64)
            points = linear(self.cameras, own[..., :2], own[..., 2], least_score=self.least_score)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # views without any joint
                off = np.nanmedian(np.where(points.used, points.error_px, np.nan), axis=2)
            off = np.where(slots >= 0, np.nan_to_num(off, nan=np.inf), 0.0)
            wrong = np.flatnonzero((off > MOST_OFF * self.inlier_px).any(axis=1))
            if not len(wrong):
                return points.position
            slots[wrong, off[wrong].argmax(axis=1)] = -1

    def _begin(self, frame: int, left: Floats) -> None:
        """Groups of detections that belong to no live track: somebody who comes back, or a new one."""
        groups = grouped(self.cameras, left, inlier_px=self.inlier_px, least_score=self.least_score)
        seen = [track.place for track in self.tracks if track.seen == frame]
        groups = [g for g in groups if all(_apart(g.joints, place) >= SAME_MM for place in seen)]
        away = [track for track in self.tracks if track.seen < frame]
        cost = np.array([[np.linalg.norm(g.middle - _middle(t.place)) for t in away] for g in groups]).reshape(
            len(groups), len(away)
        )
        cost = np.where(cost <= 3 * STRIDE_MM, cost, FAR)
        back = {int(g): int(t) for g, t in zip(*linear_sum_assignment(cost)) if cost[g, t] < FAR}
        for number, group in enumerate(groups):
            slots = np.full(len(left), -1)
            for v, p in group.members:
                slots[v] = p
            if number in back:
                away[back[number]].extend(frame, group.joints, slots)
            else:
                self.tracks.append(_Track(frame, group.joints, frame, slots=[slots]))


def _middle(place: Array) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing is known
        return np.asarray(np.nanmedian(place, axis=0))


def _apart(one: Array, other: Array) -> float:
    """Median distance of common joints (mm); infinite where there are too few."""
    gap = np.linalg.norm(one - other, axis=1)
    known = np.isfinite(gap)
    return float(np.median(gap[known])) if known.sum() >= LEAST_JOINTS else float("inf")


def _depth(camera: Camera, place: Array) -> Array:
    """Median distance along the camera's axis of each of K x J x 3 (mm)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(np.nanmedian(camera.see(place)[..., 2], axis=1), nan=FAR)


def _costs(expected: Array, people: Floats, least_score: float) -> Array:
    """K x P: median distance (px) of common joints of K x J x 2 and P x J x 3; infinite where there are too few."""
    gap = np.linalg.norm(expected[:, None] - people[None, ..., :2], axis=-1)
    known = np.isfinite(gap) & (people[None, ..., 2] > least_score)
    gap = np.where(known, gap, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        off = np.nanmedian(gap, axis=-1)
    return np.where(known.sum(axis=-1) >= LEAST_JOINTS, off, np.inf)


class Group:
    """One person: (view, person) pairs, the triangulated joints (J x 3 mm, NaN: unknown), their middle, and their median error (px)."""

    def __init__(self, members: list[tuple[int, int]], joints: Array, error_px: float) -> None:
        self.members, self.joints, self.middle, self.error_px = members, joints, _middle(joints), error_px


def grouped(
    cameras: Sequence[Camera], people: Float[np.ndarray, "V P J 3"], *, inlier_px: float, least_score: float
) -> list[Group]:
    """Groups of V x P x J x 3 that are seen by two cameras or more, the surest first."""
    views = len(people)
    seen = (people[..., 2] > least_score).sum(axis=-1) >= LEAST_JOINTS
    candidates = []
    for a, b in combinations(range(views), 2):
        both = [(i, k) for i in np.flatnonzero(seen[a]) for k in np.flatnonzero(seen[b])]
        if not both:
            continue
        pair = np.stack([np.stack([people[a, i], people[b, k]]) for i, k in both]).astype(np.float64)
        points = linear([cameras[a], cameras[b]], pair[..., :2], pair[..., 2], least_score=least_score)
        for (i, k), known, off in zip(both, points.known, points.error_px):
            error = float(np.median(off[:, known])) if known.sum() >= LEAST_JOINTS else float("nan")
            if np.isfinite(error):  # not behind a camera
                candidates.append((error, (a, int(i)), (b, int(k))))
    member: dict[tuple[int, int], int] = {}
    groups: dict[int, list[tuple[int, int]]] = {}
    for error, one, other in sorted(candidates):
        if error > MOST_OFF * inlier_px:
            break
        first, second = member.get(one), member.get(other)
        if first is not None and first == second:
            continue
        joined = (groups[first] if first is not None else [one]) + (groups[second] if second is not None else [other])
        if len({v for v, _ in joined}) < len(joined) or not _agree(cameras, people, joined, inlier_px, least_score):
            continue
        for old in (first, second):
            if old is not None:
                del groups[old]
        number = min(x for x in (first, second, len(member) + len(groups) + 1000) if x is not None)
        groups[number] = joined
        for person in joined:
            member[person] = number
    parts = [_group(cameras, people, members, least_score) for members in groups.values()]
    return sorted(parts, key=lambda g: (-len(g.members), g.error_px))


def _agree(
    cameras: Sequence[Camera], people: Floats, members: list[tuple[int, int]], inlier_px: float, least_score: float
) -> bool:
    return len(members) < 3 or _group(cameras, people, members, least_score).error_px <= MOST_OFF * inlier_px


def _group(cameras: Sequence[Camera], people: Floats, members: list[tuple[int, int]], least_score: float) -> Group:
    together = np.stack([people[v, p] for v, p in members])[None].astype(np.float64)
    points = linear([cameras[v] for v, _ in members], together[..., :2], together[..., 2], least_score=least_score)
    known = points.known[0]
    error = float(np.median(np.nan_to_num(points.error_px[0][:, known], nan=np.inf))) if known.any() else float("inf")
    return Group(members, points.position[0], error)
