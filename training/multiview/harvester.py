"""The multi-view harvester: an upload of several cameras -> everybody's joints in 3D, a report, pictures for reviewers."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from labeling.skeletons import from_dict
from training.harvest import arrays, footage
from training.harvest.arrays import HarvestArrays, Stretch, frame_of_row
from training.harvest.formats import detections
from training.harvest.harvester import BadRecording, Harvested, HarvestPlan, Upload
from training.multiview import association, harvest, report
from training.multiview.calibration import marker_cameras
from training.multiview.config import HarvestConfig
from training.multiview.recording import Detections, HeatmapFiles, Recording, Source
from training.multiview.upload import chosen, matched
from training.poses.cameras import Camera
from webapp.errors import InputError
from webapp.progress import Progress

MOST_SHOWN = 300  # frames whose pictures are kept for review
USUAL_FPS = 30.0
LEAST_S, AWAY_S = 0.5, 10.0  # who is seen for less is left out; who comes back within this time is the same person
SURE_VIEWS = 3  # cameras that show somebody, in the mean, who is harvested without being asked for
Say = Callable[[str], None]


def harvest_upload(upload: Upload, config: HarvestConfig, target: Path, *, progress: Progress, say: Say) -> Harvested:
    """A Harvester (training.harvest.harvester). Raises InputError."""
    cameras = tuple(upload.cameras)
    recorded, known = _recording(upload, cameras, config, progress)
    cameras, count = recorded.cameras, len(recorded.people)
    say(
        f"{recorded.source.frames} {f'poses of {count} people' if count > 1 else 'frames'}, {len(cameras)} cameras, "
        f"{recorded.skeleton.name}, on {upload.device}"
    )
    result = harvest.harvest(recorded, config, target, progress=progress, device=upload.device, threads=upload.threads)
    quality = report.report(recorded, result, inlier_px=config.inlier_px, undistort=config.undistort)
    shown, notes = _pictures(upload, recorded, result, target)
    known += [
        f"person {recorded.people[n].person + 1}: too little is seen to measure limbs, which are taken as long as the others'"
        for n in harvest.unmeasured(target)
    ]
    quality["findings"] += [*known, *notes]
    quality["shown"] = shown
    lengths = [[round(float(length), 2) for length in person] for person in harvest.lengths_of(target)]
    for clip, own in zip(quality["clips"], lengths):
        clip["lengths_mm"] = recorded.skeleton.by_edge(own)
    one = lengths[0] if len(lengths) == 1 else None
    return Harvested(result, recorded.skeleton, cameras, recorded.fps, quality, one, recorded.stretches)


def _recording(
    upload: Upload, cameras: tuple[Camera, ...], config: HarvestConfig, progress: Progress
) -> tuple[Recording, list[str]]:
    """Detections of each person as an array mapped from disk, or a folder of heatmaps; made once, kept for a restart."""
    plan, aside = upload.plan, upload.work / "detections.npy"
    skeleton, about = plan.asked_skeleton, upload.work / "detections.json"
    path, maps = _detections(upload)
    if maps is not None:
        if skeleton is None:
            raise BadRecording("Heatmaps do not say their skeleton.", field="skeleton", fix="name the skeleton")
        chosen(plan, 1)
        source: Source = HeatmapFiles(maps, len(cameras), len(skeleton.keypoints))
        return Recording(cameras, skeleton, source, plan.fps or USUAL_FPS), []
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
        of_each, notes = _people(
            plan, cameras, read.people[:, match.views], plan.fps or read.fps or USUAL_FPS, config, progress, aside
        )
        about.write_text(
            json.dumps(
                {
                    "skeleton": read.skeleton.as_dict(),
                    "fps": read.fps,
                    "notes": [*read.notes, *_marker_cameras(upload), *match.notes, *notes],
                    "cameras": [camera.name for camera in cameras],
                    "stretches": [vars(stretch) for stretch in of_each],
                }
            )
        )
    known = json.loads(about.read_text())
    # A work folder of before cameras could be left out names none: it has them all.
    used = tuple(c for c in upload.cameras if c.name in known.get("cameras", [c.name]))
    mapped = np.load(aside, mmap_mode="r", allow_pickle=False)
    fps = plan.fps or known["fps"] or USUAL_FPS
    stretches = tuple(Stretch(**stretch) for stretch in known.get("stretches", []))
    return Recording(used, from_dict(known["skeleton"]), Detections(mapped), fps, stretches), known.get("notes", [])


def _marker_cameras(upload: Upload) -> list[str]:
    path = upload.file("calibration")
    names = marker_cameras(path) if path else []
    return [f"camera {name} sees markers only and is left out" for name in names]


def _people(
    plan: HarvestPlan,
    cameras: tuple[Camera, ...],
    people: Float[np.ndarray, "F V P J 3"],
    fps: float,
    config: HarvestConfig,
    progress: Progress,
    aside: Path,
) -> tuple[list[Stretch], list[str]]:
    """Write the detections of each person, end to end, to the file `aside` (rows x V x J x 3); which rows are whose (nothing where
    nobody else was seen: rows are frames), and who is who in words. Raises BadRecording."""
    if people.shape[2] == 1:
        chosen(plan, 1)
        arrays.save(aside, people[:, :, 0])
        return [], []
    followed = association.follow(
        cameras,
        people,
        inlier_px=config.inlier_px,
        least_score=config.least_score,
        least_frames=max(2, round(LEAST_S * fps)),
        most_away=round(AWAY_S * fps),
        progress=progress,
    )
    asked, notes = _chosen(plan, followed, len(cameras))
    some = [(n, followed.subjects[n - 1]) for n in asked]
    if len(followed.subjects) <= 1:  # nobody to be told from: a row in every frame
        one = np.zeros((len(people), people.shape[1], *people.shape[3:]), dtype=np.float32)
        for _, subject in some:
            one[subject.first : subject.last + 1] = subject.detections(people)
        arrays.save(aside, one)
        return [], notes
    stretches, row = [], 0
    for n, subject in some:
        stretches.append(Stretch(n - 1, row, len(subject.slots), subject.first))
        row += len(subject.slots)
    part = aside.with_suffix(".part.npy")
    own = np.lib.format.open_memmap(part, "w+", np.float32, (row, people.shape[1], *people.shape[3:]))
    for stretch, (_, subject) in zip(stretches, some):
        own[stretch.row : stretch.row + stretch.rows] = subject.detections(people)
    own.flush()
    part.replace(aside)
    return stretches, notes


def _chosen(plan: HarvestPlan, followed: association.Followed, views: int) -> tuple[list[int], list[str]]:
    """Numbers of the people to harvest, from 1 on, and in words who is there and who is left out. Raises BadRecording.

    Without a wish these are all that three cameras show, where there are three: of two, nobody knows whether they agree by chance."""
    subjects = followed.subjects
    asked = chosen(plan, len(subjects))
    if not asked:
        least = min(views, SURE_VIEWS) - 0.5
        asked = [n for n, s in enumerate(subjects, start=1) if s.views >= least] or [1] * bool(subjects)
    notes = []
    if len(subjects) > 1:
        notes.append(f"{len(subjects)} people are told apart, numbered by how much is seen of them")
        for n, s in enumerate(subjects, start=1):
            left = "" if n in asked else ", left out: to harvest this person, too, name the number as one of the people"
            notes.append(f"person {n}: frames {s.first} to {s.last}, {s.views:.1f} cameras{left}")
    brief = [f"{s.first} to {s.last}" for s in followed.brief]
    if brief:
        listed = ", ".join(brief[:8]) + (f" and {len(brief) - 8} more" if len(brief) > 8 else "")
        notes.append(f"seen for less than {LEAST_S:g} s and left out: somebody in frames {listed}")
    return asked, notes


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


def _pictures(upload: Upload, recorded: Recording, result: HarvestArrays, target: Path) -> tuple[list[int], list[str]]:
    """Rows with pseudo-labels of whose frames pictures were made, of at most MOST_SHOWN frames, evenly chosen; and what could not be read."""
    archive = upload.files / "views.zip"
    frame, kept = frame_of_row(recorded.stretches, len(result.kept)), result.kept.any(axis=1)
    labelled = np.unique(frame[kept])
    if not archive.exists() or not len(labelled):
        return [], []
    some = labelled[np.unique(np.linspace(0, len(labelled) - 1, min(MOST_SHOWN, len(labelled))).round().astype(int))]
    try:
        opened = upload.unpack(archive, upload.work / "views")
    except InputError as error:
        return [], [f"views: {error.detail}"]
    names = [c.name for c in recorded.cameras]
    shown = footage.extract(opened, names, some.tolist(), target / "views", most_pixels=upload.most_pixels)
    return np.flatnonzero(kept & np.isin(frame, list(set().union(*shown.frames)))).tolist(), shown.notes
