"""The plain filters that people use, as controls beside every report. Trajectories F x n, frames in rows; scores F x n in 0..1."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.linalg import solve_banded, solveh_banded
from scipy.signal import butter, savgol_filter, sosfiltfilt

Array = NDArray[np.float64]


def interpolated(values: Float[np.ndarray, "F ..."], known: Bool[np.ndarray, "F ..."]) -> Float[np.ndarray, "F ..."]:
    """Entries that are not known, linearly between the nearest that are; at the ends the nearest; 0 where none is known."""
    out = np.array(values, dtype=np.float64)
    frames = np.arange(len(out))
    for column in np.flatnonzero(~known.all(axis=0)):
        there = known[:, column]
        out[:, column] = np.interp(frames, frames[there], out[there, column]) if there.any() else 0.0
    return out


def savitzky_golay(values: Float[np.ndarray, "F ..."], window: int = 5, order: int = 2) -> Float[np.ndarray, "F ..."]:
    """Least squares polynomials over `window` frames (odd); clips shorter than that stay as they are."""
    if len(values) < window:
        return np.array(values)
    return np.asarray(savgol_filter(values, window, order, axis=0))


def butterworth(
    values: Float[np.ndarray, "F ..."], fps: float, cutoff_hz: float = 2.2, order: int = 2
) -> Float[np.ndarray, "F ..."]:
    """Low pass, forward and backward (no delay). A cut-off above what the frame rate can carry changes nothing."""
    if cutoff_hz >= fps / 2 or len(values) < 2:
        return np.array(values)
    sections = butter(order, cutoff_hz, fs=fps, output="sos")
    return np.asarray(sosfiltfilt(sections, values, axis=0, padlen=min(3 * (2 * len(sections) + 1), len(values) - 1)))


def differences(frames: int, order: int) -> Float[np.ndarray, "K F"]:
    """Bands (upper form of solveh_banded, order + 1 rows) of D'D, D the differences of this order of a column of `frames`."""
    kernel = np.array([1.0])
    for _ in range(order):
        kernel = np.convolve(kernel, [1.0, -1.0])
    bands = np.zeros((order + 1, frames))
    for offset in range(order + 1):
        # entry (i, i + offset): sum over rows r of D of kernel[i - r] kernel[i + offset - r]
        for place in range(order + 1 - offset):
            rows = np.arange(frames - order)  # r; column i = r + place
            np.add.at(bands[order - offset], rows + place + offset, kernel[place] * kernel[place + offset])
    return bands


def smoothed(
    values: Float[np.ndarray, "F n"], weight: Float[np.ndarray, "F ..."], stiffness: float, order: int = 2
) -> Float[np.ndarray, "F n"]:
    """Whittaker's smoother: argmin_x sum w (x - y)^2 + stiffness |D x|^2, each column with weights of its own (F x n, or F for all)."""
    frames = len(values)
    if frames <= order:
        return np.array(values)
    bands = stiffness * differences(frames, order)
    if weight.ndim == 1:
        own = bands.copy()
        own[-1] += weight
        return np.asarray(solveh_banded(own, weight[:, None] * values, check_finite=False))
    out = np.empty_like(values)
    for column in range(values.shape[1]):
        own = bands.copy()
        own[-1] += weight[:, column]
        out[:, column] = solveh_banded(own, weight[:, column] * values[:, column], check_finite=False)
    return out


def kalman_rts(
    values: Float[np.ndarray, "F n"], noise: Float[np.ndarray, "F n"], fps: float, agility: float = 300.0
) -> Float[np.ndarray, "F n"]:
    """Kalman filter and Rauch-Tung-Striebel smoother, constant velocity: acceleration is white of `agility` (units / s^2 / sqrt(Hz));
    `noise` F x n is the standard deviation of each entry.

    Solved as the banded MAP it is (the same estimate): states of position and velocity, pentadiagonal blocks, forward and back at once.
    """
    frames, columns = values.shape
    if frames < 2:
        return np.array(values)
    step = 1.0 / fps
    # process covariance agility^2 [[dt^3/3, dt^2/2], [dt^2/2, dt]]; its inverse weighs s_{t+1} - A s_t
    process = np.linalg.inv(agility**2 * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]]))
    move = np.array([[1.0, step], [0.0, 1.0]])
    diagonal = np.zeros((frames, 2, 2))
    diagonal[:-1] += move.T @ process @ move
    diagonal[1:] += process
    cross = -(move.T @ process)  # couples t (rows) with t + 1 (columns)
    out = np.empty_like(values)
    band = np.zeros((7, 2 * frames))  # three bands each side
    for t_offset, block in ((0, diagonal), (1, np.broadcast_to(cross, (frames - 1, 2, 2)))):
        for a in range(2):
            for b in range(2):
                rows = 2 * np.arange(len(block)) + a
                cols = rows - a + 2 * t_offset + b
                band[3 + rows - cols, cols] += block[:, a, b]
                if t_offset:
                    band[3 + cols - rows, rows] += block[:, a, b]
    for column in range(columns):
        weight = 1.0 / noise[:, column] ** 2
        own = band.copy()
        own[3, 0::2] += weight
        right = np.zeros(2 * frames)
        right[0::2] = weight * values[:, column]
        out[:, column] = solve_banded((3, 3), own, right, check_finite=False)[0::2]
    return out
