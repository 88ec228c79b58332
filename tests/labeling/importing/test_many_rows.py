"""What touches many rows: in steps, continued after a stop, and with no statement that grows with the data."""

from __future__ import annotations

import shutil
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan, PairPolicy
from labeling.importing import storing
from labeling.models import AggregationRun, Assignment, Campaign, Dataset, Image, Label, Pair, Person
from tests.conftest import World, write_dataset
from webapp.errors import Conflict, Invalid
from webapp.jobs import leftovers, run
from webapp.jobs.models import Job, State


def uploaded(world: World, folder: Path, name: str, count: int = 4) -> Job:
    """An import job as `receive` makes it, with its upload."""
    annotations, pictures = write_dataset(folder / name, count)
    place = folder / "uploads" / uuid.uuid4().hex
    place.mkdir(parents=True)
    shutil.copy(annotations, place / "annotations")
    shutil.copytree(pictures, place / "pictures")
    paths = {"annotations": str(place / "annotations"), "pictures": str(place / "pictures")}
    plan = storing.ImportConfig(dataset=name, format="json", discard=True, looked_through=True, **paths)
    return run.enqueue(world.ada, "import-dataset", plan.model_dump())


def test_a_cancelled_import_keeps_its_upload_and_is_continued(world: World, tmp_path: Path, settings: Any) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "uploads"
    job = uploaded(world, tmp_path, "later")
    run.cancel(world.ada, job)
    assert leftovers.remove(in_flight_s=0) == 0  # it may still be continued
    run.retry(world.ada, job)
    run.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.result["images_added"]) == (State.DONE, 4)
    assert not list((tmp_path / "uploads").iterdir())


def test_an_import_whose_upload_is_gone_says_so_without_a_path(world: World, tmp_path: Path, settings: Any) -> None:
    settings.FILE_UPLOAD_TEMP_DIR, settings.KEEP_UPLOADS_S = tmp_path / "uploads", 0
    job = uploaded(world, tmp_path, "late")
    run.cancel(world.ada, job)
    assert leftovers.remove(in_flight_s=0) == 1
    run.retry(world.ada, job)
    run.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error["field"]) == (State.FAILED, "annotations")
    assert "import them again" in job.error["fix"]
    assert "/" not in job.error["detail"]


def test_what_runs_is_kept_and_what_nobody_needs_is_removed(world: World, tmp_path: Path, settings: Any) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "uploads"
    running, ended = uploaded(world, tmp_path, "running"), uploaded(world, tmp_path, "ended")
    run.take(running.pk)
    running.refresh_from_db()
    Job.objects.filter(pk=ended.pk).update(state=State.DONE)
    staged = tmp_path / "media" / "staged"
    for folder in (leftovers.folder_of(running), leftovers.folder_of(ended), leftovers.staged_by(running)):
        folder.mkdir(parents=True)
    (staged / f"{running.uuid.hex}-0").mkdir()  # an attempt before this one, killed
    (tmp_path / "media" / "picture.abc.part").write_bytes(b"")
    assert leftovers.remove(in_flight_s=0) == 4
    assert {p.name for p in (tmp_path / "jobs").iterdir()} == {str(running.uuid)}
    assert {p.name for p in staged.iterdir()} == {f"{running.uuid.hex}-1"}
    assert len(list((tmp_path / "uploads").iterdir())) == 1
    (tmp_path / "uploads" / "being-sent").write_bytes(b"half")
    assert leftovers.remove() == 0  # a request may still be writing it


@pytest.mark.django_db(transaction=True)
def test_two_imports_into_one_new_name_make_one_data_set(world: World, tmp_path: Path) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer")
    jobs = []
    for count in (3, 6):
        annotations, pictures = write_dataset(tmp_path / str(count), count)
        plan = storing.ImportConfig(dataset="both", format="json", annotations=str(annotations), pictures=str(pictures))
        jobs.append(run.enqueue(world.ada, "import-dataset", plan.model_dump()))

    def work(job: Job) -> None:
        run.run_job(job.pk)
        connection.close()

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(Job.objects.values_list("state", flat=True)) == {State.DONE}, Job.objects.values_list("error")
    assert Image.objects.filter(dataset__name="both").count() == 6


def test_a_picture_is_added_to_a_data_set_of_seventy_thousand(world: World, tmp_path: Path) -> None:
    data = world.dataset(1)
    one = data.images.get()
    Image.objects.bulk_create(
        Image(
            dataset=data,
            name=f"n{n}",
            sha256=one.sha256,
            suffix=one.suffix,
            bytes=1,
            width=512,
            height=512,
            split="train",
        )
        for n in range(70_000)
    )
    annotations, pictures = write_dataset(tmp_path / "more", 3)
    plan = storing.ImportConfig(dataset=data.name, format="json", annotations=str(annotations), pictures=str(pictures))
    assert storing.store(world.ada, plan, lambda *_: None)["images_added"] == 2


def large(world: World, pairs: int) -> Campaign:
    campaign = world.campaign(world.dataset(1), opened=False, pairs=2)
    person = Person.objects.filter(image__dataset=campaign.dataset).get()
    Pair.objects.bulk_create(
        Pair(
            campaign=campaign,
            person=person,
            first=n // 300,
            second=400 + n % 300,
            rank=100 + n,
            votes_needed=1,
        )
        for n in range(pairs)
    )
    return campaign


def test_a_campaign_of_seventy_thousand_pairs_is_deleted_by_a_job(world: World) -> None:
    campaign = large(world, 70_000)
    labels = AggregationRun.objects.create(campaign=campaign, number=1, model="imported", votes_used=0, last_vote=0)
    Label.objects.bulk_create(
        Label(run=labels, pair=pair, p_first_closer=0.5, risk=0.5, votes_used=0) for pair in campaign.pairs.all()[:100]
    )
    job = lifecycle.delete(world.ada, campaign)
    campaign.refresh_from_db()
    assert campaign.state == Campaign.State.CLOSED  # nobody is asked while it goes
    run.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == State.DONE, job.error
    assert not Campaign.objects.filter(pk=campaign.pk).exists()
    assert (Pair.objects.count(), Label.objects.count()) == (0, 0)


def test_a_campaign_with_votes_is_not_deleted_nor_one_that_got_them_meanwhile(world: World) -> None:
    campaign = world.campaign()
    lease = world.lease(world.ann, campaign)
    job = lifecycle.delete(world.ada, campaign)
    world.vote(world.ann, lease)  # handed out before, so it counts
    run.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error["code"]) == (State.FAILED, "conflict")
    assert Assignment.objects.filter(campaign=campaign).count() == 1
    with pytest.raises(Conflict, match="never deleted"):
        lifecycle.delete(world.ada, campaign)


def test_a_preparation_that_was_stopped_starts_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    data = world.dataset(6)

    def stopped(*_: Any) -> int:
        raise Invalid("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr("labeling.campaigns.reference_questions.make_tutorial", stopped)
        plan = CampaignPlan(name="twice", gold_share=0.2, pair_policy=PairPolicy(per_person=4))
        campaign, job = lifecycle.create(world.ada, data, plan)
        run.run_job(job.pk)
    assert campaign.pairs.count() == 24
    with pytest.raises(Conflict, match="no pairs yet"):
        lifecycle.move(world.ada, campaign, "open")
    run.retry(world.ada, job)
    run.run_job(job.pk)
    job.refresh_from_db()
    campaign.refresh_from_db()
    assert (job.state, campaign.pair_count, campaign.pairs.count()) == (State.DONE, 24, 24)


def test_a_data_set_is_not_half_imported_when_the_disk_is_full(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", f"{tmp_path}/media/images/ab/abc.jpg")

    monkeypatch.setattr("labeling.importing.storing.os.replace", full)
    job = uploaded(world, tmp_path, "full")
    run.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == State.FAILED
    assert str(tmp_path) not in str(job.error)
    assert not Dataset.objects.filter(name="full").exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", ["", "quality/", "labels/"])
def test_a_campaigns_pages_are_planned_for_it_and_not_for_the_average_campaign(world: World, page: str) -> None:
    """A prepared statement is planned for the average; beside a campaign of millions a small one's page took 1.5 s."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite plans for the schema alone")
    campaign = world.campaign()
    client = world.client(world.ada)
    with CaptureQueriesContext(connection) as asked:
        assert client.get(f"/campaigns/{campaign.uuid}/{page}").status_code == 200
    statements = [query["sql"] for query in asked]
    planned = next(n for n, sql in enumerate(statements) if "force_custom_plan" in sql)
    about_votes = [n for n, sql in enumerate(statements) if "labeling_answer" in sql or "labeling_participation" in sql]
    assert all(n > planned for n in about_votes if "INSERT" not in statements[n])
    with connection.cursor() as cursor:
        cursor.execute("SHOW plan_cache_mode")
        assert cursor.fetchone() == ("auto",)
