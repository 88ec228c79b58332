"""Simulated errors of a 3D predictor, as two independent studies describe them, and simulated errors of a 2D detector over time.

Named simulated wherever used: nothing here is a network's output. F frames at 10 a second unless said, J joints, mm, camera frame
(x right, y down, z away), root-relative. What the descriptions leave open is set so that raw errors, shares of confident joints and what
plain filters gain are as they print; see docs/methods/video.md, 'Simulated errors'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.signal import lfilter

from labeling.skeletons import Skeleton

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stubborn:
    """First study: errors bound to pose and clip beside slow and fast noise. Standard deviations in mm, times in s."""

    slow_mm: float = 19.0
    fast_mm: float = 7.0
    pose_mm: float = 31.0
    bias_mm: float = 11.0
    slow_s: float = 3.0
    burst_frames: float = 29.0
    bursts: float = 0.06  # share of joints in gross bursts
    swaps: float = 0.04  # share of frames whose arms or legs are exchanged
    swap_frames: float = 6.0


SHORT_LIVED = Stubborn(slow_mm=22.0, fast_mm=12.0, pose_mm=34.0, bias_mm=10.0, slow_s=1.2, burst_frames=12.0)
STUBBORN = Stubborn()
OF_POSE = 0.38  # share of `pose_mm` that the random function of the pose has: its features saturate


@dataclass(frozen=True)
class Correlated:
    """Second study: noise of one correlation from frame to frame, drifting scale and heading, short bursts of gross errors."""

    correlation: float = 0.8
    noise_mm: float = 22.0
    burst_frames: float = 6.0
    bursts: float = 0.045
    turn_deg: float = 4.5  # of all three axes together
    size_sd: float = 0.03
    confidence_noise: float = 0.35


_STUDY_1 = {"wrist": 2.0, "ankle": 1.8, "elbow": 1.35, "knee": 1.2, "hip": 0.35}
_STUDY_2 = {"wrist": 1.8, "ankle": 1.5}


def _factors(skeleton: Skeleton, table: dict[str, float]) -> Array:
    return np.array([next((f for part, f in table.items() if name.endswith(part)), 1.0) for name in skeleton.keypoints])


def _correlated(shape: tuple[int, ...], rho: float, rng: np.random.Generator, tails: float = 0.0) -> Array:
    """AR(1) along the first axis with variance 1; `tails`: innovations of Student's t with so many degrees."""
    drawn = rng.standard_t(tails, shape) / np.sqrt(tails / (tails - 2)) if tails else rng.standard_normal(shape)
    drawn[1:] *= np.sqrt(1 - rho**2)
    return np.asarray(lfilter([1.0], [1.0, -rho], drawn, axis=0))


def _stretches(
    shape: tuple[int, ...], share: float, length: float, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which entries lie in stretches of geometric length along the first axis (`share` of them in all), and each stretch's number."""
    begins = rng.random(shape) < share / length / max(1 - share, 1e-9)
    ends = rng.random(shape) < 1 / length
    inside, number = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=np.int64)
    now, count = rng.random(shape[1:]) < share, np.zeros(shape[1:], dtype=np.int64)
    for t in range(shape[0]):  # along time: each frame hangs on the one before
        begun = begins[t] & ~now
        count += begun
        now = now | begun
        inside[t], number[t] = now, count
        now = now & ~ends[t]
    return inside, number


def seen_from(
    world_mm: Float[np.ndarray, "F J 3"], yaw_deg: float, pitch_deg: float = 10.0
) -> Float[np.ndarray, "F J 3"]:
    """World poses (y up) in a camera's axes, root at the origin."""
    a, p = np.radians(yaw_deg), np.radians(pitch_deg)
    forward = np.array([-np.sin(a) * np.cos(p), -np.sin(p), -np.cos(a) * np.cos(p)])
    right = np.cross(forward, [0, 1.0, 0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    return np.asarray((world_mm - world_mm[:, :1]) @ np.stack([right, down, forward]).T)


def stubborn(
    truth: Float[np.ndarray, "F J 3"], skeleton: Skeleton, how: Stubborn, rng: np.random.Generator, fps: float = 10.0
) -> tuple[Float[np.ndarray, "F J 3"], Float[np.ndarray, "F J"]]:
    """Predictions F x J x 3 and confidences F x J of the first study's simulated predictor. The root is never wrong."""
    frames, joints = truth.shape[:2]
    factor = _factors(skeleton, _STUDY_1)[None, :, None] * np.array([0.75, 0.75, 1.75])
    features = np.tanh(
        truth.reshape(frames, -1) / 300 @ rng.normal(0, 1 / np.sqrt(joints), (3 * joints, 24)) + rng.normal(0, 0.5, 24)
    )
    of_pose = (features @ rng.normal(0, 1, (24, 3 * joints)) / np.sqrt(24)).reshape(truth.shape)
    of_pose *= OF_POSE / max(float(of_pose.std()), 1e-9)
    slow = _correlated(truth.shape, float(np.exp(-1 / (how.slow_s * fps))), rng, tails=4)
    fast = _correlated(truth.shape, 0.0, rng, tails=4)
    difficulty = np.exp(0.3 * _correlated((frames, 1, 1), 0.95, rng) - 0.045)
    off = (how.slow_mm * slow + how.fast_mm * fast + how.pose_mm * of_pose) * difficulty
    off = (off + how.bias_mm * rng.standard_normal((1, joints, 3))) * factor
    off[:, 0] = 0.0
    noisy = truth * rng.normal(1, 0.04) + off
    gross, number = _stretches((frames, joints), how.bursts, how.burst_frames, rng)
    aim = rng.normal(size=(int(number.max()) + 1, joints, 3))
    aim *= rng.uniform(120, 420, (len(aim), joints, 1)) / np.linalg.norm(aim, axis=-1, keepdims=True)
    noisy = noisy + np.where(gross[..., None], aim[number, np.arange(joints)], 0.0)
    noisy[:, 0] = 0.0
    noisy = _swapped(noisy, skeleton, how.swaps, how.swap_frames, rng)
    error = np.linalg.norm(noisy - truth, axis=-1)
    score = 0.908 - 0.30 * (1 - np.exp(-((error / 190) ** 1.6))) + rng.normal(0, 0.10, error.shape)
    return noisy, np.clip(score, 0.01, 1.0)


def _swapped(noisy: Array, skeleton: Skeleton, share: float, length: float, rng: np.random.Generator) -> Array:
    out = noisy.copy()
    for parts in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
        where, _ = _stretches((len(noisy), 1), share, max(length, 1.0), rng)
        rows = np.flatnonzero(where[:, 0])
        for a, b in skeleton.twins:
            if any(part in a for part in parts):
                one, other = skeleton.index(a), skeleton.index(b)
                out[rows, one], out[rows, other] = noisy[rows, other], noisy[rows, one]
    return out


def correlated(
    truth: Float[np.ndarray, "F J 3"], skeleton: Skeleton, how: Correlated, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "F J 3"], Float[np.ndarray, "F J"]]:
    """Predictions F x J x 3 and confidences F x J of the second study's simulated predictor."""
    frames, joints = truth.shape[:2]
    factor = _factors(skeleton, _STUDY_2)[None, :, None] * np.array([1.0, 1.0, 1.9])
    scale = np.exp(0.5 * _correlated((frames, joints, 1), 0.9, rng) - 0.125)  # log-normal, drifting
    off = how.noise_mm * scale * factor * _correlated(truth.shape, how.correlation, rng)
    gross, number = _stretches((frames, joints), how.bursts, how.burst_frames, rng)
    aim = rng.normal(0, 130, (int(number.max()) + 1, joints, 3))
    off = off + np.where(gross[..., None], aim[number, np.arange(joints)], 0.0)
    slow = 0.98
    angle = np.radians(how.turn_deg / np.sqrt(3)) * _correlated((frames, 3), slow, rng)
    size = 1 + how.size_sd * _correlated((frames, 1, 1), slow, rng)
    shifted = size * (truth + np.cross(angle[:, None], truth)) + off
    shifted -= shifted[:, :1]
    error = np.linalg.norm(shifted - truth, axis=-1)
    noisy = error * np.exp(how.confidence_noise * rng.standard_normal(error.shape))
    score = 0.95 * np.exp(-((noisy / 440) ** 1.2))  # about 86 % above 0.7
    return shifted, np.clip(score, 0.01, 1.0)


@dataclass(frozen=True)
class Noise2D:
    """A simulated 2D detector over time: jitter, bursts of joints gone astray or missing, limbs exchanged. Pixels of a 1,000 px picture."""

    jitter_px: float = 5.0
    correlation: float = 0.6
    burst_px: float = 35.0
    burst_frames: float = 5.0
    bursts: float = 0.04
    missing: float = 0.3  # share of bursts where the joint is missing instead
    swaps: float = 0.02


LIGHT, HEAVY = Noise2D(), Noise2D(burst_px=70.0, bursts=0.10, swaps=0.05)


def detected(
    pixels: Float[np.ndarray, "F J 2"], skeleton: Skeleton, how: Noise2D, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "F J 2"], Float[np.ndarray, "F J"]]:
    """Detections F x J x 2 (px) and scores F x J (0: missing) of keypoints over time."""
    frames, joints = pixels.shape[:2]
    noisy = pixels + how.jitter_px * _correlated(pixels.shape, how.correlation, rng)
    noisy = _swapped(noisy, skeleton, how.swaps, how.burst_frames, rng)
    wrong = np.linalg.norm(noisy - pixels, axis=-1) > 4 * how.jitter_px
    astray, number = _stretches((frames, joints), how.bursts, how.burst_frames, rng)
    drift = rng.normal(0, how.burst_px / np.sqrt(2), (int(number.max()) + 1, joints, 2))
    noisy = noisy + np.where(astray[..., None], drift[number, np.arange(joints)], 0.0)
    gone = astray & (rng.random((int(number.max()) + 1, joints))[number, np.arange(joints)] < how.missing)
    score = np.clip(rng.normal(0.85, 0.08, (frames, joints)), 0.05, 1.0)
    # a detector half knows: scores of wrong joints are lower on average and overlap those of right ones
    doubted = np.clip(rng.normal(0.5, 0.18, (frames, joints)), 0.05, 1.0)
    score = np.where(wrong | astray, doubted, score)
    return np.where(gone[..., None], 0.0, noisy), np.where(gone, 0.0, score)


def handheld(frames: int, rng: np.random.Generator) -> Float[np.ndarray, "F 1 2"]:
    """A camera that pans (sd 80 px, over seconds) and shakes (sd 5 px): F x 1 x 2 px that every joint moves by."""
    return 80 * _correlated((frames, 1, 2), 0.97, rng) + 5 * _correlated((frames, 1, 2), 0.5, rng)
