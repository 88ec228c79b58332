"""A training run from release to model, through its job."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from django.conf import settings

from labeling.aggregation import aggregate
from labeling.releasing import freeze
from tests.conftest import World
from training.lifter.config import LifterConfig
from training.models import Model, Point, Run
from training.runs import launch
from webapp.errors import Invalid, NotAllowed
from webapp.jobs import run as jobs

QUICK = {"hidden": 16, "epochs": 4, "batch": 4}


@pytest.fixture
def release(world: World):
    campaign = world.campaign(world.dataset(12), votes_per_pair=1, session_length=100)
    for n in range(36):
        world.vote(world.ann, world.lease(world.ann, campaign), "first" if n % 2 else "second")
    jobs.run_job(aggregate.start(world.ada, campaign).pk)
    return freeze.freeze(world.ada, campaign)


def test_a_run_ends_with_curves_measures_and_a_model_with_its_checksum(world: World, release) -> None:
    run = launch.start(world.resi, release, options=QUICK)
    jobs.run_job(run.job.pk)
    run.refresh_from_db()
    run.job.refresh_from_db()
    assert run.job.state == "done", run.job.error
    assert Point.objects.filter(run=run).count() == 4
    assert {"true_error", "label_error", "noise_free", "chance", "n_mpjpe_mm"} <= set(run.metrics)
    assert run.job.result["metrics"] == run.metrics
    model = Model.objects.get()
    assert (Path(settings.MEDIA_ROOT) / model.path).stat().st_size == model.bytes
    tuned = launch.start(world.resi, release, options=QUICK, start_from=model.uuid)
    jobs.run_job(tuned.job.pk)
    assert Model.objects.count() == 2


def test_wrong_options_are_named(world: World, release) -> None:
    for options, field in (
        ({"epochs": 0}, "epochs"),
        ({"hiden": 3}, "hiden"),
        ({"skeleton_weight": 50}, "skeleton_weight"),
    ):
        with pytest.raises(Invalid) as refused:
            launch.start(world.resi, release, options=options)
        assert refused.value.field == field


def test_annotators_and_reviewers_do_not_train(world: World, release) -> None:
    for account in (world.eve, world.rea):
        with pytest.raises(NotAllowed):
            launch.start(account, release)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: [i.update(split="test", is_train=False) for i in d["images"]], "training split has 0 poses"),
        (lambda d: [i.update(anns=[]) for i in d["images"]], "no labelled pairs"),
        (lambda d: [a.update(prob=0.5) for i in d["images"] for a in i["anns"]], "ties"),
        (lambda d: [i.update(keypoints=[5.0] * len(i["keypoints"])) for i in d["images"]], "one point"),
    ],
    ids=["no train split", "no pairs", "all ties", "constant 2D"],
)
def test_a_release_that_cannot_be_learned_from_is_explained_on_the_runs_page(
    world: World, release, spoil, says
) -> None:
    folder = Path(settings.MEDIA_ROOT) / release.folder
    data = json.loads((folder / "ordinal.json").read_text())
    spoil(data)
    (folder / "ordinal.json").chmod(0o644)
    (folder / "ordinal.json").write_text(json.dumps(data))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["ordinal.json"]["sha256"] = hashlib.sha256((folder / "ordinal.json").read_bytes()).hexdigest()
    (folder / "manifest.json").chmod(0o644)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    run = launch.start(world.resi, release, options=QUICK)
    jobs.run_job(run.job.pk)
    run.job.refresh_from_db()
    assert run.job.state == "failed"
    assert not Point.objects.filter(run=run).exists()
    assert says in run.job.error["detail"]
    assert says in world.client(world.resi).get(f"/runs/{run.uuid}/").content.decode()


def test_the_form_offers_every_option_and_names_a_wrong_one(world: World, release) -> None:
    client = world.client(world.resi)
    page = client.get("/runs/new/").content.decode()
    for name in LifterConfig.model_fields:
        assert f'name="{name}"' in page
    answer = client.post("/runs/new/", {"release": str(release.uuid), "preset": "nearer", "dropout": "7"})
    assert "dropout" in answer.content.decode()
    answer = client.post(
        "/runs/new/", {"release": str(release.uuid), "preset": "paper", "epochs": "3", "mirror": "true"}
    )
    run = Run.objects.get()
    assert answer.url == f"/runs/{run.uuid}/"
    assert (run.config["epochs"], run.config["mirror"], run.config["depth"]) == (3, True, "free")


def test_runs_are_compared_by_what_differs(world: World, release) -> None:
    first = launch.start(world.resi, release, name="wide", options=QUICK)
    second = launch.start(world.resi, release, name="slow", options=QUICK | {"learning_rate": 0.0005})
    for run in (first, second):
        jobs.run_job(run.job.pk)
    page = (
        world.client(world.resi).get(f"/runs/compare/?run={first.uuid}&run={second.uuid}&run=nonsense").content.decode()
    )
    assert "learning_rate" in page
    assert '<th scope="row">hidden</th>' not in page
    assert "is not the id of a run" in page
    assert world.client(world.eve).get("/runs/compare/").status_code == 403


def test_a_models_files_card_and_details_are_fetched_by_researchers_only(world: World, release) -> None:
    run = launch.start(world.resi, release, options=QUICK | {"epochs": 10})
    jobs.run_job(run.job.pk)
    model = Model.objects.get()
    client = world.client(world.resi)
    for name, start in (("weights", b""), ("onnx", b"\x08"), ("events", b"")):
        content = b"".join(client.get(f"/api/v1/models/{model.uuid}/{name}/").streaming_content)
        assert len(content) > 100
        assert content.startswith(start)
    card = client.get(f"/api/v1/models/{model.uuid}/card/").content.decode()
    assert model.sha256 in card
    assert str(model.run.metrics["pa_mpjpe_mm"]) in card
    details = client.get(f"/api/v1/runs/{run.uuid}/details/").json()
    assert len(details["per_joint"]["pa_mpjpe_mm"]) == len(details["joints"])
    for path in (f"/api/v1/models/{model.uuid}/card/", f"/api/v1/runs/{run.uuid}/details/", f"/runs/{run.uuid}/"):
        assert world.client(world.eve).get(path).status_code in (403, 404)
