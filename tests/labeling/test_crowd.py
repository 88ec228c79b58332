"""Crowd models under one contract, and the paper's model against its equations written plainly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.catalogs import crowd_models
from labeling.crowd import paper
from labeling.crowd.config import PaperConfig
from labeling.crowd.votes import BadVotes, Votes, agreement

QUIET = {"gold": None, "previous": None, "progress": lambda *_: None}


def simulated(questions: int = 60, annotators: int = 9, per: int = 5, seed: int = 3) -> tuple[Votes, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(questions) < 0.5
    skill = rng.uniform(0.7, 0.95, annotators)
    question = np.repeat(np.arange(questions), per)
    annotator = np.concatenate([rng.choice(annotators, per, replace=False) for _ in range(questions)])
    right = rng.random(len(question)) < skill[annotator]
    return Votes(question, annotator, truth[question] == right, questions, annotators), truth


@pytest.mark.parametrize("name", crowd_models.names())
class TestEveryModel:
    def fit(self, name: str, votes: Votes) -> np.ndarray:
        offer = crowd_models[name]
        return offer.load()(votes, offer.config(), **QUIET).p_second

    def test_finds_planted_truth(self, name: str) -> None:
        votes, truth = simulated()
        assert np.mean((self.fit(name, votes) > 0.5) == truth) >= 0.9

    def test_does_not_care_about_the_order_of_votes(self, name: str) -> None:
        votes, _ = simulated()
        order = np.random.default_rng(0).permutation(len(votes.question))
        mixed = Votes(
            votes.question[order], votes.annotator[order], votes.second[order], votes.questions, votes.annotators
        )
        # MACE starts from random numbers drawn by position; its answers stay, its digits may move.
        assert self.fit(name, mixed) == pytest.approx(self.fit(name, votes), abs=0.2 if name == "mace" else 1e-6)

    def test_has_an_answer_for_no_votes_and_for_one_annotator(self, name: str) -> None:
        none = np.array([], dtype=np.int64)
        assert self.fit(name, Votes(none, none, none.astype(bool), 3, 2)).tolist() == [0.5] * 3
        one = self.fit(name, Votes(np.array([0, 1]), np.array([0, 0]), np.array([True, False]), 3, 1))
        assert np.isfinite(one).all()
        assert one[2] == 0.5


def _plain(votes: list[tuple[int, int, int]], questions: int, annotators: int, config: PaperConfig) -> list[float]:
    """The equations of docs/methods/crowd.md with loops, no numpy."""
    p = []
    for q in range(questions):
        z = [v for i, _, v in votes if i == q]
        p.append(0.5 if not z or sum(z) * 2 == len(z) else float(sum(z) * 2 > len(z)))
    s, m = config.pooled_strength, config.mean_skill
    one, zero = sum(p[i] for i, _, _ in votes), sum(1 - p[i] for i, _, _ in votes)
    prior = (s * 0.5 + one) / (s + len(votes))
    a0 = (s * m + sum(p[i] * v for i, _, v in votes)) / (s + one)
    b0 = (s * m + sum((1 - p[i]) * (1 - v) for i, _, v in votes)) / (s + zero)
    t = config.annotator_strength
    for _ in range(config.rounds):
        a = [
            (t * a0 + sum(p[i] * v for i, u, v in votes if u == w)) / (t + sum(p[i] for i, u, _ in votes if u == w))
            for w in range(annotators)
        ]
        b = [
            (t * b0 + sum((1 - p[i]) * (1 - v) for i, u, v in votes if u == w))
            / (t + sum(1 - p[i] for i, u, _ in votes if u == w))
            for w in range(annotators)
        ]
        logits = [
            math.log(prior / (1 - prior))
            + sum(math.log(a[u] / (1 - b[u])) if v else math.log((1 - a[u]) / b[u]) for i, u, v in votes if i == q)
            for q in range(questions)
        ]
        p = [1 / (1 + math.exp(-x)) if any(i == q for i, _, _ in votes) else 0.5 for q, x in enumerate(logits)]
    return p


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 1)),
        min_size=1,
        max_size=40,
        unique_by=lambda v: v[:2],
    )
)
def test_the_papers_model_equals_its_equations_written_plainly(rows: list[tuple[int, int, int]]) -> None:
    table = np.array(rows)
    votes = Votes(table[:, 0], table[:, 1], table[:, 2] == 1, 6, 4)
    config = PaperConfig(rounds=4)
    assert paper.fit(votes, config, **QUIET).p_second == pytest.approx(_plain(rows, 6, 4, config), abs=2e-5)


def test_swapping_the_two_joints_swaps_the_answer() -> None:
    votes, _ = simulated()
    other = Votes(votes.question, votes.annotator, ~votes.second, votes.questions, votes.annotators)
    assert paper.fit(other, PaperConfig(), **QUIET).p_second == pytest.approx(
        1 - paper.fit(votes, PaperConfig(), **QUIET).p_second
    )


def test_agreement_counts_by_hand() -> None:
    votes = Votes(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([True, False, True, True]), 2, 3)
    got = agreement(votes, np.array([0.9, 0.5]))
    assert got[:2].tolist() == [0.75, 0.25]
    assert np.isnan(got[2])


def test_indices_outside_are_refused() -> None:
    with pytest.raises(BadVotes, match="annotator"):
        Votes(np.array([0]), np.array([5]), np.array([True]), 1, 2)
