"""What a worker does for a run: release -> arrays -> library -> metrics -> stored model; and for a lifting job."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.conf import settings
from django.db import transaction
from django.db.models import Max
from numpy.typing import NDArray
from tensorboardX import SummaryWriter

from labeling.releasing import reading
from training.catalogs import training_methods
from training.lifter import data, evaluate, export
from training.lifter import fit as fitting
from training.lifter.config import LifterConfig, PseudoConfig
from training.lifter.predict import load, predict
from training.lifter.pseudo import Pseudo
from training.models import Model, Point, Run
from training.runs import model_cards
from training.runs.launch import TrainConfig
from training.simulation import annotators
from webapp.jobs.run import JobContext

CHECKPOINT_EPOCHS = 10
BOTH = "epochs, the noise-free reference's too"


def run_training(context: JobContext, config: TrainConfig) -> dict[str, Any]:
    """Job: train a run by its method. Continues from the checkpoint that a killed worker left."""
    run = Run.objects.select_related("release__campaign__dataset", "started_from", "job").get(uuid=config.run)
    if settings.TORCH_THREADS:
        torch.set_num_threads(settings.TORCH_THREADS)
    offer = training_methods[run.method]
    result: dict[str, Any] = offer.load()(context, run, offer.config.model_validate(run.config))
    return result


@dataclass(frozen=True)
class PseudoInput:
    """Pseudo-labels that a run learns beside its release: how they count, the file they lie in, and what the run says of it."""

    labels: Pseudo
    config: PseudoConfig
    file: Path
    about: dict[str, Any]


def train_lifter(
    context: JobContext, run: Run, config: LifterConfig, *, pseudo: PseudoInput | None = None
) -> dict[str, Any]:
    """Train on the run's release, measure, and store the model. With `pseudo` the model that it started from is measured, too."""
    poses = reading.read(Path(settings.MEDIA_ROOT) / run.release.folder)
    parent = Path(settings.MEDIA_ROOT) / run.started_from.path if run.started_from else None
    fitting.check(poses, config)
    with_reference = config.objective == "ordinal" and pseudo is None and _is_order_known(poses)
    context.say(f"{len(poses.names)} people, {len(poses.pose)} labelled pairs, on {_device()}")
    fitted = _fit(context, run, poses, config, parent, pseudo, with_reference)
    aside = context.folder / "model.safetensors"
    export.save(fitted, aside)
    off = export.save_onnx(fitted, context.folder / "model.onnx")
    context.say(f"ONNX equals torch within {off:.1e} of the pose's size")
    held_out = data.subset(poses, poses.split == "test")
    predicted = predict(load(aside), held_out)
    metrics = evaluate.measure(predicted, held_out)
    if with_reference:
        metrics["noise_free"] = _noise_free(context, poses, held_out, config, parent)
        metrics["chance"] = {"true_error": 0.5}
        metrics["label_quality"] = _label_quality(poses)
    if pseudo is not None:
        metrics["pseudo"] = pseudo.about
        if parent is not None:
            metrics["parent"] = evaluate.measure(predict(load(parent), held_out), held_out)
    details = evaluate.details(predicted, held_out) if len(held_out.names) else {}
    write_events(run, context.folder / "events")
    return _publish(context, run, metrics, details, None if pseudo is None else pseudo.file)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _is_order_known(poses: reading.Poses) -> bool:
    return bool(np.isfinite(poses.truth_mm[poses.pose]).all()) and len(poses.pose) > 0


def _fit(
    context: JobContext,
    run: Run,
    poses: reading.Poses,
    config: LifterConfig,
    parent: Path | None,
    pseudo: PseudoInput | None,
    with_reference: bool,
) -> fitting.Fitted:
    """The run's own training: curves and some poses go to the run's page as it goes. With a reference it is half of the progress."""

    def report(done: int, total: int, unit: str) -> None:
        context.progress(done, 2 * total if with_reference else total, BOTH if with_reference else unit)

    def on_epoch(epoch: int, values: dict[str, float]) -> None:
        Point.objects.update_or_create(run=run, epoch=epoch, defaults={"values": values})

    def on_poses(epoch: int, predicted: NDArray[np.float32], people: reading.Poses) -> None:
        shown = evaluate.examples(predicted, people) | {"epoch": epoch + 1}
        Run.objects.filter(pk=run.pk).update(details=shown)

    return fitting.fit(
        poses,
        config,
        progress=report,
        on_epoch=on_epoch,
        on_poses=on_poses,
        checkpoint=context.folder / "checkpoint.safetensors",
        weights=parent,
        every=CHECKPOINT_EPOCHS,
        device=_device(),
        pseudo=None if pseudo is None else (pseudo.labels, pseudo.config),
    )


def _noise_free(
    context: JobContext, poses: reading.Poses, held_out: reading.Poses, config: LifterConfig, parent: Path | None
) -> dict[str, Any]:
    """What the same pairs teach when they are labelled by the true order, measured on the same people."""
    context.say("training the noise-free reference: same pairs, true order")
    best = fitting.fit(
        annotators.noise_free(poses),
        config,
        progress=lambda d, t, u: context.progress(t + d, 2 * t, BOTH),
        checkpoint=context.folder / "reference.safetensors",
        weights=parent,
        every=CHECKPOINT_EPOCHS,
        device=_device(),
        curves=False,
    )
    reference = context.folder / "reference_model.safetensors"
    export.save(best, reference)
    return evaluate.measure(predict(load(reference), held_out), held_out)


def _label_quality(poses: reading.Poses) -> float:
    """Share of the release's labels that agree with the true order."""
    true = annotators.noise_free(poses).p_second
    return round(float(np.mean((poses.p_second > 0.5) == (true > 0.5))), 6)


def write_events(run: Run, folder: Path) -> Path:
    """The run's curves as a TensorBoard event file, written anew from the table."""
    for old in folder.glob("events*"):
        old.unlink()
    writer = SummaryWriter(str(folder), write_to_disk=True)
    for epoch, values in run.points.order_by("epoch").values_list("epoch", "values"):
        for name, value in values.items():
            writer.add_scalar(f"held_out/{name[9:]}" if name.startswith("held_out_") else f"loss/{name}", value, epoch)
    writer.close()
    return next(folder.glob("events*"))


def _publish(
    context: JobContext, run: Run, metrics: dict[str, Any], details: dict[str, Any], learned: Path | None = None
) -> dict[str, Any]:
    files = ({".npz": learned} if learned else {}) | {
        ".safetensors": context.folder / "model.safetensors",
        ".onnx": context.folder / "model.onnx",
        ".tfevents": next((context.folder / "events").glob("events*")),
    }
    with files[".safetensors"].open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    with transaction.atomic():
        context.hold()
        name = run.release.campaign.name
        version = (Model.objects.filter(name=name).aggregate(n=Max("version"))["n"] or 0) + 1
        keypoints = run.release.campaign.dataset.skeleton.keypoints
        size = files[".safetensors"].stat().st_size
        model = Model(name=name, version=version, run=run, sha256=digest, bytes=size, keypoints=keypoints)
        model.card = model_cards.write(model, run, metrics)
        target = Path(settings.MEDIA_ROOT) / model.path
        target.parent.mkdir(parents=True, exist_ok=True)
        model.save()
        Run.objects.filter(pk=run.pk).update(metrics=metrics, details=details)
        for suffix, file in files.items():
            file.replace(target.with_suffix(suffix))
    return {"model": str(model.uuid), "metrics": metrics}
