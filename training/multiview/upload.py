"""What is asked of a multi-view recording, and a first look at its files, without torch: what can be seen at once to be wrong."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from training.harvest.archives import unpacked_bytes
from training.harvest.formats import detections
from training.harvest.harvester import BadRecording, HarvestPlan
from training.multiview import calibration
from training.poses.cameras import BadCamera, Camera
from webapp.config import shown

INSPECT_BYTES = 64 * 2**20  # larger ones are read by the worker


class MultiviewPlan(HarvestPlan):
    """What to make of the upload of several cameras."""

    unit: Literal["", "mm", "cm", "m"] = Field(
        "",
        title="Unit of the calibration",
        description="of its lengths, where the file does not say it",
        json_schema_extra=shown(choices={"": "as the file says", "m": "m (Pose2Sim)"}),
    )
    people: str = Field(
        "",
        max_length=200,
        pattern=r"^\s*(\d{1,3}(\s*,\s*\d{1,3})*)?\s*$",
        title="People",
        description="whom to harvest where several are seen: their numbers, as the findings of an earlier harvest have them, such as "
        "1, 3; empty: all whom three cameras show",
    )


def chosen(plan: HarvestPlan, count: int) -> list[int]:
    """The numbers (from 1 on) of the people that the plan names, of `count`; none where it names none. Raises BadRecording."""
    asked = sorted({int(n) for n in str(getattr(plan, "people", "")).split(",") if n.strip()})
    if not count:
        return []  # nobody is seen: that is said where joints are looked for
    unknown = [n for n in asked if not 1 <= n <= count]
    if unknown:
        raise BadRecording(
            f"There is no person {unknown[0]}.",
            field="people",
            value=unknown[0],
            fix=f"numbers of 1 to {count}, or nothing for all",
        )
    return asked


def check(files: Path, plan: MultiviewPlan) -> tuple[Camera, ...]:
    """The cameras of an upload. Raises BadRecording."""
    cameras = _cameras(next(files.glob("calibration.*")), plan.unit)
    path = files / "detections.npz"
    if path.exists() and path.stat().st_size <= INSPECT_BYTES:
        _look_through(path, plan, cameras)
    return cameras


def _cameras(path: Path, unit: str) -> tuple[Camera, ...]:
    if path.stat().st_size > calibration.MOST_BYTES:
        raise BadRecording(
            "No calibration is that large.",
            field="calibration",
            fix=f"choose a file of at most {calibration.MOST_BYTES >> 20} MiB",
        )
    try:
        cameras = calibration.read(path, unit=unit)
    except BadCamera as error:
        fix = "say mm, cm or m" if error.field == "unit" else "see docs/admins.md, 'Recordings'"
        raise BadRecording(error.detail, field=error.field, fix=fix, value=error.value) from None
    if len(cameras) < 2:
        raise BadRecording("One camera is not enough.", field="calibration", fix="bring two or more cameras")
    return cameras


def _look_through(path: Path, plan: MultiviewPlan, cameras: tuple[Camera, ...]) -> None:
    if not zipfile.is_zipfile(path):
        raise BadRecording("Not an npz of plain arrays.", field="detections", fix="write it with numpy.savez")
    with zipfile.ZipFile(path) as file:
        if "heatmaps.npy" in file.namelist() or unpacked_bytes(path) > 4 * INSPECT_BYTES:
            return  # large: the worker reads it
    seen = detections.read(path, skeleton=plan.asked_skeleton)
    matched(seen.cameras, cameras, seen.people.shape[1])


@dataclass(frozen=True)
class Matched:
    """Which views and which cameras belong together, in the cameras' order, and in words what was left out."""

    views: list[int]
    cameras: tuple[Camera, ...]
    notes: list[str]


def matched(views: Sequence[str], cameras: Sequence[Camera], count: int) -> Matched:
    """Views and cameras by their names, `views` being the names of `count` views if they have some; else in order.

    Cameras without a view and views without a camera are left out. Raises BadRecording where fewer than two are left, or
    where no name helps and their numbers differ.
    """
    names = [c.name for c in cameras]
    for key in (_key, _digits):
        keyed, own = [key(view) for view in views], [key(name) for name in names]
        if len(set(keyed)) < len(keyed) or len(set(own)) < len(own) or "" in keyed or not set(keyed) & set(own):
            continue
        both = [n for n, k in enumerate(own) if k in keyed]
        if len(both) < 2:
            break
        unfilmed = [names[n] for n in range(len(names)) if n not in both]
        uncalibrated = [view for view, k in zip(views, keyed) if k not in own]
        notes = [f"camera {name} has no detections and is left out" for name in unfilmed]
        notes += [f"{view} has no camera of its name and is left out" for view in uncalibrated]
        return Matched([keyed.index(own[n]) for n in both], tuple(cameras[n] for n in both), notes)
    if count != len(cameras):
        listed = f": {', '.join(views)} and {', '.join(names)}" if views else ""
        raise BadRecording(
            f"{count} views, but {len(cameras)} cameras{listed}"[:300], field="detections", fix="name them alike"
        )
    notes = ["the views' names are not the cameras': taken in the order in which they come"] if views else []
    return Matched(list(range(count)), tuple(cameras), notes)


def _key(name: str) -> str:
    """A name without what programs hang on it: 'cam_01_json' and 'Cam 1' are one."""
    plain = re.sub(r"[\W_]*(json|keypoints|pose|openpose)$", "", name.lower())
    return "".join(str(int(part)) if part.isdecimal() else part for part in re.findall(r"\d+|[^\W\d_]+", plain))


def _digits(name: str) -> str:
    return "-".join(str(int(part)) for part in re.findall(r"\d+", name))
