"""Next + vote loops of simulated annotators against a production server: loops a second, p50/p95/p99, server CPU per loop.

`python -m benchmarks.annotator_loop --pairs 10000 100000 --annotators 1 8 32 --seconds 15 --json`; with DATABASE_URL on
PostgreSQL (bars apply), else on SQLite. Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil

from benchmarks import harness
from tests.site import Site

MAKE = """
from django.db import connection
from webapp.accounts import people, tokens
from webapp.accounts.models import Account
from labeling.models import Campaign, Dataset, Image, Person
from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan, PairPolicy
from webapp.jobs import run
wanted = {pairs}
sample = Dataset.objects.select_related("skeleton").get(name="Sample people")
big, made = Dataset.objects.get_or_create(name="big {pairs}", defaults=dict(skeleton=sample.skeleton))
if made:
    source = Person.objects.filter(image__dataset=sample).select_related("image").first()
    count = -(-wanted // 50)
    fields = dict(dataset=big, sha256=source.image.sha256, suffix=source.image.suffix, bytes=source.image.bytes, width=512, height=512)
    images = Image.objects.bulk_create([Image(name=f"n{{i}}.jpg", **fields) for i in range(count)], batch_size=5000)
    Person.objects.bulk_create([Person(image=i, bbox=source.bbox, keypoints=source.keypoints) for i in images], batch_size=2000)
admin = Account.objects.get(username="ada")
plan = CampaignPlan(name="bench {pairs}", votes_per_pair=5, delay_ms=0, tutorial_questions=0, session_length=500,
                              pair_policy=PairPolicy(per_person=50))
campaign, job = lifecycle.create(admin, big, plan)
run.run_job(job.pk)
lifecycle.move(admin, campaign, "open")
if connection.vendor == "postgresql":  # what the server does by itself minutes after a load, done before the clock starts
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
print(campaign.uuid)
for n in range({annotators}):
    account = Account.objects.filter(username=f"bench-{{n}}").first() or people.create(None, username=f"bench-{{n}}", role="annotator", simulated=True)
    print(tokens.issue(account, name="bench", scopes=["annotate"])[1])
"""

OVER = """
from django.db.models import Count, F
from labeling.models import Campaign, Vote
campaign = Campaign.objects.get(uuid="{campaign}")
counted = campaign.pairs.filter(votes__retraction=None).annotate(n=Count("votes"))
print(counted.filter(n__gt=F("votes_needed")).count(), Vote.objects.filter(pair__campaign=campaign).count())
"""


async def loop(base: str, token: str, until: float, times: dict[str, list[float]], bad: list[str]) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as web:
        await (await web.get(base)).read()
        while time.perf_counter() < until:
            started = time.perf_counter()
            async with web.post(base + "next/", json={"have": []}) as answer:
                question = await answer.json()
            between = time.perf_counter()
            vote = {"token": question.get("token", ""), "closer": "first", "key": str(uuid.uuid4()), "by": "simulated"}
            async with web.post(base + "vote/", json=vote) as answer:
                if answer.status != 200:
                    bad.append(f"{question} {await answer.text()}")
            times["next"].append(between - started)
            times["vote"].append(time.perf_counter() - between)


def cpu_s(web: int) -> float:
    """CPU seconds so far of the web server and of every PostgreSQL process."""
    total = 0.0
    for process in psutil.process_iter(["name", "pid"]):
        try:
            mine = process.pid == web or web in [p.pid for p in process.parents()]
            if mine or process.info["name"].startswith("postgres"):
                times = process.cpu_times()
                total += times.user + times.system
        except psutil.Error:
            continue
    return total


def measure(site: Site, web: int, campaign: str, secrets: list[str], seconds: float) -> dict[str, Any]:
    times: dict[str, list[float]] = {"next": [], "vote": []}
    bad: list[str] = []
    base = f"{site.url}/api/v1/annotate/{campaign}/"

    async def all_of() -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(loop(base, s, until, times, bad) for s in secrets))

    before, started = cpu_s(web), time.perf_counter()
    asyncio.run(all_of())
    took, used = time.perf_counter() - started, cpu_s(web) - before
    row: dict[str, Any] = {
        "loops": len(times["next"]),
        "loops_per_s": len(times["next"]) / took,
        "errors": len(bad),
        "cpu_ms_per_loop": 1000 * used / max(1, len(times["next"])),
    }
    for kind, values in times.items():
        for p in (50, 95, 99):
            row[f"{kind}_p{p}_ms"] = 1000 * float(np.percentile(values, p))
    return {k: round(v, 2) for k, v in row.items()}


def main() -> int:
    parser = harness.options(__doc__)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--annotators", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=15)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), "bench")
        site.manage("migrate", "--verbosity", "0")
        site.manage("load_sample")
        web = site.web_only()
        try:
            for pairs in options.pairs:
                script = MAKE.format(pairs=pairs, annotators=max(options.annotators))
                lines = site.manage("shell", "-v0", "-c", script, timeout=3000).split()
                campaign, secrets = lines[-max(options.annotators) - 1], lines[-max(options.annotators) :]
                for annotators in options.annotators:
                    row = {"pairs": pairs, "annotators": annotators}
                    row |= measure(site, web.pid, campaign, secrets[:annotators], options.seconds)
                    rows.append(row)
                    print(row, flush=True)
                over = site.manage("shell", "-v0", "-c", OVER.format(campaign=campaign)).split()
                rows[-1]["pairs_over_votes"], rows[-1]["votes"] = map(int, over)
        finally:
            site.stop()
    return harness.conclude(options, {"rows": rows}, bars(rows, bool(site.database)))


def bars(rows: list[dict[str, Any]], postgres: bool) -> list[str]:
    """Bars that do not hold: CPU, loops, p95 on PostgreSQL; no error anywhere."""
    broken = [f"{r['errors']} errors in {r}" for r in rows if r["errors"]]
    broken += [f"{r['pairs_over_votes']} pairs over their votes in {r}" for r in rows if r.get("pairs_over_votes")]
    by = {(r["pairs"], r["annotators"]): r for r in rows}
    for (pairs, annotators), row in by.items():
        if postgres and (pairs, annotators) == (100_000, 8):
            if row["loops_per_s"] < 75:
                broken.append(f"{row['loops_per_s']} loops/s < 75")
            if row["cpu_ms_per_loop"] > 22:
                broken.append(f"{row['cpu_ms_per_loop']} ms CPU per loop > 22")
        if postgres and annotators == 32 and row["next_p95_ms"] > 360:
            broken.append(f"next p95 {row['next_p95_ms']} ms > 360 at {pairs} pairs")
        small = by.get((10_000, annotators))
        for kind in ("next_p95_ms", "vote_p95_ms"):
            if small and pairs == 1_000_000 and row[kind] > 1.5 * small[kind]:
                broken.append(f"{kind} at 1 million pairs {row[kind]} > 1.5 x {small[kind]} at {annotators} annotators")
    return broken


if __name__ == "__main__":
    sys.exit(main())
