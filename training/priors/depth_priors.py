"""Depth priors for campaigns: from a lifter trained on a release, cross-fitted so that what is expected of a picture never comes
from a model that saw its votes; or from similar poses of a library, before any vote. No torch here: web requests come by; lifters
are trained in `training.runs.jobs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from django.db import transaction
from numpy.typing import NDArray
from pydantic import Field

from labeling.crowd import anatomy
from labeling.models import Campaign, Dataset, DepthPrior, Person, PersonPrior, ReferenceQuestion, Release
from labeling.releasing.reading import Poses
from training.lifter.config import PRESETS
from training.poses import neighbours
from training.priors.calibration import KnownAnswers, calibrated, further_off, variance_of_gap
from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.config import Config
from webapp.errors import Invalid
from webapp.jobs import run as jobs
from webapp.jobs.models import Job
from webapp.typed import read

Array = NDArray[np.float64]
LEAST_GOLD = 20  # gold questions below which labels are used instead
AT_ONCE = 2000


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
    config = read(PriorConfig, {**options, "release": str(release.uuid)})
    if config.preset not in PRESETS:
        raise Invalid("Unknown preset.", field="preset", value=config.preset, fix=f"choose from {', '.join(PRESETS)}")
    title = config.name or f"Lifter of {release.title}"
    return jobs.enqueue(actor, "depth-prior", config.model_dump(), title=f"Depth prior: {title}"[:200])


class PosePriorConfig(Config):
    """What a worker needs to expect the depths of similar poses."""

    dataset: str = Field(description="uuid of the data set")
    name: str = Field("", max_length=120)
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of the library's views")


def start_from_poses(actor: Account, dataset: Dataset, name: str = "", seed: int = 0) -> Job:
    """Enqueue a depth prior from our authored poses; needs no votes. Raises NotAllowed, Invalid."""
    require(actor, Role.ADMIN)
    config = read(PosePriorConfig, {"dataset": str(dataset.uuid), "name": name, "seed": seed})
    _library(neighbours.Library.authored(), dataset)
    return jobs.enqueue(
        actor, "pose-prior", config.model_dump(), title=f"Depth prior: similar poses for {dataset.name}"[:200]
    )


def run_pose_prior(context: jobs.JobContext, config: PosePriorConfig) -> dict[str, Any]:
    """Job: look everybody up in the authored library."""
    dataset = Dataset.objects.select_related("skeleton").get(uuid=config.dataset)
    with transaction.atomic():
        prior = from_poses(
            context.actor,
            dataset,
            neighbours.Library.authored(),
            name=config.name,
            seed=config.seed,
            progress=lambda done, total: context.progress(done, total, "people"),
        )
        context.hold()
    return {"prior": str(prior.uuid), **prior.evidence}


def _library(library: neighbours.Library, dataset: Dataset) -> neighbours.Library:
    try:
        return library.seen_as(dataset.skeleton.as_skeleton.keypoints, anatomy.BETWEEN)
    except neighbours.PoorLibrary as error:
        fix = "bring a library with these joints (manage.py pose_prior --poses)"
        raise error.refusal(field="dataset", fix=fix) from None


def from_poses(
    actor: Account | None,
    dataset: Dataset,
    library: neighbours.Library,
    *,
    name: str = "",
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DepthPrior:
    """Expect of each person the depths of similar poses in a library, and write that as a prior.

    Errors are those about poses left out of the library; gold questions, where there are enough, say how much larger they are
    on these pictures. Call inside a transaction. Raises Invalid where the library lacks a joint.
    """
    views = neighbours.look_at(_library(library, dataset), seed=seed)
    covariance = neighbours.error_covariance(views, seed)
    prior = DepthPrior.objects.create(
        dataset=dataset,
        name=(name or "Similar poses")[:120],
        kind="neighbours",
        covariance=[],
        evidence={},
        created_by=actor,
    )
    without = _expect(prior, views, progress)
    further, right, answers = _further_off(prior, covariance)
    prior.covariance = (further * covariance).round(2).tolist()
    prior.evidence = {
        "poses": len(library.poses_mm),
        "views": len(views.pose),
        "people_without": without,
        "error_mm": round(float(np.sqrt(further * np.trace(covariance) / len(covariance))), 1),
        "errors_by_gold": round(further, 3),
        "gold": answers,
        "right": None if right is None else round(right, 4),
    }
    prior.save(update_fields=["covariance", "evidence"])
    audit.record(actor, "prior.make", prior, **prior.evidence)
    return prior


def _expect(prior: DepthPrior, views: neighbours.Views, progress: Callable[[int, int], None]) -> int:
    """Write what is expected of each person; the number of those who cannot be compared with any pose."""
    people = Person.objects.filter(image__dataset=prior.dataset_id).order_by("pk")
    total, done, without, last = people.count(), 0, 0, 0
    while batch := list(people.filter(pk__gt=last).values_list("pk", "keypoints")[:AT_ONCE]):
        last = batch[-1][0]
        points = np.array([keypoints for _, keypoints in batch], dtype=np.float64)
        depths = neighbours.expected_depths(views, points[..., :2], points[..., 2] > 0)
        PersonPrior.objects.bulk_create(
            PersonPrior(prior=prior, person_id=pk, mean=mean)
            for (pk, _), mean in zip(batch, depths.round(2).tolist())
            if mean[0] == mean[0]
        )
        without += int(np.isnan(depths[:, 0]).sum())
        done += len(batch)
        progress(done, total)
    return without


def _further_off(prior: DepthPrior, covariance: Array) -> tuple[float, float | None, int]:
    """By which factor squared errors exceed `covariance` to make the gold answers likeliest; share of them right; how many."""
    asked = ReferenceQuestion.objects.filter(campaign__dataset=prior.dataset_id, use=ReferenceQuestion.Use.GOLD)
    gold = list(asked.order_by().distinct().values_list("person_id", "first", "second", "second_closer"))
    mean = dict(
        PersonPrior.objects.filter(prior=prior, person__in={p for p, *_ in gold}).values_list("person_id", "mean")
    )
    known = [(mean[p][f] - mean[p][s], f, s, closer) for p, f, s, closer in gold if p in mean]
    if len(known) < LEAST_GOLD:
        return 1.0, None, len(known)
    gap, first, second, closer = (np.array(column) for column in zip(*known))
    factor = further_off(gap, variance_of_gap(covariance, first.astype(int), second.astype(int)), closer)
    return factor, float(((gap > 0) == closer).mean()), len(known)


def store(actor: Account | None, release: Release, config: PriorConfig, poses: Poses, lifted: Array) -> DepthPrior:
    """Calibrate lifted depths (N x J, mm, NaN where nobody was lifted) on gold and write them as a prior."""
    campaign = release.campaign
    sigma = anatomy.covariance(campaign.dataset.skeleton.as_skeleton)
    lifted = lifted - lifted.mean(axis=1, keepdims=True)
    place = _people(campaign, poses)
    known, on = _gold(campaign, place), "gold"
    if len(known.pose) < LEAST_GOLD:
        known, on = _labels(poses, lifted), "labels"
    shrink, error, fit = calibrated(lifted, sigma, known)
    evidence = {
        "release": str(release.uuid),
        "preset": config.preset,
        "folds": config.folds,
        "calibrated_on": on,
        "answers": len(known.pose),
        "right": round(known.right(lifted), 4),
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


def _gold(campaign: Campaign, place: dict[int, int]) -> KnownAnswers:
    """The campaign's gold questions about people of the release."""
    row = {pk: n for n, pk in place.items()}
    asked = ReferenceQuestion.objects.filter(campaign=campaign, use=ReferenceQuestion.Use.GOLD)
    answers = asked.values_list("person_id", "first", "second", "second_closer")
    rows = [(row[p], f, s, closer) for p, f, s, closer in answers if p in row]
    pose, first, second, closer = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return KnownAnswers(pose, first, second, closer.astype(np.float64))


def _labels(poses: Poses, lifted: Array) -> KnownAnswers:
    """The release's labels of people who were lifted."""
    known = np.isfinite(lifted[poses.pose]).all(axis=1)
    return KnownAnswers(poses.pose[known], poses.first[known], poses.second[known], poses.p_second[known])
