"""Depth priors for campaigns, from a lifter trained on a release, cross-fitted: what is expected of a picture never comes from a
model that saw its votes. No torch here: web requests come by; the work is in `training.work`."""

from __future__ import annotations

from typing import Any

import numpy as np
from django.db import transaction
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from labeling.crowd import anatomy, normal
from labeling.models import Campaign, DepthPrior, KnownQuestion, Person, PersonPrior, Release
from labeling.releasing.reading import Poses
from training.lifter.config import PRESETS
from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.catalog import Config
from webapp.jobs import run as jobs
from webapp.jobs.models import Job
from webapp.refusal import Invalid

Array = NDArray[np.float64]
RATIOS = np.geomspace(0.05, 20.0, 121)  # lifted gap over error, tried for calibration
LEAST_GOLD = 20  # gold questions below which labels are used instead


class PriorConfig(Config):
    """What a worker needs to make a cross-fitted depth prior."""

    release: str = Field(description="uuid of the release that lifters are trained on")
    name: str = Field("", max_length=120)
    preset: str = Field("nearer", description="lifter preset")
    folds: int = Field(5, ge=2, le=20, description="parts of the pictures; each is predicted by a lifter of the others")
    epochs: int | None = Field(None, ge=1, le=100_000, description="of each lifter; empty: the preset's")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of folds and lifters")


def start(actor: Account, release: Release, options: dict[str, Any]) -> Job:
    """Enqueue the making of a depth prior. Raises NotAllowed, Invalid."""
    require(actor, Role.ADMIN)
    try:
        config = PriorConfig(**{**options, "release": str(release.uuid)})
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid(first["msg"], field=".".join(map(str, first["loc"])), value=first.get("input")) from None
    if config.preset not in PRESETS:
        raise Invalid("Unknown preset.", field="preset", value=config.preset, fix=f"choose from {', '.join(PRESETS)}")
    title = config.name or f"Lifter of {release.title}"
    return jobs.enqueue(actor, "depth-prior", config.model_dump(), title=f"Depth prior: {title}"[:200])


def folds_of(poses: Poses, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each person: people of one picture stay together; the test split is no fold (-1), it trains nothing."""
    names, picture = np.unique(np.array(poses.names), return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(names)) % folds
    return np.where(poses.split == "test", -1, drawn[picture])


def calibrated(
    lifted: Array,
    sigma: Array,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    pose: NDArray[np.int64],
    p_second: Array,
) -> tuple[float, float, float]:
    """How far to trust lifted depths: the factor on them, the sd of their errors relative to `sigma`, and the mean
    log-likelihood of the known answers `p_second` (0 and 1, or probabilities).

    Order alone tells only the ratio of factor and error (a temperature). Both follow from it because depths vary as `sigma`
    says: what the lifted depths explain and their errors add up to it.
    """
    gap = lifted[pose, first] - lifted[pose, second]
    spread = np.sqrt(np.maximum(sigma[first, first] + sigma[second, second] - 2 * sigma[first, second], 1.0))
    scaled = gap / spread
    p = np.clip(normal.cdf(RATIOS[:, None] * scaled), 1e-6, 1 - 1e-6)
    fit = (p_second * np.log(p) + (1 - p_second) * np.log(1 - p)).mean(axis=1)
    best = int(fit.argmax())
    error = float(1 / np.sqrt(1 + RATIOS[best] ** 2 * np.mean(scaled**2)))
    return float(RATIOS[best] * error), error, float(fit[best])


def store(actor: Account | None, release: Release, config: PriorConfig, poses: Poses, lifted: Array) -> DepthPrior:
    """Calibrate lifted depths (N x J, mm, NaN where nobody was lifted) on gold and write them as a prior."""
    campaign = release.campaign
    sigma = anatomy.covariance(campaign.dataset.skeleton.plain)
    lifted = lifted - lifted.mean(axis=1, keepdims=True)
    place = _people(campaign, poses)
    gold = _gold(campaign, place)
    on = "gold"
    if len(gold) < LEAST_GOLD:
        on = "labels"
        known = np.isfinite(lifted[poses.pose]).all(axis=1)
        gold = np.stack([poses.pose, poses.first, poses.second, poses.p_second], axis=1)[known]
    where, first, second = gold[:, :3].astype(np.int64).T
    shrink, error, fit = calibrated(lifted, sigma, first, second, where, gold[:, 3])
    right = float(((lifted[where, first] > lifted[where, second]) == (gold[:, 3] > 0.5)).mean())
    evidence = {
        "release": str(release.uuid),
        "preset": config.preset,
        "folds": config.folds,
        "calibrated_on": on,
        "answers": len(gold),
        "right": round(right, 4),
        "shrink": round(shrink, 4),
        "error": round(error, 4),
        "log_likelihood": round(fit, 4),
    }
    covariance = error**2 * sigma + np.eye(len(sigma))
    with transaction.atomic():
        prior = DepthPrior.objects.create(
            dataset=campaign.dataset,
            name=(config.name or f"Lifter of {release.title}")[:120],
            kind="lifter",
            covariance=covariance.round(2).tolist(),
            evidence=evidence,
            created_by=actor,
        )
        PersonPrior.objects.bulk_create(
            (
                PersonPrior(prior=prior, person_id=pk, mean=(shrink * lifted[n]).round(2).tolist())
                for n, pk in place.items()
                if np.isfinite(lifted[n]).all()
            ),
            batch_size=1000,
        )
        audit.record(actor, "prior.make", prior, **evidence)
    return prior


def _people(campaign: Campaign, poses: Poses) -> dict[int, int]:
    """Row in the release -> primary key. A release lists the data set's people in the order of their keys."""
    keys = list(Person.objects.filter(image__dataset=campaign.dataset).order_by("id").values_list("pk", "image__name"))
    if [name for _, name in keys] != list(poses.names):
        raise Invalid("The data set has changed since this release.", field="release", fix="make a new release")
    return {n: pk for n, (pk, _) in enumerate(keys)}


def _gold(campaign: Campaign, place: dict[int, int]) -> Array:
    """Row, first, second, 1 where the second is closer, of the campaign's gold questions."""
    row = {pk: n for n, pk in place.items()}
    asked = KnownQuestion.objects.filter(campaign=campaign, use=KnownQuestion.Use.GOLD)
    found = [
        (row[p], f, s, float(closer))
        for p, f, s, closer in asked.values_list("person_id", "first", "second", "second_closer")
        if p in row
    ]
    return np.array(found, dtype=np.float64).reshape(-1, 4)
