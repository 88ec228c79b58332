"""Train a heatmap network, or fine-tune it to the selected joints of a harvest ('personalise').

Source: Pavlakos et al. 2017, section 3.4: Gaussian targets of one cell, mean squared error, joints that were not selected are left
out of the loss, four epochs, rmsprop, batch 4, learning rate 2.5e-4, turned by up to 30 degrees, scaled by up to a quarter, flipped.
N pictures, J joints; keypoints in pixels of the picture, centre of the first pixel at (0, 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from training.heatmaps.config import HeatmapConfig
from training.heatmaps.network import HeatmapNetwork, to_cells
from webapp.progress import Progress, silent

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


def fit(
    network: HeatmapNetwork,
    pictures: Float[np.ndarray, "N 3 H W"],
    keypoints: Float[np.ndarray, "N J 2"],
    selected: Bool[np.ndarray, "N J"],
    twins: list[tuple[int, int]],
    config: HeatmapConfig,
    *,
    progress: Progress = silent,
) -> list[float]:
    """Train `network` in place on pictures N x 3 x H x W, keypoints N x J x 2; `selected` N x J counts in the loss. Loss per epoch."""
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(config.seed)
    images, points = torch.as_tensor(pictures), torch.as_tensor(keypoints, dtype=torch.float32)
    mask = torch.as_tensor(selected & np.isfinite(keypoints).all(axis=-1))
    points = torch.nan_to_num(points)
    order = list(range(points.shape[1]))
    for left, right in twins:
        order[left], order[right] = right, left
    optimiser = torch.optim.RMSprop(network.parameters(), lr=config.learning_rate)
    network.train()
    losses = []
    for epoch in range(config.epochs):
        progress(epoch, config.epochs, "epochs")
        total, seen = 0.0, 0
        for some in torch.split(torch.randperm(len(images), generator=generator), config.batch):
            picture, place, known = _varied(images[some], points[some], mask[some], order, config, generator)
            picture, place, known = picture.to(device), place.to(device), known.to(device)
            heat = network(picture)
            off = ((heat - gaussians(to_cells(place), heat.shape[-2:], config.sigma_px)) ** 2).mean(dim=(2, 3))
            loss = (off * known).sum() / known.sum().clamp(min=1)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total, seen = total + float(loss.detach()) * len(some), seen + len(some)
        losses.append(total / max(seen, 1))
    progress(config.epochs, config.epochs, "epochs")
    return losses


def gaussians(points: Float[Tensor, "N J 2"], size: Any, sigma: float) -> Float[Tensor, "N J H W"]:
    """Targets N x J x H x W with peaks of 1 at points N x J x 2."""
    x = torch.arange(size[1], device=points.device) - points[..., 0, None]
    y = torch.arange(size[0], device=points.device) - points[..., 1, None]
    return torch.exp(-(y[..., :, None] ** 2 + x[..., None, :] ** 2) / (2 * sigma**2))


def _varied(
    picture: Tensor, points: Tensor, known: Tensor, order: list[int], config: HeatmapConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Turned, scaled and mirrored about the middle; joints that leave the picture are not known there."""
    count, _, height, width = picture.shape
    turn = torch.deg2rad((2 * torch.rand(count, generator=generator) - 1) * config.turn_deg)
    size = 1 + (2 * torch.rand(count, generator=generator) - 1) * config.scale
    mirrored = torch.rand(count, generator=generator) < config.flip
    c, s = torch.cos(turn), torch.sin(turn)
    sign = torch.where(mirrored, -1.0, 1.0)
    # out = A in: first mirror x, then turn and scale; grid_sample wants the inverse.
    forward = torch.stack([torch.stack([sign * c, -s], 1), torch.stack([sign * s, c], 1)], 1) * size[:, None, None]
    inverse = torch.linalg.inv(forward)
    grid = torch.nn.functional.affine_grid(
        torch.cat([inverse, torch.zeros(count, 2, 1)], dim=2), [count, 1, height, width], align_corners=True
    )
    if height != width:
        raise ValueError("pictures must be square to be turned")
    moved = torch.nn.functional.grid_sample(picture, grid, padding_mode="border", align_corners=True)
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    place = torch.einsum("nij,nkj->nki", forward, points - middle) + middle
    swapped = mirrored[:, None, None]
    place = torch.where(swapped, place[:, order], place)
    known = torch.where(mirrored[:, None], known[:, order], known)
    inside = ((place >= 0) & (place <= middle * 2)).all(dim=-1)
    return moved, place, known & inside


@torch.no_grad()
def predict(
    network: HeatmapNetwork, pictures: Float[np.ndarray, "N 3 H W"], batch: int = 64
) -> Float[np.ndarray, "N J h w"]:
    """Heatmaps N x J x H/2 x W/2, clipped to 0..1."""
    device = next(network.parameters()).device
    network.eval()
    maps = [
        network(torch.as_tensor(part).to(device)).clamp(0, 1).cpu()
        for part in np.array_split(pictures, -(-len(pictures) // batch))
    ]
    return np.asarray(torch.cat(maps).numpy())
