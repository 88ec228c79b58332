"""The multi-view harvester: an upload of several cameras -> one subject's joints in 3D, a report, pictures for reviewers."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from labeling.skeletons import BUILT_IN, from_dict
from training.harvest import footage
from training.harvest.arrays import HarvestArrays
from training.harvest.formats import detections
from training.harvest.harvester import BadRecording, Harvested, Upload
from training.multiview import association, harvest, report
from training.multiview.config import HarvestConfig
from training.multiview.recording import Detections, HeatmapFiles, Recording, Source
from training.multiview.upload import matched
from training.poses.cameras import Camera
from webapp.errors import InputError
from webapp.progress import Progress

MOST_SHOWN = 300  # frames whose pictures are kept for review
Say = Callable[[str], None]


def harvest_upload(upload: Upload, config: HarvestConfig, target: Path, *, progress: Progress, say: Say) -> Harvested:
    """A Harvester (training.harvest.harvester). Raises InputError."""
    cameras = tuple(upload.cameras)
    recorded, known = _recording(upload, cameras, config, say)
    cameras = recorded.cameras
    say(f"{recorded.source.frames} frames, {len(cameras)} cameras, {recorded.skeleton.name}, on {upload.device}")
    result = harvest.harvest(recorded, config, target, progress=progress, device=upload.device, threads=upload.threads)
    quality = report.report(recorded, result, inlier_px=config.inlier_px, undistort=config.undistort)
    shown, notes = _pictures(upload, cameras, result, target)
    quality["findings"] += [*known, *notes]
    quality["shown"] = shown
    lengths = [round(float(length), 2) for length in harvest.lengths_of(target)]
    return Harvested(result, recorded.skeleton, cameras, recorded.fps, quality, lengths)


def _recording(
    upload: Upload, cameras: tuple[Camera, ...], config: HarvestConfig, say: Say
) -> tuple[Recording, list[str]]:
    """Detections of one subject as an array mapped from disk, or a folder of heatmaps; made once, kept for a restart."""
    plan, aside = upload.plan, upload.work / "detections.npy"
    skeleton, about = BUILT_IN.get(plan.skeleton), upload.work / "detections.json"
    path, maps = _detections(upload)
    if maps is not None:
        if skeleton is None:
            raise BadRecording("Heatmaps do not say their skeleton.", field="skeleton", fix="name the skeleton")
        source: Source = HeatmapFiles(maps, len(cameras), len(skeleton.keypoints))
        return Recording(cameras, skeleton, source, plan.fps or 30.0), []
    if not about.exists():
        read = detections.read(path, skeleton=skeleton)
        match = matched(read.cameras, cameras, read.people.shape[1])
        cameras = match.cameras
        if read.size is not None and any(_differ(read.size, c.size) for c in cameras):
            raise BadRecording(
                f"the detections are of {read.size[0]} x {read.size[1]} px, {cameras[0].name} is calibrated for "
                f"{cameras[0].size[0]} x {cameras[0].size[1]} px",
                field="calibration",
                fix="bring the calibration of the pictures' size",
            )
        if read.people.shape[2] > 1:
            say(f"up to {read.people.shape[2]} people in a view: following one of them")
        subject = association.subject_of(
            cameras, read.people[:, match.views], inlier_px=config.inlier_px, least_score=config.least_score
        )
        part = aside.with_suffix(".part.npy")
        np.save(part, subject)
        part.replace(aside)
        about.write_text(
            json.dumps(
                {
                    "skeleton": read.skeleton.as_dict(),
                    "fps": read.fps,
                    "notes": [*read.notes, *match.notes],
                    "cameras": [camera.name for camera in cameras],
                }
            )
        )
    known = json.loads(about.read_text())
    # A work folder of before cameras could be left out names none: it has them all.
    used = tuple(c for c in upload.cameras if c.name in known.get("cameras", [c.name]))
    mapped = np.load(aside, mmap_mode="r", allow_pickle=False)
    fps = plan.fps or known["fps"] or 30.0
    return Recording(used, from_dict(known["skeleton"]), Detections(mapped), fps), known.get("notes", [])


def _detections(upload: Upload) -> tuple[Path, Path | None]:
    """Where the detections are, and the folder of heatmaps if they are some."""
    if (upload.files / "detections.zip").exists():
        path = upload.unpack(upload.files / "detections.zip", upload.work / "unpacked")
        return path, path if any(path.glob("*.npz")) else None
    path = upload.files / "detections.npz"
    with zipfile.ZipFile(path) as file:
        if "heatmaps.npy" not in file.namelist():
            return path, None
    maps = upload.work / "maps"
    maps.mkdir(exist_ok=True)
    shutil.copyfile(path, maps / "0.npz")
    return path, maps


def _differ(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return max(abs(a[0] / b[0] - 1), abs(a[1] / b[1] - 1)) > 0.02


def _pictures(
    upload: Upload, cameras: Sequence[Camera], result: HarvestArrays, target: Path
) -> tuple[list[int], list[str]]:
    """Frames with pseudo-labels of which pictures were made, at most MOST_SHOWN, evenly chosen; and what could not be read."""
    archive, labelled = upload.files / "views.zip", np.flatnonzero(result.kept.any(axis=1))
    if not archive.exists() or not len(labelled):
        return [], []
    some = labelled[np.unique(np.linspace(0, len(labelled) - 1, min(MOST_SHOWN, len(labelled))).round().astype(int))]
    try:
        opened = upload.unpack(archive, upload.work / "views")
    except InputError as error:
        return [], [f"views: {error.detail}"]
    names = [c.name for c in cameras]
    shown = footage.extract(opened, names, some.tolist(), target / "views", most_pixels=upload.most_pixels)
    return sorted(set().union(*shown.frames)), shown.notes
