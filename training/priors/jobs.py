"""The worker's part of depth priors: lifters on folds of a release, and what they are wrong by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.conf import settings
from django.db import transaction
from numpy.typing import NDArray

from labeling.models import Release
from labeling.releasing import reading
from training.lifter import export
from training.lifter import fit as fitting
from training.lifter.config import PRESETS, changed
from training.lifter.predict import load, predict
from training.priors import depth_priors
from training.priors.calibration import folds_of
from webapp.jobs.run import JobContext


def run_depth_prior(context: JobContext, config: depth_priors.PriorConfig) -> dict[str, Any]:
    """Job: train one lifter per fold of a release's pictures on the others, lift each fold by its lifter, store the depths.

    People of the test split train nothing and get the mean of all lifters.
    """
    release = Release.objects.select_related("campaign__dataset__skeleton").get(uuid=config.release)
    poses = reading.read(Path(settings.MEDIA_ROOT) / release.folder)
    options = {"seed": config.seed} | ({"epochs": config.epochs} if config.epochs else {})
    lifter = changed(PRESETS[config.preset], **options)
    fold = folds_of(poses, config.folds, config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lifted = np.full(poses.keypoints_px.shape[:2], np.nan)
    tested: list[NDArray[np.float64]] = []
    for number in range(config.folds):
        context.say(f"fold {number + 1} of {config.folds}: {int((fold == number).sum())} people left out")
        split = np.where((fold == number) | (fold < 0), "test", "train")
        part = replace(poses, split=split)
        fitted = fitting.fit(
            part,
            lifter,
            progress=lambda done, total, unit, n=number: context.progress(n * total + done, config.folds * total, unit),
            device=device,
            curves=False,
        )
        path = context.folder / f"fold{number}.safetensors"
        export.save(fitted, path)
        z = predict(load(path), poses)[..., 2].astype(np.float64)
        lifted[fold == number] = z[fold == number]
        tested.append(z[fold < 0])
    if len(tested[0]):
        lifted[fold < 0] = np.mean(tested, axis=0)
    with transaction.atomic():
        context.hold()
        prior = depth_priors.store(context.actor, release, config, poses, lifted)
    return {"prior": str(prior.uuid), **prior.evidence}
