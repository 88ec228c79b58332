"""MPII Human Pose: the MATLAB release (`RELEASE.annolist`, 16 joints by id, several people per picture).

`is_visible` is 1 (visible), 0 (occluded) or missing. Source: Andriluka et al., CVPR 2014.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from labeling.importing.archive import Pictures
from labeling.importing.matlab import load
from labeling.importing.parsed import (
    ABSENT,
    OCCLUDED,
    VISIBLE,
    BadInput,
    Entry,
    Limits,
    Parsed,
    ParsedPerson,
    Report,
    number,
)
from labeling.skeletons import MPII_16


def read_mpii(path: Path, pictures: Pictures, limits: Limits, report: Report) -> Parsed:
    """People without joints, and pictures without people, are left out and counted."""
    variables = load(path, limits)
    release: Any = next((v for k, v in variables.items() if k == "RELEASE"), None)
    try:
        release = release.ravel()[0]
        annolist = release.annolist.ravel()
        train = np.asarray(release.img_train).ravel() if hasattr(release, "img_train") else np.ones(len(annolist))
    except AttributeError:
        raise BadInput("has no struct RELEASE with annolist", fix="give mpii_human_pose_v1_u12_1.mat") from None
    if len(train) != len(annolist):
        raise BadInput("img_train and annolist have different lengths")
    entries = []
    for position, annotation in enumerate(annolist):
        row = f"annolist({position + 1})"
        name = _text(_first(_first(_field(annotation, "image"), "name")))
        if not name:
            report.row(row, "image.name", "is missing")
            continue
        people = [p for r in _each(_field(annotation, "annorect")) if (p := _person(r, row, report))]
        if people:
            entries.append(Entry(row, name, people, "train" if train[position] else "test"))
        else:
            report.note("pictures without annotated people, left out")
    return Parsed(MPII_16, entries)


def _person(rect: Any, row: str, report: Report) -> ParsedPerson | None:
    points = _each(_field(_first(_field(rect, "annopoints")), "point"))
    if not points:
        return None
    keypoints: list[list[float]] = [[0.0, 0.0, ABSENT] for _ in MPII_16.keypoints]
    for point in points:
        identity, x, y = (_number(_field(point, key)) for key in ("id", "x", "y"))
        if identity is None or not 0 <= identity < 16 or identity != int(identity):
            report.row(row, "annopoints.point.id", f"{identity} is not 0 to 15")
        elif x is None or y is None:
            report.row(row, MPII_16.keypoints[int(identity)], "x or y is not a finite number")
        else:
            hidden = _text(_first(_field(point, "is_visible"))) in ("0", "0.0")
            keypoints[int(identity)] = [x, y, OCCLUDED if hidden else VISIBLE]
    return ParsedPerson(keypoints)


def _field(thing: Any, name: str) -> Any:
    return getattr(thing, name, None)


def _first(thing: Any, name: str | None = None) -> Any:
    while isinstance(thing, np.ndarray):
        if thing.size == 0:
            return None
        thing = thing.ravel()[0]
    return _field(thing, name) if name else thing


def _each(thing: Any) -> list[Any]:
    return [] if thing is None else list(np.atleast_1d(thing).ravel())


def _text(thing: Any) -> str:
    return "" if thing is None else str(thing)


def _number(thing: Any) -> float | None:
    value = _first(thing)
    return number(value.item() if isinstance(value, np.generic) else value)
