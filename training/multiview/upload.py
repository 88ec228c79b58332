"""What is asked of a multi-view recording, and a first look at its files, without torch: what can be seen at once to be wrong."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from pydantic import Field

from labeling.skeletons import BUILT_IN
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
    seen = detections.read(path, skeleton=BUILT_IN.get(plan.skeleton))
    if seen.people.shape[1] != len(cameras):
        raise BadRecording(
            f"{seen.people.shape[1]} views, but {len(cameras)} cameras.", field="detections", fix="one view per camera"
        )
