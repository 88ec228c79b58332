"""2D tracks of one person over time, cleaned before they are lifted: robust smoothing, gaps filled, exchanged limbs given back.

1. Where a camera shakes, what all joints of a frame share is taken out, and put back at the end.
2. Each track is the least squares of (score^p) Cauchy-weighted residuals and squared second differences, reweighted a few times, stiff
   and tolerant at first; between the rounds, a limb whose joints fit the other side's tracks better is exchanged: a two-state chain over
   time (Viterbi), so that one odd frame is not.
3. With those weights, all tracks together are of low rank (smoothing.low_rank): a lost wrist follows from the other joints.
4. Detections that lie close to their track stay as they are: smoothing what is right costs more than its noise does.
F frames, J joints, px.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from labeling.skeletons import Skeleton
from training.video import filters
from training.video.config import SmoothConfig, TrackConfig
from training.video.smoothing import low_rank

Array = NDArray[np.float64]
USUAL_FPS = 10.0
USUAL_SIZE = 1700.0
SURE = 0.25  # score to the power from which a detection is believed
SHAKING = 0.5  # of joint residuals shared, over those of their own, from which a camera is said to shake
EASE = ((100.0, 4.0), (30.0, 3.0), (10.0, 2.0), (3.0, 1.5))  # stiffness and scale of the first rounds
LIMBS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))


@dataclass(frozen=True)
class Tracks:
    """`pixels` F x J x 2; `weight` F x J: how much of each detection was believed (0..1); `swapped` F x limbs (legs, arms);
    `known` J: joints seen at least twice."""

    pixels: Float[np.ndarray, "F J 2"]
    weight: Float[np.ndarray, "F J"]
    swapped: Bool[np.ndarray, "F L"]
    known: Bool[np.ndarray, " J"]


def person_px(pixels: Float[np.ndarray, "F J 2"], score: Float[np.ndarray, "F J"]) -> float:
    """Median over frames of the larger side of the box around a person's detections."""
    there = score > 0
    low = np.where(there[..., None], pixels, np.inf).min(axis=1)
    high = np.where(there[..., None], pixels, -np.inf).max(axis=1)
    some = there.sum(axis=1) >= 2
    return float(np.median((high - low).max(axis=1)[some])) if some.any() else 0.0


def clean(
    pixels: Float[np.ndarray, "F J 2"],
    score: Float[np.ndarray, "F J"],
    skeleton: Skeleton,
    config: TrackConfig,
    fps: float = USUAL_FPS,
) -> Tracks:
    """Tracks behind detections F x J x 2 (px) with scores F x J (0: missing; NaN coordinates count as missing)."""
    there = np.asarray((score > 0) & np.isfinite(score) & np.isfinite(pixels).all(axis=-1))
    seen = np.where(there[..., None], pixels, 0.0)
    base = np.where(there, np.clip(np.nan_to_num(score), 0, 1) ** config.power, 0.0)
    known = there.sum(axis=0) >= min(2, len(pixels))
    scale = config.gross * max(person_px(seen, base), 1.0)
    shared = np.zeros((len(seen), 1, 2))
    robust = _Robust(skeleton, config, scale, config.stiffness * (fps / USUAL_FPS) ** 4)
    track, weight, swapped = robust.fit(seen, base)
    if config.steady == "always" or (config.steady == "auto" and _shakes(seen - track, weight > SURE)):
        shared = _shared(seen, there)
        track, weight, swapped = robust.fit(seen - shared, base)
        shared = shared + _shared(seen - shared - track, there)  # once more, with what the residuals still share
        track, weight, swapped = robust.fit(seen - shared, base)
    right, base = robust.exchanged(seen - shared, base, swapped)
    for _ in range(config.rank_rounds):
        track = _low_rank(right, track, weight, base > 0, config, scale / config.gross, fps)
        weight = base / (1 + (np.linalg.norm(right - track, axis=-1) / scale) ** 2)
    off = np.linalg.norm(right - track, axis=-1)
    confidence = np.where(base > 0, np.minimum(base / SURE, 1) / (1 + (off / max(config.keep * scale, 1e-9)) ** 2), 0.0)
    if config.keep:
        track = track + confidence[..., None] * (right - track)
    return Tracks(track + shared, confidence, swapped, known)


def _shakes(off: Array, sure: NDArray[np.bool_]) -> bool:
    """Do the joints' residuals F x J x 2 go together by more than chance lets them? Of J joints of their own, by 1 / sqrt(J)."""
    rows = sure.sum(axis=1) >= 4
    if rows.sum() < 10:
        return False
    own = np.where(sure[rows][..., None], off[rows], np.nan)
    together = np.nanmedian(own, axis=1)
    return bool(np.std(together) > SHAKING * np.nanstd(own - together[:, None]))


def _shared(values: Array, there: NDArray[np.bool_]) -> Array:
    """Median over the joints of each frame, F x 1 x 2; frames that show nobody take it from their neighbours in time."""
    middle = np.zeros((len(values), 2))
    some = np.asarray(there.any(axis=1))
    middle[some] = np.nanmedian(np.where(there[some][..., None], values[some], np.nan), axis=1)
    return filters.interpolated(middle, np.stack([some, some], axis=1))[:, None]


def _low_rank(
    right: Array, track: Array, weight: Array, there: NDArray[np.bool_], config: TrackConfig, person: float, fps: float
) -> Array:
    """The convex problem of the 3D smoother on 2D tracks, brought to a person of USUAL_SIZE."""
    unit = USUAL_SIZE / person
    middle = track.mean(axis=1, keepdims=True)
    seen = (np.where(there[..., None], right, track) - middle) * unit
    options = SmoothConfig(rank=config.rank, velocity=0.0, acceleration=0.0005)
    return np.asarray(low_rank(seen, np.maximum(weight, 1e-4), options, fps) / unit + middle)


@dataclass(frozen=True)
class _Robust:
    """Reweighted smoothing with exchanged limbs."""

    skeleton: Skeleton
    config: TrackConfig
    scale: float
    stiff: float

    @property
    def limbs(self) -> list[list[tuple[int, int]]]:
        index = self.skeleton.index
        return [[(index(a), index(b)) for a, b in self.skeleton.twins if any(p in a for p in parts)] for parts in LIMBS]

    def fit(self, seen: Array, base: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Tracks, weights of the detections (after exchange) and which limbs are exchanged."""
        swapped = np.zeros((len(seen), len(LIMBS)), dtype=bool)
        # stiff and tolerant at first: a burst must not carry the track off before it is doubted
        track, weight = _fit(seen, base, self.stiff * EASE[0][0]), base
        for firmer, wider in (*EASE, *((1.0, 1.0),) * self.config.rounds):
            if self.config.swaps:
                for n, pairs in enumerate(self.limbs):
                    swapped[:, n] = _crossed(seen, base, track, pairs, self.scale, self.config.swap_margin)
            right, own = self.exchanged(seen, base, swapped)
            off = np.linalg.norm(right - track, axis=-1)
            weight = own / (1 + (off / (wider * self.scale)) ** 2)
            track = _fit(right, weight, firmer * self.stiff)
        return track, weight, swapped

    def exchanged(self, seen: Array, base: Array, swapped: NDArray[np.bool_]) -> tuple[Array, Array]:
        out, weight = seen.copy(), base.copy()
        for n, pairs in enumerate(self.limbs):
            rows = swapped[:, n]
            for a, b in pairs:
                out[rows, a], out[rows, b] = seen[rows, b], seen[rows, a]
                weight[rows, a], weight[rows, b] = base[rows, b], base[rows, a]
        return out, weight


def _fit(seen: Array, weight: Array, stiff: float) -> Array:
    """Whittaker's smoother per joint; a joint without weight anywhere stays at 0."""
    frames = len(seen)
    if frames <= 2:
        mean = (weight[..., None] * seen).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-12)[:, None]
        return np.where(weight[..., None] > 0, seen, mean)
    bands = stiff * filters.differences(frames, 2)
    out = np.empty_like(seen)
    for joint in range(seen.shape[1]):
        own = bands.copy()
        own[-1] += weight[:, joint] + 1e-9  # keeps the system regular where nothing is seen
        out[:, joint] = solveh_banded(own, (weight[:, joint, None]) * seen[:, joint], check_finite=False)
    return out


def _crossed(
    seen: Array, base: Array, track: Array, pairs: list[tuple[int, int]], scale: float, margin: float
) -> NDArray[np.bool_]:
    """Frames where the joints of a limb fit the tracks of the other side better: Viterbi over {as it is, exchanged}."""
    gain = np.zeros(len(seen))
    for a, b in pairs:
        straight = _cost(seen[:, a] - track[:, a], base[:, a], scale) + _cost(
            seen[:, b] - track[:, b], base[:, b], scale
        )
        crossed = _cost(seen[:, a] - track[:, b], base[:, a], scale) + _cost(
            seen[:, b] - track[:, a], base[:, b], scale
        )
        gain += straight - crossed
    toll = margin * len(pairs)
    keep, swap = 0.0, -toll
    came = np.zeros((len(gain), 2), dtype=bool)  # whether the best way to a state comes from the other one
    for t, g in enumerate(gain.tolist()):
        keep_new, swap_new = max(keep, swap - toll), max(swap, keep - toll) + g
        came[t] = swap - toll > keep, keep - toll > swap
        keep, swap = keep_new, swap_new
    state = bool(swap > keep)
    out = np.zeros(len(gain), dtype=bool)
    for t in range(len(gain) - 1, -1, -1):
        out[t] = state
        state ^= bool(came[t, int(state)])
    return out


def _cost(off: Array, base: Array, scale: float) -> Array:
    return np.asarray(base * np.log1p((off**2).sum(axis=-1) / scale**2))
