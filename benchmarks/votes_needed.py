"""How many votes a picture needs, by the image-level depth model, beside five pairs of five votes aggregated by Dawid-Skene.

`python -m benchmarks.votes_needed --poses poses.npz [--pictures 500] [--seeds 3] [--json]`. Real motion, random views, 14 joints;
depth covariance from its train split, pictures from its test split. Annotators are simulated: 300, noise of each answer 25 cm
(log-normal between people, sd 0.4), a misperception of 6 cm per joint that all share, 5 % click at random. The model knows none of
this: it learns from the votes and from 5 % gold pictures, which cost votes like any other. The lifter is simulated too: true
depths plus the depths of another pose, scaled until its order of pairs is right as often as asked (77 %). 'similar poses' expects the
depths that poses of the train split have where they look alike in 2D (2 cm of noise); no bar.
Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from labeling.crowd import depth, measures, selection
from labeling.crowd.config import DepthConfig, Rounds
from labeling.crowd.question_models import library
from labeling.crowd.votes import Votes
from labeling.skeletons import LSP_14
from training.poses import neighbours

Array = NDArray[np.float64]
JOINTS = [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10]  # of the file's 17, in the order of LSP
FIRST, SECOND = selection.pairs_of(len(JOINTS))
PAIRS = len(FIRST)
NOISE_MM, BETWEEN, SHARED_MM, CLICKERS, ANNOTATORS, GOLD, BLUR_MM = 250.0, 0.4, 60.0, 0.05, 300, 0.05, 20.0
STEPS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25)
FEW_WITHOUT, FEW_WITH, ALL_WITHIN, ALL_ECE, ALL_TWO = 15, 5, 0.025, 0.02, 0.80


def views(poses: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """2D places and depths (mm, mean 0) of poses (y up) seen by orthographic cameras: any yaw, pitch -10 to 20 degrees."""
    yaw, pitch = rng.uniform(0, 2 * np.pi, len(poses)), np.deg2rad(rng.uniform(-10, 20, len(poses)))
    ahead = np.stack([np.cos(pitch) * np.sin(yaw), -np.sin(pitch), np.cos(pitch) * np.cos(yaw)], axis=1)
    right = np.stack([-np.cos(yaw), np.zeros(len(poses)), np.sin(yaw)], axis=1)
    axes = np.stack([right, np.cross(ahead, right), ahead], axis=1)
    seen = np.einsum("njk,nak->nja", poses, axes)
    seen -= seen.mean(axis=1, keepdims=True)
    return seen[..., :2], seen[..., 2]


class World:
    """Pictures with hidden depths, simulated annotators, a simulated lifter."""

    def __init__(self, file: Path, pictures: int, seed: int, lifter: float = 0.77) -> None:
        self.rng = rng = np.random.default_rng(seed)
        data = np.load(file)
        split = data["split"][data["seq_id"]]
        train, test = (data["poses"][split == name][::24][:, JOINTS].astype(np.float64) for name in ("train", "test"))
        seen = np.concatenate([views(train, rng)[1] for _ in range(5)])
        self.sigma = seen.T @ seen / len(seen) + np.eye(
            len(JOINTS)
        )  # 1 mm more: the mean is taken off, so it is singular
        gold = round(GOLD * pictures)
        self.pictures, count = pictures, pictures + gold
        self.flat, self.z = views(test[rng.choice(len(test), count, replace=len(test) < count)], rng)
        self.gold = np.arange(count) >= pictures
        self.perceived = self.z + rng.normal(0, SHARED_MM, self.z.shape)
        self.second_closer = self.z[:, FIRST] > self.z[:, SECOND]
        self.noise = NOISE_MM * np.exp(rng.normal(0, BETWEEN, ANNOTATORS))
        self.clicks = rng.random(ANNOTATORS) < CLICKERS
        other = views(test[rng.integers(len(test), size=count)], rng)[1]
        low, high = 0.0, 5.0
        for _ in range(40):
            share = (low + high) / 2
            lifted = self.z + share * other
            self.lifter = float(((lifted[:, FIRST] > lifted[:, SECOND]) == self.second_closer)[:pictures].mean())
            low, high = (share, high) if self.lifter > lifter else (low, share)
        shrink = self.sigma @ np.linalg.inv(self.sigma + share**2 * self.sigma)
        nothing = np.zeros_like(self.z)
        self.expected = {"no prior": (nothing, self.sigma)}
        self.expected["lifter"] = lifted @ shrink.T, self.sigma - shrink @ self.sigma
        library = neighbours.look_at(neighbours.Library(LSP_14.keypoints, train * [1.0, -1.0, -1.0]), seed=seed)
        blurred = self.flat + rng.normal(0, BLUR_MM, self.flat.shape)
        similar = neighbours.expected_depths(library, blurred, np.ones(self.z.shape, dtype=bool))
        self.similar = float(((similar[:, FIRST] > similar[:, SECOND]) == self.second_closer)[:pictures].mean())
        self.expected["similar poses"] = similar, neighbours.error_covariance(library, seed)

    def answers(self, picture: Any, pair: Any, annotator: Any) -> NDArray[np.bool_]:
        gap = self.perceived[picture, FIRST[pair]] - self.perceived[picture, SECOND[pair]]
        sees = gap + self.rng.normal(0, self.noise[annotator]) > 0
        return np.where(self.clicks[annotator], self.rng.random(len(picture)) < 0.5, sees)

    def prior(self, kind: str) -> depth.Pictures:
        mean, covariance = self.expected[kind]
        return depth.Pictures(np.where(self.gold[:, None], self.z, mean), covariance, self.gold)


def fixed(world: World, five: NDArray[np.int64]) -> float:
    """The paper's protocol: five random pairs, five votes each, Dawid-Skene. Accuracy of the five labels."""
    picture = np.repeat(np.arange(world.pictures), 25)
    pair = np.repeat(five[: world.pictures], 5, axis=1).ravel()
    who = np.concatenate([world.rng.choice(ANNOTATORS, 25, replace=False) for _ in range(world.pictures)])
    question, place = np.unique(picture * PAIRS + pair, return_inverse=True)
    votes = Votes(place, who, world.answers(picture, pair, who), len(question), ANNOTATORS)
    posterior = library.dawid_skene(votes, Rounds(), progress=lambda *_: None).p_second
    return measures.accuracy(posterior, world.second_closer[question // PAIRS, question % PAIRS])


def adaptive(
    world: World, prior: str, votes: int, five: NDArray[np.int64] | None = None
) -> dict[int, dict[str, float]]:
    """One vote after the other on every picture, each on the most informative pair (of the five, where given)."""
    pictures, count = world.prior(prior), len(world.z)
    every, config = np.arange(count), DepthConfig(rounds=6, tolerance=0.003)
    none = np.zeros(0, np.int64)
    pair_votes = depth.PairVotes(none, none, none, none, none.astype(bool), ANNOTATORS)
    state = depth.fit(pictures, pair_votes, config)
    rows = {0: _row(world, state, five)}
    for step in range(1, votes + 1):
        gap, variance = depth.difference(
            state.perceived_mean, state.perceived_covariance, every[:, None], FIRST, SECOND
        )
        gain = selection.information(gap, variance, NOISE_MM)
        if five is not None:
            among = np.full_like(gain, -1.0)
            np.put_along_axis(among, five, np.take_along_axis(gain, five, axis=1), axis=1)
            gain = among
        pair = gain.argmax(axis=1)
        pair[world.gold] = world.rng.integers(PAIRS, size=world.gold.sum())
        who = world.rng.integers(ANNOTATORS, size=count)
        new = (every, FIRST[pair], SECOND[pair], who, world.answers(every, pair, who))
        old = (pair_votes.picture, pair_votes.first, pair_votes.second, pair_votes.annotator, pair_votes.second_closer)
        pair_votes = depth.PairVotes(*(np.concatenate(both) for both in zip(old, new)), ANNOTATORS)
        state = depth.fit(pictures, pair_votes, config, previous=state)
        if step in STEPS:
            rows[step] = _row(world, state, five)
    return rows


def _row(world: World, state: depth.DepthPosteriors, five: NDArray[np.int64] | None) -> dict[str, float]:
    n = world.pictures
    p = state.p_second(np.arange(n)[:, None], FIRST, SECOND)
    truth = world.second_closer[:n]
    if five is not None:
        p, truth = np.take_along_axis(p, five[:n], axis=1), np.take_along_axis(truth, five[:n], axis=1)
    p, truth = p.ravel(), truth.ravel()
    sure = np.maximum(p, 1 - p) > 0.9
    return {
        "accuracy": measures.accuracy(p, truth),
        "ece": measures.ece(p, truth),
        "risk": float(np.minimum(p, 1 - p).mean()),
        "sure": float(sure.sum() / n),
        "sure_right": float(((p > 0.5) == truth)[sure].mean()) if sure.any() else float("nan"),
    }


def main() -> int:
    parser = harness.options(__doc__, needs=["poses"], seeds=3, pictures=500)
    asked = parser.parse_args()
    print(f"simulated annotators; {asked.pictures} pictures, {asked.seeds} seeds, mean ± sd; 5 % more votes go to gold")
    runs: dict[str, Callable[[World, NDArray[np.int64]], Any]] = {
        "five pairs, no lifter": lambda w, five: adaptive(w, "no prior", 25, five),
        "five pairs, lifter": lambda w, five: adaptive(w, "lifter", 10, five),
        "all 91 pairs, no lifter": lambda w, _: adaptive(w, "no prior", 25),
        "all 91 pairs, lifter": lambda w, _: adaptive(w, "lifter", 25),
        "all 91 pairs, similar poses": lambda w, _: adaptive(w, "similar poses", 25),
    }
    base, lifter, similar, tables = [], [], [], {name: [] for name in runs}
    for seed in range(asked.seeds):
        world = World(asked.poses, asked.pictures, seed)
        five = np.stack([world.rng.choice(PAIRS, 5, replace=False) for _ in range(len(world.z))])
        base.append(fixed(world, five))
        lifter.append(world.lifter)
        similar.append(world.similar)
        for name, work in runs.items():
            tables[name].append(work(world, five))
    paper = float(np.mean(base))
    print(
        f"five pairs x five votes, Dawid-Skene: {paper:.4f} ± {np.std(base):.4f}; lifter alone: {np.mean(lifter):.4f}; "
        f"similar poses alone: {np.mean(similar):.4f}"
    )
    mean: dict[str, dict[int, dict[str, float]]] = {}
    for name, table in tables.items():
        print(f"\n{name}\n votes  accuracy          ECE     risk   sure pairs (right)")
        mean[name] = {}
        for step in table[0]:
            rows = [f[step] for f in table]
            m = {}
            for key in rows[0]:
                known = [r[key] for r in rows if not np.isnan(r[key])]
                m[key] = float(np.mean(known)) if known else float("nan")
            mean[name][step] = m
            spread = np.std([r["accuracy"] for r in rows])
            print(
                f"{step:6d}  {m['accuracy']:.4f} ± {spread:.4f}  {m['ece']:.4f}  {m['risk']:.4f}"
                f"  {m['sure']:5.1f} ({m['sure_right']:.3f})"
            )
    reached = {name: next((s for s, r in rows.items() if r["accuracy"] >= paper), 999) for name, rows in mean.items()}
    whole = mean["all 91 pairs, no lifter"][25]
    two = mean["all 91 pairs, lifter"][2]["accuracy"]
    bars = {
        f"no lifter: {reached['five pairs, no lifter']} votes reach the paper's 25 (bar {FEW_WITHOUT})": reached[
            "five pairs, no lifter"
        ]
        <= FEW_WITHOUT,
        f"lifter: {reached['five pairs, lifter']} votes reach the paper's 25 (bar {FEW_WITH})": reached[
            "five pairs, lifter"
        ]
        <= FEW_WITH,
        f"all 91 pairs, 25 votes, no lifter: {whole['accuracy'] - paper:+.4f} beside the five (bar -{ALL_WITHIN})": whole[
            "accuracy"
        ]
        >= paper - ALL_WITHIN,
        f"the same: ECE {whole['ece']:.4f} (bar {ALL_ECE})": whole["ece"] <= ALL_ECE,
        f"all 91 pairs, 2 votes, lifter: {two:.4f} (bar {ALL_TWO}; lifter alone {np.mean(lifter):.4f})": two >= ALL_TWO,
    }
    report = {"paper": base, "lifter": lifter, "similar": similar, "tables": mean, "reached": reached}
    return harness.conclude(asked, report, bars)


if __name__ == "__main__":
    sys.exit(main())
