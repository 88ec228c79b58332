"""What a worker does for a harvest: upload -> detections of one subject -> library -> pseudo-labels, files and pictures; and for a
data set of what reviewers accepted."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.conf import settings
from django.db import transaction
from numpy.typing import NDArray
from scipy.special import ndtr

from labeling.importing import storing
from labeling.importing.archive import Zip
from labeling.importing.parsed import BadInput
from labeling.skeletons import BUILT_IN, from_dict
from training.harvests import frames, review
from training.harvests.frames import cameras_of, skeleton_of
from training.harvests.publication import PublishJob
from training.harvests.uploads import HarvestJob
from training.models import Harvest, PseudoLabel
from training.multiview import association, footage, harvest, report
from training.multiview.config import HarvestConfig
from training.multiview.formats import detections, poses
from training.multiview.harvest import OUTCOMES, Outcome
from training.multiview.recording import BadRecording, Detections, HeatmapFiles, Recording, Source
from training.poses.cameras import Camera
from training.video.harvest import Harvest as VideoHarvest
from webapp import audit, rows
from webapp.errors import Invalid
from webapp.jobs.run import Cancelled, JobContext

AT_ONCE = 4096  # frames whose labels are made together
MOST_SHOWN = 300  # frames whose pictures are kept for review
LABELS = (
    "harvest_id",
    "frame",
    "joint",
    "x_mm",
    "y_mm",
    "z_mm",
    "covariance",
    "uncertainty",
    "error_px",
    "worst_view",
    "verdict",
)


def run_harvest(context: JobContext, config: HarvestJob) -> dict[str, Any]:
    """Job: harvest a recording; goes on where a killed worker was. Report and files appear together at the end."""
    try:
        return _harvest(context, Harvest.objects.select_related("job").get(uuid=config.harvest), Path(config.upload))
    except BadInput as error:
        raise error.refusal(field="detections") from None


def _harvest(context: JobContext, row: Harvest, upload: Path) -> dict[str, Any]:
    options, cameras = HarvestConfig.model_validate(row.config), cameras_of(row)
    recorded = _recording(context, row, cameras, upload, options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = settings.TORCH_THREADS or os.cpu_count() or 1
    context.say(f"{recorded.source.frames} frames, {len(cameras)} cameras, {recorded.skeleton.name}, on {device}")
    arrays = context.folder / "arrays"
    result = harvest.harvest(recorded, options, arrays, progress=context.progress, device=device, threads=threads)
    quality = report.report(recorded, result, inlier_px=options.inlier_px, undistort=options.undistort)
    quality["outcome_names"] = [OUTCOMES[o] for o in Outcome]
    for finding in quality["findings"]:
        context.say(finding)
    for kind, name in zip(poses.KINDS, review.FILES):
        poses.write(arrays / name, kind, result, recorded.skeleton, cameras, recorded.fps)
    quality["shown"] = _pictures(context, upload, cameras, result, arrays, quality)
    lengths = [round(float(length), 2) for length in harvest.lengths_of(arrays)]
    return finish(
        context,
        row,
        result,
        quality,
        arrays,
        cameras=row.cameras,
        skeleton=recorded.skeleton.as_dict(),
        frames=recorded.source.frames,
        fps=recorded.fps,
        lengths_mm=lengths,
    )


def finish(
    context: JobContext,
    row: Harvest,
    result: harvest.Harvest | VideoHarvest,
    quality: dict[str, Any],
    arrays: Path,
    **about: Any,
) -> dict[str, Any]:
    """Pseudo-labels of any harvester are written, then report and files appear together, if the job is still ours. Until the report is
    there nobody can review."""
    _store(context, row, result)
    with transaction.atomic():
        context.hold()
        Harvest.objects.filter(pk=row.pk).update(report=quality, **about)
        target = Path(settings.MEDIA_ROOT) / row.folder
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        arrays.replace(target)
    return {"harvest": str(row.uuid), "frames": about["frames"], "kept": quality["kept"], "found": quality["found"]}


def _store(context: JobContext, row: Harvest, result: harvest.Harvest | VideoHarvest) -> None:
    """Write pseudo-labels in batches of frames, one transaction each, so that other requests are not blocked.

    What an interrupted attempt left is deleted first."""
    frames = len(result.kept)
    _remove_leftovers(context, row)
    try:
        for first in range(0, frames, AT_ONCE):
            with transaction.atomic():
                context.hold()
                rows.write(PseudoLabel, LABELS, _labels(row, result, first))
            context.progress(frames, frames, "frames")
    except Cancelled:
        _remove_leftovers(context, row)
        raise


def _remove_leftovers(context: JobContext, row: Harvest) -> None:
    with transaction.atomic():
        context.hold()
        left = PseudoLabel.objects.filter(harvest=row)
        left._raw_delete(left.db)  # nobody has reviewed them: Django would look for reviews one by one


def _labels(row: Harvest, result: harvest.Harvest | VideoHarvest, first: int) -> Iterator[tuple[Any, ...]]:
    """Rows of LABELS of AT_ONCE frames."""
    few = slice(first, first + AT_ONCE)
    frame, joint = np.nonzero(np.asarray(result.kept[few]))
    seen = np.asarray(result.seen[few])[frame, :, joint]
    error = np.linalg.norm(np.asarray(result.offset_px[few], dtype=np.float64)[frame, :, joint], axis=-1)
    off = (error * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    c = np.asarray(result.covariance[few])[frame, joint].astype(np.float64).round(2)
    six = c[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].tolist()
    place = np.asarray(result.position[few])[frame, joint].tolist()
    sure = np.asarray(result.uncertainty[few])[frame, joint].astype(np.float64).tolist()
    columns = ((frame + first).tolist(), joint.tolist(), place, six, sure, off.tolist(), error.argmax(1).tolist())
    for f, j, (x, y, z), shape, u, e, worst in zip(*columns):
        yield row.pk, f, j, x, y, z, json.dumps(shape), u, e, worst, "waiting"


def _recording(
    context: JobContext, row: Harvest, cameras: tuple[Camera, ...], upload: Path, options: HarvestConfig
) -> Recording:
    """Detections of one subject as an array mapped from disk, or a folder of heatmaps; made once, kept for a restart."""
    aside, about = context.folder / "detections.npy", context.folder / "detections.json"
    skeleton = BUILT_IN.get((row.skeleton or {}).get("name", "")) if row.skeleton else None
    if (upload / "detections.zip").exists():
        path = unpacked(upload / "detections.zip", context.folder / "unpacked")
        maps = path if any(path.glob("*.npz")) else None
    else:
        path = upload / "detections.npz"
        maps = None
        with zipfile.ZipFile(path) as file:
            if "heatmaps.npy" in file.namelist():
                maps = context.folder / "maps"
                maps.mkdir(exist_ok=True)
                shutil.copyfile(path, maps / "0.npz")
    if maps is not None:
        if skeleton is None:
            raise BadRecording("Heatmaps do not say their skeleton.", field="skeleton", fix="name the skeleton")
        source: Source = HeatmapFiles(maps, len(cameras), len(skeleton.keypoints))
        return Recording(cameras, skeleton, source, row.fps or 30.0)
    if not about.exists():
        read = detections.read(path, skeleton=skeleton)
        order = _order(read.cameras, cameras, read.people.shape[1])
        if read.size is not None and any(_differ(read.size, c.size) for c in cameras):
            raise BadRecording(
                f"the detections are of {read.size[0]} x {read.size[1]} px, {cameras[0].name} is calibrated for "
                f"{cameras[0].size[0]} x {cameras[0].size[1]} px",
                field="calibration",
                fix="bring the calibration of the pictures' size",
            )
        if read.people.shape[2] > 1:
            context.say(f"up to {read.people.shape[2]} people in a view: following one of them")
        subject = association.subject_of(
            cameras, read.people[:, order], inlier_px=options.inlier_px, least_score=options.least_score
        )
        part = aside.with_suffix(".part.npy")
        np.save(part, subject)
        part.replace(aside)
        about.write_text(json.dumps({"skeleton": read.skeleton.as_dict(), "fps": read.fps}))
    about_file = json.loads(about.read_text())
    mapped = np.load(aside, mmap_mode="r", allow_pickle=False)
    return Recording(
        cameras, from_dict(about_file["skeleton"]), Detections(mapped), row.fps or about_file["fps"] or 30.0
    )


def _differ(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return max(abs(a[0] / b[0] - 1), abs(a[1] / b[1] - 1)) > 0.02


def _order(views: Sequence[str], cameras: Sequence[Camera], count: int) -> list[int]:
    """Views in the order of the cameras: by name where the names are the same but for punctuation, else as they come."""
    if count != len(cameras):
        raise BadRecording(f"{count} views, but {len(cameras)} cameras", field="detections", fix="one view per camera")
    plain = ["".join(c for c in name.lower() if c.isalnum()) for name in views]
    named = ["".join(c for c in camera.name.lower() if c.isalnum()) for camera in cameras]
    if len(set(plain)) == len(plain) and set(named) == set(plain):
        return [plain.index(name) for name in named]
    return list(range(count))


def unpacked(archive: Path, folder: Path, *, between: Callable[[], None] = lambda: None) -> Path:
    """The files of a zip, names checked as those of pictures are; a lone top folder is stepped into."""
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        opened = Zip(archive, storing.limits())
        try:
            for name, info in opened.members.items():
                between()
                target = part / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.file.open(info) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out, 2**20)
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise BadInput(f"the archive breaks off: {error}", fix="make the archive again") from None
        finally:
            opened.close()
        part.mkdir(exist_ok=True)
        part.replace(folder)
    inside = [p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX"))]
    deeper = len(inside) == 1 and inside[0].is_dir() and not any(inside[0].glob("*.json"))
    return inside[0] if deeper else folder


def _pictures(
    context: JobContext,
    upload: Path,
    cameras: Sequence[Camera],
    result: harvest.Harvest,
    arrays: Path,
    quality: dict[str, Any],
) -> list[int]:
    """Pictures of up to MOST_SHOWN frames that have pseudo-labels, evenly chosen. What cannot be read is a finding."""
    archive = upload / "views.zip"
    if not archive.exists():
        return []
    labelled = np.flatnonzero(result.kept.any(axis=1))
    if not len(labelled):
        return []
    some = labelled[np.unique(np.linspace(0, len(labelled) - 1, min(MOST_SHOWN, len(labelled))).round().astype(int))]
    try:
        opened = unpacked(archive, context.folder / "views")
    except BadInput as error:
        quality["findings"].append(f"views: {error.detail}")
        return []
    shown = footage.extract(
        opened, [c.name for c in cameras], some.tolist(), arrays / "views", most_pixels=settings.MAX_IMAGE_PIXELS
    )
    quality["findings"] += shown.notes
    return sorted(set().union(*shown.frames))


def run_publication(context: JobContext, config: PublishJob) -> dict[str, Any]:
    """Job: a data set of the views of frames with accepted pseudo-labels: their reprojections as keypoints, camera-frame depths where
    every joint is accepted, and ordinal pairs with P(second closer) from the covariances."""
    row = Harvest.objects.get(uuid=config.harvest)
    folder = Path(settings.MEDIA_ROOT) / row.folder
    cameras, skeleton = cameras_of(row), skeleton_of(row)
    accepted: dict[int, dict[int, PseudoLabel]] = {}
    for label in PseudoLabel.objects.filter(harvest=row, verdict="accepted").order_by("frame", "joint").iterator():
        accepted.setdefault(label.frame, {})[label.joint] = label
    rng = np.random.default_rng(config.seed)
    images = []
    shown = [
        frame for frame in (row.report or {}).get("shown", []) if len(accepted.get(frame, {})) >= config.least_joints
    ]
    aside = context.folder / "pictures"
    shutil.rmtree(aside, ignore_errors=True)
    for number, frame in enumerate(shown):
        context.progress(number, len(shown), "frames")
        shot = frames.picture_of(row, frame)
        for v, camera in enumerate(cameras):
            picture = folder / "views" / str(v) / f"{shot:06d}.jpg"
            if not picture.exists():
                continue
            name = f"{camera.name}/{frame:06d}.jpg"
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, aside / name)
            image = _image(name, camera, accepted[frame], len(skeleton.keypoints), config.pairs_per_person, rng)
            if (
                image
            ):  # the last fifth of the recording is for testing: neighbours in time are too alike to be split at random
                split = "test" if number >= 0.8 * len(shown) else "train"
                images.append(image | {"split": split, "source": f"harvest {row.uuid}, {camera.name}, frame {shot}"})
    if not images:
        raise Invalid(
            "No frame with a picture has enough accepted joints.", field="least_joints", fix="accept more, or lower it"
        )
    annotations = context.folder / "ordinal.json"
    annotations.write_text(
        json.dumps({"joint_names": list(skeleton.keypoints), "skeleton": skeleton.as_dict(), "images": images})
    )
    plan = storing.ImportConfig(
        dataset=config.dataset,
        format="ordinal",
        annotations=str(annotations),
        pictures=str(aside),
        description=f"Pseudo-labels of the harvest {row.name} ({row.uuid}), accepted by reviewers.",
    )
    result = storing.store(context.actor, plan, context.progress, context)
    audit.record(context.actor, "harvest.publish", row, dataset=config.dataset, images=len(images))
    shutil.rmtree(aside, ignore_errors=True)
    return {"dataset": config.dataset, "people": len(images), **{k: v for k, v in result.items() if k != "notes"}}


def _image(
    name: str, camera: Camera, labels: dict[int, PseudoLabel], joints: int, pairs: int, rng: np.random.Generator
) -> dict[str, Any] | None:
    known = sorted(labels)
    world = np.array([[labels[j].x_mm, labels[j].y_mm, labels[j].z_mm] for j in known])
    place, seen = camera.project(world), camera.see(world)
    inside = np.isfinite(place).all(axis=1) & (place >= 0).all(axis=1) & (place < np.array(camera.size) - 1).all(axis=1)
    if inside.sum() < 2:
        return None
    flat, absent = np.zeros((joints, 2)), np.ones(joints, dtype=int)
    for n, j in enumerate(known):
        if inside[n]:
            flat[j], absent[j] = place[n] + 0.5, 0  # the corner of the first pixel is (0, 0) there
    image: dict[str, Any] = {
        "im_file": name,
        "keypoints": flat.round(3).ravel().tolist(),
        "absent": absent.tolist(),
        "anns": _pairs(camera, labels, [j for n, j in enumerate(known) if inside[n]], pairs, rng),
    }
    if len(known) == joints and inside.all():
        image["truth_mm"] = seen.round(2).tolist()
    return image


def _pairs(
    camera: Camera, labels: dict[int, PseudoLabel], known: list[int], most: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Ordinal pseudo-pairs: P(second closer) = Phi((z_a - z_b) / sd), sd from both joints' covariances along the camera's axis."""
    every = [(a, b) for n, a in enumerate(known) for b in known[n + 1 :]]
    if len(every) > most:
        every = [every[n] for n in np.sort(rng.choice(len(every), most, replace=False))]
    ahead = camera.rotation[2]
    pairs = []
    for a, b in every:
        gap, variance = 0.0, 0.0
        for sign, j in ((1, a), (-1, b)):
            label = labels[j]
            gap += sign * float(ahead @ [label.x_mm, label.y_mm, label.z_mm])
            variance += float(ahead @ _full(label.covariance) @ ahead)
        p = float(ndtr(gap / np.sqrt(max(variance, 1.0))))
        pairs.append(
            {
                "kp0": a,
                "kp1": b,
                "prob": round(p, 6),
                "risk": round(min(p, 1 - p), 6),
                "label": int(p > 0.5),
                "votes": 0,
            }
        )
    return pairs


def _full(six: Sequence[float]) -> NDArray[np.float64]:
    xx, xy, xz, yy, yz, zz = six
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
