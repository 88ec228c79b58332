"""From the tables and data of version 0.1.0 to today's: nothing is lost, sums are filled, everything works on."""

from __future__ import annotations

import json
from pathlib import Path

from tests.site import Site

# Version 0.1.0 had the first migration of each app. The data are written through the tables as they were then.
FIRST = """
import uuid
from datetime import datetime, timedelta, timezone
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
firsts = [(app, "0001_first_tables") for app in ("accounts", "jobs", "labeling", "training")]
executor = MigrationExecutor(connection)
executor.migrate([("contenttypes", "0002_remove_content_type_name"), ("auth", "0012_alter_user_first_name_max_length"), ("sessions", "0001_initial"), *firsts])
get = MigrationExecutor(connection).loader.project_state(firsts).apps.get_model
A, now = "accounts", datetime(2026, 11, 20, tzinfo=timezone.utc)
ada = get(A, "Account").objects.create(username="ada", role="admin", password="x")
people = [get(A, "Account").objects.create(username=n, role="annotator", password="x") for n in ("Mary", "mary", "ben")]
get(A, "Account").objects.create(username="prolific-1", role="reviewer", recruiter="PROLIFIC_PID", recruiter_id="abc", password="x")
L = "labeling"
skeleton = get(L, "SkeletonRow").objects.filter(name="lsp-14").first() or get(L, "SkeletonRow").objects.create(
    name="lsp-14", keypoints=["a", "b", "c"], bones=[], root="a")
data = get(L, "Dataset").objects.create(name="old", skeleton=skeleton, created_by=ada)
campaign = get(L, "Campaign").objects.create(name="old", dataset=data, state="open", keypoints=skeleton.keypoints[:3],
    pair_policy={"name": "all", "per_person": 3, "seed": 0}, votes_per_pair=2, gold_share=0.1, created_by=ada)
persons = []
for n in range(4):
    image = get(L, "Image").objects.create(dataset=data, name=f"{n}.jpg", sha256=f"{n}" * 64, suffix=".jpg", bytes=9, width=9, height=9)
    persons.append(get(L, "Person").objects.create(image=image, bbox=[0, 0, 9, 9], keypoints=[[1, 1, 2]] * len(skeleton.keypoints),
        truth_mm=[[0, 0, 100 * j] for j in range(len(skeleton.keypoints))]))
extra = {"image": persons[0].image} if any(f.name == "image" for f in get(L, "Pair")._meta.get_fields()) else {}
pairs = []
for n, p in enumerate(persons):
    more = {"image": p.image} if extra else {}
    pairs.append(get(L, "Pair").objects.create(campaign=campaign, first_person=p, second_person=p, first=0, second=1, rank=n, votes_needed=2, **more))
question = get(L, "KnownQuestion").objects.create(campaign=campaign, use="gold", position=0, person=persons[0], first=0, second=2, second_closer=True, gap_mm=300, reason="clear")
for n in range(2):
    get(L, "KnownQuestion").objects.create(campaign=campaign, use="tutorial", position=n, person=persons[n], first=0, second=2, second_closer=True, gap_mm=300, reason="clear")
for w, account in enumerate(people[:2]):
    seat = get(L, "Participation").objects.create(campaign=campaign, annotator=account)
    sitting = get(L, "Session").objects.create(participation=seat, length=25, answered=5)
    def lease(**about):
        return get(L, "Assignment").objects.create(campaign=campaign, participation=seat, session=sitting, state="answered", leased_at=now,
            expires_at=now + timedelta(minutes=9), answered_at=now, green_is_first=True, green_on_left=False, tries=1, **about)
    common = dict(number=1, leased_at=now, received_at=now)
    for n, pair in enumerate(pairs[: 4 - w]):
        vote = get(L, "Vote").objects.create(key=uuid.uuid4(), assignment=lease(pair=pair), pair=pair, participation=seat, closer=n % 2,
            response_ms=1000 + n, **common)
        if (w, n) == (0, 3):
            get(L, "Retraction").objects.create(key=uuid.uuid4(), vote=vote, at=now)
        else:
            get(L, "Pair").objects.filter(pk=pair.pk).update(votes_counted=pair.votes_counted + 1 + w * (n < 3), taken=pair.taken + 1 + w * (n < 3))
    get(L, "GoldAnswer").objects.create(key=uuid.uuid4(), assignment=lease(gold=question), closer=1 - w, correct=w == 0, **common)
    attempt = get(L, "TutorialTry").objects.create(participation=seat, number=1)
run = get(L, "CrowdRun").objects.create(campaign=campaign, number=1, model="paper", votes_used=6, last_vote=7, created_by=ada)
get("jobs", "Job").objects.create(kind="aggregate", title="old", config={"campaign": str(campaign.uuid)}, state="done", created_by=ada)
print("written")
"""
NOW = """
import json
from django.db.models import F
from labeling.aggregation import aggregate
from labeling.answering import assignment
from labeling.campaigns import tutorial
from labeling.models import Campaign, AggregationRun, Pair, Participation, TutorialTry, Vote
from webapp.accounts.models import Account
from webapp.jobs import run
from webapp.jobs.models import Job
campaign = Campaign.objects.get(name="old")
seats = list(Participation.objects.order_by("pk").values_list("answer_count", "vote_count", "gold_count", "gold_right", "response_ms_sum"))
finished = Pair.objects.filter(votes_counted=F("votes_needed")).count()
progress = aggregate.progress_of(campaign)
mary = [Account.objects.get_by_natural_key(name).username for name in ("Mary", "mary", "MARY")]
fresh = Job.objects.filter(subject=str(campaign.uuid)).count()
run.run_job(aggregate.start(Account.objects.get(username="ada"), campaign).pk)
print(json.dumps(dict(votes=Vote.objects.count(), of_campaign=Vote.objects.filter(campaign=campaign).count(), seats=seats, finished=finished,
    progress=progress, mary=mary, role=Account.objects.get(username="prolific-1").role, runs=list(AggregationRun.objects.order_by("number").values_list("number", flat=True)),
    drawn=len(TutorialTry.objects.first().drawn), length=campaign.tutorial_length, jobs=fresh)))
"""


def test_version_0_1_0_becomes_todays_with_all_it_holds(tmp_path: Path) -> None:
    site = Site(tmp_path, "upgrade")
    try:
        assert site.manage("shell", "-v0", "-c", FIRST).split()[-1] == "written"
        site.manage("migrate", "--verbosity", "0")
        now = json.loads(site.manage("shell", "-v0", "-c", NOW).splitlines()[-1])
    finally:
        site.stop()
    assert (now["votes"], now["of_campaign"]) == (7, 7)
    assert now["seats"] == [[4, 3, 1, 1, 3003], [4, 3, 1, 0, 3003]]
    assert (now["progress"]["votes_counted"], now["progress"]["pairs"], now["progress"]["votes_needed"]) == (6, 4, 8)
    assert now["progress"]["pairs_finished"] == now["finished"] == 3
    assert now["mary"] == ["Mary", "mary", "Mary"]
    assert now["role"] == "annotator"  # whoever holds a recruiter's link could have entered the reviewer's account
    assert now["runs"] == [1, 2]
    assert (now["drawn"], now["length"]) == (2, 2)
    assert now["jobs"] == 1
