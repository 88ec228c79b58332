"""Votes become labels, labels become a release, and a release reads back identical."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from django.conf import settings
from scipy.io import loadmat

from labeling.aggregation import aggregate
from labeling.answering import assignment
from labeling.importing import storing
from labeling.models import AggregationRun, Answer, Campaign, Label, Person, Release
from labeling.releasing import freeze, reading, tables
from tests.conftest import NOON, World
from webapp.errors import NotAllowed
from webapp.jobs import run


@pytest.fixture
def labelled(world: World) -> Campaign:
    campaign = world.campaign(votes_per_pair=2, session_length=100)
    for account in (world.ann, world.ben):
        for _ in range(15):
            lease = world.lease(account, campaign)
            pair = lease.assignment.pair
            z = [pair.person.truth_mm[j][2] for j in (pair.first, pair.second)]
            world.vote(account, lease, "first" if z[0] < z[1] else "second")
    job = aggregate.start(world.ada, campaign, "paper")
    run.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "done", job.error
    return campaign


def frozen(world: World, campaign: Campaign) -> Release:
    return freeze.freeze(world.ada, campaign)


def test_unanimous_votes_become_sure_labels_of_the_right_sign(labelled: Campaign) -> None:
    for label in Label.objects.select_related("pair__person"):
        z = [label.pair.person.truth_mm[j][2] for j in (label.pair.first, label.pair.second)]
        assert (label.p_first_closer > 0.5) == (z[0] < z[1])
        assert label.risk == pytest.approx(min(label.p_first_closer, 1 - label.p_first_closer))
        assert label.votes_used == 2


def test_every_file_says_the_same(world: World, labelled: Campaign) -> None:
    release = frozen(world, labelled)
    folder = Path(settings.MEDIA_ROOT) / release.folder
    reading.verify(folder)
    data = json.loads((folder / "ordinal.json").read_text())
    anns = [(i["im_file"], a["kp0"], a["kp1"], a["label"], a["prob"]) for i in data["images"] for a in i["anns"]]
    assert len(anns) == 15
    with (folder / "labels.csv").open() as file:
        rows = [
            (r["image"], int(r["kp0"]), int(r["kp1"]), int(r["label"]), float(r["prob"])) for r in csv.DictReader(file)
        ]
    table = pq.read_table(folder / "labels.parquet").to_pylist()
    assert rows == anns == [(r["image"], r["kp0"], r["kp1"], r["label"], r["prob"]) for r in table]
    assert pq.read_table(folder / "votes.parquet").num_rows == 30
    coco = json.loads((folder / "coco.json").read_text())
    assert sum(len(a["ordinal"]) for a in coco["annotations"]) == 15
    joints = loadmat(folder / "joints.mat")["joints"]
    person = Person.objects.order_by("image_id").first()
    assert joints.shape == (3, 14, 5)
    for j, (x, y, v) in enumerate(person.keypoints):
        assert np.isnan(joints[0, j, 0]) if v == 0 else joints[:, j, 0].tolist() == [x, y, float(v == 1)]


def test_annotators_are_pseudonymous_in_the_votes(world: World, labelled: Campaign) -> None:
    folder = Path(settings.MEDIA_ROOT) / frozen(world, labelled).folder
    text = (folder / "votes.csv").read_text()
    assert "ann," not in text
    assert str(world.ann.uuid) not in text


def test_freezing_twice_without_new_labels_gives_the_same_release(world: World, labelled: Campaign) -> None:
    assert frozen(world, labelled).pk == frozen(world, labelled).pk
    run.run_job(aggregate.start(world.ada, labelled, "dawid-skene").pk)
    assert frozen(world, labelled).number == 2


def test_a_release_imported_and_released_again_is_identical(world: World, labelled: Campaign) -> None:
    folder = Path(settings.MEDIA_ROOT) / frozen(world, labelled).folder
    plan = storing.ImportConfig(
        dataset="again",
        format="ordinal",
        annotations=str(folder / "ordinal.json"),
        pictures=str(world.folder / "pictures" / "images"),
    )
    result = storing.store(world.ada, plan, lambda *_: None)
    assert result["pairs_added"] == 15
    again = freeze.freeze(world.ada, Campaign.objects.get(uuid=result["campaign"]))
    text = [
        (Path(settings.MEDIA_ROOT) / r / "ordinal.json").read_text()
        for r in (frozen(world, labelled).folder, again.folder)
    ]
    assert text[0] == text[1]


def test_an_altered_file_is_noticed(world: World, labelled: Campaign) -> None:
    folder = Path(settings.MEDIA_ROOT) / frozen(world, labelled).folder
    (folder / "labels.csv").write_text("altered")
    with pytest.raises(reading.BadRelease, match=r"labels\.csv was altered"):
        reading.read(folder)


@pytest.mark.parametrize("name", ["eve", "rea", "resi"])
def test_only_admins_release(world: World, labelled: Campaign, name: str) -> None:
    with pytest.raises(NotAllowed):
        freeze.start(getattr(world, name), labelled)


def test_a_merge_without_votes_is_refused_and_runs_are_numbered(world: World, labelled: Campaign) -> None:
    empty = world.campaign(labelled.dataset, name="empty")
    with pytest.raises(aggregate.Conflict, match="no votes"):
        aggregate.start(world.ada, empty)
    assert AggregationRun.objects.get().number == 1


def test_a_release_holds_the_answers_that_quality_was_measured_on_and_says_how_was_asked(world: World) -> None:
    campaign = world.campaign(gold_share=0.5, votes_per_pair=3, session_length=100, guard="pause")
    world.participation(world.ann, campaign)
    for n in range(18):
        rng = random.Random(n)
        world.vote(world.ann, assignment.next_pair(world.ann, campaign.uuid, now=NOON, rng=rng, have=frozenset()))
    run.run_job(aggregate.start(world.ada, campaign, "paper").pk)
    release = frozen(world, campaign)
    folder = Path(settings.MEDIA_ROOT) / release.folder
    with (folder / "reference_answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    correct = Answer.objects.filter(kind="gold").order_by("pk").values_list("as_expected", flat=True)
    assert [(r["kind"], r["as_expected"]) for r in rows] == [("gold", str(int(right))) for right in correct]
    assert len(rows) > 3
    assert str(world.ann.uuid) not in (folder / "reference_answers.csv").read_text()
    assert release.manifest["asked"]["gold_share"] == 0.5
    assert release.manifest["asked"]["guard"] == "pause"
    card = (folder / "data_card.md").read_text()
    assert "3 votes on each pair" in card
    assert "paused automatically" in card


def test_labels_with_and_without_a_plain_probability_are_valid_json_together() -> None:
    text = tables.anns_json([tables.Ann(0, 1, 0, 0.25, 0.25, 3, 0.5), tables.Ann(1, 2, 1, 0.75, 0.25, 0, None)])
    assert [a["prob_without_prior"] for a in json.loads(text)] == [0.5, None]
