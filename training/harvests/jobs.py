"""What a worker does for a harvest, whichever harvester it is of: upload -> arrays and report -> pseudo-labels and files."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.conf import settings
from django.db import transaction

from labeling.importing import storing
from labeling.importing.archive import Zip
from labeling.importing.parsed import BadInput
from training.catalogs import harvesters
from training.harvest.arrays import WORDS, HarvestArrays, Outcome
from training.harvest.formats import poses
from training.harvest.harvester import BadRecording, Harvested, Upload
from training.harvests.frames import as_dict, cameras_of
from training.harvests.uploads import HarvestJob
from training.models import Harvest, Model, PseudoLabel
from webapp import rows
from webapp.jobs.run import Cancelled, JobContext

AT_ONCE = 4096  # frames whose labels are made together
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
    """Job: harvest an upload; goes on where a killed worker was. Pseudo-labels, report and files appear together at the end."""
    row = Harvest.objects.select_related("job").get(uuid=config.harvest)
    offer = harvesters[row.source]
    arrays = context.folder / "arrays"
    options = offer.config.model_validate(row.config["options"])
    upload = _upload(context, row, offer.plan.model_validate(row.config["plan"]), Path(config.upload))
    result: Harvested = offer.load()(upload, options, arrays, progress=context.progress, say=context.say)
    for finding in result.report["findings"]:
        context.say(finding)
    frames = len(result.arrays.kept)
    poses.write_all(arrays, result, between=lambda: context.progress(frames, frames, "frames"))
    return _finish(context, row, result, arrays)


def _upload(context: JobContext, row: Harvest, plan: Any, files: Path) -> Upload:
    named = [str(m) for m in getattr(plan, "models", ())]
    models = {str(m.uuid): m for m in Model.objects.filter(uuid__in=named)}
    missing = [name for name in named if name not in models]
    if missing:
        raise BadRecording("No such model.", field="models", value=missing[0], fix="choose a trained model")
    return Upload(
        files,
        context.folder,
        plan,
        lambda archive, folder: unpacked(archive, folder, between=lambda: context.progress(0, 1, "files")),
        cameras_of(row),
        [Path(settings.MEDIA_ROOT) / models[name].path for name in named],
        "cuda" if torch.cuda.is_available() else "cpu",
        settings.TORCH_THREADS or os.cpu_count() or 1,
        settings.MAX_IMAGE_PIXELS,
    )


def _finish(context: JobContext, row: Harvest, result: Harvested, arrays: Path) -> dict[str, Any]:
    """Pseudo-labels are written, then report and files appear together, if the job is still ours. Until the report is there nobody can
    review."""
    _store(context, row, result.arrays)
    report = result.report | {"outcome_names": [WORDS[o] for o in Outcome]}
    frames = len(result.arrays.kept)
    with transaction.atomic():
        context.hold()
        Harvest.objects.filter(pk=row.pk).update(
            report=report,
            cameras=[as_dict(c) for c in result.cameras],
            skeleton=result.skeleton.as_dict(),
            frames=frames,
            fps=result.fps,
            lengths_mm=None if result.lengths_mm is None else list(result.lengths_mm),
        )
        target = Path(settings.MEDIA_ROOT) / row.folder
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        arrays.replace(target)
    return {"harvest": str(row.uuid), "frames": frames, "kept": report["kept"], "found": report["found"]}


def _store(context: JobContext, row: Harvest, result: HarvestArrays) -> None:
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


def _labels(row: Harvest, result: HarvestArrays, first: int) -> Iterator[tuple[Any, ...]]:
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


def unpacked(archive: Path, folder: Path, *, between: Callable[[], None] = lambda: None) -> Path:
    """The files of a zip, names checked as those of pictures are; a lone top folder is stepped into."""
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            opened = Zip(archive, storing.limits())
        except BadInput as error:
            raise BadRecording(error.detail, field=archive.stem, fix=error.fix, value=error.value) from None
        try:
            for name, info in opened.members.items():
                between()
                target = part / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.file.open(info) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out, 2**20)
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise BadRecording(
                f"the archive breaks off: {error}", field=archive.stem, fix="make the archive again"
            ) from None
        finally:
            opened.close()
        part.mkdir(exist_ok=True)
        part.replace(folder)
    inside = [p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX"))]
    deeper = len(inside) == 1 and inside[0].is_dir() and not any(inside[0].glob("*.json"))
    return inside[0] if deeper else folder
