"""A crowd of which half means no good: who is flagged, after how many answers, who is stopped by mistake, what it costs.

`python -m benchmarks.adversaries --poses poses.npz [--seeds 3] [--json]`. Simulated annotators, 300: 20 % click at random, 10 %
always left, 10 % always green, 10 % inverted, one automaton that answers at random at the delay's edge, the rest honest (noise
25 cm, log-normal between people). Every annotator gives five answers a round, one in ten about gold, more for whom the model
doubts (as the site does it); after each round the depth
model is refitted and the site's own rule (`quality.suspicions`) flags people; who is certain is paused, as a campaign with guard
'pause' does. Ends when every picture has 15 answers of people who were not paused; compared with an honest crowd of the same size
and as many answers. Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import django
import numpy as np

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
django.setup()

from benchmarks import harness  # noqa: E402
from benchmarks.votes_needed import FIRST, NOISE_MM, PAIRS, SECOND, World  # noqa: E402
from labeling.crowd import depth, selection  # noqa: E402
from labeling.crowd.config import DepthConfig  # noqa: E402
from labeling.quality import suspicion  # noqa: E402

ANNOTATORS, A_ROUND, GOLD_SHARE, ENOUGH, DELAY_MS = 300, 5, 0.1, 15, 750
KINDS = {"random": 60, "always-left": 30, "always-green": 30, "inverted": 30, "automaton": 1}
LOST, WITHIN = 0.02, 60
CONFIG = DepthConfig(rounds=12, tolerance=0.003)


def crowd(bad: bool) -> np.ndarray:
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)] if bad else []
    return np.array(kinds + ["honest"] * (ANNOTATORS - len(kinds)))


def run(file: Path, pictures: int, seed: int, bad: bool) -> dict[str, Any]:
    world = World(file, pictures, seed)
    world.clicks[:] = False
    rng, kinds = np.random.default_rng(1000 + seed), crowd(bad)
    rng.shuffle(kinds)
    before, count = world.prior("no prior"), len(world.z)
    gold = np.flatnonzero(world.gold)
    gaps = world.z[:, FIRST] - world.z[:, SECOND]
    wide = np.abs(gaps) >= 250
    active = np.ones(ANNOTATORS, bool)
    asked = np.zeros((count, PAIRS), np.int64)
    state, flagged, answers = None, {}, np.zeros(ANNOTATORS, np.int64)
    columns: list[list[np.ndarray]] = [[] for _ in range(6)]
    times: list[np.ndarray] = []
    clock = np.zeros(ANNOTATORS)
    for _ in range(60):
        who = np.repeat(np.flatnonzero(active), A_ROUND)
        rng.shuffle(who)
        on_gold = rng.random(len(who)) < _gold_share(state)[who]
        counted = _counted(columns, active, count)
        if counted[:pictures].min() >= ENOUGH or not len(who):
            break
        fewest = np.argsort(counted[:pictures] + rng.random(pictures))
        picture = np.resize(fewest, len(who))
        picture[on_gold] = rng.choice(gold, on_gold.sum())
        pair = _pairs(state, picture, asked, rng)
        for n in np.flatnonzero(on_gold):
            clear = np.flatnonzero(wide[picture[n]])
            if len(clear):  # as `known.make_gold`: any that is wide enough
                pair[n] = rng.choice(clear)
        np.add.at(asked, (picture, pair), 1)
        shown = rng.integers(0, 4, len(who))
        sees = world.answers(picture, pair, who)
        second = _answers(kinds[who], sees, shown, rng)
        for column, values in zip(columns, (picture, FIRST[pair], SECOND[pair], who, second, shown)):
            column.append(values)
        pause = np.where(kinds[who] == "automaton", 0.02 * rng.random(len(who)), rng.gamma(4, 0.6, len(who)))
        stamp = np.zeros(len(who))
        for n, w in enumerate(who):
            clock[w] += DELAY_MS / 1000 + pause[n]
            stamp[n] = clock[w]
        times.append(stamp)
        answers += np.bincount(who, minlength=ANNOTATORS)
        p, f, s, w, z, look = (np.concatenate(c) for c in columns)
        state = depth.fit(before, depth.PairVotes(p, f, s, w, z, ANNOTATORS, look), CONFIG, previous=state)
        recent = suspicion.Recent(w, np.concatenate(times), np.where(look & 2, ~z, z).astype(float))
        flags = suspicion.suspicions(DELAY_MS, np.arange(ANNOTATORS), state.belief, answers, recent)
        for participation, (_, sure) in flags.items():
            flagged.setdefault(participation, int(answers[participation]))
            if sure:
                active[participation] = False
    assert state is not None
    n = np.arange(pictures)[:, None]
    right = (state.p_second(n, FIRST, SECOND) > 0.5) == world.second_closer[:pictures]
    wrongdoers = np.flatnonzero(kinds != "honest")
    late = [int(w) for w in wrongdoers if flagged.get(int(w), 10**6) > WITHIN]
    honest = kinds == "honest"
    return {
        "accuracy": float(right.mean()),
        "answers": int(answers.sum()),
        "flagged": {kind: sum(int(w) in flagged for w in np.flatnonzero(kinds == kind)) for kind in KINDS if bad},
        "latest": max((flagged.get(int(w), -1) for w in wrongdoers), default=0),
        "late": [f"{kinds[w]} ({flagged.get(w, 'never')} of {answers[w]})" for w in late],
        "honest_flagged": sum(int(w) in flagged for w in np.flatnonzero(honest)),
        "honest_stopped": int((honest & ~active).sum()),
    }


def _gold_share(state: depth.DepthPosteriors | None) -> np.ndarray:
    """As `assignment` does it: more gold for whom the last aggregation doubts."""
    if state is None:
        return np.full(ANNOTATORS, GOLD_SHARE)
    return np.array([suspicion.gold_share(GOLD_SHARE, belief, state.crowd.shares.tolist()) for belief in state.belief])


def _counted(columns: list[list[np.ndarray]], active: np.ndarray, count: int) -> np.ndarray:
    if not columns[0]:
        return np.zeros(count)
    return np.bincount(np.concatenate(columns[0]), weights=active[np.concatenate(columns[3])], minlength=count)


def _pairs(
    state: depth.DepthPosteriors | None, picture: np.ndarray, asked: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    if state is None:
        return rng.integers(PAIRS, size=len(picture))
    gap, variance = depth.difference(state.perceived_mean, state.perceived_covariance, picture[:, None], FIRST, SECOND)
    gain = selection.information(gap, variance, NOISE_MM) / (1 + asked[picture])
    return (gain * rng.uniform(0.8, 1, gain.shape)).argmax(axis=1)


def _answers(kinds: np.ndarray, sees: np.ndarray, shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    clicks = rng.random(len(sees)) < 0.5
    second = np.where(np.isin(kinds, ("random", "automaton")), clicks, sees)
    second = np.where(kinds == "inverted", ~sees, second)
    second = np.where(kinds == "always-left", (shown & 2) == 0, second)  # left is the second's side unless bit 1 is set
    return np.where(kinds == "always-green", (shown & 1) == 0, second)


def main() -> int:
    parser = harness.options(__doc__, needs=["poses"], seeds=3, pictures=1000)
    parser.add_argument("--from-seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"simulated annotators: {ANNOTATORS}, of them {KINDS}; {asked.pictures} pictures")
    rows = []
    for seed in range(asked.from_seed, asked.from_seed + asked.seeds):
        good, bad = (run(asked.poses, asked.pictures, seed, bad) for bad in (False, True))
        rows.append({"honest": good, "mixed": bad, "lost": good["accuracy"] - bad["accuracy"]})
        print(
            f"seed {seed}: honest crowd {good['accuracy']:.4f} ({good['answers']} answers), mixed {bad['accuracy']:.4f} "
            f"({bad['answers']} answers), lost {rows[-1]['lost']:+.4f}; flagged {bad['flagged']}, the last after "
            f"{bad['latest']} answers; late: {bad['late'] or 'none'}; honest flagged {bad['honest_flagged']} and "
            f"{good['honest_flagged']}, stopped {bad['honest_stopped']} and {good['honest_stopped']}",
            flush=True,
        )
    lost, late = [r["lost"] for r in rows], sum(len(r["mixed"]["late"]) for r in rows)
    stopped = sum(r[c]["honest_stopped"] for r in rows for c in ("honest", "mixed"))
    bars = {
        f"accuracy lost {np.mean(lost):+.4f} ± {np.std(lost):.4f} (bar {LOST})": max(lost) <= LOST,
        f"{late} not flagged within {WITHIN} answers (bar 0)": late == 0,
        f"{stopped} honest annotators stopped (bar 0)": stopped == 0,
    }
    return harness.conclude(asked, {"rows": rows}, bars)


if __name__ == "__main__":
    sys.exit(main())
