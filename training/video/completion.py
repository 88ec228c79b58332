"""Trajectory completion of the paper: a clip's trajectory is low rank, smooth and expresses itself; solved in time linear in its length.

minimise |X|_* + ld |X D|^2 + lc |B|_* + le |X - X B|_1 with X = S on confident joints ('hard'), or with sum w (X - S)^2 / 2 beside it
('soft'). Copies X# = X (nuclear norm), Z = X (data), C = B, E = X - X B; multipliers Y1 (X - XB - E), Y2 (B - C), Y3 (X# - X), Y4 (X - Z).

All arrays here stand upright: frames F in rows, the paper's X' (F x n). B is never formed: from the second iteration on the multiplier Y2
cancels in T = B + Y2 / mu = C_before + X' G, so T, C and Y2 share the singular vectors of a matrix of at most rank(C) + n, and
B = b0 I + P Q' with P, Q of F x (rank + n). The X step is a tridiagonal system plus that rank (Woodbury).
Source: Li et al. 2019, section 3; the updates and the cancellation are derived in docs/methods/video.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.linalg import cholesky_banded, qr
from scipy.linalg.lapack import dtbtrs

from training.video.config import CompletionConfig
from webapp.progress import Progress, silent

Array = NDArray[np.float64]
RANK = 1e-13  # singular values below this share of the largest are rounding


@dataclass(frozen=True)
class Completed:
    """`trajectory` F x n in the units of the input; `residual` of the constraints relative to the data."""

    trajectory: Float[np.ndarray, "F n"]
    iterations: int
    residual: float
    converged: bool


@dataclass(frozen=True)
class Factored:
    """The F x F matrix b0 I + left right', left and right F x q."""

    identity: float
    left: Float[np.ndarray, "F q"]
    right: Float[np.ndarray, "F q"]

    def after(self, x: Array) -> Array:
        """(X B)' for X' = x."""
        return self.identity * x + self.right @ (self.left.T @ x)


@dataclass(frozen=True)
class Singular:
    """u diag(s) v', u and v with orthonormal columns."""

    u: Float[np.ndarray, "F r"]
    s: Float[np.ndarray, " r"]
    v: Float[np.ndarray, "n r"]

    def plus(self, left: Array, right: Array) -> Singular:
        """Of this + left right', without forming it. The columns at hand are orthonormal: only new ones are turned."""
        (q1, r1, new1), (q2, r2, new2) = _beside(self.u, left), _beside(self.v, right)
        old = len(self.s)
        core = np.zeros((old + new1.shape[0], old + new2.shape[0]))
        core[np.arange(old), np.arange(old)] = self.s
        core += np.vstack([r1, new1]) @ np.vstack([r2, new2]).T
        u, s, vt = np.linalg.svd(core)
        kept = s > RANK * max(float(s[0]) if len(s) else 0.0, 1e-300)
        return Singular(q1 @ u[:, : len(s)][:, kept], s[kept], q2 @ vt[: len(s)][kept].T)


def _beside(basis: Array, more: Array) -> tuple[Array, Array, Array]:
    """Orthonormal columns for [basis, more], and more's coordinates in the old and the new ones. Twice is enough."""
    inside = basis.T @ more
    left = more - basis @ inside
    again = basis.T @ left
    q, r = qr(left - basis @ again, mode="economic", check_finite=False)
    return np.hstack([basis, q]), inside + again, np.asarray(r, dtype=np.float64)


def shrink(values: Float[np.ndarray, "*S"], by: float) -> Float[np.ndarray, " *S"]:
    """argmin_E by |E|_1 + |E - values|^2 / 2."""
    return np.sign(values) * np.maximum(np.abs(values) - by, 0.0)


def singular_threshold(values: Float[np.ndarray, "F n"], by: float) -> Float[np.ndarray, "F n"]:
    """argmin_X by |X|_* + |X - values|^2 / 2 for a tall matrix, through its n x n Gram matrix's eigenvectors."""
    _, v = np.linalg.eigh(values.T @ values)
    turned = values @ v
    s = np.sqrt((turned**2).sum(axis=0))  # of the columns: the roots of small eigenvalues are rounding
    return np.asarray((turned * np.where(s > by, 1 - by / np.maximum(s, 1e-300), 0.0)) @ v.T)


def data_step(
    target: Float[np.ndarray, "F n"],
    seen: Float[np.ndarray, "F n"],
    weight: Float[np.ndarray, "F n"] | None,
    pinned: Bool[np.ndarray, "F n"],
    mu: float,
) -> Float[np.ndarray, "F n"]:
    """Z: argmin of the data term + mu/2 |Z - target|^2: pinned entries as seen ('hard', no weight), or weighted."""
    if weight is None:
        return np.where(pinned, seen, target)
    return (weight * seen + mu * target) / (weight + mu)


def affinity_step(x: Array, express: Array, before: Factored) -> tuple[Factored, Array, Array]:
    """B: argmin |express - X B|^2 + |B - C'|^2 with C' = `before`; returned as C' + X' G, with G' and (X B)'.

    B = C' + X' K (express - X C'), K = (I + X X')^-1: Woodbury, n x n.
    """
    already, gram = before.after(x), x.T @ x
    gap = express - already
    g = np.asarray(np.linalg.solve(np.eye(x.shape[1]) + gram, gap.T).T, dtype=np.float64)
    grown = Factored(before.identity, np.hstack([before.left, x]), np.hstack([before.right, g]))
    return grown, g, already + g @ gram


def trajectory_step(b: Factored, right_side: Array, smooth: float, mu: float) -> Array:
    """X': solves X (2 smooth D D' + mu (I - B)(I - B)' + 2 mu I) = R for R' = `right_side`."""
    frames, columns = right_side.shape
    k = 1 - b.identity
    band = np.zeros((2, frames))
    band[0, 1:] = -2 * smooth
    band[1] = 4 * smooth + mu * (k * k + 2)
    band[1, [0, -1]] -= 2 * smooth * (1 if frames > 1 else 2)
    # (I - B)(I - B)' = k^2 I + L S L' with L = [P, Q], S = [[Q'Q, -k I], [-k I, 0]]; the tridiagonal part is U'U: with
    # U'^-1 on both sides Woodbury's inner matrix is a symmetric product, and only R's columns go through U^-1
    rank = b.left.shape[1]
    half = np.empty((frames, columns + 2 * rank), order="F")
    half[:, :columns], half[:, columns : columns + rank], half[:, columns + rank :] = right_side, b.left, b.right
    factor = cholesky_banded(band[-min(2, frames) :], check_finite=False)
    half = dtbtrs(factor, half, uplo="U", trans="T", overwrite_b=1)[0]
    plain, spread = half[:, :columns], half[:, columns:]
    inner, toward = spread.T @ spread, spread.T @ plain
    square = b.right.T @ b.right
    mix = np.vstack([mu * (square @ inner[:rank] - k * inner[rank:]), -mu * k * inner[:rank]])
    aim = np.vstack([mu * (square @ toward[:rank] - k * toward[rank:]), -mu * k * toward[:rank]])
    mix[np.arange(2 * rank), np.arange(2 * rank)] += 1
    left = plain - spread @ np.linalg.solve(mix, aim)
    return np.asarray(dtbtrs(factor, left, uplo="U", trans="N")[0])


def complete(
    predicted: Float[np.ndarray, "F n"],
    score: Float[np.ndarray, "..."],
    config: CompletionConfig | None = None,
    *,
    progress: Progress = silent,
) -> Completed:
    """Complete the trajectories of predicted F x n (root-relative, mm; finite) with a score in 0..1 for each entry.

    Raises ValueError for arrays that do not fit or hold NaN (fill gaps first: clips.filled).
    """
    config = config or CompletionConfig()
    if predicted.ndim != 2 or predicted.shape != score.shape or not len(predicted):
        raise ValueError(f"trajectories {predicted.shape} and scores {score.shape} do not fit")
    if not (np.isfinite(predicted).all() and np.isfinite(score).all()):
        raise ValueError("trajectories or scores hold NaN or infinity")
    unit = config.unit_mm or float(np.abs(predicted).mean())
    if not predicted.any():
        return Completed(predicted.copy(), 0, 0.0, True)
    seen = predicted / unit
    size = float(np.linalg.norm(seen))
    weight = config.trust * score**config.power if config.equality == "soft" else None
    pinned = score > config.confident
    frames = len(seen)
    x, z, e = seen.copy(), seen.copy(), np.zeros_like(seen)
    y1, y3, y4 = np.zeros_like(seen), np.zeros_like(seen), np.zeros_like(seen)
    none = np.zeros((frames, 0))
    before = Factored(1.0, none, none)  # C' = C - Y2 / mu, at first C = I
    cut = Singular(none, np.zeros(0), none)
    mu, residual, done = config.mu, np.inf, 0
    for done in range(1, config.iterations + 1):
        progress(done - 1, config.iterations, "iterations")
        low = singular_threshold(x - y3 / mu, 1 / mu)
        z = data_step(x + y4 / mu, seen, weight, pinned, mu)
        b, g, expressed = affinity_step(x, x - e + y1 / mu, before)
        next_mu = min(config.growth * mu, config.most_mu)
        if done == 1:  # T = I (X = X I expresses itself), all of it cut: C = 0, Y2 = mu I
            before = Factored(-mu / next_mu, none, none)
        else:
            t = cut.plus(x, g)
            left_over = np.maximum(t.s - config.affinity / mu, 0.0)
            before = Factored(0.0, t.u * (left_over - np.minimum(mu * t.s, config.affinity) / next_mu), t.v)
            some = left_over > 0
            cut = Singular(t.u[:, some], left_over[some], t.v[:, some])
        e = shrink(x - expressed + y1 / mu, config.sparse / mu)
        h = mu * e - y1
        moved = (1 - b.identity) * h - b.left @ (b.right.T @ h)
        old, x = x, trajectory_step(b, moved + mu * (low + z) + y3 - y4, config.smooth, mu)
        gaps = (x - b.after(x) - e, low - x, x - z)
        y1, y3, y4 = y1 + mu * gaps[0], y3 + mu * gaps[1], y4 + mu * gaps[2]
        residual = max(float(np.linalg.norm(r)) for r in (*gaps, x - old)) / size
        mu = next_mu
        if not np.isfinite(residual):
            raise FloatingPointError("completion diverged; take a larger first mu or smaller growth")
        if residual < config.tolerance:
            break
    progress(config.iterations, config.iterations, "iterations")
    completed = z * unit
    if weight is None:
        completed = np.where(pinned, predicted, completed)  # to the last bit
    return Completed(completed, done, residual, residual < config.tolerance)
