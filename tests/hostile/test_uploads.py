"""Every bad upload is answered 4xx, names its field, and leaves database and disk as they were."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.conftest import World
from tests.hostile.corpus import GOOD_JSON, GOOD_ZIP, uploads
from webapp.accounts.models import Attempts
from webapp.jobs import run
from webapp.jobs.models import Job

CORPUS = list(uploads())


def snapshot() -> tuple[str, str]:
    """Digests of all rows of all tables (but the counters of attempts) and of all files below MEDIA_ROOT and the upload folder."""
    rows, files = hashlib.sha256(), hashlib.sha256()
    for model in sorted(apps.get_models(), key=lambda m: m._meta.label):
        if model is Attempts:  # trying is counted, also what is refused
            continue
        for row in model.objects.order_by("pk").values_list():
            rows.update(repr((model._meta.label, row)).encode())
    for folder in (settings.MEDIA_ROOT, settings.FILE_UPLOAD_TEMP_DIR):
        for path in sorted(Path(folder).rglob("*")):
            files.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return rows.hexdigest(), files.hexdigest()


def send(client: Any, kind: str, annotations: bytes, pictures: bytes, **more: str) -> Any:
    return client.post(
        "/api/v1/imports/",
        {
            "dataset": "hostile",
            "format": kind,
            "annotations": SimpleUploadedFile("a", annotations),
            "pictures": SimpleUploadedFile("p.zip", pictures),
            **more,
        },
    )


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 60
    assert len({name for name, *_ in CORPUS}) == len(CORPUS)


@pytest.fixture
def unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    from labeling.importing.api import Imports

    monkeypatch.setattr(Imports, "throttle_classes", [])


def test_each_bad_upload_is_refused_names_its_field_and_leaves_nothing(world: World, unthrottled: None) -> None:
    client = world.client(world.ada)
    (Path(settings.MEDIA_ROOT) / "staged").mkdir(exist_ok=True)
    before = snapshot()
    wrong = []
    for name, kind, annotations, pictures, field in CORPUS:
        answer = send(client, kind, annotations, pictures)
        problem = answer.json()
        if not 400 <= answer.status_code < 500 or problem.get("field") != field or not problem["detail"]:
            wrong.append((name, answer.status_code, problem))
        if snapshot() != before:
            wrong.append((name, "left something behind", problem))
            before = snapshot()
    assert wrong == []


def test_the_same_upload_without_the_fault_is_imported(world: World, unthrottled: None) -> None:
    answer = send(world.client(world.ada), "json", GOOD_JSON, GOOD_ZIP)
    assert answer.status_code == 202, answer.json()
    run.run_job(Job.objects.get().pk)
    job = Job.objects.get()
    assert job.state == "done", job.error
    assert job.result["images_added"] == 3
    assert not any(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"format": "exe"}, "format"),
        ({"dataset": ""}, "dataset"),
        ({"dataset": "x" * 200}, "dataset"),
        ({"licence": "x" * 300}, "licence"),
    ],
)
def test_wrong_form_fields_are_named(world: World, unthrottled: None, body: dict[str, str], field: str) -> None:
    answer = send(world.client(world.ada), body.pop("format", "json"), GOOD_JSON, GOOD_ZIP, **body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ({"name": "x"}, "dataset"),
        ({"name": "", "dataset": "0" * 32}, "name"),
        ({"name": "x", "dataset": "0" * 32}, "dataset"),
        ({"name": "x", "dataset": "0" * 32, "votes_per_pair": 0}, "votes_per_pair"),
        ({"name": "x", "dataset": "0" * 32, "gold_share": float("1e400")}, ""),
        ({"name": "x", "dataset": "0" * 32, "delay_ms": -1}, "delay_ms"),
        ({"name": "x", "dataset": "0" * 32, "surprise": 1}, "surprise"),
        ({"name": "x", "dataset": "0" * 32, "budget_votes": 2**40}, "budget_votes"),
        ({"name": "x", "dataset": "0" * 32, "pair_policy": {"per_person": 0}}, "pair_policy.per_person"),
    ],
)
def test_wrong_campaigns_are_named(world: World, body: Any, field: str) -> None:
    client = world.client(world.ada)
    before = snapshot()
    answer = client.post("/api/v1/campaigns/", body, content_type="application/json")
    assert 400 <= answer.status_code < 500
    assert not field or answer.json()["field"] == field
    assert snapshot() == before


@pytest.mark.parametrize("name", ["rea", "resi", "eve"])
def test_only_admins_import(world: World, unthrottled: None, name: str) -> None:
    client = world.client(getattr(world, name))
    before = snapshot()
    assert send(client, "json", GOOD_JSON, GOOD_ZIP).status_code == 403
    assert snapshot() == before
