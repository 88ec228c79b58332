"""Which joints a detector's numbers are: by names, by how many there are, by limbs that people have. Checked, missing ones 0."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labeling.skeletons import BODY_25, BODY_25B, BUILT_IN, COCO_17, COCO_18, HALPE_26, Skeleton, by_names
from training.harvest.harvester import BadRecording

Floats = NDArray[np.float32]
CAMEL = {"L": "left", "R": "right"}


def flat(value: Any, where: str) -> Floats | None:
    """x, y, score of one person's joints; None for a person without any."""
    try:
        values = np.array(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise BadRecording(f"{where}: keypoints must be numbers", field="detections") from None
    if not values.size:
        return None
    if values.ndim != 1 or len(values) % 3:
        raise BadRecording(f"{where}: {values.size} numbers are not x, y and score of each joint", field="detections")
    return values.reshape(-1, 3)


# What detectors write without saying which joints they are, by their number; of the whole body its first 17.
BY_COUNT = {
    **{25: (BODY_25, BODY_25B), 17: (COCO_17,), 18: (COCO_18,), 26: (HALPE_26,)},
    **{133: (COCO_17,), 136: (HALPE_26,)},
}


LOOKED_AT, CLEARLY = 200, 0.85  # people; so much shorter are the bones of the right skeleton


def told_apart(people: Sequence[Floats], where: str) -> Skeleton:
    """The skeleton whose joints these are: by their number, and where several have it, the one whose bones are short."""
    count = len(people[0])
    candidates = BY_COUNT.get(count) or [s for s in BUILT_IN.values() if len(s.keypoints) == count]
    if not candidates:
        raise BadRecording(
            f"{where}: {count} joints are those of no detector known here",
            field="skeleton",
            fix=f"one of {', '.join(f'{s.name} ({len(s.keypoints)})' for s in BUILT_IN.values())}",
        )
    if len(candidates) == 1:
        return candidates[0]
    some = np.stack([p for p in people[:LOOKED_AT] if len(p) == count])
    lengths = sorted((_bones_px(some, s), s.name) for s in candidates)
    if not lengths[0][0] < CLEARLY * lengths[1][0]:
        names = " or ".join(s.name for s in candidates)
        raise BadRecording(f"{where}: {count} joints may be {names}", field="skeleton", fix="name the skeleton")
    return BUILT_IN[lengths[0][1]]


def _bones_px(people: Floats, skeleton: Skeleton) -> float:
    """Median length of a skeleton's bones over the size of the person, if these are its joints."""
    first, second = np.array([[skeleton.index(a), skeleton.index(b)] for a, b in skeleton.bones]).T
    there = (people[:, first, 2] > 0) & (people[:, second, 2] > 0)
    length = np.linalg.norm(people[:, first, :2] - people[:, second, :2], axis=-1)
    seen = np.where(people[..., 2:] > 0, people[..., :2], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # people of whom nothing is seen
        size = np.linalg.norm(np.nanmax(seen, axis=1) - np.nanmin(seen, axis=1), axis=-1)[:, None]
        return float(np.nanmean(np.where(there & (size > 0), length / size, np.nan)))


def fitting(person: Floats, skeleton: Skeleton, where: str) -> Floats:
    """The joints of this skeleton; of a whole body the first ones are it. Raises BadRecording."""
    joints = len(skeleton.keypoints)
    if len(person) != joints and skeleton not in BY_COUNT.get(len(person), ()):
        raise BadRecording(
            f"{where}: {len(person)} joints, {skeleton.name} has {joints}",
            field="skeleton",
            fix="name the skeleton of the detector",
        )
    return person[:joints]


def clean(values: Floats) -> Floats:
    """Missing and unreadable joints are 0; scores within 0..1."""
    known = np.isfinite(values).all(axis=-1) & (values[..., 2] > 0)
    bounded = np.concatenate([values[..., :2], np.minimum(values[..., 2:], 1.0)], axis=-1)
    return np.where(known[..., None], bounded, np.float32(0.0)).astype(np.float32)


def named(names: Sequence[str]) -> Skeleton | None:
    """The built-in skeleton of these joints, also where they are written as OpenPose does (LBigToe)."""
    return by_names(list(names)) or by_names([_words(name) for name in names])


def _words(name: str) -> str:
    side = CAMEL.get(name[:1]) if name[1:2].isupper() else None
    rest = name[1:] if side else name
    parts = "".join(f"_{c.lower()}" if c.isupper() else c for c in rest).strip("_")
    return f"{side}_{parts}" if side else parts
