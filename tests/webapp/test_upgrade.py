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


# The last tree with the old words: labeling 0012 and jobs 0003, written through the tables as they were then.
BEFORE_THE_WORDS = """
import uuid
from datetime import datetime, timedelta, timezone
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
old = {"labeling": "0012_quick_quality_pages", "jobs": "0003_folder", "training": "0004_harvests_of_video"}
executor = MigrationExecutor(connection)
targets = [(app, old.get(app, name)) for app, name in executor.loader.graph.leaf_nodes()]
executor.migrate(targets)
get = MigrationExecutor(connection).loader.project_state(targets).apps.get_model
L, now = "labeling", datetime(2026, 11, 27, tzinfo=timezone.utc)
ada = get("accounts", "Account").objects.create(username="ada", name_key="ada", role="admin", password="x")
ann = get("accounts", "Account").objects.create(username="ann", name_key="ann", role="annotator", password="x")
skeleton = get(L, "SkeletonRow").objects.filter(name="lsp-14").first() or get(L, "SkeletonRow").objects.create(
    name="lsp-14", keypoints=["a", "b", "c"], bones=[], root="a")
data = get(L, "Dataset").objects.create(name="words", skeleton=skeleton, created_by=ada)
campaign = get(L, "Campaign").objects.create(name="words", dataset=data, state="open", keypoints=skeleton.keypoints, mode="adaptive",
    pair_policy={"name": "random", "per_person": 5, "seed": 0}, created_by=ada, pair_count=1, votes_wanted=25)
image = get(L, "Image").objects.create(dataset=data, name="a.jpg", sha256="a" * 64, suffix=".jpg", bytes=9, width=9, height=9)
person = get(L, "Person").objects.create(image=image, bbox=[0, 0, 9, 9], keypoints=[[1, 1, 2]] * len(skeleton.keypoints))
pair = get(L, "Pair").objects.create(campaign=campaign, first_person=person, second_person=person, first=0, second=1, rank=0,
    votes_needed=25, votes_counted=1, taken=1)
get(L, "KnownQuestion").objects.create(campaign=campaign, use="gold", position=0, person=person, first=0, second=2, second_closer=True,
    gap_mm=300, reason="clear")
get(L, "Percept").objects.create(campaign=campaign, person=person, seen=b"bytes of a posterior", votes=1, risk=0.25, gain=0.5)
seat = get(L, "Participation").objects.create(campaign=campaign, annotator=ann)
sitting = get(L, "Session").objects.create(participation=seat, length=25, answered=1)
lease = get(L, "Assignment").objects.create(campaign=campaign, participation=seat, session=sitting, pair=pair, state="answered", leased_at=now,
    expires_at=now + timedelta(minutes=9), answered_at=now, green_is_first=True, green_on_left=False, tries=1)
vote = get(L, "Vote").objects.create(key=uuid.uuid4(), assignment=lease, campaign=campaign, pair=pair, participation=seat, closer=1, number=1,
    leased_at=now, received_at=now, side_seen="green-right")
get(L, "Retraction").objects.create(key=vote.key, vote=vote, at=now)
def asked(**about):
    return get(L, "Assignment").objects.create(campaign=campaign, participation=seat, session=sitting, state="answered", leased_at=now,
        expires_at=now + timedelta(minutes=9), answered_at=now, green_is_first=False, green_on_left=True, tries=2, **about)
common = dict(leased_at=now, received_at=now, response_ms=700, toggles=3, zoom=1.5, viewport="1x2", by="touch", app_version="v")
question = get(L, "KnownQuestion").objects.get()
lease = asked(gold=question)
for n, (correct, key) in enumerate([(False, vote.key), (True, uuid.uuid4())]):  # a page that used one key in two tables
    gold = get(L, "GoldAnswer").objects.create(key=key, assignment=lease, number=n + 1, closer=n, correct=correct, **common)
    if n == 0:
        get(L, "GoldRetraction").objects.create(key=vote.key, answer=gold, at=now)
get(L, "ProbeAnswer").objects.create(key=uuid.uuid4(), assignment=asked(probe_of=vote), number=1, closer=1, same=True, **common)
run = get(L, "CrowdRun").objects.create(campaign=campaign, number=4, model="depth", votes_used=1, last_vote=1, created_by=ada)
get(L, "Label").objects.create(run=run, pair=pair, p_first_closer=0.25, risk=0.25, votes_used=1, p_first_closer_plain=0.375)
get(L, "Release").objects.create(campaign=campaign, number=2, crowd_run=run, manifest={"files": {}}, created_by=ada)
get("jobs", "Job").objects.create(kind="aggregate", title="waits", config={}, rings=3, rung_at=now, created_by=ada)
for source, kind, config in (("multiview", "harvest", {"grid": 32}), ("video", "video-harvest", {"plan": {"name": "w"}, "options": {"fade_s": 2}})):
    job = get("jobs", "Job").objects.create(kind=kind, title=source, config={}, created_by=ada)
    get("training", "Harvest").objects.create(name=source, source=source, config=config, cameras=[], fps=25, job=job, created_by=ada)
print("written")
"""
WITH_THE_WORDS = """
import json
from django.db.models import F
from labeling.models import AggregationRun, Answer, DepthPosterior, Label, ReferenceQuestion, Release, Vote
from training.models import Harvest
from webapp.jobs.models import Job
harvests = {h.source: [h.config, h.job.kind] for h in Harvest.objects.select_related("job")}
posterior, label, release = DepthPosterior.objects.get(), Label.objects.get(), Release.objects.get()
job = Job.objects.get(title="waits")
fields = ("kind", "number", "closer", "as_expected", "presentation", "response_ms", "toggles", "zoom", "viewport", "by", "app_version")
answers = [list(a) for a in Answer.objects.order_by("kind", "number").values_list(*fields)]
linked = Answer.objects.filter(campaign=F("assignment__campaign"), participation=F("assignment__participation")).count()
undone = [list(a) for a in Answer.objects.exclude(retraction=None).order_by("kind").values_list("kind", "number")]
probe = Answer.objects.get(kind="probe").assignment.probe_of.kind
print(json.dumps(dict(perceived=bytes(posterior.perceived).decode(), risk=posterior.risk, of_campaign=posterior.campaign.posteriors.count(),
    run=AggregationRun.objects.get().number, label=[label.p_first_closer, label.p_first_closer_without_prior], release=release.aggregation_run.number,
    presentation=Vote.objects.get().presentation, question=ReferenceQuestion.objects.get().campaign.reference_questions.count(),
    notifications=job.notifications, notified=job.notified_at.isoformat(), harvests=harvests,
    answers=answers, linked=linked, undone=undone, probe=probe)))
"""


def test_tables_with_the_old_words_keep_every_row_under_the_new_ones(tmp_path: Path) -> None:
    site = Site(tmp_path, "words")
    try:
        assert site.manage("shell", "-v0", "-c", BEFORE_THE_WORDS).split()[-1] == "written"
        site.manage("migrate", "--verbosity", "0")
        now = json.loads(site.manage("shell", "-v0", "-c", WITH_THE_WORDS).splitlines()[-1])
        site.manage("migrate", "training", "0004", "--verbosity", "0")  # and back
        site.manage("migrate", "labeling", "0012", "--verbosity", "0")
        site.manage("migrate", "--verbosity", "0")
        assert json.loads(site.manage("shell", "-v0", "-c", WITH_THE_WORDS).splitlines()[-1]) == now
    finally:
        site.stop()
    assert now == {
        "perceived": "bytes of a posterior",
        "risk": 0.25,
        "of_campaign": 1,
        "run": 4,
        "label": [0.25, 0.375],
        "release": 4,
        "presentation": "green-right",
        "question": 1,
        "notifications": 3,
        "notified": "2026-11-27T00:00:00+00:00",
        "answers": [
            ["gold", 1, 0, False, "pink-right", 700, 3, 1.5, "1x2", "touch", "v"],
            ["gold", 2, 1, True, "pink-right", 700, 3, 1.5, "1x2", "touch", "v"],
            ["probe", 1, 1, True, "pink-right", 700, 3, 1.5, "1x2", "touch", "v"],
            ["vote", 1, 1, None, "green-right", None, 0, 1.0, "", "", ""],
        ],
        "linked": 4,
        "undone": [["gold", 1], ["vote", 1]],
        "probe": "vote",
        "harvests": {
            "multiview": [
                {
                    "plan": {"name": "multiview", "skeleton": "", "fps": 25.0, "unit": ""},
                    "options": {"grid": 32},
                },
                "harvest",
            ],
            "video": [{"plan": {"name": "w"}, "options": {"fade_s": 2}}, "harvest"],
        },
    }
