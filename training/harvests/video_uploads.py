"""Harvests of one camera's video: take an upload of 2D keypoints or 3D predictions, and what its timeline shows. Review, undo and
publication are those of every harvest (`training.harvests.review`). No torch and no scipy here."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from pydantic import Field

from labeling.skeletons import BUILT_IN
from training.harvests.uploads import INSPECT_BYTES, HarvestJob
from training.models import Harvest, Model
from training.multiview import footage
from training.multiview.formats import detections
from training.multiview.recording import BadRecording
from training.video.config import VideoConfig
from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.config import Config
from webapp.errors import Invalid, TooLarge
from webapp.jobs import run as jobs
from webapp.typed import read

MOST_MODELS = 8
MOST_POINTS = 2000
KEYPOINTS = (".npz", ".json", ".zip")
SHOWN = (*sorted(footage.VIDEOS), ".zip")
CURVES = ("error_px", "expected_mm", "shaking_before_mm", "shaking_after_mm")


class VideoPlan(Config):
    """What to make of a video's keypoints or poses."""

    name: str = Field(min_length=1, max_length=120)
    models: list[UUID] = Field(
        default_factory=list, max_length=MOST_MODELS, description="trained models that lift; several make an ensemble"
    )
    skeleton: str = Field("", title="Skeleton of the keypoints", description="empty: as their file says")
    fps: float = Field(
        0.0, ge=0, le=10_000, title="Frames per second", description="0: as the file or the video says, else 30"
    )
    focal_px: float = Field(
        0.0,
        ge=0,
        le=1e6,
        title="Focal length (px)",
        description="0: unknown, the lifter takes a distant camera",
    )
    width: int = Field(
        0, ge=0, le=100_000, title="Width of the pictures (px)", description="0: as the file or the video says"
    )
    height: int = Field(
        0, ge=0, le=100_000, title="Height of the pictures (px)", description="0: as the file or the video says"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="of VideoConfig")


def receive(actor: Account, plan: VideoPlan, detections: UploadedFile, video: UploadedFile | None = None) -> Harvest:
    """Take an upload and start its harvest. What can be seen at once to be wrong is refused and leaves nothing behind.

    Raises NotAllowed, Invalid, TooLarge.
    """
    require(actor, Role.ADMIN)
    options = _options(plan)
    _check(plan)
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        for field, file, ends in (("detections", detections, KEYPOINTS), ("video", video, SHOWN)):
            if file is not None:
                _write(folder, field, file, ends)
        _look_through(folder, plan)
        with transaction.atomic():
            harvest = Harvest(
                name=plan.name,
                source="video",
                config={"plan": plan.model_dump(mode="json", exclude={"options"}), "options": options.model_dump()},
                cameras=[],
                fps=plan.fps,
                created_by=actor,
            )
            config = HarvestJob(harvest=str(harvest.uuid), upload=str(folder))
            harvest.job = jobs.enqueue(actor, "video-harvest", config.model_dump(), title=f"Harvest {plan.name}"[:200])
            harvest.save()
            audit.record(actor, "harvest.start", harvest, models=len(plan.models))
        return harvest
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _options(plan: VideoPlan) -> VideoConfig:
    return read(VideoConfig, plan.options)


def _check(plan: VideoPlan) -> None:
    if plan.skeleton and plan.skeleton not in BUILT_IN:
        raise Invalid("Unknown skeleton.", field="skeleton", value=plan.skeleton, fix=f"one of {', '.join(BUILT_IN)}")
    known = list(Model.objects.filter(uuid__in=plan.models))
    missing = sorted(str(m) for m in set(plan.models) - {m.uuid for m in known})
    if missing:
        raise Invalid("No such model.", field="models", value=missing[0], fix="choose a trained model")
    if len({tuple(m.keypoints) for m in known}) > 1:
        raise Invalid("These models have different skeletons.", field="models", fix="choose models of one skeleton")


def _write(folder: Path, field: str, file: UploadedFile, ends: tuple[str, ...]) -> None:
    if not file.size:
        raise Invalid("The file is empty.", field=field, fix="choose another file")
    if file.size > settings.MAX_UPLOAD_BYTES:
        raise TooLarge(f"Larger than {settings.MAX_UPLOAD_BYTES // 2**20} MiB.", field=field, fix="split the video")
    suffix = Path(str(file.name)).suffix.lower()
    if suffix not in ends:
        raise Invalid(f"Bring one of {', '.join(ends)}.", field=field, value=str(file.name)[:80])
    with (folder / f"{field}{suffix}").open("wb") as target:
        shutil.copyfileobj(file, target, 2**20)


def _look_through(folder: Path, plan: VideoPlan) -> None:
    """Read what is small enough to be read at once; what is large, the worker reads."""
    path = next(folder.glob("detections.*"))
    if path.suffix == ".zip" or path.stat().st_size > INSPECT_BYTES:
        return
    try:
        lifted = path.suffix == ".npz" and detections.holds_poses(path)
        if lifted:
            detections.read_poses(path, BUILT_IN.get(plan.skeleton))
        elif not (detections.read_single(path, skeleton=BUILT_IN.get(plan.skeleton)).people[..., 2] > 0).any():
            raise BadRecording("Nobody is detected in any frame.", field="detections", fix="check the scores")
    except BadRecording as error:
        raise error.refusal() from None
    if not lifted and not plan.models:
        raise Invalid("2D keypoints need a model that lifts them.", field="models", fix="choose a trained model")


def timeline(harvest: Harvest, points: int = 600) -> dict[str, Any]:
    """Curves over all frames in at most `points` bins (means), and the clips. Empty curves for a recording of several cameras.

    Raises Invalid.
    """
    if not 1 <= points <= MOST_POINTS:
        raise Invalid("Ask for fewer points.", field="points", value=points, fix=f"1 to {MOST_POINTS}")
    report = harvest.report or {}
    path = Path(settings.MEDIA_ROOT) / harvest.folder / "timeline.npy"
    series: dict[str, Any] = {
        "frames": harvest.frames,
        "fps": harvest.fps,
        "clips": report.get("clips", []),
        "at": [],
        "curves": {},
    }
    if not path.exists():
        return series
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    edges = np.unique(np.linspace(0, len(values), min(points, len(values)) + 1).round().astype(int))
    means = np.add.reduceat(np.asarray(values, dtype=np.float64), edges[:-1], axis=0) / np.diff(edges)[:, None]
    series["at"] = edges[:-1].tolist()
    series["curves"] = {name: np.round(means[:, n], 2).tolist() for n, name in enumerate(CURVES)}
    return series
