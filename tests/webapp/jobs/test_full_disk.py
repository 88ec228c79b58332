"""A full disk and a database that is away are answered in words, and nothing is half-written."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from django.db import OperationalError, connection

from labeling.models import Vote
from tests.conftest import World
from webapp.errors import Away, DiskFull, of_the_machine, without_paths


@pytest.mark.django_db(transaction=True)
def test_a_vote_on_a_full_disk_is_refused_in_words_and_taken_later(world: World) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("fills SQLite's file")
    campaign = world.campaign(world.dataset(30), session_length=500)
    world.participation(world.ann, campaign)
    client, base = world.client(world.ann), f"/api/v1/annotate/{campaign.uuid}/"
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE filler (a TEXT)")
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count={pages}")
        try:
            for _ in range(100_000):
                cursor.execute("INSERT INTO filler VALUES (%s)", ["x" * 2000])
        except OperationalError:
            pass
    client.raise_request_exception = False
    for _ in range(40):  # pages that are begun take some more rows
        asked = client.post(f"{base}next/", {"have": []}, content_type="application/json")
        if asked.status_code != 200:
            break
        vote = {"token": asked.json()["token"], "closer": "first", "key": str(uuid.uuid4()), "app_version": "x" * 40}
        if (answer := client.post(f"{base}vote/", vote, content_type="application/json")).status_code != 200:
            break
    refused = asked if asked.status_code != 200 else answer
    assert refused.status_code == 507, refused.content
    assert (refused.json()["code"], refused.headers["Retry-After"]) == ("disk_full", "2")
    assert "browser" in refused.json()["fix"]
    before = Vote.objects.count()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA max_page_count=1000000000")
    if refused is asked:
        asked = client.post(f"{base}next/", {"have": []}, content_type="application/json")
        vote = {"token": asked.json()["token"], "closer": "first", "key": str(uuid.uuid4())}
    assert client.post(f"{base}vote/", vote, content_type="application/json").status_code == 200
    assert Vote.objects.filter(key=vote["key"]).count() == 1
    assert Vote.objects.count() == before + 1
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE filler")


def test_what_failed_is_named_by_its_deepest_cause() -> None:
    full = OSError(28, "No space left on device")
    assert isinstance(of_the_machine(full), DiskFull)
    outer = OperationalError("the connection is closed")
    assert isinstance(of_the_machine(outer), Away)
    outer.__cause__ = full
    assert isinstance(of_the_machine(outer), DiskFull)
    assert of_the_machine(ValueError("not ours")) is None
    assert of_the_machine(OSError(2, "No such file")) is None


def test_messages_hold_no_path_of_this_machine(tmp_path: Path) -> None:
    here = Path(__file__).resolve()
    assert (
        without_paths(f"[Errno 2] No such file or directory: '{here}'")
        == "[Errno 2] No such file or directory: 'test_full_disk.py'"
    )
    assert without_paths(f"{tmp_path}/uploads/x.zip: damaged") == "x.zip: damaged"
    assert without_paths("see /api/v1/jobs/ and a/b") == "see /api/v1/jobs/ and a/b"
