"""A real worker killed with SIGKILL three times while it trains: the model is the undisturbed one, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.site import Site

# The race of annotators kills workers on PostgreSQL and Redis; this one takes the embedded database and broker.
pytestmark = pytest.mark.skipif("DATABASE_URL" in os.environ, reason="killed on the embedded database only")

RELEASE = """
from django.utils import timezone
import uuid
from labeling.aggregation import aggregate
from labeling.models import Assignment, Campaign, Pair, Participation, Session, Vote
from labeling.releasing import freeze
from webapp.accounts import people
from webapp.accounts.models import Account
from webapp.jobs import run
campaign = Campaign.objects.get(name="Sample campaign")
admin = Account.objects.get(username="ada")
account = people.create(None, username="simulated-1", role="annotator", simulated=True)
participation = Participation.objects.create(campaign=campaign, annotator=account)
sitting = Session.objects.create(participation=participation, length=1)
now = timezone.now()
pairs = list(campaign.pairs.order_by("pk").values_list("pk", flat=True))
asked = dict(campaign=campaign, participation=participation, session=sitting, state="answered", leased_at=now, expires_at=now)
leases = Assignment.objects.bulk_create(
    [Assignment(pair_id=p, green_is_first=True, green_on_left=True, **asked) for p in pairs])
said = dict(campaign=campaign, participation=participation, number=1, leased_at=now, received_at=now, presentation="green-left", viewport="1280x720@2")
Vote.objects.bulk_create(
    [Vote(key=uuid.uuid4(), assignment=a, pair_id=a.pair_id, closer=n % 3 == 0, **said) for n, a in enumerate(leases)])
Pair.objects.filter(campaign=campaign).update(taken=1, votes_counted=1)
run.run_job(aggregate.start(admin, campaign).pk)
print(freeze.freeze(admin, campaign).uuid)
"""
START = """
from labeling.models import Release
from training.runs import launch
from webapp.accounts.models import Account
release = Release.objects.select_related("campaign__dataset__skeleton").get(uuid="{release}")
run = launch.start(Account.objects.get(username="ada"), release, options=dict(epochs=240, hidden=384, batch=16, seed=11))
print(run.uuid)
"""
LOOK = """
import json
from training.models import Run
run = Run.objects.select_related("job").get(uuid="{run}")
job = run.job
print(json.dumps(dict(state=job.state, attempt=job.attempt, done=job.done, total=job.total, error=job.error,
                      model=run.model.path if hasattr(run, "model") else None)))
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, "killed")
    site.environment |= {"NEARER_JOB_SILENCE_S": "4", "NEARER_JOB_REQUEUE_S": "1"}
    try:
        yield site.start()
    finally:
        site.stop()


def look(site: Site, run: str) -> dict:
    return json.loads(site.manage("shell", "-v", "0", "-c", LOOK.format(run=run)).splitlines()[-1])


def finished(site: Site, run: str) -> dict:
    deadline = time.monotonic() + 180
    while (now := look(site, run))["state"] not in ("done", "failed", "cancelled"):
        assert time.monotonic() < deadline, now
        time.sleep(1)
    assert now["state"] == "done", now
    return now


def heavy_workers(site: Site) -> list[psutil.Process]:
    family = psutil.Process(site.process.pid).children(recursive=True)
    return [p for p in family if f"heavy-{site.port}@%h" in p.cmdline()]


def test_a_worker_killed_three_times_makes_the_very_model_of_an_undisturbed_run(site: Site) -> None:
    release = site.manage("shell", "-v", "0", "-c", RELEASE).splitlines()[-1]
    start = START.format(release=release)
    whole = finished(site, site.manage("shell", "-v", "0", "-c", start).splitlines()[-1])
    run = site.manage("shell", "-v", "0", "-c", start).splitlines()[-1]
    rng = random.Random(time.time_ns())
    for attempt in (1, 2, 3):
        deadline = time.monotonic() + 90
        while (now := look(site, run))["attempt"] < attempt or now["state"] != "running" or not now["done"]:
            assert now["state"] != "done", "it ended before it was killed thrice: make the run longer"
            assert time.monotonic() < deadline, now
            time.sleep(0.2)
        time.sleep(rng.uniform(0, 1.5))
        for process in heavy_workers(site):
            os.kill(process.pid, signal.SIGKILL)
    killed = finished(site, run)
    assert killed["attempt"] >= 4
    media = site.folder / "var" / "media"
    assert (media / killed["model"]).read_bytes() == (media / whole["model"]).read_bytes()
