"""The four losses of Ronchi et al. 2018, as their authors coded them (docs/methods/lifter.md), over all pairs at once.

B batch, J joints, P pairs of the whole batch, L bones. Predicted depth z: larger is farther.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-8


def relative(pose: Tensor, row: Tensor, first: Tensor, second: Tensor, p_second: Tensor, slope: float) -> Tensor:
    """Cross-entropy of the predicted order against P(second keypoint is closer); mean over pairs (eq. 2).

    D = (z_first - z_second) / mean |z_first - z_second|, the gradient flows through the mean. With p_second in {0, 1}
    this is log(1 + exp(-slope r D)) with r = +1 where the first is farther. Weighted pairs are not needed: P may be 0.
    """
    if not len(row):
        return pose.sum() * 0.0
    gap = pose[row, first, 2] - pose[row, second, 2]
    scaled = slope * gap / (gap.abs().mean() + EPS)
    return (p_second * F.softplus(-scaled) + (1 - p_second) * F.softplus(scaled)).mean()


def reprojection(pose: Tensor, scale: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Mean distance (px) of the scaled orthographic projection to the centred 2D keypoints (eq. 4).

    target B x J x 2, present B x J (0 or 1): absent keypoints do not count. The mean is over present joints.
    """
    gap = scale[:, None, None] * pose[..., :2] - target
    distance = torch.sqrt((gap**2).sum(-1) + EPS)
    return (distance * present).sum() / present.sum().clamp_min(1.0)


def root(pose: Tensor, index: int) -> Tensor:
    """Mean distance of the predicted root from the origin (eq. 3)."""
    return torch.sqrt((pose[:, index] ** 2).sum(-1) + EPS).mean()


def skeleton(pose: Tensor, bones: Tensor, lengths: Tensor, unit: int) -> Tensor:
    """Mean difference of bone length ratios to the reference's, relative to one unit limb (eq. 6). bones L x 2."""
    if not len(bones):
        return pose.sum() * 0.0
    found = torch.sqrt(((pose[:, bones[:, 0]] - pose[:, bones[:, 1]]) ** 2).sum(-1) + EPS)
    ratio = found / found[:, unit : unit + 1].clamp_min(1e-3)
    return torch.sqrt((ratio - lengths / lengths[unit]) ** 2 + EPS).mean()
