"""At a million votes: one vote's update, choosing a question among a million open pairs, a full refit; time and memory.

`python -m benchmarks.crowd_updates [--votes 1000000] [--json]`. An adaptive campaign on PostgreSQL (DATABASE_URL) or SQLite with 91
open pairs per person and 25 votes on each of so many people, written straight into the tables by simulated annotators: once with a
million votes (3.64 million open pairs), once with a million open pairs. Then:
`assignment.next_pair` and `voting.accept` of one annotator after the other, timed inside the process; the aggregation as a worker does it,
in a process of its own, twice: labels must be equal. Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import harness
from tests.site import Site

FOLLOW_MS, SELECT_MS, REFIT_S, REFIT_MB = 20.0, 5.0, 60.0, 2048.0
MAKE = """
import itertools, json, random, uuid
from datetime import timedelta
import numpy as np
from django.utils import timezone
from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan
from labeling.aggregation import posteriors
from labeling.crowd import anatomy
from labeling.models import Assignment, Campaign, Dataset, Image, Pair, Participation, Person, Session, Vote
from webapp import rows
from webapp.accounts import people
from webapp.accounts.models import Account
from webapp.jobs import run
votes_each, wanted = 25, {votes}
count = wanted // votes_each
sample = Dataset.objects.select_related("skeleton").get(name="Sample people")
source = Person.objects.filter(image__dataset=sample).select_related("image").first()
data = Dataset.objects.create(name="million", skeleton=sample.skeleton)
fields = dict(dataset=data, sha256=source.image.sha256, suffix=source.image.suffix, bytes=source.image.bytes, width=512, height=512)
images = Image.objects.bulk_create([Image(name=f"n{{i}}.jpg", **fields) for i in range(count)], batch_size=5000)
full = [[x, y, 2] for x, y, _ in source.keypoints]
Person.objects.bulk_create([Person(image=i, bbox=source.bbox, keypoints=full) for i in images], batch_size=2000)
admin = Account.objects.get(username="ada")
plan = CampaignPlan(name="million", mode="adaptive", delay_ms=0, tutorial_questions=0, session_length=500, most_votes=60)
campaign, job = lifecycle.create(admin, data, plan)
run.run_job(job.pk)
lifecycle.move(admin, campaign, "open")
rng = np.random.default_rng(0)
participations = []
for n in range(300):
    account = people.create(None, username=f"crowd-{{n}}", role="annotator", simulated=True)
    participations.append(Participation.objects.create(campaign=campaign, annotator=account))
sittings = [Session.objects.create(participation=s, length=500) for s in participations]
noise = 250 * np.exp(rng.normal(0, 0.4, len(participations)))
sigma = anatomy.covariance(data.skeleton.as_skeleton)
pairs = list(Pair.objects.filter(campaign=campaign).order_by("person_id", "pk").values_list("pk", "first", "second"))
now = timezone.now()
def made():
    at = 0
    for p in range(count):
        seen = rng.multivariate_normal(np.zeros(14), sigma) + rng.normal(0, 60, 14)
        for k, w in zip(rng.choice(91, votes_each, replace=False), rng.choice(len(participations), votes_each, replace=False)):
            pk, f, s = pairs[91 * p + int(k)]
            second = seen[f] - seen[s] + rng.normal(0, noise[w]) > 0
            at += 1
            yield at, pk, int(w), int(second), at
answers = list(made())
rows.write(Assignment, ("uuid", "campaign_id", "participation_id", "session_id", "pair_id", "state", "leased_at", "expires_at",
           "answered_at", "green_is_first", "green_on_left", "tries"),
           ((str(uuid.uuid4()), campaign.pk, participations[w].pk, sittings[w].pk, pk, "answered", str(now), str(now), str(now), True, True, 1)
            for _, pk, w, _, _ in answers))
keys = list(Assignment.objects.order_by("pk").values_list("pk", flat=True))
looks = ["green-left", "green-right", "pink-left", "pink-right"]
rows.write(Vote, ("key", "assignment_id", "number", "closer", "leased_at", "received_at", "response_ms", "toggles", "zoom", "viewport",
           "by", "app_version", "campaign_id", "pair_id", "participation_id", "presentation"),
           ((str(uuid.uuid4()), a, 1, z, str(now), str(now + timedelta(seconds=n)), 900, 0, 1.0, "", "simulated", "", campaign.pk, pk, participations[w].pk, looks[n % 4])
            for a, (n, pk, w, z, _) in zip(keys, answers)))
Pair.objects.filter(pk__in=Vote.objects.filter(pair__campaign=campaign).values("pair")).update(votes_counted=1, taken=1)
from labeling.models import DepthPosterior
DepthPosterior.objects.filter(campaign=campaign).update(votes=votes_each)
from django.db import connection
if connection.vendor == "postgresql":
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
print(campaign.uuid)
"""
LIVE = """
import json, random, time, uuid
from django.utils import timezone
from labeling.answering import assignment, choice, voting
from labeling.aggregation import follow as following
from labeling.models import Campaign, Participation, DepthPosterior
campaign = Campaign.objects.select_related("dataset__skeleton", "prior").get(uuid="{campaign}")
participations = list(Participation.objects.filter(campaign=campaign).select_related("annotator")[:50])
rng = random.Random(0)
select, choose, follow, accept = [], [], [], []
from django.db import transaction
for n in range(250):
    participation = participations[n % 50]
    with transaction.atomic():
        full = assignment.participation_of(participation.annotator, campaign.uuid)
        t = time.perf_counter(); pair = choice.most_informative(full, timezone.now(), rng); choose.append(time.perf_counter() - t)
        assert pair is not None
        transaction.set_rollback(True)
    t = time.perf_counter(); lease = assignment.next_pair(participation.annotator, campaign.uuid, now=timezone.now(), rng=rng); select.append(time.perf_counter() - t)
    t = time.perf_counter()
    with transaction.atomic():
        following.follow(campaign, lease.assignment.pair.person_id); follow.append(time.perf_counter() - t)
    t = time.perf_counter(); voting.accept(participation.annotator, lease.token, closer="first", key=uuid.uuid4(), now=timezone.now()); accept.append(time.perf_counter() - t)
def ms(times):
    times = sorted(times[20:])
    return {{"p50_ms": 1000 * times[len(times) // 2], "p95_ms": 1000 * times[int(0.95 * len(times))]}}
print(json.dumps({{"choose": ms(choose), "next_pair": ms(select), "follow": ms(follow), "accept": ms(accept)}}))
"""
REFIT = """
import json, resource, time
from labeling.aggregation import aggregate
from labeling.models import Campaign, Label
from webapp.accounts.models import Account
from webapp.jobs import run
campaign = Campaign.objects.get(uuid="{campaign}")
job = aggregate.start(Account.objects.get(username="ada"), campaign, "depth")
t = time.perf_counter(); run.run_job(job.pk); took = time.perf_counter() - t
last = campaign.aggregation_runs.first()
import hashlib
digest = hashlib.sha256()
for row in Label.objects.filter(run=last).order_by("pair_id").values_list("pair_id", "p_first_closer").iterator(chunk_size=10000):
    digest.update(repr(row).encode())
print(json.dumps({{"seconds": took, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "votes": last.votes_used,
                  "labels": last.measures["pairs"], "digest": digest.hexdigest()}}))
"""


def measure(votes: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Two refits of a campaign with so many votes, and one annotator after the other at work in it."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), "updates")
        try:
            site.manage("migrate", "--verbosity", "0")
            site.manage("load_sample")
            started = time.monotonic()
            campaign = site.manage("shell", "-v0", "-c", MAKE.format(votes=votes), timeout=6000).split()[-1]
            print(f"\nmade {votes:,} votes in {time.monotonic() - started:.0f} s (simulated annotators)", flush=True)
            refits = [_json(site, REFIT.format(campaign=campaign)) for _ in range(2)]
            live = _json(site, LIVE.format(campaign=campaign))
        finally:
            site.stop()
    times = ", ".join(f"{r['seconds']:.1f} s and {r['peak_mb']:.0f} MiB" for r in refits)
    print(f"{refits[0]['labels']:,} open pairs; refits {times}")
    for name, row in live.items():
        print(f"{name:10} p50 {row['p50_ms']:.1f} ms, p95 {row['p95_ms']:.1f} ms", flush=True)
    return refits, live


def main() -> int:
    parser = harness.options(__doc__)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument(
        "--for-pairs", type=int, default=275_000, help="votes of the campaign in which questions are chosen"
    )
    asked = parser.parse_args()
    refits, live = measure(asked.votes)
    few_refits, few = measure(asked.for_pairs)
    follow, choose = live["follow"]["p95_ms"], few["choose"]["p95_ms"]
    slowest, peak = max(r["seconds"] for r in refits), max(r["peak_mb"] for r in refits)
    pairs = few_refits[0]["labels"]
    bars = {
        f"posterior after a vote among {asked.votes:,}: p95 {follow:.1f} ms (bar {FOLLOW_MS})": follow <= FOLLOW_MS,
        f"choosing a question among {pairs:,} open pairs: p95 {choose:.1f} ms (bar {SELECT_MS})": choose <= SELECT_MS,
        f"full refit of {asked.votes:,} votes {slowest:.1f} s (bar {REFIT_S})": slowest <= REFIT_S,
        f"peak {peak:.0f} MiB (bar {REFIT_MB:.0f})": peak <= REFIT_MB,
        "two refits of the same votes give the same labels": refits[0]["digest"] == refits[1]["digest"],
    }
    return harness.conclude(asked, {"live": live, "refits": refits, "choosing": few}, bars)


def _json(site: Site, script: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(
        site.manage("shell", "-v0", "-c", script, timeout=6000).strip().splitlines()[-1]
    )
    return report


if __name__ == "__main__":
    sys.exit(main())
