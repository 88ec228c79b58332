"""The lifting network: Martinez et al. 2017 with a scale head (Ronchi et al. 2018, Fig. 6) and two ways to say depth.

B batch, J joints, T bones of the skeleton's tree. Camera frame: x right, y down, z away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from labeling.skeletons import Skeleton
from training.lifter import foreshortening
from training.lifter.config import LifterConfig
from training.lifter.foreshortening import BATCH_NORM_EPS, USUAL_SCALE

OUTPUT_SCALE = 100.0
GAP_NOISE_MM = 300.0  # spread of labels' misjudgement at the start; learned
UNIT_LIMB = {"right_knee", "right_ankle"}


class BatchNorm(nn.BatchNorm1d):
    """nn.BatchNorm1d, over the batches of all processes together where a process group trains (also on CPUs)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return super().forward(x)
        wide = x.float()
        sums = torch.cat([wide.sum(0), (wide**2).sum(0), wide.new_tensor([float(len(x))])])
        people = all_reduce(sums.detach()[-1:])  # type: ignore[no-untyped-call]
        mean, square = (all_reduce(sums)[:-1] / people).chunk(2)  # type: ignore[no-untyped-call]
        variance = (square - mean**2).clamp_min(0.0)
        assert self.running_mean is not None  # noqa: S101
        assert self.running_var is not None  # noqa: S101
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum or 0.1)
            self.running_var.lerp_(variance * people / (people - 1), self.momentum or 0.1)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return ((wide - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias).to(x.dtype)


class Dropout(nn.Module):
    """nn.Dropout, with four decisions from each random number on a CPU, where drawing them took an eighth of a step.

    The share dropped is a multiple of 1/65536.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share or x.is_cuda:
            return nn.functional.dropout(x, self.share, self.training)
        draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        keep = draws.view(torch.int16)[: x.numel()].view_as(x) >= round(self.share * 65536) - 32768
        return x * keep.to(x.dtype).mul_(1 / (1 - self.share))


class Stage(nn.Module):
    """Two fully connected layers with a skip; nothing after the sum."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layer(width, width, dropout), *_layer(width, width, dropout))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _layer(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), BatchNorm(outputs, eps=BATCH_NORM_EPS), nn.ReLU(), Dropout(dropout)]


def tree_path(skeleton: Skeleton) -> Float[np.ndarray, "J T"]:
    """J x T: 1 where a bone of the tree lies between the root and the joint."""
    path = np.zeros((len(skeleton.keypoints), len(skeleton.tree)), dtype=np.float32)
    for number, (parent, child) in enumerate(skeleton.tree):
        path[child] = path[parent]
        path[child, number] = 1
    return path


class Lifter(nn.Module):
    """2D keypoints to 3D pose and camera scale.

    `features(x)`: x B x 2J standardised. Free depth: `coordinates` gives the pose B x J x 3 in arbitrary units of one
    global scale and the scale s (B) in 0..scale_range. Bones: `signs` gives a logit per bone of the tree (positive: child
    farther) and s (B) in px/mm; `assemble` makes the pose of them.
    """

    group: Tensor
    lengths: Tensor
    offset: Tensor
    reference: Tensor
    parent: Tensor
    child: Tensor
    path: Tensor
    tables: Tensor

    def __init__(
        self, skeleton: Skeleton, config: LifterConfig, lengths_mm: NDArray[np.floating], bones: list[tuple[int, int]]
    ) -> None:
        """`bones` (index pairs) with `lengths_mm`: the tree's where depth is 'bones', else those of the skeleton loss."""
        super().__init__()
        joints = len(skeleton.keypoints)
        self.depth, self.scale_range, self.joints = config.depth, config.scale_range, joints
        self.enter = nn.Sequential(*_layer(2 * joints, config.hidden, config.dropout))
        self.stages = nn.Sequential(*(Stage(config.hidden, config.dropout) for _ in range(config.stages)))
        self.pose = nn.Linear(config.hidden, len(bones) if config.depth == "bones" else 3 * joints)
        self.scale = nn.Linear(config.hidden, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        self.pitch = nn.Parameter(torch.tensor(0.0), requires_grad=config.learn_pitch)
        self.root = skeleton.index(skeleton.root)
        shins = [n for n, (a, b) in enumerate(bones) if {skeleton.keypoints[a], skeleton.keypoints[b]} == UNIT_LIMB]
        self.unit = shins[0] if shins else 0
        group = np.array(skeleton.groups(bones), dtype=np.int64)
        self.log_ratio = nn.Parameter(torch.zeros(len(set(group))), requires_grad=config.lengths == "learned")
        self._keep(group=group, lengths=np.asarray(lengths_mm, dtype=np.float32))
        if config.depth == "free":
            self.unnorm = nn.Parameter(torch.full((3 * joints,), OUTPUT_SCALE))
            self._keep(offset=np.zeros(3 * joints, dtype=np.float32), reference=np.array(bones).reshape(-1, 2))
            return
        for head in (self.pose, self.scale):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
        self.gap_noise = nn.Parameter(torch.tensor(0.0))
        parent, child = np.array(bones).T
        tables = np.stack(foreshortening.tables())
        self._keep(parent=parent, child=child, path=tree_path(skeleton), tables=tables)

    def _keep(self, **arrays: NDArray[Any]) -> None:
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)))

    def features(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B H"]:
        return self.stages(self.enter(x))

    def coordinates(self, features: Float[Tensor, "B H"]) -> tuple[Float[Tensor, "B J 3"], Float[Tensor, " B"]]:
        pose = (self.pose(features).float() * self.unnorm + self.offset).view(-1, self.joints, 3)
        return pose, torch.sigmoid(self.scale(features).float()).squeeze(-1) * self.scale_range

    def signs(self, features: Float[Tensor, "B H"]) -> tuple[Float[Tensor, "B T"], Float[Tensor, " B"]]:
        return self.pose(features).float(), USUAL_SCALE * torch.exp(self.scale(features).float().squeeze(-1))

    def bone_lengths(self) -> Float[Tensor, " T"]:
        """mm; learned ones keep the total length, as scale and size cannot be told apart."""
        if not self.log_ratio.requires_grad:
            return self.lengths
        longer = self.lengths * torch.exp(self.log_ratio)[self.group]
        return longer * (self.lengths.sum() / longer.sum())

    def log_sines(
        self, points: Float[Tensor, "B J 2"], scale: Float[Tensor, " B"], lengths: Float[Tensor, "... T"]
    ) -> Float[Tensor, "B T"]:
        """B x T: log of each bone's length in the picture over its length in space."""
        squared = ((points[:, self.child] - points[:, self.parent]) ** 2).sum(-1)
        return 0.5 * torch.log(squared + 1e-6) - torch.log(scale)[:, None] - torch.log(lengths)

    def steps(
        self,
        points: Float[Tensor, "B J 2"],
        signs: Float[Tensor, "B T"],
        scale: Float[Tensor, " B"],
        lengths: Float[Tensor, "... T"],
        inverse_focal: Float[Tensor, " B"],
    ) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"], Float[Tensor, "B T"]]:
        """Expected depth step of each bone B x T (mm), its variance, and the log sines as seen.

        Taken twice: the second time each joint is as large as its depth after the first makes it (1 + s z / f). That
        depth gets no gradient, lest signs be chosen that make bones look likelier.
        """
        seen = self.log_sines(points, scale, lengths)
        step = lengths * at(self.tables[0], seen) * torch.tanh(signs)
        z = (step @ self.path.T).detach()
        corrected = self.log_sines(points * _nearness(z, scale, inverse_focal)[..., None], scale, lengths)
        step = lengths * at(self.tables[0], corrected) * torch.tanh(signs)
        return step, (lengths**2 * at(self.tables[1], corrected) - step**2).clamp_min(1.0), seen

    def assemble(
        self,
        points: Float[Tensor, "B J 2"],
        scale: Float[Tensor, " B"],
        step: Float[Tensor, "B T"],
        inverse_focal: Float[Tensor, " B"],
    ) -> Float[Tensor, "B J 3"]:
        """Pose B x J x 3 (mm, root at 0): depths along the tree; x, y from the 2D, perspective where focal is known."""
        z = step @ self.path.T
        stretch = _nearness(z, scale, inverse_focal) / scale[:, None]
        return torch.cat([points * stretch[..., None], z[..., None]], -1)

    def forward(
        self, x: Float[Tensor, "B D"], points: Float[Tensor, "B J 2"], inverse_focal: Float[Tensor, " B"]
    ) -> Float[Tensor, "B J 3"]:
        """Pose B x J x 3 for standardised input x; points B x J x 2 and inverse_focal B as in data.LifterInput."""
        features = self.features(x)
        if self.depth == "free":
            return self.coordinates(features)[0]
        signs, scale = self.signs(features)
        lengths = self.bone_lengths()
        step, _, _ = self.steps(points, signs, scale, lengths, inverse_focal)
        return self.assemble(points, scale, step, inverse_focal)


def _nearness(z: Tensor, scale: Tensor, inverse_focal: Tensor) -> Tensor:
    """1 + s z / f: how much farther than the root, and so how much smaller in the picture; 1 where f is unknown."""
    return (1 + z * (scale * inverse_focal)[:, None]).clamp(0.5, 2.0)


def at(table: Float[Tensor, " K"], log_sine: Float[Tensor, "*S"]) -> Float[Tensor, " *S"]:
    """`foreshortening.at` in torch."""
    width = (foreshortening.HIGH - foreshortening.LOW) / foreshortening.BINS
    place = ((log_sine - foreshortening.LOW) / width - 0.5).clamp(0.0, foreshortening.BINS - 1 - 1e-3)
    left = place.detach().long()
    return table[left] + (place - left) * (table[left + 1] - table[left])
