"""What a step minimises: the paper's four losses, signs of bones, or true coordinates. Each returns named parts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from training.lifter import losses
from training.lifter.batches import Batch
from training.lifter.config import LifterConfig
from training.lifter.network import GAP_NOISE_MM, Lifter


def toward_camera(network: Lifter, batch: Batch, pose: Float[Tensor, "B J 3"]) -> Float[Tensor, "B J"]:
    """Depth B x J along the axis by which annotators judge: the camera's, or the level one where a pitch is learned."""
    axis = batch.to_camera[:, 2]
    if network.pitch.requires_grad:
        axis = torch.cos(network.pitch) * axis - torch.sin(network.pitch) * batch.to_camera[:, 1]
    return (pose * axis[:, None]).sum(-1)


def free(network: Lifter, batch: Batch, features: Tensor, config: LifterConfig) -> tuple[dict[str, Tensor], Tensor]:
    """Ronchi et al. 2018, eq. 1 to 6; returns parts (with their sum as 'loss') and the pose."""
    pose, scale = network.coordinates(features)
    lengths = batch.lengths if batch.lengths is not None else network.bone_lengths()
    parts = {
        "relative": losses.relative(
            toward_camera(network, batch, pose),
            batch.row,
            batch.first,
            batch.second,
            batch.p_second,
            config.slope,
            config.targets == "soft",
        ),
        "reprojection": losses.reprojection(
            pose, scale, batch.points, batch.present, batch.inverse_focal if config.camera == "known" else None
        ),
        "root": losses.root(pose, network.root),
        "skeleton": losses.skeleton(pose, network.reference, lengths, network.unit),
    }
    weights = (config.relative_weight, config.reprojection_weight, config.root_weight, config.skeleton_weight)
    return {"loss": sum(w * part for w, part in zip(weights, parts.values())), **parts}, pose  # type: ignore[dict-item]


def bones(network: Lifter, batch: Batch, features: Tensor, config: LifterConfig) -> tuple[dict[str, Tensor], Tensor]:
    """Order of joints from signed depth steps, scale from how likely the bones' angles are."""
    signs, scale = network.signs(features)
    lengths = batch.lengths if batch.lengths is not None else network.bone_lengths()
    step, variance, log_sine = network.steps(batch.points, signs, scale, lengths, batch.inverse_focal)
    pose = network.assemble(batch.points, scale, step, batch.inverse_focal)
    depth = toward_camera(network, batch, pose)
    gap = depth[batch.row, batch.first] - depth[batch.row, batch.second]
    between = (network.path[batch.first] - network.path[batch.second]) ** 2
    noise = (GAP_NOISE_MM * torch.exp(network.gap_noise)) ** 2
    spread = (between * variance[batch.row]).sum(-1) + noise
    weight = batch.present[:, network.parent] * batch.present[:, network.child]
    parts = {
        "relative": losses.ordering(gap, spread, batch.p_second),
        "skeleton": losses.likely_angles(network.tables[2], log_sine, weight),
        "sureness": (signs**2).mean(),
    }
    weights = (config.relative_weight, config.skeleton_weight, config.sureness_weight)
    total = torch.stack([w * part for w, part in zip(weights, parts.values())]).sum()
    return {"loss": total, **parts}, pose


def supervised(
    network: Lifter, batch: Batch, features: Tensor, config: LifterConfig
) -> tuple[dict[str, Tensor], Tensor]:
    """The authors' baseline: mean squared error of the coordinates."""
    pose, _ = network.coordinates(features)
    assert batch.truth is not None  # noqa: S101
    return {"loss": losses.supervised(pose, batch.truth)}, pose


OBJECTIVES = {("ordinal", "free"): free, ("ordinal", "bones"): bones, ("supervised", "free"): supervised}
