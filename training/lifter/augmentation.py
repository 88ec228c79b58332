"""Copies of poses for training: turned in the picture, and mirrored. Depths stay; chance comes in, so that a seed repeats it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor


def turns(chance: Float[Tensor, " B"], most_deg: float) -> tuple[Float[Tensor, "B 2 2"], Float[Tensor, "B 3 3"]]:
    """Rotations in the picture, B x 2 x 2 and B x 3 x 3, that act from the right; `chance` B in 0..1 is the angle within +-most_deg."""
    angle = (chance * 2 - 1) * math.radians(most_deg)
    c, s, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    plane = torch.stack([torch.stack([c, s], -1), torch.stack([-s, c], -1)], -2)
    space = torch.stack(
        [torch.stack([c, s, zero], -1), torch.stack([-s, c, zero], -1), torch.stack([zero, zero, zero + 1], -1)], -2
    )
    return plane, space


@dataclass(frozen=True)
class Mirror:
    """Left and right exchanged for the poses that are `flipped` (B): names change, x changes its sign. `twins` J: the other side's joint."""

    flipped: Bool[Tensor, " B"]
    twins: Int[Tensor, " J"]

    def points(self, values: Float[Tensor, "B J D"]) -> Float[Tensor, "B J D"]:
        """B x J x 2 or B x J x 3, x first."""
        sign = torch.tensor([-1.0, 1.0, 1.0], device=values.device)[: values.shape[-1]]
        return torch.where(self.flipped[:, None, None], values[:, self.twins] * sign, values)

    def joints(self, values: Num[Tensor, "B J"]) -> Num[Tensor, "B J"]:
        """B x J."""
        return torch.where(self.flipped[:, None], values[:, self.twins], values)

    def rotation(self, values: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3 3"]:
        """B x 3 x 3 that take mirrored points back to where they were."""
        sign = torch.tensor([-1.0, 1.0, 1.0], device=values.device)
        return torch.where(self.flipped[:, None, None], values * sign, values)

    def names(self, joint: Int[Tensor, " N"], row: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
        """N joints (indices) of the poses `row` N."""
        return torch.where(self.flipped[row], self.twins[joint], joint)
