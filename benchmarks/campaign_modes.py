"""The paper's protocol and adaptive questions through the running site, for the same money: labels, calibration, lifters.

`python -m benchmarks.campaign_modes [--votes 3000] [--seeds 3] [--json]`. For each seed two campaigns on the 200 sample pictures,
'fixed' (five random pairs, five votes each; aggregated by the paper's model) and 'adaptive' (aggregated by the depth model), get the
same number of votes from the same 24 simulated annotators over HTTP; 5 % of the questions are gold. Beliefs about annotators are
refreshed by four aggregations on the way. Both are released; a lifter of preset `nearer` is trained on each release and its order of
pairs compared with the true one on the test pictures. With DATABASE_URL on PostgreSQL, else on SQLite.
Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from tests.site import Site

MAKE = """
from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan, PairPolicy
from labeling.models import Dataset
from webapp.accounts.models import Account
from webapp.jobs import run
admin = Account.objects.get(username="ada")
plan = CampaignPlan(name="{name}", mode="{mode}", votes_per_pair=5, delay_ms=0, tutorial_questions=0,
    gold_share=0.05, gold_questions=60, session_length=500, most_votes=100, pay_per_vote=0.006,
    pair_policy=PairPolicy(per_person=5, seed={seed}))
campaign, job = lifecycle.create(admin, Dataset.objects.select_related("skeleton").get(name="Sample people"), plan)
run.run_job(job.pk)
lifecycle.move(admin, campaign, "open")
print(campaign.uuid)
"""
AGGREGATE = """
import json
from labeling.aggregation import aggregate
from labeling.quality import truth
from labeling.models import Campaign
from labeling.releasing import freeze
from webapp.accounts.models import Account
from webapp.jobs import run
campaign = Campaign.objects.get(uuid="{campaign}")
admin = Account.objects.get(username="ada")
run.run_job(aggregate.start(admin, campaign, "{model}").pk)
if {release}:
    release = freeze.freeze(admin, Campaign.objects.select_related("dataset__skeleton").get(pk=campaign.pk))
    found = truth.label_truth(campaign.aggregation_runs.first())
    print(json.dumps({{"release": str(release.uuid), **found["all"], "votes": campaign.aggregation_runs.first().votes_used}}))
"""
AGGREGATIONS = 4


def collect(site: Site, mode: str, seed: int, votes: int) -> dict[str, Any]:
    """One campaign from its first question to a trained lifter."""
    name = f"{mode} {seed}"
    campaign = site.manage("shell", "-v0", "-c", MAKE.format(name=name, mode=mode, seed=seed)).split()[-1]
    model = "paper" if mode == "fixed" else "depth"
    started, asked = time.monotonic(), 0
    for part in range(1, AGGREGATIONS + 1):
        most = votes * part // AGGREGATIONS - asked
        asked += most
        site.manage(
            *("simulate_annotators", campaign, "--url", site.url, "--annotators", "24", "--most", str(most)),
            *("--seed", str(100 * seed + part), "--world", str(seed)),
            timeout=3000,
        )
        script = AGGREGATE.format(campaign=campaign, model=model, release=part == AGGREGATIONS)
        out = site.manage("shell", "-v0", "-c", script, timeout=600)
    row = json.loads(out.strip().splitlines()[-1])
    print(f"  {name}: {asked} answers in {time.monotonic() - started:.0f} s", flush=True)
    text = site.manage(
        *("train_lifter", row["release"], "--actor", "ada", "--preset", "nearer", "--seed", str(seed), "--here"),
        timeout=3000,
    )
    row["lifter_error"] = json.loads(text[text.index("{") :])["true_error"]
    row["calibration"] = json.loads(site.manage("reliability", row["release"], "--json"))
    return row


def main() -> int:
    parser = harness.options(__doc__, seeds=3)
    parser.add_argument("--votes", type=int, default=3000, help="answers per campaign, gold among them")
    asked = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {"fixed": [], "adaptive": []}
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), "modes")
        site.manage("migrate", "--verbosity", "0")
        site.manage("load_sample")
        site.web_only(threads=8)
        print(
            f"simulated annotators over HTTP, {'PostgreSQL' if site.database else 'SQLite'}, {asked.votes} answers each"
        )
        try:
            for seed in range(asked.seeds):
                for mode, rows in results.items():
                    rows.append(collect(site, mode, seed, asked.votes))
                    r = rows[-1]
                    print(
                        f"{mode:9} seed {seed}: {r['labels']} labels with truth, {r['accuracy']:.4f} right, "
                        f"ECE {r['calibration']['ece']:.4f}; lifter's order error {r['lifter_error']:.4f}",
                        flush=True,
                    )
        finally:
            site.stop()
    better = [f["lifter_error"] - a["lifter_error"] for f, a in zip(results["fixed"], results["adaptive"])]
    off = [r["calibration"]["ece"] for r in results["adaptive"]]
    for mode, rows in results.items():
        print(
            f"{mode:9} lifter {np.mean([r['lifter_error'] for r in rows]):.4f} ± {np.std([r['lifter_error'] for r in rows]):.4f}, "
            f"labels right {np.mean([r['accuracy'] for r in rows]):.4f}, ECE {np.mean([r['calibration']['ece'] for r in rows]):.4f}"
        )
    bars = {
        f"the lifter of adaptive labels is better in every seed ({', '.join(f'{b:+.4f}' for b in better)})": min(better)
        > 0,
        f"ECE over all exported pairs {np.mean(off):.4f} ± {np.std(off):.4f}, {max(off):.4f} at worst (bar 0.03 on the mean)": np.mean(
            off
        )
        <= 0.03,
    }
    return harness.conclude(asked, {"rows": results}, bars)


if __name__ == "__main__":
    sys.exit(main())
