"""The image-level depth model: against brute force, its symmetries, its safety, and what it learns of annotators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling import skeletons
from labeling.crowd import anatomy, depth, selection
from labeling.crowd.config import DepthConfig
from labeling.crowd.normal import cdf

SIGMA = np.array(
    [[200.0**2, 9000, -4000, 0], [9000, 150.0**2, 0, 2000], [-4000, 0, 260.0**2, 5000], [0, 2000, 5000, 120.0**2]]
)
NAMES = [kind.name for kind in depth.KINDS]
HONEST = np.array([float(k.name == "honest" and abs(k.noise_mm - 240) < 80) for k in depth.KINDS])
HONEST /= HONEST.sum()


def votes_of(
    rows: list[tuple[int, int, int, int, bool]], annotators: int, shown: list[int] | None = None
) -> depth.PairVotes:
    """Rows of picture, first, second, annotator, second closer."""
    table = np.array(rows).reshape(-1, 5)
    looks = None if shown is None else np.array(shown)
    return depth.PairVotes(*(table[:, n].astype(np.int64) for n in range(4)), table[:, 4] == 1, annotators, looks)


def pictures(count: int = 1, gold: bool = False) -> depth.Pictures:
    return depth.Pictures(np.zeros((count, 4)), SIGMA, np.full(count, gold))


def by_sampling(votes: depth.PairVotes, belief: np.ndarray, shared: float, draws: int = 400_000) -> np.ndarray:
    """P(second closer) of the six pairs: draw depths and posteriors from the prior, weigh them by the votes."""
    rng = np.random.default_rng(0)
    z = rng.multivariate_normal(np.zeros(4), SIGMA, draws)
    p = z + rng.normal(0, shared, z.shape)
    weight = np.ones(draws)
    for f, s, w, second, look in zip(votes.first, votes.second, votes.annotator, votes.second_closer, votes.looks):
        gap, chance = p[:, f] - p[:, s], np.zeros(draws)
        for share, kind in zip(belief[w], depth.KINDS):
            if kind.noise_mm:
                sees = cdf((-gap if kind.inverted else gap) / kind.noise_mm)
                says = depth.SLIP / 2 + (1 - depth.SLIP) * sees
            elif kind.bit and look < 4:
                says = 1 - depth.HABIT if look & kind.bit == kind.value else depth.HABIT
            else:
                says = 0.5
            chance += share * (says if second else 1 - says)
        weight *= chance
    first, second = selection.pairs_of(4)
    return np.array([np.average(z[:, a] > z[:, b], weights=weight) for a, b in zip(first, second)])


@pytest.mark.parametrize("seed", range(4))
def test_posterior_equals_brute_force(seed: int) -> None:
    """Six votes by three annotators of mixed kinds, contradicting each other; probabilities of all pairs, voted or not."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(6):
        f, s = rng.choice(4, 2, replace=False)
        rows.append((0, f, s, rng.integers(3), rng.random() < 0.5))
    votes = votes_of(rows, 3, rng.integers(0, 4, 6).tolist())
    belief = np.stack([0.8 * HONEST + 0.2 * depth.PRIOR, depth.PRIOR, 0.5 * HONEST + 0.5 * depth.PRIOR])
    result = depth.fit(pictures(), votes, DepthConfig(rounds=200, tolerance=1e-4), crowd=depth.Crowd(), belief=belief)
    first, second = selection.pairs_of(4)
    assert result.p_second(np.zeros(6, int), first, second) == pytest.approx(by_sampling(votes, belief, 60.0), abs=0.02)


def test_without_votes_every_pair_is_open_and_a_prior_mean_speaks() -> None:
    first, second = selection.pairs_of(4)
    result = depth.fit(pictures(), votes_of([], 2), DepthConfig())
    assert result.p_second(np.zeros(6, int), first, second).tolist() == [0.5] * 6
    lifted = depth.Pictures(np.array([[100.0, 0, 0, 0]]), SIGMA, np.array([False]))
    p = depth.fit(lifted, votes_of([], 2), DepthConfig()).p_second(np.array([0]), np.array([0]), np.array([3]))
    assert p == pytest.approx(float(cdf(np.array(100 / np.sqrt(200.0**2 + 120.0**2)))))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.booleans()).filter(
            lambda v: v[1] != v[2]
        ),
        min_size=1,
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
def test_order_of_votes_and_naming_of_joints_do_not_matter(rows: list, random: object) -> None:
    config = DepthConfig(rounds=40, tolerance=1e-5)
    result = depth.fit(pictures(3), votes_of(rows, 4), config)
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    swapped = [(i, s, f, w, not second) for i, f, s, w, second in mixed]
    again = depth.fit(pictures(3), votes_of(swapped, 4), config)
    assert again.mean == pytest.approx(result.mean, abs=0.5)
    assert np.isfinite(result.covariance).all()
    assert (np.linalg.eigvalsh(result.covariance) > 0).all()


@pytest.mark.parametrize("count", [1, 500])
def test_one_vote_and_five_hundred_are_safe(count: int) -> None:
    """All say the same of one pair: the answer is sure as soon as the shared misperception allows, and stays finite."""
    result = depth.fit(
        pictures(), votes_of([(0, 0, 1, n % 50, True) for n in range(count)], 50), DepthConfig(rounds=200)
    )
    p = result.p_second(np.zeros(1, int), np.array([0]), np.array([1]))[0]
    assert 0.6 < p < (0.9 if count == 1 else 1.0)
    assert np.isfinite(result.mean).all()
    gap, variance = depth.difference(result.mean, result.covariance, np.zeros(1, int), np.array([0]), np.array([1]))
    assert gap[0] > 0
    # The depth never gets surer than the misperception that everybody shares: 60 mm on each of the two joints.
    least = 2 * 60.0**2 * 0.75
    assert variance[0] > least


def crowd_answers(
    kinds: list[str], pictures_of: int, each: int, seed: int = 0
) -> tuple[depth.Pictures, depth.PairVotes, np.ndarray]:
    """`each` answers by every annotator, in colours and sides at random, on pictures whose depths follow the prior."""
    rng = np.random.default_rng(seed)
    z = rng.multivariate_normal(np.zeros(4), SIGMA, pictures_of)
    posterior = z + rng.normal(0, 60, z.shape)
    rows, shown = [], []
    for who, kind in enumerate(kinds):
        for _ in range(each):
            i, (f, s), look = rng.integers(pictures_of), rng.choice(4, 2, replace=False), int(rng.integers(4))
            sees = posterior[i, f] - posterior[i, s] + rng.normal(0, 240) > 0
            habit = {
                "always-left": not look & 2,
                "always-green": not look & 1,
                "inverted": not sees,
                "random": rng.random() < 0.5,
            }
            rows.append((int(i), int(f), int(s), who, habit.get(kind, sees)))
            shown.append(look)
    return depth.Pictures(np.zeros_like(z), SIGMA, np.zeros(len(z), bool)), votes_of(rows, len(kinds), shown), z


def test_kinds_of_annotators_are_recognised() -> None:
    kinds = ["honest"] * 24 + ["always-left", "always-green", "inverted", "random"]
    before, votes, z = crowd_answers(kinds, 60, 160)
    result = depth.fit(before, votes, DepthConfig(rounds=60))
    share = {name: result.belief[:, [n == name for n in NAMES]].sum(axis=1) for name in dict.fromkeys(NAMES)}
    for who, kind in enumerate(kinds[24:], 24):
        assert share[kind][who] > 0.9, kind
    assert share["honest"][:24].min() > 0.9
    first, second = (a[None].repeat(60, 0) for a in selection.pairs_of(4))
    place = np.arange(60)[:, None].repeat(6, 1)
    right = (result.p_second(place, first, second) > 0.5) == (z[place, first] > z[place, second])
    assert right.mean() > 0.8


def test_misperception_and_slant_are_learned_from_gold() -> None:
    rng = np.random.default_rng(5)
    z = rng.multivariate_normal(np.zeros(4), SIGMA, 300)
    height = np.tile([-800.0, -300, 200, 900], (300, 1))
    posterior = z + 0.2 * height + rng.normal(0, 120, z.shape)
    rows = []
    for i in range(300):
        for n in range(20):
            f, s = rng.choice(4, 2, replace=False)
            rows.append((i, int(f), int(s), n, posterior[i, f] - posterior[i, s] + rng.normal(0, 170) > 0))
    known = depth.Pictures(z, SIGMA, np.ones(300, bool), height)
    result = depth.fit(known, votes_of(rows, 20), DepthConfig(rounds=300, tolerance=1e-4))
    assert result.crowd.shared_mm == pytest.approx(120, rel=0.2)
    assert result.crowd.slant == pytest.approx(0.2, abs=0.04)


def test_a_fit_continues_from_an_earlier_one() -> None:
    before, votes, _ = crowd_answers(["honest"] * 12, 30, 30)
    half = depth.PairVotes(
        *(getattr(votes, n)[:180] for n in ("picture", "first", "second", "annotator", "second_closer")),
        12,
        votes.looks[:180],
    )
    config = DepthConfig(rounds=100, tolerance=1e-4)
    warm = depth.fit(before, votes, config, previous=depth.fit(before, half, config))
    cold = depth.fit(before, votes, config)
    assert warm.rounds < cold.rounds
    assert warm.mean == pytest.approx(cold.mean, abs=1.0)


def test_a_surprising_vote_is_the_least_expected() -> None:
    rows = [(0, 0, 1, n, True) for n in range(9)] + [(0, 0, 1, 9, False)]
    result = depth.fit(pictures(), votes_of(rows, 10), DepthConfig(rounds=60))
    assert result.expected.argmin() == 9
    assert result.expected[9] < 0.3 < 0.7 < result.expected[:9].min()


@pytest.mark.parametrize(("gap", "spread", "noise"), [(0.0, 100.0, 250.0), (150.0, 300.0, 120.0), (-80.0, 40.0, 500.0)])
def test_information_equals_numerical_integration(gap: float, spread: float, noise: float) -> None:
    x = gap + spread * np.linspace(-8, 8, 4001)
    weight = np.exp(-0.5 * np.linspace(-8, 8, 4001) ** 2)
    weight /= weight.sum()
    p = np.clip(cdf(x / noise), 1e-12, 1 - 1e-12)
    entropy = lambda q: -(q * np.log2(q) + (1 - q) * np.log2(1 - q))  # noqa: E731
    exact = entropy((weight * p).sum()) - (weight * entropy(p)).sum()
    assert selection.information(np.array(gap), np.array(spread**2), noise) == pytest.approx(exact, abs=0.01)


def test_a_pair_known_to_be_equal_teaches_nothing() -> None:
    bits = selection.information(np.array([0.0, 0.0]), np.array([1.0, 200.0**2]), 250.0)
    assert bits[0] < 1e-3 < 0.1 < bits[1]


@pytest.mark.parametrize(
    "skeleton", [s for s in vars(skeletons).values() if isinstance(s, skeletons.Skeleton)], ids=lambda s: s.name
)
def test_every_skeleton_has_a_depth_covariance(skeleton: skeletons.Skeleton) -> None:
    matrix = anatomy.covariance(skeleton)
    assert matrix.shape == (len(skeleton.keypoints),) * 2
    assert np.linalg.eigvalsh(matrix).min() > 0
    assert 50 < np.sqrt(np.diag(matrix)).mean() < 600


def test_unknown_joints_walk_along_the_bones() -> None:
    cat = skeletons.Skeleton(
        "cat", ("body", "head", "tail", "tip"), (("body", "head"), ("body", "tail"), ("tail", "tip")), "body"
    )
    matrix = anatomy.covariance(cat)
    step = (anatomy.STEP * anatomy.BONE_MM) ** 2
    assert matrix[3, 3] == pytest.approx(2 * step + 1)
    assert matrix[2, 3] == pytest.approx(step)
    assert matrix[1, 3] == pytest.approx(0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: depth.Pictures(np.zeros((2, 4)), np.eye(3), np.zeros(2, bool)),
        lambda: depth.Pictures(np.full((2, 4), np.nan), np.eye(4), np.zeros(2, bool)),
        lambda: votes_of([(0, 1, 1, 0, True)], 1),
    ],
)
def test_arrays_that_do_not_fit_are_refused(wrong: object) -> None:
    with pytest.raises(depth.BadPictures):
        wrong()  # type: ignore[operator]
