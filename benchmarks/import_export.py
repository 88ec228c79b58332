"""Import and export of many questions: seconds of the import and of a whole release, and memory against size.

`python -m benchmarks.import_export --questions 10000 100000 300000 --json`; with DATABASE_URL on PostgreSQL, else on SQLite. The
questions are all 91 pairs of people in small pictures; every question gets one vote, written straight into the tables,
and the votes are aggregated.
An export is a whole release: ordinal JSON, joints.mat, COCO, CSV and Parquet of labels and of votes. Each step runs in a
process of its own, and interpreter and Django starting are not counted. Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from benchmarks import harness
from labeling.skeletons import BUILT_IN
from tests.site import Site

PER_PERSON = 91  # every pair of 14 keypoints
IMPORT_S, EXPORT_S, GROWTH = 5.0, 9.0, 1.15  # bars at 100 thousand; memory may grow by so much from 100 to 300 thousand

MEASURE = """
import json, resource, time
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
{work}
took = time.perf_counter() - started
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("MEASURED", json.dumps(dict(seconds=round(took, 2), peak_mib=round(after / 1024), start_mib=round(before / 1024))))
"""
IMPORT = """
from labeling.importing import storing
plan = storing.ImportConfig(dataset="{name}", format="ordinal", annotations="{folder}/ordinal.json", pictures="{folder}/pictures")
storing.store(None, plan, lambda *_: None)
"""
VOTE = """
import uuid
from django.utils import timezone
from labeling.models import Assignment, Campaign, AggregationRun, Pair, Participation, Session, Vote
from labeling.aggregation import aggregate
from webapp import rows
from webapp.accounts import people
from webapp.jobs import run
campaign = Campaign.objects.get(dataset__name="{name}")
account = people.create(None, username="{name}", role="annotator", simulated=True)
participation = Participation.objects.create(campaign=campaign, annotator=account)
sitting = Session.objects.create(participation=participation, length=1)
now = timezone.now()
pairs = list(campaign.pairs.order_by("pk").values_list("pk", flat=True))
asked = dict(campaign=campaign, participation=participation, session=sitting, state="answered", leased_at=now, expires_at=now)
leases = Assignment.objects.bulk_create(
    [Assignment(pair_id=p, green_is_first=True, green_on_left=True, **asked) for p in pairs], batch_size=5000)
said = dict(campaign=campaign, participation=participation, number=1, leased_at=now, received_at=now, presentation="green-left", viewport="1280x720@2")
Vote.objects.bulk_create(
    [Vote(key=uuid.uuid4(), assignment=a, pair_id=a.pair_id, closer=a.pair_id % 2, **said) for a in leases], batch_size=5000)
Pair.objects.filter(campaign=campaign).update(taken=1, votes_counted=1)
rows.refresh_statistics(Vote)
run.run_job(aggregate.start(None, campaign).pk)
"""
EXPORT = """
from labeling.models import Campaign
from labeling.releasing import freeze
release = freeze.freeze(None, Campaign.objects.select_related("dataset__skeleton").get(dataset__name="{name}"))
"""


def write_questions(folder: Path, questions: int, rng: np.random.Generator) -> None:
    """An ordinal data set of random people in 64 px pictures with questions about all their pairs."""
    skeleton = BUILT_IN["lsp-14"]
    every = list(itertools.combinations(range(len(skeleton.keypoints)), 2))
    (folder / "pictures").mkdir(parents=True)
    images = []
    for number in range(-(-questions // PER_PERSON)):
        name = f"{number:06d}.jpg"
        data = io.BytesIO()
        Pillow.fromarray(np.full((64, 64, 3), rng.integers(0, 255, 3), np.uint8)).save(data, "JPEG")
        (folder / "pictures" / name).write_bytes(data.getvalue())
        images.append(
            {
                "im_file": name,
                "is_train": True,
                "keypoints": rng.uniform(1, 63, 2 * len(skeleton.keypoints)).round(2).tolist(),
                "occluded": rng.integers(0, 2, len(skeleton.keypoints)).tolist(),
                "anns": [{"kp0": a, "kp1": b} for a, b in every],
            }
        )
    text = json.dumps({"joint_names": list(skeleton.keypoints), "images": images})
    (folder / "ordinal.json").write_text(text)


def step(site: Site, work: str, **names: object) -> dict[str, Any]:
    output = site.manage("shell", "-v0", "-c", MEASURE.format(work=work.format(**names)), timeout=1200)
    measured: dict[str, Any] = json.loads(output.split("MEASURED", 1)[1])
    return measured


def bars(rows: list[dict[str, Any]]) -> list[str]:
    broken = []
    by = {r["questions"]: r for r in rows}
    large, larger = by.get(100_000), by.get(300_000)
    if large:
        for what, most in (("import", IMPORT_S), ("export", EXPORT_S)):
            if large[what]["seconds"] > most:
                broken.append(f"{what} of 100 thousand questions took {large[what]['seconds']} s > {most} s")
    if large and larger and larger["export"]["peak_mib"] > GROWTH * large["export"]["peak_mib"]:
        broken.append(f"export memory {larger['export']['peak_mib']} > {GROWTH} x {large['export']['peak_mib']} MiB")
    return broken


def main() -> int:
    parser = harness.options(__doc__)
    parser.add_argument("--questions", type=int, nargs="+", default=[10_000, 100_000, 300_000])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), "io")
        try:
            site.manage("migrate", "--verbosity", "0")
            for questions in options.questions:
                source = Path(folder) / f"q{questions}"
                write_questions(source, questions, np.random.default_rng(options.seed))
                names = {"name": f"q{questions}", "folder": source}
                row: dict[str, Any] = {"questions": questions, "import": step(site, IMPORT, **names)}
                step(site, VOTE, **names)
                row["export"] = step(site, EXPORT, **names)
                rows.append(row)
                print(row, flush=True)
        finally:
            site.stop()
    return harness.conclude(options, {"rows": rows}, bars(rows))


if __name__ == "__main__":
    sys.exit(main())
