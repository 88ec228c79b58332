"""The cast and the stage: ada admin, rea reviewer, resi researcher, ann and ben annotators, eve who belongs elsewhere."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from labeling.answering import assignment, voting
from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan, PairPolicy
from labeling.importing import storing
from labeling.models import Campaign, Dataset, Participation
from tests.pictures import jpeg, people_json
from webapp.accounts import people
from webapp.accounts.models import Account
from webapp.jobs import run


class _Missing(str):
    """Stands where a template prints a name that its view does not give: a page with a hole fails its test."""

    def __mod__(self, name: object) -> str:
        raise AssertionError(f"a template prints '{name}', which nobody gives it")


settings.TEMPLATES[0]["OPTIONS"]["string_if_invalid"] = _Missing("%s")
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def write_dataset(folder: Path, count: int) -> tuple[Path, Path]:
    pictures = folder / "images"
    pictures.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        (pictures / f"p{n + 1:04d}.jpg").write_bytes(jpeg(n))
    (folder / "people.json").write_text(json.dumps(people_json(count)))
    return folder / "people.json", pictures


@dataclass
class World:
    folder: Path
    ada: Account = field(init=False)
    rea: Account = field(init=False)
    resi: Account = field(init=False)
    ann: Account = field(init=False)
    ben: Account = field(init=False)
    eve: Account = field(init=False)
    password: str = "a-long-Password-7"

    def __post_init__(self) -> None:
        for name, role in (
            ("ada", "admin"),
            ("rea", "reviewer"),
            ("resi", "researcher"),
            ("ann", "annotator"),
            ("ben", "annotator"),
            ("eve", "annotator"),
        ):
            setattr(self, name, people.create(None, username=name, role=role))

    def client(self, account: Account) -> Client:
        client = Client()
        client.force_login(account)
        return client

    def dataset(self, count: int = 5, name: str = "pictures") -> Dataset:
        annotations, pictures = write_dataset(self.folder / name, count)
        plan = storing.ImportConfig(dataset=name, format="json", annotations=str(annotations), pictures=str(pictures))
        storing.store(self.ada, plan, lambda *_: None)
        return Dataset.objects.select_related("skeleton").get(name=name)

    def campaign(self, dataset: Dataset | None = None, *, opened: bool = True, pairs: int = 3, **plan: Any) -> Campaign:
        plan = {"name": "campaign", "votes_per_pair": 2, "delay_ms": 0, "tutorial_questions": 0} | plan
        policy = PairPolicy(per_person=pairs, seed=4)
        campaign, job = lifecycle.create(self.ada, dataset or self.dataset(), CampaignPlan(pair_policy=policy, **plan))
        run.run_job(job.pk)
        return lifecycle.move(self.ada, campaign, "open") if opened else campaign

    def participation(self, account: Account, campaign: Campaign) -> Participation:
        from labeling.campaigns import participants

        return participants.participate(account, campaign, invited=True)

    def lease(
        self, account: Account, campaign: Campaign, *, now: datetime = NOON, have: tuple[str, ...] = ()
    ) -> assignment.Lease:
        self.participation(account, campaign)
        return assignment.next_pair(account, campaign.uuid, now=now, rng=random.Random(7), have=frozenset(have))

    def vote(
        self, account: Account, lease: assignment.Lease, closer: str = "first", *, now: datetime = NOON, key: Any = None
    ) -> voting.Accepted:
        import uuid

        return voting.accept(account, lease.token, closer=closer, key=key or uuid.uuid4(), now=now)


ONCE = {
    *("test_crowd", "test_depth", "test_honest_crowds", "test_heatmaps", "test_lifter", "test_metrics", "test_motion"),
    *(
        "test_multiview",
        "test_neighbours",
        "test_pseudo",
        "test_video",
        "test_video_harvest",
        "test_killed",
        "test_together",
    ),
}


@pytest.fixture(autouse=True)
def _own_folders(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.VAR = tmp_path
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "uploads"
    settings.MEDIA_ROOT.mkdir()
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}


@pytest.fixture(autouse=True)
def _no_broker(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Tests run jobs themselves; the end-to-end test notifies a real worker over a real broker."""
    settings.CELERY_BROKER_URL = "memory://"
    from webapp.jobs.celery_app import app

    app.conf.broker_url = "memory://"


@pytest.fixture
def world(db: None, tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> Iterator[None]:
    """SQLite's test database has a folder of its own, which goes when the tests end."""
    name = Path(connection.settings_dict["TEST"]["NAME"] or "test")
    if connection.vendor == "sqlite":
        name.parent.mkdir(parents=True, exist_ok=True)
    yield
    if connection.vendor == "sqlite":
        shutil.rmtree(name.parent, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests come in random order, but the end-to-end story is told last and in its own order."""
    for item in items:
        if item.path.stem in ONCE and "world" not in getattr(item, "fixturenames", ()):
            item.add_marker("once")
    story = [item for item in items if "end_to_end" in item.nodeid]
    story.sort(key=lambda item: (item.path.name, item.function.__code__.co_firstlineno, item.nodeid))  # type: ignore[attr-defined]
    items[:] = [item for item in items if item not in story] + story
