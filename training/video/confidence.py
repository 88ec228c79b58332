"""How far a lifted joint is expected to be off, and with what probability it is near: from what an ensemble and a mirror disagree about.

log of the error (mm) is normal around a line in the logs of the ensemble's spread and of the mirror's disagreement and in the doubt of the
joint's own 2D track; the line is fitted on clips whose truth is known, or on reviewed labels. Raw spread ranks errors well and says nothing
of their size (docs/methods/video.md, 'Confidence'). F frames, J joints, E hypotheses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
NEAR_MM = 100.0  # a joint within this of its truth is near
DEEPER = 1.8  # errors in depth over those in the picture's axes, of each coordinate (lifters measured in docs/methods/video.md)
_NORM = 2.071  # mean length of a Gaussian vector with deviations 1, 1, DEEPER
BINS = 10


@dataclass(frozen=True)
class UncertaintyFeatures:
    """What is known of each joint of each frame without its truth, F x J: `spread_mm` of the ensemble, `mirror_mm` between a lift and
    its mirror's, `doubt` of the 2D track (0: detection believed, 1: none)."""

    spread_mm: Float[np.ndarray, "F J"]
    mirror_mm: Float[np.ndarray, "F J"]
    uncertainty: Float[np.ndarray, "F J"]

    @classmethod
    def of(
        cls,
        plain: Float[np.ndarray, "E F J 3"],
        mirrored: Float[np.ndarray, "E F J 3"],
        confidence: Float[np.ndarray, "F J"],
    ) -> UncertaintyFeatures:
        """From hypotheses E x F x J x 3 (mm) of the picture and of its mirror (turned back), and belief F x J in the 2D."""
        both = np.concatenate([plain, mirrored])
        spread = np.linalg.norm(both.std(axis=0), axis=-1)
        return cls(spread, np.linalg.norm(plain.mean(axis=0) - mirrored.mean(axis=0), axis=-1), 1 - confidence)

    @property
    def features(self) -> Float[np.ndarray, "M 4"]:
        """(F J) x 4: one, logs of spread and mirror (mm; floors keep roots finite), doubt."""
        logs = [np.log(np.maximum(v, 1.0)).ravel() for v in (self.spread_mm, self.mirror_mm)]
        return np.stack([np.ones(self.uncertainty.size), *logs, self.uncertainty.ravel()], axis=1)


@dataclass(frozen=True)
class Calibration:
    """`line`: intercept and slopes of log error; `width` of what is left."""

    line: tuple[float, float, float, float]
    width: float

    @classmethod
    def fit(cls, uncertainty_features: UncertaintyFeatures, error_mm: Float[np.ndarray, "F J"]) -> Calibration:
        """Least squares on joints whose error F x J is known (NaN: unknown). Raises ValueError for fewer than 20."""
        known = np.isfinite(error_mm).ravel()
        if known.sum() < 20:
            raise ValueError(f"{int(known.sum())} joints of known error are too few to calibrate on; 20 are needed")
        x, y = uncertainty_features.features[known], np.log(np.maximum(error_mm.ravel()[known], 1.0))
        line = np.linalg.lstsq(x, y, rcond=None)[0]
        return cls(tuple(line.tolist()), float(np.std(y - x @ line)))

    def expected_mm(self, uncertainty_features: UncertaintyFeatures) -> Float[np.ndarray, "F J"]:
        """Mean error F x J (of the log-normal)."""
        return np.asarray(
            np.exp(uncertainty_features.features @ np.array(self.line) + self.width**2 / 2).reshape(
                uncertainty_features.uncertainty.shape
            )
        )

    def near(self, uncertainty_features: UncertaintyFeatures, within_mm: float = NEAR_MM) -> Float[np.ndarray, "F J"]:
        """P(error < within_mm), F x J: a joint's confidence."""
        off = (np.log(within_mm) - uncertainty_features.features @ np.array(self.line)) / max(self.width, 1e-6)
        return np.asarray(ndtr(off).reshape(uncertainty_features.uncertainty.shape))


def covariance_mm2(expected_mm: Float[np.ndarray, "*S"]) -> Float[np.ndarray, "*S 3 3"]:
    """Covariances ... x 3 x 3 in the camera frame whose errors are that long on average, deeper along the camera's axis."""
    side = np.asarray(expected_mm)[..., None] / _NORM * np.array([1.0, 1.0, DEEPER])
    return np.asarray(side[..., None] ** 2 * np.eye(3))


@dataclass(frozen=True)
class Reliability:
    """Joints in bins of stated confidence: `predicted` mean of each bin, `observed` share that is near, `joints` in it; `error`: the expected
    calibration error."""

    predicted: Float[np.ndarray, " B"]
    observed: Float[np.ndarray, " B"]
    joints: Int[np.ndarray, " B"]

    @property
    def error(self) -> float:
        return float((np.abs(self.predicted - self.observed) * self.joints).sum() / max(self.joints.sum(), 1))


def reliability(confidence: Array, near: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Does 80 % sure mean right in 80 %? Empty bins are left out."""
    place = np.minimum((confidence.ravel() * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    some = count > 0
    predicted = np.bincount(place, confidence.ravel(), minlength=bins)[some] / count[some]
    observed = np.bincount(place, near.ravel().astype(float), minlength=bins)[some] / count[some]
    return Reliability(predicted, observed, count[some])
