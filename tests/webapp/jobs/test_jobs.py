"""Jobs: taken once, fenced by attempt, cancelled, swept, continued."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from tests.conftest import World
from tests.site import ROOT
from webapp.catalog import Catalog, Offer, UnknownOffer
from webapp.config import NoOptions
from webapp.errors import Conflict, NotAllowed
from webapp.jobs import folder, run
from webapp.jobs.kinds import JobKind
from webapp.jobs.models import Job

seen: list[Any] = []


def count(context: run.JobContext, config: NoOptions) -> dict[str, int]:
    for n in range(5):
        seen.append(n)
        context.progress(n, 5, "steps")
    return {"steps": 5}


def cancelled_from_outside(context: run.JobContext, config: NoOptions) -> None:
    run.cancel(context.actor, context.job)
    context.progress(1, 1)


def overtaken(context: run.JobContext, config: NoOptions) -> dict[str, int]:
    Job.objects.filter(pk=context.job.pk).update(attempt=9)
    context.progress(1, 1)
    return {"never": 1}


def broken(context: run.JobContext, config: NoOptions) -> None:
    raise RuntimeError("the disk is full")


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog("job kind")
    for function in (count, cancelled_from_outside, overtaken, broken):
        catalog.add(JobKind(name=function.__name__, title=function.__name__, target=f"{__name__}:{function.__name__}"))
    monkeypatch.setattr(run, "job_kinds", catalog)
    seen.clear()


def job_of(world: World, kind: str) -> Job:
    job = run.enqueue(world.ada, kind, {})
    run.run_job(job.pk)
    job.refresh_from_db()
    return job


def test_a_job_runs_once_however_often_workers_are_notified(world: World) -> None:
    job = job_of(world, "count")
    run.run_job(job.pk)
    assert seen == [0, 1, 2, 3, 4]
    assert (job.state, job.attempt, job.result) == ("done", 1, {"steps": 5})


def test_cancelling_stops_it_at_the_next_report(world: World) -> None:
    assert job_of(world, "cancelled_from_outside").state == "cancelled"


def test_a_worker_thought_dead_can_no_longer_write(world: World) -> None:
    job = job_of(world, "overtaken")
    assert (job.state, job.result) == ("running", None)


def test_a_failure_is_told_and_can_be_continued(world: World) -> None:
    job = job_of(world, "broken")
    assert job.state == "failed"
    assert "the disk is full" in job.error["detail"]
    assert run.retry(world.ada, job).state == "queued"


def test_a_silent_worker_loses_its_job_and_the_next_one_takes_it(world: World) -> None:
    job = run.enqueue(world.ada, "count", {})
    assert run.take(job.pk) is not None
    Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    run.requeue()
    run.run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.attempt) == ("done", 2)


def test_eve_cannot_cancel(world: World) -> None:
    job = run.enqueue(world.ada, "count", {})
    with pytest.raises(NotAllowed):
        run.cancel(world.eve, job)
    run.run_job(job.pk)
    job.refresh_from_db()
    with pytest.raises(Conflict):
        run.cancel(world.ada, job)


def test_names_are_unique_and_unknown_ones_list_what_there_is() -> None:
    catalog = Catalog("thing")
    catalog.add(Offer(name="a", title="", target=""))
    with pytest.raises(ValueError, match="twice"):
        catalog.add(Offer(name="a", title="", target=""))
    with pytest.raises(UnknownOffer, match="there are: a"):
        catalog["b"]


def test_a_job_enqueued_by_any_thread_of_a_web_process_notifies_our_own_broker(tmp_path: Path) -> None:
    """Celery keeps its current application per thread; another one's messages reach nobody."""
    script = """
import os, threading
from django.core.management import call_command
call_command("migrate", verbosity=0)
from webapp.jobs import folder, run
from webapp.jobs.kinds import JobKind
thread = threading.Thread(target=lambda: run.enqueue(None, "release", {"campaign": "none"}))
thread.start(); thread.join()
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    environment |= {"NEARER_VAR": str(tmp_path / "var"), "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    code = f"import django; django.setup()\n{script}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=120)
    messages = list((tmp_path / "var" / "broker" / "messages").iterdir())
    assert [m.name.split(".")[1] for m in messages] == ["light"]
    assert b"webapp.jobs.tasks.run_job" in messages[0].read_bytes()


def test_a_worker_with_another_folder_does_not_start(world: World, settings: Any, tmp_path: Path) -> None:
    folder.check()
    folder.check()
    settings.VAR = tmp_path / "other"
    settings.VAR.mkdir()
    with pytest.raises(Conflict, match="NEARER_VAR"):
        folder.check()
    call_command("use_folder", verbosity=0)
    folder.check()
    settings.VAR = tmp_path
    with pytest.raises(Conflict):
        folder.check()
