"""Crowd models under one contract, and the paper's model against its equations written plainly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

from labeling.catalogs import question_models
from labeling.crowd import measures
from labeling.crowd.config import ChosenConfig, EaseConfig, PaperConfig, TwoCoinConfig
from labeling.crowd.question_models import ease, model_selection, paper, two_coin
from labeling.crowd.votes import BadVotes, CrowdResult, Votes, agreement

QUIET = {"gold": None, "progress": lambda *_: None}


def simulated(questions: int = 60, annotators: int = 9, per: int = 5, seed: int = 3) -> tuple[Votes, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(questions) < 0.5
    skill = rng.uniform(0.7, 0.95, annotators)
    question = np.repeat(np.arange(questions), per)
    annotator = np.concatenate([rng.choice(annotators, per, replace=False) for _ in range(questions)])
    right = rng.random(len(question)) < skill[annotator]
    return Votes(question, annotator, truth[question] == right, questions, annotators), truth


QUESTION_LEVEL = question_models.names()


@pytest.mark.parametrize("name", QUESTION_LEVEL)
class TestEveryModel:
    def fit(self, name: str, votes: Votes) -> np.ndarray:
        offer = question_models[name]
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
        # MACE starts from random numbers drawn by position; its answers stay, its digits may move. `calibrated` holds out
        # votes by position, which may change the model it chooses; sums in float32 depend on their order.
        tolerance = {"mace": 0.2, "calibrated": 0.1, "ease": 1e-4}.get(name, 1e-6)
        assert self.fit(name, mixed) == pytest.approx(self.fit(name, votes), abs=tolerance)

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


@pytest.mark.parametrize("name", ["two-coin", "ease", "calibrated"])
class TestOurModels:
    def fit(self, name: str, votes: Votes, gold: np.ndarray | None = None) -> CrowdResult:
        offer = question_models[name]
        return offer.load()(votes, offer.config(), **{**QUIET, "gold": gold})

    def test_swapping_the_two_joints_swaps_the_answer(self, name: str) -> None:
        votes, _ = simulated()
        other = Votes(votes.question, votes.annotator, ~votes.second, votes.questions, votes.annotators)
        assert self.fit(name, other).p_second == pytest.approx(1 - self.fit(name, votes).p_second, abs=2e-3)

    def test_gold_is_observed_truth(self, name: str) -> None:
        """Ten liars and two honest people: only gold can tell who is who."""
        rng = np.random.default_rng(1)
        truth = rng.random(120) < 0.5
        question, annotator = np.repeat(np.arange(120), 12), np.tile(np.arange(12), 120)
        honest = np.where(annotator >= 10, rng.random(1440) < 0.9, rng.random(1440) < 0.15)
        votes = Votes(question, annotator, truth[question] == honest, 120, 12)
        gold = np.full(120, np.nan)
        assert np.mean((self.fit(name, votes).p_second > 0.5) == truth) < 0.1
        gold[:60] = truth[:60]
        result = self.fit(name, votes, gold)
        assert np.mean((result.p_second > 0.5) == truth) > 0.95
        assert result.p_second[:60].tolist() == truth[:60].astype(float).tolist()
        assert result.skill[:10].max() < 0.4 < 0.7 < result.skill[10:].min()


def test_the_first_round_of_two_coin_equals_its_equations_written_plainly() -> None:
    votes, _ = simulated(questions=7, annotators=5, per=3)
    result = two_coin.fit(votes, TwoCoinConfig(rounds=1))
    start = [
        (sum(z) + 0.5) / (len(z) + 1)
        for z in ([v for q, v in zip(votes.question, votes.second) if q == i] for i in range(7))
    ]
    counts = np.tile(two_coin.START, (5, 1, 1))
    for q, w, z in zip(votes.question, votes.annotator, votes.second):
        counts[w, 0, 0 if z else 1] += start[q]
        counts[w, 1, 0 if z else 1] += 1 - start[q]
    logit = [0.0] * 7
    for q, w, z in zip(votes.question, votes.annotator, votes.second):
        a, b = counts[w, 0], counts[w, 1]
        c = 0 if z else 1
        logit[q] += digamma(a[c]) - digamma(a.sum()) - digamma(b[c]) + digamma(b.sum())
    ones = sum(start)
    for q in range(7):
        logit[q] += digamma(1 + ones) - digamma(1 + 7 - ones)
    assert result.p_second == pytest.approx([1 / (1 + math.exp(-x)) for x in logit], abs=1e-9)


def test_a_colour_bias_is_told_from_skill() -> None:
    """Everybody leans to green; half of the questions showed the first keypoint in green."""
    rng = np.random.default_rng(2)
    truth = rng.random(400) < 0.5
    question, annotator = np.repeat(np.arange(400), 5), rng.integers(0, 20, 2000)
    shown = rng.integers(0, 4, 2000)
    logit = np.where(truth[question], 1.2, -1.2) - 1.5 * np.where(shown & 1, 1.0, -1.0)
    second = rng.random(2000) < 1 / (1 + np.exp(-logit))
    votes = Votes(question, annotator, second, 400, 20, shown)
    result = ease.states(votes, EaseConfig())
    assert result.crowd.mean[2] == pytest.approx(1.5, abs=0.4)  # the third parameter: leaning to green
    assert abs(result.crowd.mean[3]) < 0.25
    blind = ease.states(Votes(question, annotator, second, 400, 20), EaseConfig())
    assert np.mean((result.p_second > 0.5) == truth) > np.mean((blind.p_second > 0.5) == truth) + 0.03


def test_ease_is_chosen_where_questions_differ_and_is_calibrated() -> None:
    rng = np.random.default_rng(3)
    truth, easy = rng.random(3000) < 0.5, rng.gamma(1.0, 1.0, 3000)
    question, annotator = np.repeat(np.arange(3000), 5), rng.integers(0, 60, 15_000)
    logit = rng.normal(1.3, 0.4, 60)[annotator] * easy[question] * np.where(truth[question], 1, -1)
    votes = Votes(question, annotator, rng.random(15_000) < 1 / (1 + np.exp(-logit)), 3000, 60)
    result = model_selection.fit(votes, ChosenConfig())
    assert result.notes["model"] == "ease"
    assert measures.ece(result.p_second, truth) < 0.03
    assert measures.ece(two_coin.fit(votes, TwoCoinConfig()).p_second, truth) > 0.05


def test_alpha_counts_agreeing_pairs_of_votes() -> None:
    """Brute force over all pairs of votes on the same question, and over all pairs of votes at all."""
    rows = [(0, 0, 1), (0, 1, 1), (0, 2, 0), (1, 0, 0), (1, 1, 0), (2, 2, 1), (3, 0, 1), (3, 1, 1)]
    table = np.array(rows)
    votes = Votes(table[:, 0], table[:, 1], table[:, 2] == 1, 4, 3)
    paired = [r for r in rows if sum(q == r[0] for q, _, _ in rows) > 1]
    n = len(paired)
    observed = sum(
        (a[2] != b[2]) / (sum(q == a[0] for q, _, _ in paired) - 1)
        for a in paired
        for b in paired
        if a is not b and a[0] == b[0]
    )
    by_chance = sum(a[2] != b[2] for a in paired for b in paired if a is not b)
    assert measures.alpha(votes) == pytest.approx(1 - (observed / n) / (by_chance / (n * (n - 1))))
    assert np.isnan(measures.alpha(Votes(np.array([0]), np.array([0]), np.array([True]), 1, 1)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 4), st.integers(0, 4), st.booleans()).filter(
            lambda v: v[1] != v[2]
        ),
        max_size=40,
    )
)
def test_cycles_equal_a_count_over_all_triples(rows: list[tuple[int, int, int, bool]]) -> None:
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    counted = measures.cycles(table[:, 0], table[:, 1], table[:, 2], table[:, 3] == 1, 2, 5)
    for picture in (0, 1):
        lead = np.zeros((5, 5), int)
        for i, f, s, second in rows:
            if i == picture:
                near, far = (s, f) if second else (f, s)
                lead[near, far] += 1
                lead[far, near] -= 1
        round_trips = sum(
            lead[a, b] > 0 and lead[b, c] > 0 and lead[c, a] > 0 for a in range(5) for b in range(5) for c in range(5)
        )
        assert counted[picture] == round_trips / 3


def test_calibration_error_by_hand() -> None:
    p = np.array([0.9, 0.9, 0.1, 0.6])
    truth = np.array([True, True, True, False])
    # bin of 0.9: three labels, confidence 0.9, two right; bin of 0.6: one label, wrong
    assert measures.ece(p, truth) == pytest.approx((3 * abs(0.9 - 2 / 3) + 0.6) / 4)
    assert measures.accuracy(p, truth) == 0.5
    assert measures.nll(p, truth) == pytest.approx(-(2 * math.log(0.9) + math.log(0.1) + math.log(0.4)) / 4)


def test_the_psychometric_curve_finds_the_noise_of_a_simulated_annotator() -> None:
    rng = np.random.default_rng(4)
    gap = rng.normal(0, 250, 4000)
    curve = measures.psychometric(gap, (gap + rng.normal(0, 200, 4000) > 0) == (gap > 0))
    assert curve.noise_mm == pytest.approx(200, rel=0.15)
    assert curve.count.sum() == 4000
    assert curve.right[0] == pytest.approx(0.53, abs=0.05)
    assert curve.right[-1] > 0.97


def test_agreement_counts_by_hand() -> None:
    votes = Votes(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([True, False, True, True]), 2, 3)
    got = agreement(votes, np.array([0.9, 0.5]))
    assert got[:2].tolist() == [0.75, 0.25]
    assert np.isnan(got[2])


def test_indices_outside_are_refused() -> None:
    with pytest.raises(BadVotes, match="annotator"):
        Votes(np.array([0]), np.array([5]), np.array([True]), 1, 2)
