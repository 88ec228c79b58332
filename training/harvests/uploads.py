"""Take a multi-view upload: check it, keep it, start its job. No torch here."""

from __future__ import annotations

import shutil
import uuid
import zipfile
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from pydantic import Field

from labeling.skeletons import BUILT_IN
from training.models import Harvest
from training.multiview import calibration
from training.multiview.archives import unpacked_bytes
from training.multiview.config import HarvestConfig
from training.multiview.formats import detections
from training.multiview.recording import BadRecording
from training.poses.cameras import BadCamera, Camera
from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.config import Config, shown
from webapp.errors import Invalid, TooLarge
from webapp.jobs import run as jobs
from webapp.jobs.models import Job, State
from webapp.typed import read

INSPECT_BYTES = 64 * 2**20


class HarvestPlan(Config):
    """What to make of an upload."""

    name: str = Field(min_length=1, max_length=120)
    unit: Literal["", "mm", "cm", "m"] = Field(
        "",
        title="Unit of the calibration",
        description="of its lengths, where the file does not say it",
        json_schema_extra=shown(choices={"": "as the file says", "m": "m (Pose2Sim)"}),
    )
    skeleton: str = Field("", title="Skeleton of the detections", description="empty: as their files say")
    fps: float = Field(0.0, ge=0, le=10_000, title="Frames per second", description="0: as the detections say, else 30")
    options: dict[str, Any] = Field(default_factory=dict, description="of HarvestConfig")


class HarvestJob(Config):
    """What a worker needs to harvest an upload."""

    harvest: str
    upload: str = Field(description="folder of the uploaded files")


def receive(
    actor: Account,
    plan: HarvestPlan,
    cameras: UploadedFile,
    detections: UploadedFile,
    views: UploadedFile | None = None,
) -> Harvest:
    """Take an upload and start its harvest. What can be seen at once to be wrong is refused and leaves nothing behind.

    Raises NotAllowed, Invalid, TooLarge.
    """
    require(actor, Role.ADMIN)
    options = _options(plan)
    if plan.skeleton and plan.skeleton not in BUILT_IN:
        raise Invalid("Unknown skeleton.", field="skeleton", value=plan.skeleton, fix=f"one of {', '.join(BUILT_IN)}")
    uploads = {"calibration": cameras, "detections": detections} | ({"views": views} if views else {})
    for field, file in uploads.items():
        if not file.size:
            raise Invalid("The file is empty.", field=field, fix="choose another file")
        if file.size > settings.MAX_UPLOAD_BYTES:
            raise TooLarge(
                f"Larger than {settings.MAX_UPLOAD_BYTES // 2**20} MiB.", field=field, fix="split the recording"
            )
    for field, ends in (("detections", (".npz", ".zip")), ("views", (".zip",))):
        if field in uploads and not str(uploads[field].name).lower().endswith(ends):
            raise Invalid(f"Bring {' or '.join(ends)}.", field=field, value=str(uploads[field].name)[:80])
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        rig = _rig(folder, cameras, plan.unit)
        for field, file in list(uploads.items())[1:]:
            with (folder / (field + Path(str(file.name)).suffix.lower())).open("wb") as target:
                shutil.copyfileobj(file, target, 2**20)
        if (folder / "detections.npz").exists() and detections.size <= INSPECT_BYTES:
            _look_through(folder / "detections.npz", plan, rig)
        with transaction.atomic():
            harvest = Harvest(
                name=plan.name,
                config=options.model_dump(),
                cameras=[as_dict(c) for c in rig],
                skeleton=BUILT_IN[plan.skeleton].as_dict() if plan.skeleton else None,
                fps=plan.fps,
                created_by=actor,
            )
            config = HarvestJob(harvest=str(harvest.uuid), upload=str(folder))
            harvest.job = jobs.enqueue(actor, "harvest", config.model_dump(), title=f"Harvest {plan.name}"[:200])
            harvest.save()
            audit.record(actor, "harvest.start", harvest, cameras=len(rig))
        return harvest
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _options(plan: HarvestPlan) -> HarvestConfig:
    return read(HarvestConfig, plan.options)


def _rig(folder: Path, file: UploadedFile, unit: str) -> tuple[Camera, ...]:
    if file.size > calibration.MOST_BYTES:
        raise TooLarge("No calibration is that large.", field="calibration")
    name = Path(str(file.name)).name.lower()
    suffix = ".qca.txt" if name.endswith(".qca.txt") else Path(name).suffix
    path = folder / f"calibration{suffix[:10]}"
    path.write_bytes(file.read())
    try:
        rig = calibration.read(path, unit=unit)
    except BadCamera as error:
        fix = "say mm, cm or m" if error.field == "unit" else "see docs/admins.md, 'Recordings'"
        raise error.refusal(fix=fix) from None
    if len(rig) < 2:
        raise Invalid("One camera is not enough.", field="calibration", fix="bring two or more cameras")
    return rig


def _look_through(path: Path, plan: HarvestPlan, rig: tuple[Camera, ...]) -> None:
    if not zipfile.is_zipfile(path):
        raise Invalid("Not an npz of plain arrays.", field="detections", fix="write it with numpy.savez")
    with zipfile.ZipFile(path) as file:
        if "heatmaps.npy" in file.namelist() or unpacked_bytes(path) > 4 * INSPECT_BYTES:
            return  # large: the worker reads it
    try:
        seen = detections.read(path, skeleton=BUILT_IN.get(plan.skeleton))
    except BadRecording as error:
        raise error.refusal() from None
    if seen.people.shape[1] != len(rig):
        raise Invalid(
            f"{seen.people.shape[1]} views, but {len(rig)} cameras.", field="detections", fix="one view per camera"
        )


def as_dict(camera: Camera) -> dict[str, Any]:
    return {
        "name": camera.name,
        "size": list(camera.size),
        "matrix": camera.matrix.tolist(),
        "distortion": camera.distortion.tolist(),
        "rotation": camera.rotation.tolist(),
        "translation": camera.translation.tolist(),
    }


def tidy(job: Job) -> None:
    """Once it is certain that a harvest will not go on: forget the upload."""
    folder = Path(HarvestJob.model_validate(job.config).upload)
    if job.state == State.DONE and Path(settings.FILE_UPLOAD_TEMP_DIR) in folder.parents:
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("unpacked", "views", "maps"):
            shutil.rmtree(Path(settings.VAR) / "jobs" / str(job.uuid) / name, ignore_errors=True)
