"""Commands, and doors that no other test opens: progress, labels and who looked at them, thumbnails, tables in columns."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from labeling.aggregation import aggregate
from labeling.answering import assignment
from labeling.models import AggregationRun, Campaign, Dataset, Label, Pair, SawAnswers
from tests.conftest import NOON, World, write_dataset
from webapp import rows
from webapp.errors import NotAllowed
from webapp.jobs import run


def test_a_folder_becomes_a_data_set_and_again_adds_nothing(world: World, tmp_path: Path) -> None:
    write_dataset(tmp_path / "people", 4)
    for added in (4, 0):
        output = io.StringIO()
        call_command("import_dataset", str(tmp_path / "people"), "--name", "mine", "--licence", "CC0", stdout=output)
        assert f"images_added: {added}" in output.getvalue()
    dataset = Dataset.objects.get(name="mine")
    assert (dataset.licence, dataset.images.count()) == ("CC0", 4)


def test_a_bad_row_is_named_by_the_command_and_nothing_is_imported(world: World, tmp_path: Path) -> None:
    people, _ = write_dataset(tmp_path / "people", 3)
    data = json.loads(people.read_text())
    data["images"][1]["people"][0]["keypoints"] = [[1, 2]]
    people.write_text(json.dumps(data))
    errors = io.StringIO()
    with pytest.raises(CommandError):
        call_command("import_dataset", str(tmp_path / "people"), stderr=errors)
    assert "keypoints" in errors.getvalue()
    assert not Dataset.objects.exists()
    with pytest.raises(CommandError, match=r"annotations: there is no joints\.mat"):
        call_command("import_dataset", str(tmp_path))


def test_a_campaign_is_made_and_opened_by_a_command_with_every_option_of_its_plan(world: World) -> None:
    data = world.dataset(4)
    output = io.StringIO()
    plan = ["--name", "evening", "--votes-per-pair", "2", "--pair-policy-per-person", "3"]
    call_command("make_campaign", data.name, "--admin", "ada", *plan, stdout=output)
    campaign = Campaign.objects.get(name="evening")
    assert (campaign.state, campaign.votes_per_pair, campaign.pairs.count()) == ("open", 2, 12)
    assert f"{campaign.uuid}: 12 pairs" in output.getvalue()
    for wrong, words in ((["--votes-per-pair", "0"], "votes_per_pair"), (["--name", "evening"], "name")):
        with pytest.raises(CommandError, match=words):
            call_command("make_campaign", data.name, "--admin", "ada", "--name", "x", *wrong)
    with pytest.raises(CommandError, match="no such data set"):
        call_command("make_campaign", "nothing", "--admin", "ada", "--name", "x")


@pytest.fixture
def labelled(world: World) -> Campaign:
    campaign = world.campaign(votes_per_pair=1)
    for _ in range(campaign.pairs.count()):
        world.vote(world.ann, world.lease(world.ann, campaign))
    run.run_job(aggregate.start(world.ada, campaign, "majority-vote").pk)
    return campaign


def test_progress_counts_pairs_and_votes_and_is_for_staff_and_researchers(world: World, labelled: Campaign) -> None:
    path = f"/api/v1/campaigns/{labelled.uuid}/progress/"
    count = labelled.pairs.count()
    progress = world.client(world.rea).get(path).json()
    assert progress == {
        "pairs": count,
        "pairs_finished": count,
        "votes_counted": count,
        "votes_needed": count,
        "leased": 0,
        "share_done": 1.0,
    }
    assert world.client(world.eve).get(path).status_code == 403


@pytest.mark.parametrize("door", ["/api/v1/campaigns/{}/labels/", "/campaigns/{}/labels/"])
def test_whoever_looks_at_labels_by_page_or_api_answers_no_more(world: World, labelled: Campaign, door: str) -> None:
    path = door.format(labelled.uuid)
    assert world.client(world.ann).get(path).status_code == 403
    assert not SawAnswers.objects.exists()
    answer = world.client(world.rea).get(path)
    assert answer.status_code == 200
    assert b"closer" in answer.content
    assert [(s.account_id, s.campaign_id) for s in SawAnswers.objects.all()] == [(world.rea.pk, labelled.pk)]
    world.participation(world.rea, labelled)
    with pytest.raises(NotAllowed):
        assignment.next_pair(world.rea, labelled.uuid, now=NOON, rng=random.Random(1))


def test_thumbnails_are_small_pictures_for_staff(world: World) -> None:
    image = world.dataset(2).images.first()
    path = f"/images/{image.uuid}/thumbnail.jpg"
    answer = world.client(world.rea).get(path)
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/jpeg")
    assert answer.content[:2] == b"\xff\xd8"
    assert "private" in answer["Cache-Control"]
    assert world.client(world.resi).get(path).status_code == 403


def test_columns_are_written_as_they_are_on_every_database(world: World, labelled: Campaign) -> None:
    pairs = np.array(Pair.objects.order_by("pk").values_list("pk", flat=True), dtype=np.int64)
    other = AggregationRun.objects.create(campaign=labelled, number=9, model="x", votes_used=1, last_vote=1)
    p = np.linspace(0.1, 0.9, len(pairs))
    columns = {
        "run_id": np.full(len(pairs), other.pk),
        "pair_id": pairs,
        "p_first_closer": p,
        "risk": np.minimum(p, 1 - p),
        "votes_used": np.arange(len(pairs)),
    }
    rows.write_columns(Label, columns)
    stored = Label.objects.filter(run=other).order_by("pair_id").values_list("pair_id", "p_first_closer", "votes_used")
    assert list(stored) == list(zip(pairs.tolist(), p.tolist(), range(len(pairs))))
