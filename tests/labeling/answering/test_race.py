"""32 annotators at once on PostgreSQL, with undo, reload, double submit, lost leases, and web workers killed in between."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from labeling.answering.choice import NOTHING_LEFT_FOR
from tests.site import Site

pytestmark = [
    pytest.mark.race,
    pytest.mark.skipif("DATABASE_URL" not in os.environ, reason="the race needs PostgreSQL: set DATABASE_URL"),
]
ANNOTATORS, PAIRS, VOTES = 32, 500, 5
PATIENCE_S = (
    3 + 1.5 * NOTHING_LEFT_FOR.total_seconds()
)  # a lease, and the time after which the server says to ask again

MAKE = """
from webapp.accounts import people, tokens
from labeling.models import Campaign, Pair
admin = people.create(None, username="root", role="admin")
from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan, PairPolicy
from labeling.models import Dataset
dataset = Dataset.objects.select_related("skeleton").get(name="Sample people")
plan = CampaignPlan(name="race", votes_per_pair=5, delay_ms=0, tutorial_questions=0, lease_s=3, session_length=40,
                              pair_policy=PairPolicy(per_person=3, seed=1))
campaign, job = lifecycle.create(admin, dataset, plan)
from webapp.jobs import run
run.run_job(job.pk)
Pair.objects.filter(campaign=campaign, pk__in=list(campaign.pairs.order_by("-rank").values_list("pk", flat=True)[:100])).delete()
lifecycle.move(admin, campaign, "open")
print(campaign.uuid)
for n in range(32):
    account = people.create(None, username=f"racer-{n}", role="annotator")
    print(tokens.issue(account, name="race", scopes=["annotate"])[1])
"""


class Racer(threading.Thread):
    """One annotator who loses connections, answers twice, waits too long and takes answers back."""

    def __init__(self, site: Site, campaign: str, token: str, seed: int, bad: list[str]) -> None:
        super().__init__(daemon=True)
        self.base = f"{site.url}/api/v1/annotate/{campaign}/"
        self.rng, self.bad = random.Random(seed), bad
        self.accepted: set[str] = set()  # keys of answers that the server said it took
        self.web = requests.Session()
        self.web.headers["Authorization"] = f"Bearer {token}"

    def call(self, path: str, body: Any = None) -> Any:
        while True:
            try:
                response = (
                    self.web.post(self.base + path, json=body, timeout=30)
                    if body
                    else self.web.get(self.base, timeout=30)
                )
            except requests.RequestException:  # the server is down just now: a browser would try again
                time.sleep(0.2)
                continue
            if response.status_code >= 500:
                self.bad.append(f"{path} {response.status_code} {response.text[:200]}")
                time.sleep(0.2)
                continue
            return response.json()

    def run(self) -> None:
        self.call("")
        idle_since = time.monotonic()
        while time.monotonic() < idle_since + PATIENCE_S:
            question = self.call("next/", {"have": []})
            if "token" not in question:
                time.sleep(1.5)
                continue
            idle_since = time.monotonic()
            if self.rng.random() < 0.03:
                time.sleep(3.2)  # the lease runs out
            vote = {
                "token": question["token"],
                "closer": self.rng.choice(["first", "second"]),
                "key": str(uuid.uuid4()),
            }
            for _ in range(1 + (self.rng.random() < 0.15)):
                if "answered" in self.call("vote/", vote):
                    self.accepted.add(vote["key"])
            if self.rng.random() < 0.08:
                self.call("undo/", {"key": str(uuid.uuid4())})
            if self.rng.random() < 0.05:
                self.call("")


def test_exactly_every_vote_is_counted_whatever_happens(tmp_path: Path) -> None:
    site = Site(tmp_path, "race")
    site.environment["NEARER_DEMO"] = "1"
    bad: list[str] = []
    web: subprocess.Popen[bytes] | None = None
    try:
        site.manage("migrate", "--verbosity", "0")
        site.manage("load_sample")
        lines = site.manage("shell", "-v0", "-c", MAKE).split()
        campaign, secrets = lines[-33], lines[-32:]
        web = site.web_only(threads=8)
        racers = [Racer(site, campaign, secret, n, bad) for n, secret in enumerate(secrets)]
        for racer in racers:
            racer.start()
        killed = 0
        while any(r.is_alive() for r in racers):
            time.sleep(1.5)
            children = subprocess.run(
                ["pgrep", "-P", str(web.pid)], capture_output=True, text=True, check=False
            ).stdout.split()
            if killed < 5 and children:
                os.kill(int(random.Random(killed).choice(children)), signal.SIGKILL)
                killed += 1
        assert killed == 5
        assert bad == []
        with psycopg.connect(site.environment["DATABASE_URL"]) as db:

            def one(sql: str) -> int:
                return db.execute(sql, [campaign]).fetchone()[0]  # type: ignore[index]

            of = "FROM labeling_pair p JOIN labeling_campaign c ON c.id = p.campaign_id AND c.uuid = %s"
            live = f"{of} JOIN labeling_answer v ON v.pair_id = p.id LEFT JOIN labeling_retraction r ON r.answer_id = v.id WHERE r.id IS NULL"
            counts = {
                str(key)
                for (key,) in db.execute(f"SELECT v.key {of} JOIN labeling_answer v ON v.pair_id = p.id", [campaign])
            }
            assert set().union(*(r.accepted for r in racers)) == counts
            assert one(f"SELECT count(*) {of}") == PAIRS
            assert one(f"SELECT count(*) {live}") == PAIRS * VOTES
            assert one(f"SELECT sum(votes_counted) {of}") == PAIRS * VOTES
            assert one(f"SELECT max(n) FROM (SELECT count(*) n {live} GROUP BY p.id) t") == VOTES
            assert one(f"SELECT max(n) FROM (SELECT count(*) n {live} GROUP BY p.id, v.participation_id) t") == 1
            assert (
                one(
                    f"SELECT count(*) {of} JOIN labeling_answer v ON v.pair_id = p.id JOIN labeling_retraction r ON r.answer_id = v.id"
                )
                > 20
            )
    finally:
        if web:
            os.killpg(web.pid, signal.SIGKILL)
        site.stop()
