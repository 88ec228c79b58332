"""A training run from release to model, through its job."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from labeling import aggregation
from labeling.releasing import freeze
from tests.conftest import World
from training import runs
from training.models import Model, Point
from webapp.jobs import run as jobs
from webapp.refusal import Invalid, NotAllowed

QUICK = {"hidden": 16, "epochs": 4, "batch": 4}


@pytest.fixture
def release(world: World):
    campaign = world.campaign(world.dataset(12), votes_per_pair=1, session_length=100)
    for n in range(36):
        world.vote(world.ann, world.lease(world.ann, campaign), "first" if n % 2 else "second")
    jobs.perform(aggregation.start(world.ada, campaign).pk)
    return freeze.freeze(world.ada, campaign)


def test_a_run_ends_with_curves_measures_and_a_model_with_its_checksum(world: World, release) -> None:
    run = runs.start(world.resi, release, options=QUICK)
    jobs.perform(run.job.pk)
    run.refresh_from_db()
    run.job.refresh_from_db()
    assert run.job.state == "done", run.job.error
    assert Point.objects.filter(run=run).count() == 4
    assert {"true_error", "label_error", "noise_free", "chance", "n_mpjpe_mm"} <= set(run.metrics)
    assert run.job.result["metrics"] == run.metrics
    model = Model.objects.get()
    assert (Path(settings.MEDIA_ROOT) / model.path).stat().st_size == model.bytes
    tuned = runs.start(world.resi, release, options=QUICK, start_from=model.uuid)
    jobs.perform(tuned.job.pk)
    assert Model.objects.count() == 2


def test_wrong_options_are_named(world: World, release) -> None:
    for options, field in (
        ({"epochs": 0}, "epochs"),
        ({"hiden": 3}, "hiden"),
        ({"skeleton_weight": 50}, "skeleton_weight"),
    ):
        with pytest.raises(Invalid) as refused:
            runs.start(world.resi, release, options=options)
        assert refused.value.field == field


def test_annotators_and_reviewers_do_not_train(world: World, release) -> None:
    for account in (world.eve, world.rea):
        with pytest.raises(NotAllowed):
            runs.start(account, release)
