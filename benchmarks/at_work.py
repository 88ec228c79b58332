"""People at work while everything else runs: answers, aggregations, releases and imports at once, and a million pairs.

`python -m benchmarks.at_work --json` on PostgreSQL with DATABASE_URL and REDIS_URL, else on SQLite. Part `work`: 16 simulated annotators
at full speed in a fixed and in an adaptive campaign, first alone, then while aggregations, releases and imports follow each
other. Part `large` (PostgreSQL): 1 million pairs and 5 million votes beside a small campaign: every crowd model with the schedule
running, and the pages of both. Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import requests

from benchmarks import harness
from tests.pictures import jpeg, people_json
from tests.site import ROOT, Site

ANNOTATORS = 16
MAKE = """
from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan, PairPolicy
from labeling.models import Dataset
from webapp.accounts import people, tokens
from webapp.accounts.models import Account
from webapp.jobs import run
ada = Account.objects.get(username="ada")
dataset = Dataset.objects.select_related("skeleton").get(name="Sample people")
names = []
for mode in ("fixed", "adaptive"):
    plan = CampaignPlan(name="at work " + mode, mode=mode, votes_per_pair=30, most_votes=1000, delay_ms=0, tutorial_questions=0,
                                  session_length=500, pair_policy=PairPolicy(per_person=91))
    campaign, job = lifecycle.create(ada, dataset, plan)
    run.run_job(job.pk)
    lifecycle.move(ada, campaign, "open")
    names.append(str(campaign.uuid))
print(*names)
print(tokens.issue(ada, name="bench", scopes=["read", "write"])[1])
for n in range({annotators}):
    account = people.create(None, username=f"worker-{{n}}", role="annotator", simulated=True)
    print(tokens.issue(account, name="bench", scopes=["annotate"])[1])
"""
STATE = """
import json
from django.db import connection
from django.db.models import Count, F
from labeling.models import Pair
from webapp.jobs.models import Job
deadlocks = 0
if connection.vendor == "postgresql":
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        deadlocks = cursor.fetchone()[0]
states = dict(Job.objects.order_by().values_list("state").annotate(n=Count("pk")))
failed = [str(j.error)[:300] for j in Job.objects.filter(state="failed")]
most = max(Job.objects.values_list("attempt", flat=True), default=0)
over = Pair.objects.filter(votes_counted__gt=F("votes_needed")).count()
print(json.dumps(dict(deadlocks=deadlocks, jobs=states, failed=failed, most_attempts=most, over=over)))
"""


def start_workers(site: Site) -> list[subprocess.Popen[bytes]]:
    """As docker-compose.yml has it: two light workers, and the schedule apart."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "celery",
        "--quiet",
        "-A",
        "webapp",
        "worker",
        "--loglevel",
        "ERROR",
    ]
    command += ["-Q", "light", "-c", "2", "-B", "-n", f"bench-{site.port}@%h"]
    return [subprocess.Popen(command, cwd=ROOT, env=site.environment, start_new_session=True)]


async def annotate(base: str, token: str, until: float, times: list[float], bad: list[str]) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as web:
        await (await web.get(base)).read()
        while time.perf_counter() < until:
            started = time.perf_counter()
            async with web.post(base + "next/", json={"have": []}) as answer:
                times.append(time.perf_counter() - started)
                question = await answer.json(content_type=None)
                if answer.status >= 500:
                    bad.append(f"next {answer.status}")
                if answer.status != 200:
                    await asyncio.sleep(0.2)
                    continue
            vote = {"token": question["token"], "closer": "first", "key": str(uuid.uuid4()), "by": "simulated"}
            async with web.post(base + "vote/", json=vote) as answer:
                if answer.status >= 500:
                    bad.append(f"vote {answer.status}")


def phase(site: Site, campaign: str, tokens: list[str], seconds: float) -> dict[str, Any]:
    times: list[float] = []
    bad: list[str] = []
    base = f"{site.url}/api/v1/annotate/{campaign}/"

    async def everybody() -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(annotate(base, token, until, times, bad) for token in tokens))

    asyncio.run(everybody())
    p50, p95 = (1000 * float(np.percentile(times, p)) for p in (50, 95))
    return {
        "questions": len(times),
        "next_p50_ms": round(p50, 1),
        "next_p95_ms": round(p95, 1),
        "answers_5xx": len(bad),
    }


def upload(number: int) -> dict[str, tuple[str, bytes]]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for n in range(40):
            archive.writestr(f"p{n + 1:04d}.jpg", jpeg(1000 * number + n))
    return {
        "annotations": ("people.json", json.dumps(people_json(40, seed=number)).encode()),
        "pictures": ("pictures.zip", stream.getvalue()),
    }


class Busy(threading.Thread):
    """Starts one job of each kind after the other, again and again, each as soon as the last one of its kind has ended."""

    def __init__(self, site: Site, campaign: str, token: str) -> None:
        super().__init__(daemon=True)
        self.site, self.campaign, self.token = site, campaign, token
        self.end, self.started, self.bad = threading.Event(), 0, 0

    def run(self) -> None:
        web = requests.Session()
        web.headers["Authorization"] = f"Bearer {self.token}"
        api = f"{self.site.url}/api/v1"
        open_jobs: dict[str, str] = {}
        number = 0
        while not self.end.is_set():
            for kind in ("aggregate", "release", "import"):
                job = open_jobs.get(kind)
                if job and web.get(f"{api}/jobs/{job}/", timeout=60).json().get("state") in ("queued", "running"):
                    continue
                number += 1
                if kind == "import":
                    form = {"dataset": f"while at work {self.campaign[:8]} {number}", "format": "json"}
                    answer = web.post(f"{api}/imports/", data=form, files=upload(number), timeout=120)
                else:
                    answer = web.post(f"{api}/campaigns/{self.campaign}/{kind}/", json={}, timeout=120)
                if answer.status_code == 202:
                    open_jobs[kind] = answer.json()["id"]
                    self.started += 1
                elif answer.status_code >= 500:
                    self.bad += 1
            time.sleep(0.3)


def at_work(seconds: float, alone_s: float, modes: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), "atwork")
        site.environment |= {"NEARER_RATE_HEAVY": "999999/hour", "NEARER_JUDGE_EVERY_S": "10"}
        site.manage("migrate", "--verbosity", "0")
        site.manage("load_sample")
        lines = site.manage("shell", "-v0", "-c", MAKE.format(annotators=ANNOTATORS), timeout=900).split()
        campaigns, admin, tokens = lines[:2], lines[2], lines[3:]
        site.web_only()
        time.sleep(3)
        workers = start_workers(site)
        rows = []
        try:
            for mode, campaign in zip(("fixed", "adaptive"), campaigns, strict=True):
                if mode not in modes:
                    continue
                alone = phase(site, campaign, tokens, alone_s)
                busy = Busy(site, campaign, admin)
                busy.start()
                together = phase(site, campaign, tokens, seconds)
                busy.end.set()
                busy.join(120)
                together["jobs_started"], together["jobs_5xx"] = busy.started, busy.bad
                rows.append({"mode": mode, "alone": alone, "with_jobs": together})
                print(rows[-1], file=sys.stderr, flush=True)
            deadline = time.monotonic() + 180
            state: dict[str, Any] = {}
            while time.monotonic() < deadline:
                state = json.loads(site.manage("shell", "-v0", "-c", STATE).splitlines()[-1])
                if not set(state["jobs"]) & {"queued", "running"}:
                    break
                time.sleep(3)
        finally:
            for worker in workers:
                os.killpg(worker.pid, 9)
            site.stop()
    return {"database": "PostgreSQL" if site.database else "SQLite", "seconds": seconds, "rows": rows, **state}


# --- a million pairs ---
FILL = """
from django.db import connection
from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan
from labeling.models import Campaign, Dataset, Participation, Person
from webapp.accounts import people
from webapp.accounts.models import Account
from webapp.jobs import run
ada = Account.objects.get(username="ada")
sample = Dataset.objects.select_related("skeleton").get(name="Sample people")
accounts = list(Account.objects.filter(username__startswith="crowd-")) or [
    people.create(None, username=f"crowd-{n}", role="annotator", simulated=True) for n in range(1000)]

def create(data, plan):
    campaign, job = lifecycle.create(ada, data, plan)
    run.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "done", job.error
    fill(campaign)
    lifecycle.move(ada, campaign, "open")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    print(campaign.uuid)

def fill(campaign):
    participations = [Participation.objects.create(campaign=campaign, annotator=a).pk for a in accounts]
    with connection.cursor() as cursor:
        cursor.execute('''INSERT INTO labeling_session (uuid, participation_id, length, answered, started_at, finished_at)
            SELECT gen_random_uuid(), id, 500, 0, now(), now() FROM labeling_participation WHERE campaign_id = %s''', [campaign.pk])
        cursor.execute('''INSERT INTO labeling_assignment (uuid, campaign_id, participation_id, session_id, pair_id, state, leased_at, expires_at,
                answered_at, green_is_first, green_on_left, tries)
            SELECT gen_random_uuid(), p.campaign_id, s.participation_id, s.id, p.id, 'answered', now(), now(), now(), p.id %% 2 = 0, k %% 2 = 0, 1
            FROM labeling_pair p, generate_series(0, 4) k, labeling_session s
            WHERE p.campaign_id = %s AND s.participation_id = %s + (p.id * 7 + k * 131) %% 1000''', [campaign.pk, min(participations)])
        cursor.execute('''INSERT INTO labeling_answer (key, assignment_id, number, closer, leased_at, received_at, response_ms, toggles, zoom, viewport,
                "by", app_version, campaign_id, pair_id, participation_id, presentation)
            SELECT gen_random_uuid(), id, 1, ((pair_id * 2654435761 / 65536 %% 2)::int + (random() < 0.2 + 0.1 * (participation_id %% 3))::int) %% 2,
                now(), now(), 900, 0, 1, '', 'simulated', '', campaign_id, pair_id, participation_id,
                (CASE WHEN green_is_first THEN 'green-' ELSE 'pink-' END) || (CASE WHEN green_on_left = green_is_first THEN 'left' ELSE 'right' END)
            FROM labeling_assignment WHERE campaign_id = %s''', [campaign.pk])
        cursor.execute("UPDATE labeling_pair SET votes_counted = 5, taken = 5 WHERE campaign_id = %s", [campaign.pk])
        cursor.execute('''UPDATE labeling_participation p SET vote_count = n, answer_count = n, timed_count = n, response_ms_sum = 900 * n
            FROM (SELECT participation_id, count(*) n FROM labeling_answer WHERE campaign_id = %s GROUP BY 1) v WHERE v.participation_id = p.id''', [campaign.pk])
"""
SMALL = """
create(sample, CampaignPlan(name="small", votes_per_pair=5, delay_ms=0, tutorial_questions=0))
"""
LARGE = """
data = Dataset.objects.create(name="large", skeleton=sample.skeleton)
source = Person.objects.filter(image__dataset=sample).select_related("image").first()
with connection.cursor() as cursor:
    cursor.execute('''INSERT INTO labeling_image (uuid, dataset_id, name, sha256, suffix, bytes, width, height, split, source, licence, attribution)
        SELECT gen_random_uuid(), %s, 'n' || n || '.jpg', %s, %s, %s, 512, 512, 'train', '', '', '' FROM generate_series(1, {people}) n''',
        [data.pk, source.image.sha256, source.image.suffix, source.image.bytes])
    cursor.execute('''INSERT INTO labeling_person (uuid, image_id, index, bbox, keypoints)
        SELECT gen_random_uuid(), i.id, 0, p.bbox, p.keypoints FROM labeling_image i, labeling_person p WHERE i.dataset_id = %s AND p.id = %s''',
        [data.pk, source.pk])
plan = CampaignPlan(name="large", votes_per_pair=5, delay_ms=0, tutorial_questions=0, session_length=500)
create(data, plan)
"""
FIT = """
import json, resource, time
from labeling.aggregation import aggregate
from labeling.models import Campaign
from webapp.accounts.models import Account
from webapp.jobs import run
from webapp.jobs.models import Job
job = aggregate.start(Account.objects.get(username="ada"), Campaign.objects.get(uuid="{campaign}"), "{model}")
begun = time.perf_counter()
run.run_job(job.pk)
job.refresh_from_db()
print(json.dumps(dict(model="{model}", state=job.state, attempt=job.attempt, error=job.error, seconds=round(time.perf_counter() - begun, 1),
    cpu_s=round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 1), peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)))
"""
SCHEDULE = """
import time
from labeling.aggregation import aggregate
from labeling.answering import assignment
from webapp.jobs import run
while True:
    run.requeue(); assignment.return_expired(); aggregate.judge_open_campaigns()
    time.sleep(5)
"""


def page_times(site: Site, campaign: str, rounds: int) -> dict[str, float]:
    """p95 in ms of the pages of one campaign, signed in as the demo's admin."""
    web = requests.Session()
    web.get(f"{site.url}/login/", timeout=60)
    form = {"username": "ada", "password": site.password, "csrfmiddlewaretoken": web.cookies["csrftoken"]}
    web.post(f"{site.url}/login/", data=form, timeout=60)
    base = f"{site.url}/campaigns/{campaign}/"
    first = web.get(f"{base}labels/", timeout=120).text
    last = 1 if "Page 1 of " not in first else int(first.partition("Page 1 of ")[2].split("<")[0])
    pages = {
        "campaign": base,
        "quality": f"{base}quality/",
        "labels, first": f"{base}labels/",
        "labels, last": f"{base}labels/?page={last}",
    }
    result = {}
    for name, url in pages.items():
        for _ in range(8):  # the first pages of each web process import what they draw with
            web.get(url, timeout=120)
        times = []
        for _ in range(rounds):
            begun = time.perf_counter()
            assert web.get(url, timeout=120).status_code == 200, url
            times.append(1000 * (time.perf_counter() - begun))
        result[name] = round(float(np.percentile(times, 95)), 1)
    return result


def large(people: int, rounds: int, models: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), "large")
        site.manage("collectstatic", "--noinput", "--verbosity", "0")
        site.manage("migrate", "--verbosity", "0")
        site.manage("load_sample")
        site.manage("shell", "-v0", "-c", "from training.management.commands.serve import make_logins; make_logins()")
        site.web_only()
        scheduler: subprocess.Popen[bytes] | None = None
        try:
            small = site.manage("shell", "-v0", "-c", FILL + SMALL, timeout=600).split()[-1]
            site.manage("shell", "-v0", "-c", FIT.format(campaign=small, model="two-coin"), timeout=600)
            alone = page_times(site, small, rounds)
            big = site.manage("shell", "-v0", "-c", FILL + LARGE.format(people=people), timeout=3000).split()[-1]
            command = [sys.executable, "manage.py", "shell", "-v0", "-c", SCHEDULE]
            scheduler = subprocess.Popen(command, cwd=ROOT, env=site.environment, start_new_session=True)
            fits = []
            for model in models:
                out = site.manage("shell", "-v0", "-c", FIT.format(campaign=big, model=model), timeout=3000)
                fits.append(json.loads(out.splitlines()[-1]))
                print(fits[-1], file=sys.stderr, flush=True)
            os.killpg(scheduler.pid, 9)
            scheduler = None
            with_large = page_times(site, small, rounds)
            pages = {"large": page_times(site, big, rounds), "small, alone": alone, "small": with_large}
        finally:
            if scheduler is not None:
                os.killpg(scheduler.pid, 9)
            site.stop()
    return {"people": people, "pairs": 5 * people, "votes": 25 * people, "fits": fits, "pages_p95_ms": pages}


def bars(results: dict[str, Any]) -> list[str]:
    broken = []
    if work := results.get("work"):
        broken += [f"{work['deadlocks']} deadlocks"] * bool(work["deadlocks"])
        broken += [f"{len(work['failed'])} jobs failed: {work['failed'][:2]}"] * bool(work["failed"])
        broken += ["jobs did not end"] * bool(set(work["jobs"]) & {"queued", "running"})
        for row in work["rows"]:
            both = row["with_jobs"]
            broken += [f"{row['mode']}: {both['answers_5xx']} answers of 5xx"] * bool(
                both["answers_5xx"] + both["jobs_5xx"]
            )
            ratio = both["next_p95_ms"] / row["alone"]["next_p95_ms"]
            broken += [f"{row['mode']}: next p95 {ratio:.2f} times that without jobs"] * (ratio > 2)
    if big := results.get("large"):
        for fit in big["fits"]:
            if fit["state"] != "done" or fit["attempt"] != 1 or fit["peak_mib"] > 1536:
                broken.append(f"{fit}")
        for name, ms in big["pages_p95_ms"]["large"].items():
            broken += [f"large, {name}: p95 {ms} ms > 500"] * (ms > 500)
        for name, ms in big["pages_p95_ms"]["small"].items():
            alone = big["pages_p95_ms"]["small, alone"][name]
            broken += [f"small, {name}: p95 {ms} ms, alone {alone} ms"] * (ms > max(1.25 * alone, alone + 20))
    return broken


def main() -> int:
    parser = harness.options(__doc__, parts=["work", "large"])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--alone-s", type=float, default=60)
    parser.add_argument("--modes", nargs="+", choices=["fixed", "adaptive"], default=["fixed", "adaptive"])
    parser.add_argument("--people", type=int, default=200_000, help="five pairs and 25 votes each")
    parser.add_argument("--models", nargs="+", default=["two-coin", "paper", "depth"])
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    if "work" in options.parts:
        results["work"] = at_work(options.seconds, options.alone_s, options.modes)
    if "large" in options.parts and os.environ.get("DATABASE_URL"):
        results["large"] = large(options.people, options.rounds, options.models)
    elif "large" in options.parts:
        results["left_out"] = "part large: it needs PostgreSQL, by DATABASE_URL"
    print(json.dumps(results, indent=1))
    return harness.conclude(options, results, bars(results))


if __name__ == "__main__":
    sys.exit(main())
