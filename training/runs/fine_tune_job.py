"""What a worker does for a fine-tuning run: pseudo-labels of a harvest -> arrays in a file -> the lifter learns them beside its release."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray
from scipy.special import ndtr

from labeling.releasing.reading import Poses, unlabelled
from labeling.skeletons import Skeleton
from training.harvests.frames import cameras_of, corrected, skeleton_of
from training.lifter.config import TuneConfig
from training.lifter.pseudo import Pseudo
from training.models import Harvest, Run
from training.poses.cameras import Camera
from training.runs import fine_tunes, jobs
from training.video.confidence import NEAR_MM
from training.video.harvest import USUAL
from webapp.errors import Invalid
from webapp.jobs.run import JobContext

LEAST_KEYPOINTS = 6  # a person of fewer detected keypoints is left out
MOST_PEOPLE = 100_000


def tune(job: JobContext, run: Run, config: TuneConfig) -> dict[str, Any]:
    """Train `run`. The pseudo-labels are read once, kept with the job for a restart and stored with the model."""
    harvest = Harvest.objects.filter(uuid=config.harvest).first()
    if harvest is None:
        raise Invalid("There is no such harvest.", field="harvest", value=config.harvest, fix="choose a harvest")
    pseudo_file = job.folder / "pseudo.npz"
    if not pseudo_file.exists():
        freeze(harvest, config.learn_from, pseudo_file)
    pseudo = read(pseudo_file, skeleton_of(harvest))
    with pseudo_file.open("rb") as stream:
        about: dict[str, Any] = {"sha256": hashlib.file_digest(stream, "sha256").hexdigest()}
    about |= {"harvest": str(harvest.uuid), "people": len(pseudo.score), "joints": int((pseudo.score > 0).sum())}
    job.say(f"{about['people']} people with {about['joints']} pseudo-labels of {harvest.name}")
    return jobs.train_lifter(
        job, run, config.lifter, pseudo=jobs.PseudoInput(pseudo, config.pseudo, pseudo_file, about)
    )


def freeze(harvest: Harvest, learn_from: str, target: Path) -> None:
    """Write what is to be learned as plain arrays, one row per person and view: `keypoints_px` N x J x 2 (NaN: not detected), `focal_px` and
    `principal_px` N x 2 (NaN: unknown), `target_mm` N x J x 3 (camera frame), `score` N x J (0: no label), `clip` N. Raises Invalid."""
    skeleton, cameras = skeleton_of(harvest), cameras_of(harvest)
    folder = Path(settings.MEDIA_ROOT) / harvest.folder
    frames, score = _labelled(harvest, learn_from, folder, len(skeleton.keypoints))
    position, seen, offset_px = corrected(harvest, frames.tolist(), ("position", "seen", "offset_px")).values()
    clips = np.array([c["row"] for c in (harvest.report or {}).get("clips", [])] or [0])
    clip = np.searchsorted(clips, frames, side="right")
    known = harvest.source != "video" or bool(harvest.config.get("plan", {}).get("focal_px"))
    drawn = (
        harvest.source == "video" and not seen.any()
    )  # a predictor of 3D brought no keypoints: what it would have seen
    parts: dict[str, list[NDArray[Any]]] = {}
    for number, camera in enumerate(cameras):
        pixels = _pixels(camera, position, None if drawn else seen[:, number], offset_px[:, number])
        good = np.isfinite(pixels).all(axis=-1).sum(axis=1) >= LEAST_KEYPOINTS
        focal = camera.matrix[[0, 1], [0, 1]] if known else np.full(2, np.nan)
        centre = camera.matrix[:2, 2] if known else np.full(2, np.nan)
        for name, values in {
            "keypoints_px": pixels,
            "target_mm": camera.see(position),
            "score": score,
            "clip": clip,
            "focal_px": np.broadcast_to(focal, (len(frames), 2)),
            "principal_px": np.broadcast_to(centre, (len(frames), 2)),
        }.items():
            parts.setdefault(name, []).append(values[good])
    if not sum(map(len, parts["clip"])):
        raise Invalid(
            f"Nobody has {LEAST_KEYPOINTS} detected keypoints and a pseudo-label.",
            field="learn_from",
            fix="accept more pseudo-labels",
        )
    part = target.with_suffix(".part.npz")
    arrays: dict[str, Any] = {name: np.concatenate(values) for name, values in parts.items()}
    np.savez(part, **arrays)
    part.replace(target)


def _labelled(
    harvest: Harvest, learn_from: str, folder: Path, joints: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Frames with pseudo-labels to learn, MOST_PEOPLE at most, and how much each joint counts, frames x joints (0: no label)."""
    labels = fine_tunes.learned(harvest, learn_from).order_by("frame", "joint")
    table = list(labels.values_list("frame", "joint", "verdict").iterator(chunk_size=50_000))
    frame = np.array([f for f, _, _ in table], dtype=np.int64)
    joint = np.array([j for _, j, _ in table], dtype=np.int64)
    accepted = np.array([verdict == "accepted" for _, _, verdict in table], dtype=bool)
    frames = np.unique(frame)
    if len(frames) > MOST_PEOPLE:
        frames = frames[np.linspace(0, len(frames) - 1, MOST_PEOPLE).round().astype(int)]
        kept = np.isin(frame, frames)
        frame, joint, accepted = frame[kept], joint[kept], accepted[kept]
    where = np.searchsorted(frames, frame)
    score = np.zeros((len(frames), joints))
    score[where, joint] = np.where(accepted, 1.0, _confidence(folder, frames)[where, joint])
    return frames, score


def _pixels(
    camera: Camera, position: NDArray[Any], seen: NDArray[np.bool_] | None, offset_px: NDArray[Any]
) -> NDArray[np.float64]:
    """The detections of one camera, rows x joints x 2; NaN where there was none. Without `seen`, reprojections."""
    place = camera.project(position)
    if seen is None:
        return place
    return np.where(seen[..., None], place + offset_px, np.nan)


def read(path: Path, skeleton: Skeleton) -> Pseudo:
    """What `freeze` wrote."""
    with np.load(path, allow_pickle=False) as file:
        pixels = file["keypoints_px"]
        poses: Poses = unlabelled(skeleton, [""] * len(pixels), pixels, file["focal_px"], file["principal_px"])
        return Pseudo(poses, file["target_mm"], file["score"], file["clip"].astype(np.int64))


def _confidence(folder: Path, frames: NDArray[np.int64]) -> NDArray[np.float64]:
    """P(a joint is within NEAR_MM) of every joint of these frames, from what the harvester expects of its error."""
    path = folder / "expected_mm.npy"
    if path.exists():
        expected = np.load(path, mmap_mode="r", allow_pickle=False)[frames].astype(np.float64)
    else:
        covariance = np.load(folder / "covariance.npy", mmap_mode="r", allow_pickle=False)[frames].astype(np.float64)
        expected = np.sqrt(np.trace(covariance, axis1=-2, axis2=-1))
    middle = np.log(np.maximum(expected, 1e-3)) - USUAL.width**2 / 2
    return np.asarray(np.clip(ndtr((np.log(NEAR_MM) - middle) / USUAL.width), 1e-3, 1.0))
