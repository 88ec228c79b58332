"""Learning from pseudo-labels beside one's own labels: weighted fidelity and steady bone lengths (Li et al. 2019, eq. 2 to 5).

L = own loss + fidelity sum W(s_ij) |p^_ij - p_ij|^2 + bones sum_k (|b^_ik| - b_k)^2, W(s) = 1 where s > tau, else s. b_k is the median length of
a bone over the sure frames of its clip. Both terms are means, in mm^2 where the network learns coordinates and in (100 mm)^2 where it
learns order, as large as the own loss. N poses, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from labeling.releasing.reading import Poses
from labeling.skeletons import Skeleton
from training.lifter import augmentation
from training.lifter.config import LifterConfig, PseudoConfig
from training.lifter.data import InputStatistics, lifter_input, twin_order
from training.lifter.network import Lifter

Array = NDArray[np.floating]
# upper and lower limbs, pelvis to hips, chin to head top: what a moving person keeps (paper, section 3.3)
STEADY = (
    "hip knee",
    "knee ankle",
    "shoulder elbow",
    "elbow wrist",
    "mid_hip hip",
    "pelvis hip",
    "chin head",
    "upper_neck head_top",
)
ORDER_UNIT_MM = 100.0


@dataclass(frozen=True)
class Pseudo:
    """People with pseudo-labels: `poses` as a lifter reads them (2D, camera), `target_mm` N x J x 3 in the camera frame, `score` N x J
    confidence (0: not labelled), `clip` N: bone lengths are those of a clip."""

    poses: Poses
    target_mm: Float[np.ndarray, "N J 3"]
    score: Float[np.ndarray, "N J"]
    clip: Int[np.ndarray, " N"]


def steady_bones(skeleton: Skeleton) -> list[tuple[int, int]]:
    """Bones (index pairs) whose lengths are held, by the names of their ends; those the skeleton lacks are left out."""
    losses = []
    for number, names in enumerate(STEADY):
        for side in ("left_", "right_") if number < 6 else ("",):
            ends = [n if n in ("mid_hip", "pelvis") else side + n for n in names.split()]
            if set(ends) <= set(skeleton.keypoints):
                losses.append((skeleton.index(ends[0]), skeleton.index(ends[1])))
    return losses


def weights_of(score: Float[np.ndarray, "N J"], config: PseudoConfig) -> Float[np.ndarray, "N J"]:
    """W (eq. 4); 0 where there is no label."""
    whole = np.where(score > config.confident, 1.0, score) if config.weighted else np.ones_like(score)
    return np.asarray(np.where(score > 0, whole, 0.0))


def clip_lengths(pseudo: Pseudo, bones: list[tuple[int, int]], confident: float) -> Float[np.ndarray, "N T"]:
    """N x bones (mm): medians over the frames of each one's clip whose both ends are sure; over all of them where none is."""
    first, second = np.array(bones, dtype=int).reshape(-1, 2).T
    length = np.linalg.norm(pseudo.target_mm[:, second] - pseudo.target_mm[:, first], axis=-1)
    sure = (pseudo.score[:, first] > confident) & (pseudo.score[:, second] > confident)
    out = np.zeros_like(length)
    for clip in np.unique(pseudo.clip):
        rows = pseudo.clip == clip
        for b in range(len(bones)):
            some = length[rows, b][sure[rows, b]]
            out[rows, b] = np.median(some if len(some) else length[rows, b])
    return out


def fidelity(
    pose: Float[Tensor, "B J 3"], target: Float[Tensor, "B J 3"], weight: Float[Tensor, "B J"]
) -> Float[Tensor, ""]:
    """Weighted mean of squared coordinates' errors (eq. 3)."""
    return (((pose - target) ** 2).mean(-1) * weight).sum() / weight.sum().clamp_min(1e-6)


def consistency(
    pose: Float[Tensor, "B J 3"], bones: Int[Tensor, "T 2"], lengths: Float[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Mean squared difference of bone lengths to their clip's (eq. 5)."""
    if not len(bones):
        return pose.sum() * 0.0
    length = torch.sqrt(((pose[:, bones[:, 0]] - pose[:, bones[:, 1]]) ** 2).sum(-1) + 1e-8)
    return ((length - lengths) ** 2).mean()


class PseudoLosses:
    """Pseudo-labelled people on the device; `parts` draws a batch, mirrored and turned as training poses are, and measures a network."""

    def __init__(
        self, pseudo: Pseudo, options: PseudoConfig, config: LifterConfig, statistics: InputStatistics, device: str
    ) -> None:
        def to(values: NDArray[np.generic]) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(values)).to(device)

        view = lifter_input(pseudo.poses, config, statistics)
        skeleton = pseudo.poses.skeleton
        root = skeleton.index(skeleton.root)
        target = pseudo.target_mm - pseudo.target_mm[:, root, None]
        bones = steady_bones(skeleton)
        self.options, self.config, self.device = options, config, device
        self.points, self.inverse_focal = to(view.points), to(view.inverse_focal)
        self.target = to(np.einsum("nij,nki->nkj", view.to_camera, target).astype(np.float32))
        self.weight = to(weights_of(pseudo.score, options).astype(np.float32))
        self.lengths = to(clip_lengths(pseudo, bones, options.confident).astype(np.float32))
        self.bones = to(np.array(bones, dtype=np.int64).reshape(-1, 2))
        self.twins = to(twin_order(pseudo.poses))
        self.mean, self.std = to(statistics.mean), to(statistics.std)
        self.unit = 1.0 if config.objective == "supervised" else ORDER_UNIT_MM**-2

    def parts(self, network: Lifter, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`fidelity` and `bones` of `size` people drawn with replacement, before their weights."""
        people = torch.randint(len(self.points), (size,), generator=generator, device=self.device)
        points, target, weight = self.points[people], self.target[people], self.weight[people]
        if self.config.rotate_deg:
            chance = torch.rand(size, generator=generator, device=self.device)
            plane, space = augmentation.turns(chance, self.config.rotate_deg)
            points, target = points @ plane, target @ space
        if self.config.mirror:
            chance = torch.rand(size, generator=generator, device=self.device)
            mirror = augmentation.Mirror(chance < 0.5, self.twins)
            points, target, weight = mirror.points(points), mirror.points(target), mirror.joints(weight)
        x = torch.where(self.std > 1e-6, (points.flatten(1) - self.mean) / self.std.clamp_min(1e-6), 0.0)
        pose = network(x, points, self.inverse_focal[people])
        pose = pose - pose[:, network.root, None]
        return {
            "fidelity": self.unit * fidelity(pose, target, weight),
            "bones": self.unit * consistency(pose, self.bones, self.lengths[people]),
        }

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        return self.options.fidelity_weight * parts["fidelity"] + self.options.bones_weight * parts["bones"]
