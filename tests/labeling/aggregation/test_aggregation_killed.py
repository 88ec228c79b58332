"""An aggregation killed with SIGKILL in the middle: the last version stays in force, and it can be run again."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.site import ROOT, Site

pytestmark = pytest.mark.skipif("DATABASE_URL" in os.environ, reason="one database is enough: all is one transaction")

PREPARE = """
import random
from django.utils import timezone
from labeling.campaigns import participants, lifecycle
from labeling.campaigns.plan import CampaignPlan
from labeling.aggregation import aggregate
from labeling.answering import assignment, voting
from labeling.models import Campaign, Dataset
from webapp.accounts import people
from webapp.accounts.models import Account
from webapp.jobs import run
import uuid
admin = Account.objects.get(username="ada")
plan = CampaignPlan(name="killed", mode="adaptive", delay_ms=0, tutorial_questions=0, session_length=500)
campaign, job = lifecycle.create(admin, Dataset.objects.select_related("skeleton").get(name="Sample people"), plan)
run.run_job(job.pk)
lifecycle.move(admin, campaign, "open")
account = people.create(None, username="simulated-1", role="annotator", simulated=True)
participants.participate(account, campaign)
rng = random.Random(0)
for n in range(120):
    lease = assignment.next_pair(account, campaign.uuid, now=timezone.now(), rng=rng)
    voting.accept(account, lease.token, closer=rng.choice(["first", "second"]), key=uuid.uuid4(), now=timezone.now())
run.run_job(aggregate.start(admin, campaign, "depth").pk)
slow = {"rounds": 500, "tolerance": 1e-9, "damping": 0.02}
print(aggregate.start(admin, campaign, "depth", slow).pk)
"""
LOOK = """
import hashlib, json
from labeling.models import Campaign, Label, DepthPosterior
from webapp.jobs.models import Job
campaign = Campaign.objects.get(name="killed")
digest = hashlib.sha256()
for row in DepthPosterior.objects.filter(campaign=campaign).order_by("pk").values_list("perceived", "risk", "gain", "votes"):
    digest.update(bytes(row[0]) + repr(row[1:]).encode())
last = campaign.aggregation_runs.first()
job = Job.objects.get(pk={job})
print(json.dumps(dict(runs=campaign.aggregation_runs.count(), labels=Label.objects.filter(run__campaign=campaign).count(),
    of_last=Label.objects.filter(run=last).count(), posteriors=digest.hexdigest(), crowd=campaign.crowd, state=job.state, done=job.done)))
"""


def test_a_killed_merge_leaves_the_last_version_in_force(tmp_path: Path) -> None:
    site = Site(tmp_path, "aggregation")
    site.manage("migrate", "--verbosity", "0")
    site.manage("load_sample")
    job = site.manage("shell", "-v", "0", "-c", PREPARE).split()[-1]

    def look() -> dict:
        return json.loads(site.manage("shell", "-v", "0", "-c", LOOK.format(job=job)).splitlines()[-1])

    before = look()
    assert before["runs"] == 1
    assert before["labels"] == before["of_last"] > 10_000
    work = f"from webapp.jobs import run; run.run_job({job})"
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", work]
    aggregation = subprocess.Popen(command, cwd=ROOT, env=site.environment, start_new_session=True)
    deadline = time.monotonic() + 90
    with sqlite3.connect(next((tmp_path / "var").glob("*.sqlite3"))) as database:
        while database.execute("SELECT state FROM jobs_job WHERE id = ?", [job]).fetchone() != ("running",):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    time.sleep(random.Random(time.time_ns()).uniform(0, 0.8))  # reading, fitting or writing
    os.killpg(aggregation.pid, signal.SIGKILL)
    assert aggregation.wait(30) == -signal.SIGKILL
    killed = look()
    assert killed["state"] == "running"  # until `requeue` finds that nobody works on it
    assert {k: killed[k] for k in ("runs", "labels", "posteriors", "crowd")} == {
        k: before[k] for k in ("runs", "labels", "posteriors", "crowd")
    }
    site.manage(
        "shell",
        "-v",
        "0",
        "-c",
        work.replace("run.run_job", "run.Job.objects.filter(pk=" + job + ").update(state='queued'); run.run_job"),
    )
    after = look()
    assert (after["state"], after["runs"]) == ("done", 2)
    assert after["of_last"] == before["of_last"]
