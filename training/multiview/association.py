"""Who is who: the same person in several views, and the same subject from frame to frame.

People of one view come in no order. Two people of two views are the same if their joints triangulate with a small reprojection error;
groups grow from the best pair, one person a view. The subject is the group nearest to where he was, or the best seen at first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from training.multiview.triangulation import linear
from training.poses.cameras import Camera

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
LEAST_JOINTS, MOST_OFF = 4, 3.0  # joints in common; times the inlier distance
STRIDE_MM = 600.0  # between two frames nobody's middle moves further


def subject_of(
    cameras: Sequence[Camera], people: Float[np.ndarray, "F V P J 3"], *, inlier_px: float, least_score: float
) -> Float[np.ndarray, "F V J 3"]:
    """The detections of one subject, F x V x J x 3, out of those of everybody (F x V x P x J x 3); 0 where he is not seen."""
    frames, views, count, joints = people.shape[:4]
    subjects = np.zeros((frames, views, joints, 3), dtype=np.float32)
    if count == 1:
        return people[:, :, 0].copy()
    last: Array | None = None
    for f in range(frames):
        groups = grouped(cameras, people[f], inlier_px=inlier_px, least_score=least_score)
        if not groups:
            continue
        if last is None:
            chosen = max(groups, key=lambda g: (len(g.members), -g.error_px))
        else:
            away = [float(np.linalg.norm(g.middle - last)) for g in groups]
            chosen = groups[int(np.argmin(away))]
            if np.linalg.norm(chosen.middle - last) > STRIDE_MM * 3:
                continue  # somebody else: the subject is away
        last = chosen.middle
        for v, p in chosen.members:
            subjects[f, v] = people[f, v, p]
    return subjects


class Group:
    """One person: (view, person) pairs, the middle of the triangulated joints (mm), and their median error (px)."""

    def __init__(self, members: list[tuple[int, int]], middle: Array, error_px: float) -> None:
        self.members, self.middle, self.error_px = members, middle, error_px


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
            if known.sum() >= LEAST_JOINTS:
                candidates.append((float(np.median(off[:, known])), (a, int(i)), (b, int(k))))
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
    if not known.any():
        return Group(members, np.full(3, np.inf), float("inf"))
    off = points.error_px[0][:, known]
    return Group(members, np.median(points.position[0, known], axis=0), float(np.nanmedian(off)))
