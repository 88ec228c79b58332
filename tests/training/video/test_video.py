"""The video harvester's library: completion, smoothing, cleaning of tracks, filters, simulators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.optimize import minimize, minimize_scalar

from labeling.skeletons import H36M_17
from tests.training.video.dense_completion import complete_dense
from training.simulation import videos
from training.video import completion, filters, priors, smoothing, tracks
from training.video.completion import Factored
from training.video.config import CompletionConfig, SmoothConfig, TrackConfig
from training.video.priors import PosePrior

Array = NDArray[np.float64]


def walk(frames: int, joints: int, seed: int = 0) -> Array:
    """A smooth motion of low rank, mm, root at the origin."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / 10
    waves = np.stack([np.ones(frames), np.sin(2.1 * t), np.cos(2.1 * t), np.sin(0.7 * t + 1)], axis=1)
    out = (waves @ rng.normal(0, 200, (4, joints * 3))).reshape(frames, joints, 3)
    out[:, 0] = 0
    return np.asarray(out)


# each step of the completion, against a generic solver


def test_shrinking_is_the_minimum_of_its_own_problem() -> None:
    for value in (-2.3, -0.4, 0.0, 0.7, 5.0):
        best = minimize_scalar(
            lambda e, v=value: 0.7 * abs(e) + (e - v) ** 2 / 2, bounds=(-9, 9), options={"xatol": 1e-10}
        )
        assert float(completion.shrink(np.array([value]), 0.7)[0]) == pytest.approx(best.x, abs=1e-6)


def test_cutting_singular_values_is_the_minimum_of_its_own_problem() -> None:
    m = np.random.default_rng(0).normal(0, 2, (3, 2))
    result = completion.singular_threshold(m, 0.8)

    def cost(x: Array) -> float:
        return float(0.8 * np.linalg.norm(x.reshape(3, 2), "nuc") + ((x.reshape(3, 2) - m) ** 2).sum() / 2)

    best = minimize(
        cost,
        m.ravel(),
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-13, "maxiter": 20_000, "maxfev": 20_000},
    )
    np.testing.assert_allclose(result.ravel(), best.x, atol=1e-5)


@pytest.mark.parametrize("soft", [False, True])
def test_the_data_step_is_the_minimum_of_its_own_problem(soft: bool) -> None:
    rng = np.random.default_rng(1)
    target, seen, weight, mu = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), rng.uniform(0, 2, (4, 3)), 0.6
    pinned = weight > 1
    result = completion.data_step(target, seen, weight if soft else None, pinned, mu)
    if not soft:
        np.testing.assert_array_equal(result, np.where(pinned, seen, target))
        return

    def cost(z: Array) -> float:
        z = z.reshape(4, 3)
        return float((weight * (z - seen) ** 2).sum() / 2 + mu * ((z - target) ** 2).sum() / 2)

    np.testing.assert_allclose(result.ravel(), minimize(cost, target.ravel(), tol=1e-12).x, atol=1e-5)


def factored(frames: int, rank: int, identity: float, rng: np.random.Generator) -> Factored:
    return Factored(identity, rng.normal(0, 0.3, (frames, rank)), rng.normal(0, 0.3, (frames, rank)))


def dense(b: Factored) -> Array:
    return np.asarray(b.identity * np.eye(len(b.left)) + b.left @ b.right.T)


@pytest.mark.parametrize("identity", [0.0, -0.7])
def test_the_affinity_step_is_the_minimum_of_its_own_problem(identity: float) -> None:
    rng = np.random.default_rng(2)
    frames, n = 7, 4
    x, express, before = rng.normal(size=(frames, n)), rng.normal(size=(frames, n)), factored(frames, 2, identity, rng)

    def cost(b: Array) -> float:
        b = b.reshape(frames, frames)
        return float(((express.T - x.T @ b) ** 2).sum() + ((b - dense(before)) ** 2).sum())

    best = minimize(cost, np.zeros(frames * frames), tol=1e-13).x.reshape(frames, frames)
    result, _, expressed = completion.affinity_step(x, express, before)
    np.testing.assert_allclose(dense(result), best, atol=1e-5)
    np.testing.assert_allclose(expressed, result.after(x), atol=1e-12)


@pytest.mark.parametrize("identity", [0.0, -0.7])
def test_the_trajectory_step_is_the_minimum_of_its_own_problem(identity: float) -> None:
    """Least squares of smoothness, self-expression and the two copies, by a generic minimiser."""
    rng = np.random.default_rng(3)
    frames, n, mu, smooth = 6, 3, 0.7, 0.4
    b = factored(frames, 2, identity, rng)
    aim, low, z = rng.normal(size=(3, n, frames))  # X - XB near aim, X near low, X near z
    gap = np.eye(frames) - dense(b)
    differ = np.diff(np.eye(frames), axis=0).T

    def cost(x: Array) -> float:
        x = x.reshape(n, frames)
        fits = ((x @ gap - aim) ** 2).sum() + ((x - low) ** 2).sum() + ((x - z) ** 2).sum()
        return float(smooth * ((x @ differ) ** 2).sum() + mu * fits / 2)

    best = minimize(cost, np.zeros(n * frames), tol=1e-13).x.reshape(n, frames)
    right = (mu * aim @ gap.T + mu * (low + z)).T
    np.testing.assert_allclose(completion.trajectory_step(b, right, smooth, mu).T, best, atol=1e-5)


@pytest.mark.parametrize("equality", ["hard", "soft"])
@pytest.mark.parametrize("frames", [2, 5, 80])
def test_the_fast_completion_equals_the_dense_one(equality: str, frames: int) -> None:
    rng = np.random.default_rng(4)
    predicted = walk(frames, 7)[:, 1:].reshape(frames, 18) + rng.normal(0, 40, (frames, 18))
    score = np.repeat(rng.uniform(0.4, 1, (frames, 6)), 3, axis=1)
    config = CompletionConfig.model_validate({"equality": equality})
    slow, steps = complete_dense(predicted, score, config)
    fast = completion.complete(predicted, score, config)
    assert fast.iterations == steps
    assert float(np.abs(fast.trajectory - slow).max()) < 1e-9 * float(np.abs(predicted).mean())
    if equality == "hard":
        np.testing.assert_array_equal(fast.trajectory[score > 0.7], predicted[score > 0.7])


def test_completion_brings_lost_joints_back() -> None:
    truth = walk(120, 7).reshape(120, 21)
    rng = np.random.default_rng(5)
    score = np.where(rng.random((120, 21)) < 0.85, 0.9, 0.1)
    predicted = truth + np.where(score < 0.5, rng.normal(0, 300, truth.shape), 0.0)
    result = completion.complete(predicted, score, CompletionConfig(iterations=150))
    lost = score < 0.5
    assert float(np.abs(result.trajectory - truth)[lost].mean()) < 0.15 * float(np.abs(predicted - truth)[lost].mean())
    assert result.converged


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_of_a_few_frames_are_completed_without_fuss(frames: int) -> None:
    predicted = walk(frames, 5).reshape(frames, 15)
    result = completion.complete(predicted, np.full(predicted.shape, 0.9))
    np.testing.assert_array_equal(result.trajectory, predicted)


def test_nothing_confident_and_nothing_moving_have_an_answer() -> None:
    still = np.full((20, 6), 100.0)
    result = completion.complete(still, np.zeros((20, 6)))
    assert np.isfinite(result.trajectory).all()
    np.testing.assert_array_equal(completion.complete(np.zeros((4, 3)), np.ones((4, 3))).trajectory, np.zeros((4, 3)))


def test_completion_refuses_what_does_not_fit_and_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        completion.complete(np.zeros((4, 3)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="NaN"):
        completion.complete(np.full((4, 3), np.nan), np.zeros((4, 3)))
    with pytest.raises(ValidationError, match="mu must be at most"):
        CompletionConfig(mu=2.0, affinity=1.0)


# filters


@given(st.integers(4, 30), st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_difference_bands_are_those_of_the_written_out_matrix(frames: int, order: int) -> None:
    d = np.diff(np.eye(frames), n=order, axis=0)
    full, bands = d.T @ d, filters.differences(frames, order)
    for offset in range(order + 1):
        np.testing.assert_allclose(bands[order - offset, offset:], np.diagonal(full, offset), atol=1e-12)


def test_whittakers_smoother_solves_its_normal_equations() -> None:
    rng = np.random.default_rng(6)
    y, w = rng.normal(size=(9, 2)), rng.uniform(0.1, 1, (9, 2))
    d = np.diff(np.eye(9), n=2, axis=0)
    for column in range(2):
        exact = np.linalg.solve(np.diag(w[:, column]) + 3.0 * d.T @ d, w[:, column] * y[:, column])
        np.testing.assert_allclose(filters.smoothed(y, w, 3.0)[:, column], exact, atol=1e-10)


def test_kalman_and_rts_equal_the_textbook_recursions() -> None:
    rng = np.random.default_rng(7)
    frames, fps, agility = 25, 10.0, 300.0
    y, noise = np.cumsum(rng.normal(0, 20, (frames, 1)), axis=0), rng.uniform(10, 40, (frames, 1))
    step = 1 / fps
    a = np.array([[1, step], [0, 1]])
    q = agility**2 * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
    h = np.array([[1.0, 0.0]])
    mean, cov = np.zeros(2), np.diag([1e12, 1e12])  # nothing is known before the first frame
    means, covs, priors = [], [], []
    for t in range(frames):
        if t:
            mean, cov = a @ mean, a @ cov @ a.T + q
        priors.append((mean, cov))
        gain = cov @ h.T / (h @ cov @ h.T + noise[t] ** 2)
        mean, cov = mean + (gain * (y[t] - h @ mean)).ravel(), cov - gain @ h @ cov
        means.append(mean)
        covs.append(cov)
    back = means[-1]
    smooth = [back]
    for t in range(frames - 2, -1, -1):
        g = covs[t] @ a.T @ np.linalg.inv(priors[t + 1][1])
        back = means[t] + g @ (back - priors[t + 1][0])
        smooth.append(back)
    exact = np.array(smooth[::-1])[:, 0]
    np.testing.assert_allclose(filters.kalman_rts(y, noise, fps, agility)[:, 0], exact, atol=1e-2)


def test_filters_leave_short_and_steady_clips_alone() -> None:
    steady = np.full((30, 2), 5.0)
    for filtered in (
        filters.savitzky_golay(steady),
        filters.butterworth(steady, 10.0),
        filters.kalman_rts(steady, np.full((30, 2), 9.0), 10.0),
    ):
        np.testing.assert_allclose(filtered, steady, atol=1e-6)
    for frames in (1, 2, 3):
        some = np.arange(frames * 2.0).reshape(frames, 2)
        assert filters.savitzky_golay(some).shape == filters.butterworth(some, 10.0).shape == some.shape
    np.testing.assert_array_equal(
        filters.interpolated(
            np.array([[0.0, 1], [9, 1], [4, 1]]), np.array([[True, False], [False, False], [True, False]])
        ),
        [[0, 0], [2, 0], [4, 0]],
    )


# our smoother


def test_smoothing_recovers_a_low_rank_motion_from_gross_errors() -> None:
    truth = walk(150, 17, seed=8)
    rng = np.random.default_rng(9)
    wrong = rng.random((150, 17)) < 0.15
    predicted = truth + rng.normal(0, 25, truth.shape) + np.where(wrong[..., None], rng.normal(0, 250, truth.shape), 0)
    score = np.where(wrong, 0.4, 0.9)
    result = smoothing.smooth(predicted, score, SmoothConfig(bones=0.0))
    assert result.method == "low-rank"
    before, after = np.linalg.norm(predicted - truth, axis=-1), np.linalg.norm(result.positions - truth, axis=-1)
    assert after.mean() < 0.35 * before.mean()
    assert after[~wrong].mean() < 0.6 * before[~wrong].mean()


def test_the_splitting_finds_the_minimum_of_the_convex_problem() -> None:
    rng = np.random.default_rng(10)
    predicted, weight = rng.normal(0, 60, (6, 2, 3)), rng.uniform(0.2, 1, (6, 2))
    config = SmoothConfig(iterations=1000, rank=20.0, penalty=0.02, gross_mm=40, velocity=0.002, acceleration=0.002)

    def cost(flat: Array) -> float:
        x = flat.reshape(6, 6)
        off = np.linalg.norm((x.reshape(6, 2, 3) - predicted), axis=-1)
        huber = np.where(off < 40, off**2 / 80, off - 20)
        smooth = 0.002 * (np.diff(x, axis=0) ** 2).sum() + 0.002 * (np.diff(x, n=2, axis=0) ** 2).sum()
        return float(20.0 * np.sqrt(6 / 300) * np.linalg.norm(x, "nuc") + smooth + (weight * huber).sum())

    result = smoothing.low_rank(predicted, weight, config)
    best = minimize(
        cost, result.ravel(), method="Powell", options={"xtol": 1e-9, "ftol": 1e-14, "maxiter": 200_000}
    ).fun
    assert cost(result.ravel()) == pytest.approx(best, rel=1e-5)


def test_the_splitting_finds_the_minimum_with_a_prior_over_poses() -> None:
    rng = np.random.default_rng(11)
    predicted, weight = rng.normal(0, 60, (4, 2, 3)), rng.uniform(0.2, 1, (4, 2))
    prior = PosePrior.of(rng.normal(5, 50, (40, 2, 3)))
    config = SmoothConfig(
        iterations=1000, rank=10.0, penalty=0.02, gross_mm=40, velocity=0.002, acceleration=0.0, prior=8.0
    )

    def cost(flat: Array) -> float:
        x = flat.reshape(4, 6)
        off = np.linalg.norm((x.reshape(4, 2, 3) - predicted), axis=-1)
        huber = np.where(off < 40, off**2 / 80, off - 20)
        far = x - prior.mean
        likely = 4.0 * np.einsum("fi,ij,fj->", far, prior.precision, far)
        smooth = 0.002 * (np.diff(x, axis=0) ** 2).sum()
        return float(10.0 * np.sqrt(4 / 300) * np.linalg.norm(x, "nuc") + smooth + (weight * huber).sum() + likely)

    result = smoothing.low_rank(predicted, weight, config, prior=prior)
    best = minimize(
        cost, result.ravel(), method="Powell", options={"xtol": 1e-9, "ftol": 1e-14, "maxiter": 200_000}
    ).fun
    assert cost(result.ravel()) == pytest.approx(best, rel=1e-5)


def test_authored_poses_are_a_prior_of_every_skeleton_they_know() -> None:
    prior = priors.authored(H36M_17)
    assert prior.mean.shape == (51,)
    assert (np.linalg.eigvalsh(prior.precision) > 0).all()
    height = prior.mean.reshape(17, 3)
    assert height[H36M_17.index("head"), 1] < -300  # y down: heads are above hips
    assert height[H36M_17.index("left_ankle"), 1] > 300
    with pytest.raises(ValueError, match="two or more"):
        PosePrior.of(np.zeros((1, 3, 3)))


def test_a_smoother_that_moves_confident_joints_too_far_falls_back_and_says_so() -> None:
    truth = walk(60, 17, seed=11)
    result = smoothing.smooth(truth, np.full((60, 17), 0.95), SmoothConfig(rank=5000.0))
    assert result.method == "plain"
    assert result.moved_mm > 60
    assert float(np.linalg.norm(result.positions - truth, axis=-1).mean()) < 60


def test_bones_are_moved_half_way_to_their_clips_median() -> None:
    pose = walk(5, 17, seed=12)
    lengths = np.full(len(H36M_17.tree), 200.0)
    moved = smoothing.to_lengths(pose, lengths, H36M_17, 0.5)
    for parent, child in H36M_17.tree:
        before = np.linalg.norm(pose[:, child] - pose[:, parent], axis=-1)
        after = np.linalg.norm(moved[:, child] - moved[:, parent], axis=-1)
        some = before > 1e-6
        np.testing.assert_allclose(after[some], (before[some] + 200) / 2, rtol=1e-9)


@pytest.mark.parametrize("fps", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize("frames", [1, 2, 3, 40])
def test_any_length_and_frame_rate_gives_finite_positions(fps: float, frames: int) -> None:
    predicted = walk(frames, 17, seed=13)
    for level in (0.0, 0.05, 1.0):
        result = smoothing.smooth(predicted, np.full((frames, 17), level), SmoothConfig(), fps, H36M_17)
        assert np.isfinite(result.positions).all()


def test_smoothing_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="NaN"):
        smoothing.smooth(np.full((4, 3, 3), np.nan), np.ones((4, 3)), SmoothConfig())
    with pytest.raises(ValueError, match="do not fit"):
        smoothing.smooth(np.zeros((4, 3, 3)), np.ones((3, 4)), SmoothConfig())


# 2D tracks


def planar(frames: int, seed: int = 14) -> Array:
    return np.asarray(walk(frames, 17, seed)[..., :2] / 2 + 500 + 40 * np.random.default_rng(seed).normal(size=(17, 2)))


def test_bursts_are_doubted_and_gaps_are_filled() -> None:
    right = planar(80)
    rng = np.random.default_rng(15)
    seen, score = right + rng.normal(0, 2, right.shape), np.full((80, 17), 0.9)
    seen[30:34, 5] += 150
    score[50:55, 7] = 0.0
    seen[50:55, 7] = np.nan
    result = tracks.clean(seen, score, H36M_17, TrackConfig())
    assert float(np.abs(result.pixels[30:34, 5] - right[30:34, 5]).max()) < 45  # of 150 px
    assert float(np.abs(result.pixels[50:55, 7] - right[50:55, 7]).max()) < 20
    assert result.weight[30:34, 5].max() < 0.1 < 0.5 < result.weight[20:28, 5].min()
    assert (result.weight[50:55, 7] == 0).all()
    assert result.known.all()


def test_exchanged_limbs_are_given_back() -> None:
    right = planar(80)
    seen, score = right.copy(), np.full((80, 17), 0.9)
    for a, b in H36M_17.twins:
        if any(part in a for part in ("shoulder", "elbow", "wrist")):
            one, other = H36M_17.index(a), H36M_17.index(b)
            seen[20:24, one], seen[20:24, other] = right[20:24, other], right[20:24, one]
    result = tracks.clean(seen, score, H36M_17, TrackConfig())
    assert result.swapped[20:24, 1].all()
    assert result.swapped.sum() == 4
    assert float(np.abs(result.pixels - right).max()) < 6


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_tracks_of_a_few_frames_or_of_nobody_stay_finite(frames: int) -> None:
    right = planar(frames)
    assert np.isfinite(tracks.clean(right, np.ones((frames, 17)), H36M_17, TrackConfig()).pixels).all()
    nobody = tracks.clean(np.full(right.shape, np.nan), np.zeros((frames, 17)), H36M_17, TrackConfig())
    assert np.isfinite(nobody.pixels).all()
    assert not nobody.known.any()


# simulators


@pytest.mark.parametrize("how", [videos.SHORT_LIVED, videos.STUBBORN])
def test_the_first_simulator_makes_errors_of_the_papers_size(how: videos.Stubborn) -> None:
    truth = np.tile(videos.seen_from(walk(300, 17, seed=16), 45.0), (4, 1, 1))
    noisy, score = videos.stubborn(truth, H36M_17, how, np.random.default_rng(17))
    error = np.linalg.norm(noisy - truth, axis=-1)[:, 1:]
    assert 60 < error.mean() < 140
    assert 0.75 < (score[:, 1:] > 0.7).mean() < 0.95
    assert error[score[:, 1:] < 0.7].mean() > 1.5 * error[score[:, 1:] > 0.7].mean()
    assert (noisy[:, 0] == 0).all()


def test_correlation_of_the_second_simulator_is_as_asked() -> None:
    truth = videos.seen_from(walk(4000, 17, seed=18), 45.0)
    plain = videos.Correlated(0.9, bursts=0.0, turn_deg=0.0, size_sd=0.0)
    noisy, _ = videos.correlated(truth, H36M_17, plain, np.random.default_rng(19))
    off = (noisy - truth)[:, 1:]
    assert float((off[1:] * off[:-1]).mean() / (off**2).mean()) == pytest.approx(0.9, abs=0.03)
