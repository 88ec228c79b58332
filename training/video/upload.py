"""What is asked of one camera's video, and a first look at its files, without torch: what can be seen at once to be wrong."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from pydantic import Field

from training.harvest import footage
from training.harvest.formats import detections, predictions
from training.harvest.harvester import BadRecording, HarvestPlan
from training.poses.cameras import Camera

INSPECT_BYTES = 64 * 2**20  # larger ones are read by the worker
MOST_MODELS = 8
KEYPOINTS = (".npz", ".json", ".csv", ".h5", ".zip")
SHOWN = (*sorted(footage.VIDEOS), ".zip")


class VideoPlan(HarvestPlan):
    """What to make of a video's keypoints or poses."""

    models: list[UUID] = Field(
        default_factory=list, max_length=MOST_MODELS, description="trained models that lift; several make an ensemble"
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


def check(files: Path, plan: VideoPlan) -> tuple[Camera, ...]:
    """Read what is small enough to be read at once. A video brings no cameras. Raises BadRecording."""
    path = next(files.glob("detections.*"))
    tables = path.suffix in (
        ".csv",
        ".h5",
    )  # of HDF5 a small file may be large, and a CSV is read cell by cell: the worker's
    if path.suffix == ".zip" or tables or path.stat().st_size > INSPECT_BYTES:
        return ()
    skeleton = plan.asked_skeleton
    if path.suffix == ".npz" and predictions.holds_poses(path):
        predictions.read_poses(path, skeleton)
    elif not (detections.read_single(path, skeleton=skeleton).people[..., 2] > 0).any():
        raise BadRecording("Nobody is detected in any frame.", field="detections", fix="check the scores")
    elif not plan.models:
        raise BadRecording("2D keypoints need a model that lifts them.", field="models", fix="choose a trained model")
    return ()
