"""Reviewers' corrections: a joint put elsewhere in a view and triangulated again; two people exchanged over a stretch.

Each is a review that can be taken back. A harvest's arrays and files stay as the harvester made them: `corrected` gives rows as they are now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import F
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import Field

from training.harvest.arrays import Outcome
from training.harvests.frames import cameras_of, corrected, skeleton_of
from training.models import Changed, Harvest, PseudoLabel, Review
from training.multiview.triangulation import linear
from training.poses.cameras import Camera
from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, require
from webapp.config import Config
from webapp.errors import Conflict, Invalid

Array = NDArray[np.float64]
Verdict = PseudoLabel.Verdict
FIT_PX = 45.0  # a detection further from where others put the joint is not listened to
BY_HAND_PX = 3.0  # standard deviation of a place that somebody chose
BY_HAND = 10.0  # what such a place weighs beside a detection
ASIDE = 1_000_000_000  # rows that wait there while two people are exchanged


class Placing(Config):
    """Where a joint is in one view: px, the centre of the first pixel is (0, 0)."""

    frame: int = Field(ge=0)
    joint: str = Field(min_length=1, max_length=40, description="a keypoint's name")
    camera: str = Field(min_length=1, max_length=80, description="the camera's name")
    x: float = Field(description="px")
    y: float = Field(description="px")


class Exchange(Config):
    """Two people, by the numbers that the findings give, who are each other in these frames of the recording."""

    person: int = Field(ge=1)
    other: int = Field(ge=1)
    first: int = Field(ge=0, description="frame of the recording")
    last: int = Field(ge=0, description="frame of the recording")


def place(actor: Account, harvest: Harvest, placing: Placing) -> Review:
    """Put a joint where a reviewer sees it in one view, triangulate it again, and accept it. Views in which somebody placed it count
    alone once there are two, else together with the detections that agree; one view alone keeps the depth.

    Raises NotAllowed, Invalid, Conflict.
    """
    require(actor, *STAFF)
    _finished(harvest)
    joint, view = _joint(harvest, placing.joint), _view(harvest, placing)
    cameras = cameras_of(harvest)
    if not 0 <= placing.frame < harvest.frames:
        raise Invalid("There is no such frame.", field="frame", value=placing.frame, fix=f"0 to {harvest.frames - 1}")
    with transaction.atomic():
        Harvest.objects.select_for_update().get(pk=harvest.pk)
        label = PseudoLabel.objects.filter(harvest=harvest, frame=placing.frame, joint=joint).first()
        by_hand = {**((label.placed if label else None) or {}), str(view): [placing.x, placing.y]}
        names = ("position", "covariance", "outcome", "seen", "offset_px")
        row = {name: values[0] for name, values in corrected(harvest, [placing.frame], names).items()}
        position, covariance, error = _again(cameras, row, joint, {int(v): xy for v, xy in by_hand.items()})
        six = covariance[[0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].round(2).tolist()
        before, verdict = (_numbers(label), label.verdict) if label else ({}, Verdict.WAITING)
        new = {
            **dict(zip(("x_mm", "y_mm", "z_mm"), map(float, position))),
            "covariance": six,
            "uncertainty": float(np.linalg.slogdet(covariance + np.eye(3) * 1e-3)[1]),
            "error_px": float(error.mean()),
            "worst_view": int(error.argmax()) if len(error) == len(cameras) else view,
            "placed": by_hand,
            "verdict": Verdict.ACCEPTED,
        }
        label, _ = PseudoLabel.objects.update_or_create(harvest=harvest, frame=placing.frame, joint=joint, defaults=new)
        rule = {"placed": placing.joint, "frame": placing.frame, "camera": placing.camera}
        review = Review.objects.create(harvest=harvest, reviewer=actor, verdict=Verdict.ACCEPTED, rule=rule, labels=1)
        Changed.objects.create(review=review, label=label, before=verdict, place=before)
        audit.record(actor, "harvest.place", harvest, **rule)
    return review


NUMBERS = ("x_mm", "y_mm", "z_mm", "covariance", "uncertainty", "error_px", "worst_view", "placed")


def _numbers(label: PseudoLabel) -> dict[str, Any]:
    return {name: getattr(label, name) for name in NUMBERS}


def exchange(actor: Account, harvest: Harvest, asked: Exchange) -> Review:
    """Give each of two people the other's pseudo-labels in a stretch in which both are there. Raises NotAllowed, Invalid, Conflict."""
    require(actor, *STAFF)
    _finished(harvest)
    if asked.person == asked.other:
        raise Invalid("Nobody is exchanged with oneself.", field="other", value=asked.other, fix="name somebody else")
    rows, others, first, last = _shared(harvest, asked)
    with transaction.atomic():
        Harvest.objects.select_for_update().get(pk=harvest.pk)
        rule = {"exchange": [asked.person, asked.other], "rows": [rows[0], others[0], len(rows)]}
        review = Review.objects.create(
            harvest=harvest,
            reviewer=actor,
            verdict=Verdict.WAITING,
            rule=rule | {"frame": first, "last_frame": last},
            labels=_swap(harvest, rows, others),
        )
        audit.record(actor, "harvest.exchange", harvest, people=rule["exchange"], first=first, last=last)
    return review


def _shared(harvest: Harvest, asked: Exchange) -> tuple[range, range, int, int]:
    """The rows of both people, the first and last frame, of the stretch in which both are there."""
    both = []
    for field, number in (("person", asked.person), ("other", asked.other)):
        clips = [c for c in (harvest.report or {}).get("clips", []) if c["person"] == number - 1]
        if not clips:
            raise Invalid("This harvest has no such person.", field=field, value=number)
        there = [c for c in clips if c["first_frame"] <= asked.last and asked.first < c["first_frame"] + c["rows"]]
        both.append((there or clips)[0])
    first = max(asked.first, *(c["first_frame"] for c in both))
    last = min(asked.last, *(c["first_frame"] + c["rows"] - 1 for c in both))
    if first > last:
        raise Invalid(
            "The two are never there at once in these frames.", field="first", value=asked.first, fix="choose others"
        )
    starts = [c["row"] + first - c["first_frame"] for c in both]
    count = last - first + 1
    return range(starts[0], starts[0] + count), range(starts[1], starts[1] + count), first, last


def _swap(harvest: Harvest, rows: range, others: range) -> int:
    """Exchange the pseudo-labels of two stretches of rows; how many there are."""
    labels, away = PseudoLabel.objects.filter(harvest=harvest), others[0] - rows[0]
    mine = labels.filter(frame__gte=rows[0], frame__lte=rows[-1]).update(frame=F("frame") + ASIDE)
    theirs = labels.filter(frame__gte=others[0], frame__lte=others[-1]).update(frame=F("frame") - away)
    labels.filter(frame__gte=rows[0] + ASIDE, frame__lte=rows[-1] + ASIDE).update(frame=F("frame") - ASIDE + away)
    return mine + theirs


def take_back(review: Review) -> None:
    """What a correction changed, as it was before; nothing for a plain decision. Call in the transaction that undoes the review."""
    if "exchange" in review.rule:
        first, other, count = review.rule["rows"]
        _swap(review.harvest, range(first, first + count), range(other, other + count))
    for changed in review.changes.exclude(place=None).select_related("label"):
        if changed.place:
            PseudoLabel.objects.filter(pk=changed.label_id).update(**changed.place)
        else:
            changed.label.delete()


def _again(
    cameras: Sequence[Camera], row: dict[str, Any], joint: int, by_hand: dict[int, Sequence[float]]
) -> tuple[Array, Array, Array]:
    """A joint's place (mm, world), covariance (mm^2) and error in the views that count (px)."""
    old = np.asarray(row["position"][joint], dtype=np.float64)
    pixels, weight = np.zeros((len(cameras), 2)), np.zeros(len(cameras))
    if row["outcome"][joint] not in (Outcome.NOBODY, Outcome.CONTRADICTION):
        for v in np.flatnonzero(row["seen"][:, joint]).tolist():
            pixels[v], weight[v] = cameras[v].project(old[None])[0] + row["offset_px"][v, joint], 1.0
    weight[~np.isfinite(pixels).all(axis=1)] = 0.0
    if len(by_hand) > 1:
        weight[:] = 0.0
    for v, place_px in by_hand.items():
        pixels[v], weight[v] = place_px, BY_HAND
    while (weight > 0).sum() >= 2:
        position = linear(cameras, pixels[None, :, None], weight[None, :, None]).position[0, 0]
        error = _errors(cameras, position, pixels, weight)
        far = np.where(weight == 1.0, error, 0.0)
        if far.max() <= FIT_PX:
            if not np.isfinite(position).all() or not np.isfinite(error[weight > 0]).all():
                raise Invalid("These places do not meet in front of the cameras.", field="x", fix="look at each view")
            return (
                position,
                _covariance([cameras[v] for v in np.flatnonzero(weight).tolist()], position),
                error[weight > 0],
            )
        weight[far.argmax()] = 0.0
    (view,) = by_hand
    position = _at_depth(cameras[view], np.asarray(by_hand[view], dtype=np.float64), row, joint)
    return position, np.asarray(row["covariance"][joint], dtype=np.float64), np.zeros(1)


def _errors(cameras: Sequence[Camera], position: Array, pixels: Array, weight: Array) -> Array:
    with np.errstate(invalid="ignore"):
        off = [float(np.linalg.norm(c.project(position[None])[0] - xy)) for c, xy in zip(cameras, pixels)]
    return np.where(weight > 0, off, 0.0)


def _covariance(cameras: Iterable[Camera], position: Array) -> Array:
    """Of a point that each camera sees with BY_HAND_PX: the inverse of the information of all views."""
    step = 1.0
    moved = position + step * np.concatenate([np.eye(3), -np.eye(3)])
    total = np.zeros((3, 3))
    for camera in cameras:
        seen = camera.project(moved)
        slope = (seen[:3] - seen[3:]).T / (2 * step)
        total += slope.T @ slope / BY_HAND_PX**2
    return np.asarray(np.linalg.pinv(total))


def _at_depth(camera: Camera, pixel: Float[np.ndarray, "2"], row: dict[str, Any], joint: int) -> Array:
    """The point behind a pixel as far away as the joint was, or as the person is. Raises Invalid where nobody is known."""
    known = np.isin(row["outcome"], (Outcome.FOUND, Outcome.INFERRED))
    if not known.any():
        raise Invalid("Nothing of this person is known in this frame.", field="frame", fix="choose another frame")
    depth = camera.see(np.asarray(row["position"][known], dtype=np.float64))[:, 2]
    own = camera.see(np.asarray(row["position"][[joint]], dtype=np.float64))[0, 2]
    away = float(own if known[joint] else np.median(depth))
    ray = np.append(camera.rays(pixel[None])[0], 1.0)
    return np.asarray(camera.rotation.T @ (ray * away - camera.translation))


def _finished(harvest: Harvest) -> None:
    if harvest.report is None:
        raise Conflict("The harvest is not finished.", field="harvest")


def _joint(harvest: Harvest, name: str) -> int:
    names = skeleton_of(harvest).keypoints
    if name not in names:
        raise Invalid("This skeleton has no such joint.", field="joint", value=name)
    return names.index(name)


def _view(harvest: Harvest, placing: Placing) -> int:
    names = [c["name"] for c in harvest.cameras]
    if placing.camera not in names:
        raise Invalid("This recording has no such camera.", field="camera", value=placing.camera)
    view = names.index(placing.camera)
    for field, value, most in zip("xy", (placing.x, placing.y), harvest.cameras[view]["size"]):
        if not 0 <= value < most:
            raise Invalid("This is outside of the picture.", field=field, value=value, fix=f"0 to {most - 1}")
    return view
