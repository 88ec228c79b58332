"""What a worker does for a video's harvest: upload -> people followed and cut into clips -> library -> pseudo-labels, files, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from labeling.importing.parsed import BadInput
from labeling.skeletons import BUILT_IN, Skeleton, from_dict
from training.harvests import jobs, review, uploads
from training.harvests.uploads import HarvestJob
from training.harvests.video_uploads import VideoPlan
from training.lifter.predict import BadModel, load
from training.models import Harvest, Model
from training.multiview import footage
from training.multiview.formats import detections, poses
from training.multiview.recording import BadRecording
from training.video import harvest, report
from training.video.clips import Followed, alone, follow
from training.video.config import VideoConfig
from training.video.lifting import BadLifter, Ensemble, View, in_skeleton
from webapp.jobs.run import JobContext

MOST_SHOWN = 1800  # frames whose pictures are kept for review: three minutes at ten a second
USUAL_FPS = 30.0


def run_video_harvest(context: JobContext, config: HarvestJob) -> dict[str, Any]:
    """Job: harvest a video; goes on where a killed worker was. Pseudo-labels and files appear together at the end."""
    row = Harvest.objects.select_related("job").get(uuid=config.harvest)
    try:
        return _harvest(context, row, Path(config.upload))
    except (BadLifter, BadModel) as error:
        raise error.refusal(field="models", fix="choose other models") from None
    except BadInput as error:
        raise error.refusal(field="detections") from None


def _harvest(context: JobContext, row: Harvest, upload: Path) -> dict[str, Any]:
    plan = VideoPlan.model_validate(row.config["plan"])
    options = VideoConfig.model_validate(row.config["options"])
    models = {m.uuid: m for m in Model.objects.filter(uuid__in=plan.models)}
    ensemble = (
        Ensemble([load(Path(settings.MEDIA_ROOT) / models[m].path) for m in plan.models]) if plan.models else None
    )
    inputs = _read(context, plan, upload, ensemble)
    video, followed = _video(context, plan, options, inputs)
    context.say(f"{video.rows} frames in {len(video.clips)} clips, {video.skeleton.name}, {len(plan.models)} models")
    arrays = context.folder / "arrays"
    lift, made_of = ensemble.lift if ensemble else None, " ".join(models[m].sha256 for m in plan.models)
    result = harvest.harvest(video, lift, options, arrays, models=made_of, progress=context.progress)
    np.save(arrays / "timeline.npy", report.timeline(result, video.fps, progress=context.progress))
    single = ["one model lifts: confidence rests on its mirror images alone; several know better where they err"]
    notes = inputs["notes"] + (single if len(plan.models) == 1 else [])
    quality = report.report(video, result, followed, notes, progress=context.progress)
    for finding in quality["findings"]:
        context.say(finding)
    for kind, name in zip(poses.KINDS, review.FILES):
        poses.write(
            arrays / name,
            kind,
            result,
            video.skeleton,
            (video.camera,),
            video.fps,
            between=lambda: context.progress(video.rows, video.rows, "frames"),
        )
    quality["shown"] = _pictures(context, upload, video, result, arrays, quality)
    for leftover in arrays.glob("tail*.npz"):
        leftover.unlink()
    return jobs.finish(
        context,
        row,
        result,
        quality,
        arrays,
        cameras=[uploads.as_dict(video.camera)],
        skeleton=video.skeleton.as_dict(),
        frames=video.rows,
        fps=video.fps,
        lengths_mm=None,
    )


def _read(context: JobContext, plan: VideoPlan, upload: Path, ensemble: Ensemble | None) -> dict[str, Any]:
    """Detections (or poses and scores) in the lifter's skeleton as arrays mapped from disk; made once, kept for a restart."""
    about = context.folder / "video.json"
    if not about.exists():
        asked_skeleton = BUILT_IN.get(plan.skeleton) if plan.skeleton else None
        path = next(upload.glob("detections.*"))
        if path.suffix == ".zip":
            path = jobs.unpacked(path, context.folder / "unpacked", between=lambda: context.progress(0, 1, "files"))
        notes: list[str] = []
        seen = _seen(upload, context, notes)
        if path.is_file() and path.suffix == ".npz" and detections.holds_poses(path):
            lifted = detections.read_poses(path, asked_skeleton)
            skeleton, fps, size = lifted.skeleton, lifted.fps, None
            _save(context.folder / "poses.npy", lifted.poses_mm)
            _save(context.folder / "score.npy", lifted.score)
        else:
            read = detections.read_single(
                path, skeleton=asked_skeleton, between=lambda: context.progress(0, 1, "files")
            )
            if ensemble is None:
                raise BadRecording(
                    "2D keypoints need a model that lifts them.", field="models", fix="choose a trained model"
                )
            skeleton, fps, size = ensemble.skeleton, read.fps, read.size
            _save(context.folder / "people.npy", in_skeleton(read.people[:, 0], read.skeleton, ensemble.skeleton))
            size = size or seen.get("size")
            if size is None:
                size = detections.extent(read.people)
                text = f"{size[0]} x {size[1]} px, as far as detections reach, are assumed"
                notes.append(f"nothing says the pictures' size: {text}")
            if read.skeleton.keypoints != skeleton.keypoints:
                notes.append(f"detections of {read.skeleton.name} were brought to {skeleton.name} by the joints' names")
        frames = len(
            np.load(
                next(p for p in (context.folder / "people.npy", context.folder / "poses.npy") if p.exists()),
                mmap_mode="r",
            )
        )
        if seen.get("frames") and abs(seen["frames"] - frames) > max(2, 0.01 * frames):
            notes.append(f"the video has {seen['frames']} frames, the keypoints {frames}: do they belong together?")
        if not (plan.fps or fps or seen.get("fps")):
            notes.append(f"nothing says the frame rate: {USUAL_FPS:g} frames a second are assumed")
        if not plan.focal_px and (context.folder / "people.npy").exists():
            notes.append(
                "the focal length is not known: distance and path of the root are rough, poses are those of a distant camera"
            )
        inputs_file = {
            "skeleton": skeleton.as_dict(),
            "fps": plan.fps or fps or seen.get("fps") or USUAL_FPS,
            "size": [plan.width, plan.height]
            if plan.width and plan.height
            else list(size or seen.get("size") or (1000, 1000)),
            "notes": notes,
        }
        about.with_suffix(".part").write_text(json.dumps(inputs_file))
        about.with_suffix(".part").replace(about)
    return dict(json.loads(about.read_text()))


def _save(path: Path, values: NDArray[Any]) -> None:
    part = path.with_suffix(".part.npy")
    np.save(part, values)
    part.replace(path)


def _seen(upload: Path, context: JobContext, notes: list[str]) -> dict[str, Any]:
    """Frame rate, size and number of frames of the video, as far as it says them. What cannot be read is a note."""
    path = next((p for p in upload.glob("video.*") if p.suffix in footage.VIDEOS), None)
    if path is None:
        return {}
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("it holds no video")
            stream = container.streams.video[0]
            rate, width, height = stream.average_rate, stream.codec_context.width, stream.codec_context.height
            about: dict[str, Any] = {"frames": int(stream.frames)}
            if rate:
                about["fps"] = float(rate)
            if width and height:
                about["size"] = (int(width), int(height))
            return about
    except (av.FFmpegError, OSError, ValueError) as error:
        notes.append(
            f"the video cannot be read: unknown codec or broken file ({type(error).__name__}); reviewers see no pictures"
        )
        return {}


def _video(
    context: JobContext, plan: VideoPlan, options: VideoConfig, inputs: dict[str, Any]
) -> tuple[harvest.Video, Followed]:
    skeleton: Skeleton = from_dict(inputs["skeleton"])
    size = (int(inputs["size"][0]), int(inputs["size"][1]))
    view = View.of(plan.focal_px, size)
    if (context.folder / "people.npy").exists():
        people = np.load(context.folder / "people.npy", mmap_mode="r", allow_pickle=False)
        followed = follow(people, inputs["fps"], options.clips, progress=context.progress)
        return harvest.Video(skeleton, followed.clips, inputs["fps"], size, people=people, view=view), followed
    poses = np.load(context.folder / "poses.npy", mmap_mode="r", allow_pickle=False)
    score = np.load(context.folder / "score.npy", mmap_mode="r", allow_pickle=False)
    followed = alone(score)
    return harvest.Video(
        skeleton, followed.clips, inputs["fps"], size, poses_mm=poses, score=score, view=view
    ), followed


def _pictures(
    context: JobContext,
    upload: Path,
    video: harvest.Video,
    result: harvest.Harvest,
    arrays: Path,
    quality: dict[str, Any],
) -> list[int]:
    """Rows that have a picture: up to MOST_SHOWN frames with pseudo-labels, evenly chosen."""
    labelled = np.flatnonzero(np.asarray(result.kept).any(axis=1))
    path = next(upload.glob("video.*"), None)
    if path is None or not len(labelled):
        return []
    frame_of = np.concatenate([c.first + np.arange(len(c.slots)) for c in video.clips])
    every = np.unique(frame_of[labelled])
    some = every[np.unique(np.linspace(0, len(every) - 1, min(MOST_SHOWN, len(every))).round().astype(int))]
    folder = upload
    if path.suffix == ".zip":
        try:
            folder = jobs.unpacked(path, context.folder / "views", between=lambda: context.progress(0, 1, "files"))
        except BadInput as error:
            quality["findings"].append(f"video: {error.detail}")
            return []
    shown = footage.extract(
        folder,
        ["video"],
        some.tolist(),
        arrays / "views",
        most_pixels=settings.MAX_IMAGE_PIXELS,
        progress=context.progress,
    )
    quality["findings"] += [note for note in shown.notes if note not in quality["findings"]]
    there = np.isin(frame_of, sorted(shown.frames[0]))
    return np.flatnonzero(there & np.asarray(result.kept).any(axis=1)).tolist()
