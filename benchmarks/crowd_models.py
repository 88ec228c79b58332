"""Crowd models beside crowd-kit's DawidSkene, on simulated votes and on votes of real people, in one run.

`python -m benchmarks.crowd_models [--votes 1000000] [--seeds 3] [--real FOLDER] [--json]`. Speed: all simulated votes at once,
each model's best of three. Accuracy and calibration: 100,000 votes per seed in three worlds: `plain` (all questions alike),
`ease` (they differ, gamma), `misled` (some mislead everybody). Annotators: 8 % click at random, the others differ in skill and
inclination; activity has a heavy tail. FOLDER holds answer.csv (question, worker, answer) and truth.csv (question, truth).
Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from labeling.crowd.config import ChosenConfig, EaseConfig, Rounds, TwoCoinConfig
from labeling.crowd.measures import accuracy, ece, nll
from labeling.crowd.question_models import ease, library, model_selection, two_coin
from labeling.crowd.votes import CrowdResult, Votes

Truth = NDArray[np.bool_]
FASTER, ACCURACY_LOST = 5.0, 0.002
EASE_ECE, NLL_RATIO, CHOICE_LOST = 0.02, 0.90, 0.005
REAL_ACCURACY, REAL_NLL = 0.889, 1.04
PER_QUESTION = 5
MODELS: dict[str, Callable[..., CrowdResult]] = {
    "dawid-skene (crowd-kit)": lambda v: library.dawid_skene(v, Rounds(), progress=_quiet),
    "two-coin": lambda v: two_coin.fit(v, TwoCoinConfig()),
    "ease": lambda v: ease.fit(v, EaseConfig(kind="ease")),
    "shared": lambda v: ease.fit(v, EaseConfig(kind="shared")),
    "calibrated (chosen)": lambda v: model_selection.fit(v, ChosenConfig()),
}


def _quiet(*_: Any) -> None:
    pass


def world(kind: str, votes: int, seed: int) -> tuple[Votes, Truth]:
    """Simulated votes, five on each question, by different annotators."""
    rng = np.random.default_rng(seed)
    questions, annotators = votes // PER_QUESTION, max(60, votes // 250)
    truth = rng.random(questions) < 0.5
    activity = rng.pareto(1.5, annotators) + 0.2
    who = _several(activity / activity.sum(), questions, rng)
    question = np.repeat(np.arange(questions), PER_QUESTION)
    skill = np.clip(rng.normal(1.3, 0.6, annotators), 0.05, None)
    skill[rng.random(annotators) < 0.08] = 0.0
    inclination = rng.normal(0, 0.35, annotators)
    strength = np.where(truth, 1.0, -1.0)
    if kind == "ease":
        strength = strength * rng.gamma(1.0, 1.0, questions)
    elif kind == "misled":
        strength = strength + rng.normal(0, 0.8, questions)
    logit = skill[who] * strength[question] + inclination[who]
    second = rng.random(len(question)) < 1 / (1 + np.exp(-logit))
    return Votes(question, who, second, questions, annotators), truth


def _several(share: NDArray[np.float64], questions: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Different annotators for each question, drawn by their share; in chunks, because of memory."""
    parts = []
    for start in range(0, questions, 2000):
        size = (min(2000, questions - start), len(share))
        keys = np.log(share) + rng.gumbel(size=size)
        parts.append(np.argpartition(-keys, PER_QUESTION, axis=1)[:, :PER_QUESTION])
    return np.concatenate(parts).ravel()


def real(folder: Path) -> tuple[Votes, Truth]:
    with (folder / "answer.csv").open() as file:
        rows = [(r["question"], r["worker"], int(r["answer"])) for r in csv.DictReader(file)]
    with (folder / "truth.csv").open() as file:
        truth = {r["question"]: int(r["truth"]) for r in csv.DictReader(file)}
    questions, question = np.unique([r[0] for r in rows], return_inverse=True)
    workers, worker = np.unique([r[1] for r in rows], return_inverse=True)
    answers = np.array([r[2] for r in rows]) == 1
    return Votes(question, worker, answers, len(questions), len(workers)), np.array([truth[q] == 1 for q in questions])


def measured(votes: Votes, truth: Truth, model: str) -> dict[str, float]:
    result = MODELS[model](votes)
    p = result.p_second
    row = {"accuracy": accuracy(p, truth), "ece": ece(p, truth), "nll": nll(p, truth)}
    if model.startswith("calibrated"):
        row[f"chose {result.notes['model']}"] = 1.0
    return row


def speed(votes: int) -> dict[str, Any]:
    data, truth = world("ease", votes, 0)
    rows: dict[str, Any] = {}
    for model in ("dawid-skene (crowd-kit)", "two-coin"):
        best, result = np.inf, None
        for _ in range(3):
            started = time.perf_counter()
            result = MODELS[model](data)
            best = min(best, time.perf_counter() - started)
        assert result is not None
        rows[model] = {"seconds": best, "accuracy": accuracy(result.p_second, truth)}
        print(
            f"{model:26} {len(data.question):,} votes  {best:6.2f} s  accuracy {rows[model]['accuracy']:.4f}",
            flush=True,
        )
    return rows


def main() -> int:
    parser = harness.options(__doc__, takes=["real"], seeds=3)
    parser.add_argument("--votes", type=int, default=1_000_000)
    asked = parser.parse_args()
    print("Simulated annotators, unless a line says 'real'.")
    fast = speed(asked.votes)
    report: dict[str, Any] = {"speed": fast}
    bars: dict[str, bool] = {}
    kit, ours = fast["dawid-skene (crowd-kit)"], fast["two-coin"]
    ratio = kit["seconds"] / ours["seconds"]
    print(f"two-coin is {ratio:.1f} times faster")
    bars[f"two-coin {ratio:.1f}x faster (bar {FASTER})"] = ratio >= FASTER
    bars["two-coin accuracy"] = ours["accuracy"] >= kit["accuracy"] - ACCURACY_LOST
    for kind in ("plain", "ease", "misled"):
        print(f"\nworld {kind}: {asked.seeds} seeds of 100,000 votes, mean ± sd")
        results: dict[str, dict[str, list[float]]] = {model: {} for model in MODELS}
        for seed in range(asked.seeds):
            votes, truth = world(kind, 100_000, seed)
            for model in MODELS:
                for key, value in measured(votes, truth, model).items():
                    results[model].setdefault(key, []).append(value)
        for model, row in results.items():
            text = "  ".join(f"{k} {np.mean(v):.4f} ± {np.std(v):.4f}" for k, v in row.items() if "chose" not in k)
            chose = ", ".join(f"{k} {len(v)} times" for k, v in row.items() if "chose" in k)
            print(f"{model:26} {text}  {chose}", flush=True)
        mean = {model: {k: float(np.mean(v)) for k, v in row.items()} for model, row in results.items()}
        report[kind] = mean
        if kind == "ease":
            bars[f"ease: ECE {mean['ease']['ece']:.4f} (bar {EASE_ECE})"] = mean["ease"]["ece"] <= EASE_ECE
            share = mean["ease"]["nll"] / mean["dawid-skene (crowd-kit)"]["nll"]
            bars[f"ease: NLL {share:.3f} of DawidSkene's (bar {NLL_RATIO})"] = share <= NLL_RATIO
        if kind == "plain":
            lost = mean["calibrated (chosen)"]["ece"] - min(mean["two-coin"]["ece"], mean["ease"]["ece"])
            bars[f"plain: the choice loses {lost:.4f} ECE (bar {CHOICE_LOST})"] = lost <= CHOICE_LOST
    if asked.real is not None:
        votes, truth = real(asked.real)
        print(f"\nreal votes: {len(votes.question)} on {votes.questions} questions by {votes.annotators} annotators")
        for model in MODELS:
            row = measured(votes, truth, model)
            report.setdefault("real", {})[model] = row
            print(f"{model:26} " + "  ".join(f"{k} {v:.4f}" for k, v in row.items()))
        row = report["real"]["calibrated (chosen)"]
        bars[f"real: accuracy {row['accuracy']:.4f} (bar {REAL_ACCURACY})"] = round(row["accuracy"], 3) >= REAL_ACCURACY
        bars[f"real: NLL {row['nll']:.4f} (bar {REAL_NLL})"] = row["nll"] < REAL_NLL
    return harness.conclude(asked, report, bars)


if __name__ == "__main__":
    sys.exit(main())
