"""Errors of 3D poses against cases worked out by hand and plain re-statements."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.poses import metrics


class TestMetrics:
    truth = np.random.default_rng(0).normal(0, 300, (4, 9, 3))

    def turn(self) -> np.ndarray:
        q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
        return q * np.sign(np.linalg.det(q))

    def test_mpjpe_ignores_the_place_and_n_mpjpe_the_size(self) -> None:
        assert metrics.mpjpe_mm(self.truth + 50, self.truth) == pytest.approx(0, abs=1e-9)
        assert metrics.n_mpjpe_mm(0.3 * self.truth - 7, self.truth) == pytest.approx(0, abs=1e-9)
        one = self.truth.copy()
        one[:, 3, 0] += 90
        assert metrics.mpjpe_mm(one, self.truth) == pytest.approx(10)

    def test_pa_mpjpe_ignores_turn_size_and_place_but_not_reflection(self) -> None:
        moved = 2.5 * self.truth @ self.turn() + [1, 2, 3]
        assert metrics.pa_mpjpe_mm(moved, self.truth) == pytest.approx(0, abs=1e-9)
        assert metrics.pa_mpjpe_mm(self.truth * [1, 1, -1], self.truth) > 50

    def test_coded_scale_is_that_of_the_rotated_fit(self) -> None:
        rng = np.random.default_rng(4)
        p = self.truth @ self.turn() * 1.7 + rng.normal(0, 40, self.truth.shape)
        p, t = p - p[:, :1], self.truth - self.truth[:, :1]
        plain = []
        for one, true in zip(p, t):
            a, b = one - one.mean(0), true - true.mean(0)
            na, nb = np.linalg.norm(a), np.linalg.norm(b)
            u, s, vt = np.linalg.svd((b / nb).T @ (a / na))
            if np.linalg.det(u @ vt) < 0:
                s[-1] *= -1
            plain.append(np.linalg.norm(s.sum() * nb / na * one - true, axis=-1).mean())
        assert metrics.coded_scale_mm(p, t) == pytest.approx(np.mean(plain), rel=1e-9)
        assert metrics.n_mpjpe_mm(p, t) < metrics.coded_scale_mm(p, t)

    def test_pck_and_auc_by_hand(self) -> None:
        errors = np.array([[0.0, 149.0, 151.0], [74.9, 300.0, 10.0]])
        assert metrics.pck3d(errors) == pytest.approx(4 / 6)
        steps = np.arange(0, 151, 5)
        assert metrics.auc3d(errors) == pytest.approx(np.mean([(errors < s).mean() for s in steps]))

    def test_bootstrap_holds_the_mean_and_narrows_with_people(self) -> None:
        values = np.random.default_rng(2).normal(50, 10, 4000)
        few, many = metrics.bootstrap(values[:40]), metrics.bootstrap(values)
        assert few[0] < values[:40].mean() < few[1]
        assert many[1] - many[0] == pytest.approx(2 * 1.96 * 10 / math.sqrt(4000), rel=0.1)

    def test_no_poses_are_refused(self) -> None:
        with pytest.raises(metrics.EmptyPoses):
            metrics.mpjpe_mm(self.truth[:0], self.truth[:0])


def test_shapes_in_annotations_are_checked_while_tests_run() -> None:
    from beartype.roar import BeartypeCallHintParamViolation
    from jaxtyping import TypeCheckError

    flat = np.zeros((7, 14, 2))
    with pytest.raises((TypeCheckError, BeartypeCallHintParamViolation)):
        metrics.mpjpe_mm(flat, flat)
    with pytest.raises((TypeCheckError, BeartypeCallHintParamViolation)):
        metrics.mpjpe_mm(np.zeros((7, 14, 3)), np.zeros((7, 13, 3)))
