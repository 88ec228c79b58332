"""The four losses of Ronchi et al. 2018, as their authors coded them (docs/methods/lifter.md), over all pairs at once, and
our two for bones with signs.

B batch, J joints, P pairs of the whole batch, T bones. Predicted depth z: larger is farther.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.lifter import foreshortening
from training.lifter.network import at

EPS = 1e-8
LARGEST = 85.0  # the authors' guard against overflow


def relative(
    depth: Float[Tensor, "B J"],
    row: Int[Tensor, " P"],
    first: Int[Tensor, " P"],
    second: Int[Tensor, " P"],
    p_second: Float[Tensor, " P"],
    slope: float,
    soft: bool = True,
) -> Float[Tensor, ""]:
    """How ill predicted depths (B x J) fit the labels; mean over pairs (eq. 2).

    D = (z_first - z_second) / mean |z_first - z_second|; the gradient flows through the mean. Hard: with r = +1 where the
    first is farther (p_second 1), -1 where it is closer, log(1 + exp(-slope r D)); a tie (0.5) costs D^2. Soft: the
    cross-entropy of sigmoid(slope D) against p_second, the same for p_second 0 and 1. P may be 0.
    """
    if not len(row):
        return depth.sum() * 0.0
    gap = depth[row, first] - depth[row, second]
    gap = gap / gap.abs().mean().clamp_min(EPS)
    scaled = slope * gap
    wrong = F.softplus((-scaled).clamp(max=LARGEST)), F.softplus(scaled.clamp(max=LARGEST))
    if soft:
        return (p_second * wrong[0] + (1 - p_second) * wrong[1]).mean()
    either = torch.where(p_second > 0.5, wrong[0], wrong[1])
    return torch.where(p_second == 0.5, gap**2, either).mean()


def reprojection(
    pose: Float[Tensor, "B J 3"],
    scale: Float[Tensor, " B"],
    target: Float[Tensor, "B J 2"],
    present: Float[Tensor, "B J"],
    inverse_focal: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Mean distance (px) of the projected pose to the centred 2D keypoints (eq. 4).

    Scaled orthographic: s (x, y). With inverse_focal (B, 1/px; 0 where unknown) perspective, the root at distance f / s:
    s (x, y) / (1 + s z / f). target B x J x 2; present B x J (0 or 1): absent keypoints do not count.
    """
    seen = scale[:, None, None] * pose[..., :2]
    if inverse_focal is not None:
        seen = seen / (1 + (scale * inverse_focal)[:, None] * pose[..., 2]).clamp_min(0.1)[..., None]
    distance = torch.sqrt(((seen - target) ** 2).sum(-1) + EPS)
    return (distance * present).sum() / present.sum().clamp_min(1.0)


def root(pose: Float[Tensor, "B J 3"], index: int) -> Float[Tensor, ""]:
    """Mean distance of the predicted root from the origin (eq. 3)."""
    return torch.sqrt((pose[:, index] ** 2).sum(-1) + EPS).mean()


def skeleton(
    pose: Float[Tensor, "B J 3"], bones: Int[Tensor, "L 2"], lengths: Float[Tensor, "... L"], unit: int
) -> Float[Tensor, ""]:
    """Mean difference of bone length ratios to the reference's, relative to one unit limb (eq. 6).

    bones L x 2; lengths L, or B x L where every person has its own.
    """
    if not len(bones):
        return pose.sum() * 0.0
    length = torch.sqrt(((pose[:, bones[:, 0]] - pose[:, bones[:, 1]]) ** 2).sum(-1) + EPS)
    ratio = length / length[:, unit : unit + 1].clamp_min(1e-3)
    return torch.sqrt((ratio - lengths / lengths[..., unit : unit + 1]) ** 2 + EPS).mean()


def supervised(pose: Float[Tensor, "B J 3"], truth: Float[Tensor, "B J 3"]) -> Float[Tensor, ""]:
    """Mean squared error over all coordinates (mm^2), as the authors' baseline."""
    off = (pose - torch.nan_to_num(truth)) ** 2
    known = torch.isfinite(truth)
    return torch.where(known, off, 0.0).sum() / known.sum().clamp_min(1)


def ordering(
    gap: Float[Tensor, " P"], variance: Float[Tensor, " P"], p_second: Float[Tensor, " P"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the labels when depth gaps (mm; positive: second closer) are normal with this variance; mean."""
    if not len(gap):
        return gap.sum() * 0.0
    sure = gap / torch.sqrt(variance)
    return -(p_second * torch.special.log_ndtr(sure) + (1 - p_second) * torch.special.log_ndtr(-sure)).mean()


def likely_angles(
    log_density: Float[Tensor, " K"], log_sine: Float[Tensor, "B T"], weight: Float[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Minus mean log density of seen log sines (B x T) of bones that point anywhere; weight B x T, 0 where not seen."""
    too_long = torch.relu(log_sine - foreshortening.TOO_LONG)
    likely = at(log_density, log_sine) - foreshortening.STEEP * too_long
    return -(likely * weight).sum() / weight.sum().clamp_min(1.0)
