"""Harvests: take a multi-view upload, decide about pseudo-labels, undo, publish. The work is in `training.harvesting`. No torch here."""

from __future__ import annotations

import shutil
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from pydantic import Field, ValidationError

from labeling.models import Dataset
from labeling.skeletons import BUILT_IN, Skeleton, from_dict
from training.models import Changed, Harvest, PseudoLabel, Review
from training.multiview import calibration
from training.multiview.archives import unpacked_bytes
from training.multiview.cameras import BadCamera, Camera
from training.multiview.config import HarvestConfig
from training.multiview.formats import detections
from training.multiview.recording import BadRecording
from webapp import audit, rows
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, Role, require
from webapp.catalog import Config
from webapp.jobs import run as jobs
from webapp.jobs.models import FINISHED, Job, State
from webapp.refusal import Conflict, Invalid, TooLarge

INSPECT_BYTES = 64 * 2**20
MOST_AT_ONCE = 120  # frames of one answer
Verdict = PseudoLabel.Verdict
FILES = ("poses.trc", "poses.c3d", "poses.npz", "poses.coco.json")


class HarvestPlan(Config):
    """What to make of an upload."""

    name: str = Field(min_length=1, max_length=120)
    unit: Literal["", "mm", "cm", "m"] = Field(
        "", description="of the calibration's lengths, where the file does not say it"
    )
    skeleton: str = Field("", description="of the detections; empty: as their files say")
    fps: float = Field(0.0, ge=0, le=10_000, description="frames per second; 0: as the detections say, else 30")
    options: dict[str, Any] = Field(default_factory=dict, description="of HarvestConfig")


class HarvestJob(Config):
    """What a worker needs to harvest an upload."""

    harvest: str
    upload: str = Field(description="folder of the uploaded files")


class Rule(Config):
    """Which pseudo-labels a decision is about; all that is said must hold."""

    frame: int | None = Field(None, ge=0)
    last_frame: int | None = Field(None, ge=0, description="with `frame`: up to here")
    joint: str = Field("", max_length=40, description="a keypoint's name")
    camera: str = Field("", max_length=80, description="the camera whose detection fits worst")
    most_error_px: float | None = Field(None, ge=0, description="mean reprojection error at most")
    least_error_px: float | None = Field(None, ge=0)
    surest: float | None = Field(None, ge=0.0001, le=1, description="the surest share of each joint's pseudo-labels")
    verdict: Literal["", "waiting", "accepted", "rejected"] = Field("", description="as it is now")


def receive(
    actor: Account, plan: HarvestPlan, cameras: UploadedFile, found: UploadedFile, views: UploadedFile | None = None
) -> Harvest:
    """Take an upload and start its harvest. What can be seen at once to be wrong is refused and leaves nothing behind.

    Raises NotAllowed, Invalid, TooLarge.
    """
    require(actor, Role.ADMIN)
    options = _options(plan)
    if plan.skeleton and plan.skeleton not in BUILT_IN:
        raise Invalid("Unknown skeleton.", field="skeleton", value=plan.skeleton, fix=f"one of {', '.join(BUILT_IN)}")
    uploads = {"calibration": cameras, "detections": found} | ({"views": views} if views else {})
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
        if (folder / "detections.npz").exists() and found.size <= INSPECT_BYTES:
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
    try:
        return HarvestConfig.model_validate(plan.options)
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid(
            first["msg"], field=".".join(map(str, first["loc"])) or "options", value=first.get("input")
        ) from None


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
        said = str(error)
        fix = "say mm, cm or m" if error.field == "unit" else "see docs/admins.md, 'Recordings'"
        raise Invalid(f"{said[:1].upper()}{said[1:]}.", field=error.field, fix=fix) from None
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
        raise refusal_of(error) from None
    if seen.people.shape[1] != len(rig):
        raise Invalid(
            f"{seen.people.shape[1]} views, but {len(rig)} cameras.", field="detections", fix="one view per camera"
        )


def refusal_of(error: BadRecording) -> Invalid:
    """What the library says, as an answer to a caller."""
    said = str(error)
    return Invalid(f"{said[:1].upper()}{said[1:]}".rstrip(".") + ".", field=error.field, fix=error.fix or None)


def as_dict(camera: Camera) -> dict[str, Any]:
    return {
        "name": camera.name,
        "size": list(camera.size),
        "matrix": camera.matrix.tolist(),
        "distortion": camera.distortion.tolist(),
        "rotation": camera.rotation.tolist(),
        "translation": camera.translation.tolist(),
    }


def cameras_of(harvest: Harvest) -> tuple[Camera, ...]:
    parts = ("matrix", "distortion", "rotation", "translation")
    return tuple(
        Camera(c["name"], (c["size"][0], c["size"][1]), *(np.array(c[part]) for part in parts)) for c in harvest.cameras
    )


def skeleton_of(harvest: Harvest) -> Skeleton:
    return from_dict(harvest.skeleton or {})


def tidy(job: Job) -> None:
    """Once it is certain that a harvest will not go on: forget the upload."""
    folder = Path(HarvestJob.model_validate(job.config).upload)
    if job.state == State.DONE and Path(settings.FILE_UPLOAD_TEMP_DIR) in folder.parents:
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("unpacked", "views", "maps"):
            shutil.rmtree(Path(settings.VAR) / "jobs" / str(job.uuid) / name, ignore_errors=True)


# review


def matching(harvest: Harvest, rule: Rule) -> QuerySet[PseudoLabel]:
    """The pseudo-labels that a rule is about. Raises Invalid for an unknown joint."""
    found = PseudoLabel.objects.filter(harvest=harvest)
    if rule.frame is not None:
        last = rule.frame if rule.last_frame is None else rule.last_frame
        found = found.filter(frame__gte=rule.frame, frame__lte=last)
    elif rule.last_frame is not None:
        raise Invalid("Say where the frames begin.", field="frame", fix="give frame and last_frame")
    names = skeleton_of(harvest).keypoints
    if rule.joint:
        if rule.joint not in names:
            raise Invalid("This skeleton has no such joint.", field="joint", value=rule.joint)
        found = found.filter(joint=names.index(rule.joint))
    if rule.camera:
        cameras = [c["name"] for c in harvest.cameras]
        if rule.camera not in cameras:
            raise Invalid("This recording has no such camera.", field="camera", value=rule.camera)
        found = found.filter(worst_view=cameras.index(rule.camera))
    if rule.most_error_px is not None:
        found = found.filter(error_px__lte=rule.most_error_px)
    if rule.least_error_px is not None:
        found = found.filter(error_px__gte=rule.least_error_px)
    if rule.verdict:
        found = found.filter(verdict=rule.verdict)
    if rule.surest is not None and rule.surest < 1:
        bounds = Q(pk__in=[])
        for joint in range(len(names)):
            every = PseudoLabel.objects.filter(harvest=harvest, joint=joint).order_by("uncertainty")
            kept = round(rule.surest * every.count())
            if kept:
                bounds |= Q(joint=joint, uncertainty__lte=every.values_list("uncertainty", flat=True)[kept - 1])
        found = found.filter(bounds)
    return found


def decide(actor: Account, harvest: Harvest, verdict: str, rule: Rule) -> Review:
    """Accept, reject or reopen all pseudo-labels that a rule is about; those that stand so already are left alone.

    Raises NotAllowed, Invalid, Conflict where nothing would change.
    """
    require(actor, *STAFF)
    if verdict not in Verdict.values:
        raise Invalid("Unknown verdict.", field="verdict", value=verdict, fix=f"one of {', '.join(Verdict.values)}")
    if harvest.report is None:
        raise Conflict("The harvest is not finished.", field="harvest")
    with transaction.atomic():
        Harvest.objects.select_for_update().get(pk=harvest.pk)  # reviews of one harvest come one after the other
        changing = list(matching(harvest, rule).exclude(verdict=verdict).values_list("pk", "verdict"))
        if not changing:
            raise Conflict("This changes nothing: no pseudo-label that fits stands otherwise.", field="rule")
        review = Review.objects.create(
            harvest=harvest,
            reviewer=actor,
            verdict=verdict,
            rule=rule.model_dump(exclude_defaults=True),
            labels=len(changing),
        )
        rows.write(Changed, ("review_id", "label_id", "before"), ((review.pk, pk, before) for pk, before in changing))
        PseudoLabel.objects.filter(pk__in=Changed.objects.filter(review=review).values("label")).update(verdict=verdict)
        audit.record(actor, "harvest.review", harvest, verdict=verdict, labels=len(changing))
    return review


def undo(actor: Account, harvest: Harvest) -> Review:
    """Take back the newest decision that stands. Raises NotAllowed, Conflict."""
    require(actor, *STAFF)
    with transaction.atomic():
        Harvest.objects.select_for_update().get(pk=harvest.pk)
        review = Review.objects.filter(harvest=harvest, undone_at=None).first()
        if review is None:
            raise Conflict("There is no decision to take back.", field="harvest")
        for before in Verdict.values:
            back = Changed.objects.filter(review=review, before=before).values("label")
            PseudoLabel.objects.filter(pk__in=back).update(verdict=before)
        review.undone_at, review.undone_by = timezone.now(), actor
        review.save(update_fields=["undone_at", "undone_by"])
        audit.record(actor, "harvest.undo", harvest, review=str(review.uuid))
    return review


# publication


class PublishPlan(Config):
    """How accepted pseudo-labels become a data set."""

    dataset: str = Field(min_length=1, max_length=120, description="name of the new data set")
    pairs_per_person: int = Field(
        20, ge=0, le=1000, description="ordinal pairs drawn from the accepted joints of a person"
    )
    least_joints: int = Field(6, ge=1, le=200, description="accepted joints below which a person is left out")
    seed: int = Field(0, ge=0, le=2**31 - 1)


class PublishJob(PublishPlan):
    harvest: str


def publish(actor: Account, harvest: Harvest, plan: PublishPlan) -> Job:
    """Start making a data set of accepted pseudo-labels: 2D keypoints per view, depths, ordinal pairs with probabilities.

    Raises NotAllowed, Invalid, Conflict.
    """
    require(actor, Role.ADMIN)
    if harvest.job.state not in FINISHED or harvest.report is None:
        raise Conflict("The harvest is not finished.", field="harvest")
    if not harvest.report.get("shown"):
        raise Conflict("The upload had no videos or pictures.", field="harvest", fix="upload the views too")
    if Dataset.objects.filter(name=plan.dataset).exists():
        raise Invalid(
            "There is a data set of this name.", field="dataset", value=plan.dataset, fix="choose another name"
        )
    if not harvest.pseudo_labels.filter(verdict=Verdict.ACCEPTED).exists():
        raise Conflict("Nothing is accepted yet.", field="harvest", fix="review pseudo-labels first")
    config = PublishJob(harvest=str(harvest.uuid), **plan.model_dump())
    return jobs.enqueue(actor, "publish-harvest", config.model_dump(), title=f"Data set of {harvest.name}"[:200])


# what the review page shows


def picture_of(harvest: Harvest, frame: int) -> int:
    """Which picture shows a frame: rows of a video's clips name frames of the video."""
    for clip in (harvest.report or {}).get("clips", []):
        if clip["row"] <= frame < clip["row"] + clip["rows"]:
            return int(clip["first_frame"] + frame - clip["row"])
    return frame


def frame_of(harvest: Harvest, frame: int) -> dict[str, Any]:
    """One frame: joints with verdicts, and for each view detections' residuals, reprojections and 2D covariances (px).

    Raises Invalid for a frame that is not there.
    """
    return stretch_of(harvest, frame, 1)[0]


def stretch_of(harvest: Harvest, first: int, count: int, step: int = 1) -> list[dict[str, Any]]:
    """`count` frames, every `step`-th from `first` on, as `frame_of`: what playing shows. One query. Raises Invalid."""
    if not 0 <= first < harvest.frames or harvest.report is None:
        raise Invalid("There is no such frame.", field="frame", value=first, fix=f"0 to {harvest.frames - 1}")
    if not (1 <= count <= MOST_AT_ONCE and 1 <= step <= 1000):
        raise Invalid("Ask for fewer frames.", field="count", value=count, fix=f"1 to {MOST_AT_ONCE}, step to 1000")
    frames = list(range(first, min(first + count * step, harvest.frames), step))
    folder = Path(settings.MEDIA_ROOT) / harvest.folder
    names = ["position", "covariance", "outcome", "seen", "offset_px", "kept"]
    names += ["before"] if (folder / "before.npy").exists() else []
    mapped = {n: np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False) for n in names}
    labels: dict[int, dict[int, PseudoLabel]] = {}
    wanted = {"frame__gte": frames[0], "frame__lte": frames[-1]}
    for label in PseudoLabel.objects.filter(harvest=harvest, **wanted).defer("covariance"):
        labels.setdefault(label.frame, {})[label.joint] = label
    about = _About(folder, skeleton_of(harvest).keypoints, cameras_of(harvest), harvest.report["outcome_names"])
    return [
        {"frame": f, "frames": harvest.frames, "picture": picture_of(harvest, f)}
        | about.frame({n: np.array(m[f]) for n, m in mapped.items()}, labels.get(f, {}), picture_of(harvest, f))
        for f in frames
    ]


@dataclass(frozen=True)
class _About:
    folder: Path
    names: tuple[str, ...]
    cameras: tuple[Camera, ...]
    outcomes: list[str]

    def frame(self, arrays: dict[str, Any], labels: dict[int, PseudoLabel], picture: int) -> dict[str, Any]:
        there = (arrays["outcome"] == 0) | (arrays["outcome"] == 2)
        joints = [
            {
                "name": name,
                "outcome": self.outcomes[int(arrays["outcome"][j])],
                "position_mm": np.round(arrays["position"][j], 1).tolist(),
                "before_mm": np.round(arrays["before"][j].astype(float), 1).tolist() if "before" in arrays else None,
                "spread_mm": round(float(np.sqrt(np.trace(arrays["covariance"][j]) / 3)), 1),
                "there": bool(there[j]),
                "kept": bool(arrays["kept"][j]),
                "verdict": labels[j].verdict if j in labels else None,
                "error_px": round(labels[j].error_px, 1) if j in labels else None,
            }
            for j, name in enumerate(self.names)
        ]
        return {"joints": joints, "views": [self.view(v, arrays, there, picture) for v in range(len(self.cameras))]}

    def view(self, number: int, arrays: dict[str, Any], there: Any, picture: int) -> dict[str, Any]:
        camera = self.cameras[number]
        place = camera.project(arrays["position"])
        shape = projected_covariance(camera, arrays["position"], arrays["covariance"].astype(np.float64))
        known = there & np.isfinite(place).all(axis=-1) & np.isfinite(shape).all(axis=(1, 2))
        seen = [
            None
            if not known[j]
            else {
                "at": np.round(place[j], 1).tolist(),
                "covariance": np.round(shape[j], 2).tolist(),
                "detected": np.round(place[j] + arrays["offset_px"][number, j], 1).tolist()
                if arrays["seen"][number, j]
                else None,
            }
            for j in range(len(self.names))
        ]
        return {
            "camera": camera.name,
            "size": list(camera.size),
            "picture": (self.folder / "views" / str(number) / f"{picture:06d}.jpg").exists(),
            "joints": seen,
        }


def projected_covariance(camera: Camera, position: Any, covariance: Any) -> Any:
    """Covariances (J x 2 x 2, px^2) of reprojected points: J S J^T with the pinhole's Jacobian; distortion is left out of it."""
    seen = camera.see(position)
    z = np.where(seen[:, 2] > 1, seen[:, 2], np.nan)
    k = camera.matrix
    jacobian = np.zeros((len(position), 2, 3))
    jacobian[:, 0, 0], jacobian[:, 0, 1] = k[0, 0] / z, k[0, 1] / z
    jacobian[:, 0, 2] = -(k[0, 0] * seen[:, 0] + k[0, 1] * seen[:, 1]) / z**2
    jacobian[:, 1, 1], jacobian[:, 1, 2] = k[1, 1] / z, -k[1, 1] * seen[:, 1] / z**2
    turned = jacobian @ camera.rotation
    return turned @ covariance @ turned.transpose(0, 2, 1)


def strip(harvest: Harvest) -> list[list[int]]:
    """Per frame that has pseudo-labels: frame, waiting, accepted, rejected. One query."""
    counts = {v: Count("pk", filter=Q(verdict=v)) for v in Verdict.values}
    found = PseudoLabel.objects.filter(harvest=harvest).values("frame").annotate(**counts).order_by("frame")
    return [[r["frame"], r["waiting"], r["accepted"], r["rejected"]] for r in found]
