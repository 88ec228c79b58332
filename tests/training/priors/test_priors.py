"""Depth priors: cross-fitted, calibrated, and used by campaigns."""

from __future__ import annotations

import numpy as np
import pytest

from labeling.aggregation import aggregate
from labeling.crowd import anatomy, selection
from labeling.models import DepthPosterior, DepthPrior, Person, PersonPrior
from labeling.releasing import freeze, reading
from labeling.skeletons import LSP_14
from tests.conftest import World
from training.priors import depth_priors
from training.priors.calibration import KnownAnswers, calibrated, folds_of
from webapp.errors import Invalid, NotAllowed
from webapp.jobs import run as jobs


def test_nobody_is_predicted_by_a_lifter_that_saw_the_picture() -> None:
    names = [f"p{n // 2}.jpg" for n in range(40)]
    nothing = np.zeros(0, np.int64)
    split = np.array(["test" if n % 10 == 9 else "train" for n in range(40)])
    poses = reading.Poses(
        LSP_14,
        names,
        split,
        np.zeros((40, 14, 2)),
        np.full((40, 14), 2, np.int8),
        nothing,
        nothing,
        nothing,
        np.zeros(0),
        np.zeros((40, 14, 3)),
    )
    fold = folds_of(poses, 4, 0)
    assert set(fold[split == "test"]) == {-1}
    assert set(fold[split == "train"]) == {0, 1, 2, 3}
    two = fold.reshape(20, 2)
    both = (split.reshape(20, 2) == "train").all(axis=1)
    assert (two[both, 0] == two[both, 1]).all()  # people of one picture are in one fold


@pytest.mark.parametrize("noise", [0.4, 1.5])
def test_calibration_finds_how_far_a_lifter_is_off(noise: float) -> None:
    """Lifted = truth + noise of the same shape; the best factor and error follow from Gaussian regression."""
    rng = np.random.default_rng(0)
    sigma = anatomy.covariance(LSP_14)
    z = rng.multivariate_normal(np.zeros(14), sigma, 4000)
    lifted = 3.0 * (z + noise * rng.multivariate_normal(np.zeros(14), sigma, 4000))
    first, second = (a[None].repeat(4000, 0).ravel() for a in selection.pairs_of(14))
    pose = np.arange(4000).repeat(91)
    known = KnownAnswers(pose, first, second, (z[pose, first] > z[pose, second]).astype(float))
    factor, error, _ = calibrated(lifted, sigma, known)
    assert factor == pytest.approx(1 / 3 / (1 + noise**2), rel=0.1)
    assert error == pytest.approx(np.sqrt(noise**2 / (1 + noise**2)), rel=0.1)


def test_a_prior_is_made_by_its_job_and_starts_a_campaign(world: World) -> None:
    dataset = world.dataset(12)
    campaign = world.campaign(dataset, votes_per_pair=1, session_length=100)
    for n in range(36):
        world.vote(world.ann, world.lease(world.ann, campaign), "first" if n % 2 else "second")
    jobs.run_job(aggregate.start(world.ada, campaign).pk)
    release = freeze.freeze(world.ada, campaign)
    job = depth_priors.start(world.ada, release, {"folds": 2, "epochs": 3, "name": "quick"})
    jobs.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "done", job.error
    prior = DepthPrior.objects.get()
    assert prior.name == "quick"
    assert prior.evidence["calibrated_on"] == "labels"
    assert PersonPrior.objects.filter(prior=prior).count() == Person.objects.filter(image__dataset=dataset).count()
    assert np.linalg.eigvalsh(np.array(prior.covariance)).min() > 0
    second = world.campaign(dataset, name="second", mode="adaptive-prior")
    assert second.prior == prior
    assert DepthPosterior.objects.filter(campaign=second, risk__lt=0.5).count() == 12


def test_wrong_wishes_are_named_and_only_admins_make_priors(world: World) -> None:
    campaign = world.campaign(votes_per_pair=1)
    world.vote(world.ann, world.lease(world.ann, campaign))
    jobs.run_job(aggregate.start(world.ada, campaign).pk)
    release = freeze.freeze(world.ada, campaign)
    for options, field in (({"folds": 1}, "folds"), ({"preset": "nope"}, "preset"), ({"fold": 3}, "fold")):
        with pytest.raises(Invalid) as refused:
            depth_priors.start(world.ada, release, options)
        assert refused.value.field == field
    for account in (world.resi, world.ann, world.eve):
        with pytest.raises(NotAllowed):
            depth_priors.start(account, release, {})
