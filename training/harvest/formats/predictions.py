"""3D predictions of somebody else's network, from an npz."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from labeling.skeletons import Skeleton
from training.harvest.archives import bounded
from training.harvest.formats import joints
from training.harvest.formats.detections import MOST_FRAMES, MOST_PEOPLE, MOST_UNPACKED
from training.harvest.harvester import BadRecording


@dataclass(frozen=True)
class Lifted:
    """3D predictions of somebody else's: `poses_mm` F x P x J x 3 (camera frame; NaN: missing), `score` F x P x J in 0..1."""

    poses_mm: Float[np.ndarray, "F P J 3"]
    score: Float[np.ndarray, "F P J"]
    skeleton: Skeleton
    fps: float = 0.0


def holds_poses(path: Path) -> bool:
    """Does this npz bring 3D predictions (`poses_mm`) rather than detections? False for what is no archive."""
    try:
        with zipfile.ZipFile(path) as file:
            return "poses_mm.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_poses(path: Path, skeleton: Skeleton | None) -> Lifted:
    """Arrays `poses_mm` F x J x 3 or F x P x J x 3, joint_names, and maybe `score` (F x J or F x P x J; else 1) and fps.

    Raises BadRecording.
    """
    try:
        bounded(path, MOST_UNPACKED)
        with np.load(path, allow_pickle=False) as file:
            values = np.asarray(file["poses_mm"])
            names = [str(n) for n in file["joint_names"]] if "joint_names" in file.files else []
            fps = float(file["fps"]) if "fps" in file.files else 0.0
            score = np.asarray(file["score"]) if "score" in file.files else np.ones(values.shape[:-1])
    except (KeyError, ValueError, OSError, EOFError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        raise BadRecording(f"{path.name}: no npz of poses ({error})", field="detections") from None
    if values.ndim == 3:
        values, score = values[:, None], score[:, None]
    if values.ndim != 4 or values.shape[-1] != 3 or not values.size or values.dtype.kind not in "fiu":
        raise BadRecording(
            f"{path.name}: poses_mm is {values.shape}, not frames x people x joints x 3", field="detections"
        )
    if score.shape != values.shape[:3] or score.dtype.kind not in "fiu":
        raise BadRecording(f"{path.name}: score is {score.shape}, not {values.shape[:3]}", field="detections")
    if len(values) > MOST_FRAMES or values.shape[1] > MOST_PEOPLE:
        raise BadRecording(f"{len(values)} frames of {values.shape[1]} people are too many", field="detections")
    target = skeleton or joints.named(names)
    if target is None or len(target.keypoints) != values.shape[2]:
        raise BadRecording(
            f"{path.name}: {values.shape[2]} joints are those of no known skeleton",
            field="skeleton",
            fix="name the skeleton",
        )
    known = np.isfinite(values).all(axis=-1) & np.isfinite(score) & (score > 0)
    if not known.any():
        raise BadRecording("No pose has a score above 0.", field="detections")
    return Lifted(
        values.astype(np.float32), np.where(known, np.minimum(score, 1.0), 0.0).astype(np.float32), target, fps
    )
