"""The video harvester: an upload of one camera's keypoints or predictions -> joints in 3D, a report, pictures for reviewers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from labeling.skeletons import Skeleton, from_dict
from training.harvest import arrays, footage
from training.harvest.arrays import HarvestArrays, Stretch
from training.harvest.formats import detections, predictions
from training.harvest.harvester import BadRecording, Harvested, Upload
from training.lifter.predict import BadModel, load
from training.video import harvest, report
from training.video.clips import Followed, alone, follow
from training.video.config import VideoConfig
from training.video.lifting import BadLifter, Ensemble, View, in_skeleton
from training.video.upload import VideoPlan
from webapp.errors import InputError
from webapp.progress import Progress

MOST_SHOWN = 1800  # frames whose pictures are kept for review: three minutes at ten a second
USUAL_FPS, USUAL_SIZE = 30.0, (1000, 1000)


def harvest_upload(
    upload: Upload, config: VideoConfig, target: Path, *, progress: Progress, say: Callable[[str], None]
) -> Harvested:
    """A Harvester (training.harvest.harvester). Raises InputError."""
    try:
        return _harvest(upload, config, target, progress, say)
    except (BadLifter, BadModel) as error:
        raise BadRecording(error.detail, field="models", fix="choose other models") from None


def _harvest(
    upload: Upload, config: VideoConfig, target: Path, progress: Progress, say: Callable[[str], None]
) -> Harvested:
    ensemble = Ensemble([load(path) for path in upload.models]) if upload.models else None
    inputs = _read(upload, ensemble, progress)
    video, followed = _video(upload, config, inputs, progress)
    say(f"{video.rows} frames in {len(video.clips)} clips, {video.skeleton.name}, {len(upload.models)} models")
    made_of = " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in upload.models)
    lift = ensemble.lift if ensemble else None
    result = harvest.harvest(video, lift, config, target, models=made_of, progress=progress)
    np.save(target / "timeline.npy", report.timeline(result, video.fps, progress=progress))
    notes = list(inputs["notes"])
    if len(upload.models) == 1:
        notes.append("one model lifts: confidence rests on its mirror images alone; several know better where they err")
    quality = report.report(video, result, followed, notes, progress=progress)
    readable = inputs.get("readable", True)  # else the notes say so already
    shown, unread = _pictures(upload, video, result, target, progress) if readable else ([], [])
    quality["findings"] += [note for note in unread if note not in quality["findings"]]
    quality["shown"] = shown
    for leftover in target.glob("tail*.npz"):
        leftover.unlink()
    stretches = [Stretch(c["person"], c["row"], c["rows"], c["first_frame"]) for c in quality["clips"]]
    whole = len(stretches) == 1 and stretches[0].first_frame == 0
    return Harvested(result, video.skeleton, (video.camera,), video.fps, quality, stretches=[] if whole else stretches)


@dataclass
class _Inputs:
    """What the files say, in the lifter's skeleton; None where they do not."""

    skeleton: Skeleton
    fps: float | None
    size: tuple[int, int] | None
    notes: list[str]


def _read(upload: Upload, ensemble: Ensemble | None, progress: Progress) -> dict[str, Any]:
    """Detections (or poses and scores) in the lifter's skeleton as arrays mapped from disk; made once, kept for a restart."""
    about = upload.work / "video.json"
    if not about.exists():
        plan = upload.plan
        assert isinstance(plan, VideoPlan)  # noqa: S101
        notes: list[str] = []
        seen = _seen(upload, notes)
        inputs = _detections(upload, ensemble, seen, notes, progress)
        path = upload.work / ("people.npy" if (upload.work / "people.npy").exists() else "poses.npy")
        _doubt(plan, inputs, seen, len(np.load(path, mmap_mode="r")), is_flat=path.name == "people.npy")
        size = [plan.width, plan.height] if plan.width and plan.height else inputs.size or seen.get("size")
        known = {
            "skeleton": inputs.skeleton.as_dict(),
            "fps": plan.fps or inputs.fps or seen.get("fps") or USUAL_FPS,
            "size": list(size or USUAL_SIZE),
            "notes": notes,
            "readable": bool(seen) or _film(upload) is None,
        }
        about.with_suffix(".part").write_text(json.dumps(known))
        about.with_suffix(".part").replace(about)
    return dict(json.loads(about.read_text()))


def _detections(
    upload: Upload, ensemble: Ensemble | None, seen: dict[str, Any], notes: list[str], progress: Progress
) -> _Inputs:
    path = next(upload.files.glob("detections.*"))
    asked_skeleton = upload.plan.asked_skeleton
    if path.suffix == ".zip":
        path = upload.unpack(path, upload.work / "unpacked")
    if path.is_file() and path.suffix == ".npz" and predictions.holds_poses(path):
        lifted = predictions.read_poses(path, asked_skeleton)
        arrays.save(upload.work / "poses.npy", lifted.poses_mm)
        arrays.save(upload.work / "score.npy", lifted.score)
        return _Inputs(lifted.skeleton, lifted.fps, None, notes)
    read = detections.read_single(path, skeleton=asked_skeleton, between=lambda: progress(0, 1, "files"))
    notes += read.notes
    if ensemble is None:
        raise BadRecording("2D keypoints need a model that lifts them.", field="models", fix="choose a trained model")
    arrays.save(upload.work / "people.npy", in_skeleton(read.people[:, 0], read.skeleton, ensemble.skeleton))
    size = read.size or seen.get("size")
    if size is None:
        size = detections.extent(read.people)
        text = f"{size[0]} x {size[1]} px, as far as detections reach, are assumed"
        notes.append(f"nothing says the pictures' size: {text}")
    if read.skeleton.keypoints != ensemble.skeleton.keypoints:
        notes.append(
            f"detections of {read.skeleton.name} were brought to {ensemble.skeleton.name} by the joints' names"
        )
    return _Inputs(ensemble.skeleton, read.fps, size, notes)


def _doubt(plan: VideoPlan, inputs: _Inputs, seen: dict[str, Any], frames: int, *, is_flat: bool) -> None:
    """Note what is assumed because nothing says it, and what does not fit."""
    if seen.get("frames") and abs(seen["frames"] - frames) > max(2, 0.01 * frames):
        inputs.notes.append(f"the video has {seen['frames']} frames, the keypoints {frames}: do they belong together?")
    if not (plan.fps or inputs.fps or seen.get("fps")):
        inputs.notes.append(f"nothing says the frame rate: {USUAL_FPS:g} frames a second are assumed")
    if not plan.focal_px and is_flat:
        inputs.notes.append(
            "the focal length is not known: distance and path of the root are rough, poses are those of a distant camera"
        )


def _film(upload: Upload) -> Path | None:
    """The video itself, where it is none of pictures in an archive."""
    return next((p for p in upload.files.glob("video.*") if p.suffix in footage.VIDEOS), None)


def _seen(upload: Upload, notes: list[str]) -> dict[str, Any]:
    """Frame rate, size and number of frames of the video, as far as it says them. What cannot be read is a note."""
    path = _film(upload)
    if path is None:
        return {}
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                notes.append("the video file holds sound, but no video; reviewers see no pictures")
                return {}
            stream = container.streams.video[0]
            about: dict[str, Any] = {"frames": int(stream.frames)}
            if stream.average_rate:
                about["fps"] = float(stream.average_rate)
        if size := footage.upright_size(path):
            about["size"] = size
        return about
    except (av.FFmpegError, OSError, ValueError) as error:
        notes.append(
            f"the video cannot be read: unknown codec or broken file ({type(error).__name__}); reviewers see no pictures"
        )
        return {}


def _video(
    upload: Upload, config: VideoConfig, inputs: dict[str, Any], progress: Progress
) -> tuple[harvest.Video, Followed]:
    assert isinstance(upload.plan, VideoPlan)  # noqa: S101
    skeleton, fps = from_dict(inputs["skeleton"]), inputs["fps"]
    size = (int(inputs["size"][0]), int(inputs["size"][1]))
    view = View.of(upload.plan.focal_px, size)
    if (upload.work / "people.npy").exists():
        people = np.load(upload.work / "people.npy", mmap_mode="r", allow_pickle=False)
        followed = follow(people, fps, config.clips, progress=progress)
        return harvest.Video(skeleton, followed.clips, fps, size, people=people, view=view), followed
    poses = np.load(upload.work / "poses.npy", mmap_mode="r", allow_pickle=False)
    score = np.load(upload.work / "score.npy", mmap_mode="r", allow_pickle=False)
    followed = alone(score)
    return harvest.Video(skeleton, followed.clips, fps, size, poses_mm=poses, score=score, view=view), followed


def _pictures(
    upload: Upload, video: harvest.Video, result: HarvestArrays, target: Path, progress: Progress
) -> tuple[list[int], list[str]]:
    """Rows that have a picture: up to MOST_SHOWN frames with pseudo-labels, evenly chosen; and what could not be read."""
    labelled = np.flatnonzero(np.asarray(result.kept).any(axis=1))
    path = upload.file("video")
    if path is None or not len(labelled):
        return [], []
    frame_of = np.concatenate([c.first + np.arange(len(c.slots)) for c in video.clips])
    every = np.unique(frame_of[labelled])
    some = every[np.unique(np.linspace(0, len(every) - 1, min(MOST_SHOWN, len(every))).round().astype(int))]
    folder = upload.files
    if path.suffix == ".zip":
        try:
            folder = upload.unpack(path, upload.work / "views")
        except InputError as error:
            return [], [f"video: {error.detail}"]
    pictures = target / "views"
    shown = footage.extract(
        folder, ["video"], some.tolist(), pictures, most_pixels=upload.most_pixels, progress=progress
    )
    there = np.isin(frame_of, sorted(shown.frames[0]))
    return np.flatnonzero(there & np.asarray(result.kept).any(axis=1)).tolist(), shown.notes
