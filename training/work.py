"""What a worker does for a run: release -> arrays -> library -> metrics -> stored model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.conf import settings
from django.db import transaction
from django.db.models import Max

from labeling.releasing import reading
from training.catalogs import training_methods
from training.lifter import data, evaluate, export
from training.lifter import fit as fitting
from training.lifter.config import LifterConfig
from training.lifter.predict import load, predict
from training.models import Model, Point, Run
from training.poses import metrics
from training.runs import TrainConfig
from webapp.jobs.run import Work

GAPS_MM = [0.0, 50.0, 100.0, 200.0, 400.0]


def perform(work: Work, config: TrainConfig) -> dict[str, Any]:
    """Job: train a run by its method. Continues from the checkpoint that a killed worker left."""
    run = Run.objects.select_related("release__campaign", "started_from", "job").get(uuid=config.run)
    if settings.TORCH_THREADS:
        torch.set_num_threads(settings.TORCH_THREADS)
    offer = training_methods[run.method]
    result: dict[str, Any] = offer.load()(work, run, offer.config.model_validate(run.config))
    return result


def train_lifter(work: Work, run: Run, config: LifterConfig) -> dict[str, Any]:
    poses = reading.read(Path(settings.MEDIA_ROOT) / run.release.folder)
    parent = Path(settings.MEDIA_ROOT) / run.started_from.path if run.started_from else None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    known = bool(np.isfinite(poses.truth_mm).all(axis=(1, 2))[poses.pose].all()) and len(poses.pose) > 0
    rounds = 2 if known else 1
    work.say(f"{len(poses.names)} people, {len(poses.pose)} labelled pairs, on {device}")

    def report(done: int, total: int, unit: str) -> None:
        work.progress(done, rounds * total, unit)

    def on_epoch(epoch: int, values: dict[str, float]) -> None:
        Point.objects.update_or_create(run=run, epoch=epoch, defaults={"values": values})

    fitted = fitting.fit(
        poses,
        config,
        progress=report,
        on_epoch=on_epoch,
        checkpoint=work.folder / "checkpoint.safetensors",
        weights=parent,
        device=device,
    )
    aside = work.folder / "model.safetensors"
    export.save(fitted, aside)
    held_out = data.subset(poses, poses.split == "test")
    found = _measures(predict(load(aside), held_out), held_out)
    if known:
        work.say("training the noise-free reference: same pairs, true order")
        best = fitting.fit(
            data.noise_free(poses),
            config,
            progress=lambda d, t, u: work.progress(t + d, 2 * t, u),
            checkpoint=work.folder / "reference.safetensors",
            weights=parent,
            device=device,
        )
        reference = work.folder / "reference_model.safetensors"
        export.save(best, reference)
        found["noise_free"] = _measures(predict(load(reference), held_out), held_out)
        found["chance"] = {"true_error": 0.5}
        found["label_quality"] = _label_quality(poses)
    return _publish(work, run, aside, found)


def _measures(predicted: np.ndarray, held_out: reading.Poses) -> dict[str, Any]:
    found: dict[str, Any] = dict(evaluate.order_errors(predicted, held_out))
    found["held_out_people"] = len(held_out.names)
    whole = np.isfinite(held_out.truth_mm).all(axis=(1, 2))
    if whole.any():
        root = held_out.skeleton.index(held_out.skeleton.root)
        found["n_mpjpe_mm"] = round(metrics.n_mpjpe_mm(predicted[whole], held_out.truth_mm[whole], root), 3)
        found["pa_mpjpe_mm"] = round(metrics.pa_mpjpe_mm(predicted[whole], held_out.truth_mm[whole]), 3)
        found["by_gap"] = evaluate.error_by_gap(predicted, held_out, GAPS_MM)
    return found


def _label_quality(poses: reading.Poses) -> float:
    """Share of the release's labels that agree with the true order."""
    true = data.noise_free(poses).p_second
    return round(float(np.mean((poses.p_second > 0.5) == (true > 0.5))), 6)


def _publish(work: Work, run: Run, file: Path, found: dict[str, Any]) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    with transaction.atomic():
        work.hold()
        name = run.release.campaign.name
        version = (Model.objects.filter(name=name).aggregate(n=Max("version"))["n"] or 0) + 1
        keypoints = run.release.campaign.dataset.skeleton.keypoints
        model = Model(
            name=name, version=version, run=run, sha256=digest, bytes=file.stat().st_size, keypoints=keypoints
        )
        target = Path(settings.MEDIA_ROOT) / model.path
        target.parent.mkdir(parents=True, exist_ok=True)
        model.save()
        Run.objects.filter(pk=run.pk).update(metrics=found)
        file.replace(target)
    return {"model": str(model.uuid), "metrics": found}
