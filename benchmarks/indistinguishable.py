"""Can who answers tell gold questions and mirror probes from ordinary ones? Everything that the server sends, as features of a classifier.

`python -m benchmarks.indistinguishable --json`: simulated annotators answer over HTTP with 20 % gold and 10 % probes; headers, fields, counts,
sizes and times of every response and picture go into gradient boosting (scikit-learn, 5 folds, grouped by annotator). Then the known
attack (undo and answer anew) is tried on every question. Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
import uuid
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import requests

from benchmarks import harness
from tests.site import Site

BAR_AUC = 0.53
MAKE = """
from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan, PairPolicy
from labeling.models import Dataset
from webapp.accounts import people, tokens
from webapp.accounts.models import Account
from webapp.jobs import run
ada = Account.objects.get(username="ada")
dataset = Dataset.objects.select_related("skeleton").get(name="Sample people")
plan = CampaignPlan(name="alike", votes_per_pair=5, delay_ms=0, tutorial_questions=0, session_length=25, gold_share=0.2,
    probe_share=0.125, pair_policy=PairPolicy(per_person=40))
campaign, job = lifecycle.create(ada, dataset, plan)
run.run_job(job.pk)
lifecycle.move(ada, campaign, "open")
print(campaign.uuid)
for n in range({annotators}):
    account = people.create(None, username=f"alike-{{n}}", role="annotator", simulated=True)
    print(tokens.issue(account, name="bench", scopes=["annotate"])[1])
"""
KINDS = """
import json
from labeling.models import Assignment, Participation
print(json.dumps(dict(kinds=[(str(u), g is not None, p is not None) for u, g, p in Assignment.objects.values_list("uuid", "gold", "probe_of")],
    gold=[(s.gold_count, s.gold_right) for s in Participation.objects.filter(campaign__name="alike").order_by("pk")])))
"""


def number(value: Any) -> float:
    if isinstance(value, bool | int | float):
        return float(value)
    text = json.dumps(value, sort_keys=True) if not isinstance(value, str) else value
    return float(zlib.crc32(text.encode()) % 9973)


def flat(value: Any, name: str = "") -> dict[str, float]:
    """Every field of an answer, its text as a hash and as a length."""
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{name}.{key}").items()}
    scalars = {name: number(value)}
    return scalars | {f"{name} length": float(len(value))} if isinstance(value, str) else scalars


def of(name: str, answer: requests.Response, took: float, fields: bool = True) -> dict[str, float]:
    table = {
        f"{name} ms": 1000 * took,
        f"{name} bytes": float(len(answer.content)),
        f"{name} status": float(answer.status_code),
    }
    for header, value in answer.headers.items():
        if header not in ("Date",):
            table |= {f"{name} {header}": number(value), f"{name} {header} length": float(len(value))}
    return table | (flat(answer.json(), name) if fields else {})


class Annotator(threading.Thread):
    def __init__(self, site: Site, campaign: str, token: str, seed: int, questions: int, attack: bool) -> None:
        super().__init__()
        self.base, self.url, self.seed, self.questions, self.attack = (
            f"{site.url}/api/v1/annotate/{campaign}/",
            site.url,
            seed,
            questions,
            attack,
        )
        self.web = requests.Session()
        self.web.headers["Authorization"] = f"Bearer {token}"
        self.rows: list[tuple[str, dict[str, float]]] = []
        self.error: Exception | None = None

    def timed(self, method: str, path: str, body: Any = None) -> tuple[requests.Response, float]:
        begun = time.perf_counter()
        answer = self.web.request(method, path, json=body, timeout=60)
        return answer, time.perf_counter() - begun

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:
            self.error = error

    def _run(self) -> None:
        rng = np.random.default_rng(self.seed)
        before = self.web.get(self.base, timeout=60).json()["answered"]
        for n in range(self.questions):
            asked, took = self.timed("POST", self.base + "next/", {"have": []})
            if asked.status_code != 200:
                return
            question = asked.json()
            picture, picture_took = self.timed("GET", self.url + question["picture"])
            vote = {"token": question["token"], "closer": rng.choice(["first", "second"]), "key": str(uuid.uuid4())}
            voted, vote_took = self.timed("POST", self.base + "vote/", vote)
            state, state_took = self.timed("GET", self.base)
            row = of("next", asked, took) | of("picture", picture, picture_took, False) | of("vote", voted, vote_took)
            row |= of("state", state, state_took) | {
                "place": float(n),
                "counted": state.json()["answered"] - before - n,
            }
            if self.attack:  # take it back and answer the other way: it must change nobody's measured accuracy
                back, undo_took = self.timed("POST", self.base + "undo/", {"key": str(uuid.uuid4())})
                row |= of("undo", back, undo_took)
                other = "second" if vote["closer"] == "first" else "first"
                again = {"token": back.json()["token"], "closer": other, "key": str(uuid.uuid4())}
                revoted, revote_took = self.timed("POST", self.base + "vote/", again)
                row |= of("again", revoted, revote_took)
            for secret in ("next.id", "next.token", "next.picture", "undo.id", "undo.token", "undo.picture"):
                row.pop(secret, None)  # random by themselves; their lengths stay
            self.rows.append((question["id"], row))


def crowd(site: Site, campaign: str, tokens: list[str], questions: int, seed: int, attack: bool) -> list[Annotator]:
    crowd = [Annotator(site, campaign, token, seed + n, questions, attack) for n, token in enumerate(tokens)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    errors = [one.error for one in crowd if one.error]
    if errors:
        raise errors[0]
    return crowd


def auc(rows: list[dict[str, float]], hidden: np.ndarray, group: np.ndarray) -> tuple[float, list[str]]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold

    names = sorted({name for row in rows for name in row})
    table = np.array([[row.get(name, np.nan) for name in names] for row in rows])
    p, gain = np.zeros(len(rows)), np.zeros(len(names))
    for train, test in GroupKFold(5).split(table, hidden, group):
        model = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.08, random_state=0).fit(
            table[train], hidden[train]
        )
        p[test] = model.predict_proba(table[test])[:, 1]
        for n in range(len(names)):  # what each feature says alone
            value = np.nan_to_num(table[test, n])
            if value.std():
                gain[n] += abs(roc_auc_score(hidden[test], value) - 0.5) / 5
    strongest = [f"{names[n]} {0.5 + gain[n]:.3f}" for n in gain.argsort()[::-1][:8]]
    return float(roc_auc_score(hidden, p)), strongest


def main() -> int:
    parser = harness.options(__doc__)
    parser.add_argument("--questions", type=int, default=4000)
    parser.add_argument("--annotators", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), "alike")
        try:
            site.manage("migrate", "--verbosity", "0")
            site.manage("load_sample")
            lines = site.manage(
                "shell", "-v0", "-c", MAKE.format(annotators=options.annotators + 4), timeout=900
            ).split()
            campaign, tokens = lines[0], lines[1:]
            site.web_only()
            time.sleep(3)
            plain = crowd(site, campaign, tokens[:-4], options.questions // options.annotators, 0, False)
            attackers = crowd(site, campaign, tokens[-4:], 60, 1000, True)
            known = json.loads(site.manage("shell", "-v0", "-c", KINDS).splitlines()[-1])
        finally:
            site.stop()
    kinds = {u: (g, p) for u, g, p in known["kinds"]}
    rows, hidden, group = [], [], []
    for n, one in enumerate(plain):
        for identity, row in one.rows:
            rows.append(row)
            hidden.append(kinds[identity])
            group.append(n)
    kind = np.array(hidden)
    every, strongest = auc(rows, kind.any(axis=1), np.array(group))
    gold, strongest_gold = auc(rows, kind[:, 0], np.array(group))
    probe, strongest_probe = auc(rows, kind[:, 1], np.array(group))
    tried = known["gold"][-4:]
    # The attackers answer at random first and the other way round afterwards: their first answers must be what counts.
    report = {
        "questions": len(rows),
        "share_gold": float(kind[:, 0].mean()),
        "share_probes": float(kind[:, 1].mean()),
        "auc": round(every, 4),
        "auc_gold": round(gold, 4),
        "auc_probes": round(probe, 4),
        "strongest_alone": {"either": strongest, "gold": strongest_gold, "probe": strongest_probe},
        "attack": {
            "questions": sum(len(a.rows) for a in attackers),
            "gold": sum(n for n, _ in tried),
            "gold_right": sum(r for _, r in tried),
        },
    }
    print(report)
    return harness.conclude(options, report, {f"AUC {every:.3f} (bar {BAR_AUC})": every <= BAR_AUC})


if __name__ == "__main__":
    sys.exit(main())
