"""A small 2D network: picture of one person -> a heatmap per joint, at the picture's own resolution.

N pictures, J joints, H x W pixels (multiples of 8), RGB in 0..1. Peaks of 1 on a target mean one pixel of spread (SIGMA_PX).
Source of the idea, not of the layers: the hourglass of Newell et al. 2016; this one is small enough for a processor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class _Block(nn.Module):
    def __init__(self, inward: int, outward: int, stride: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inward, outward, 3, stride, 1, bias=False), nn.GroupNorm(8, outward), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


class HeatmapNetwork(nn.Module):
    """Down to an eighth and up again, with skips. Group norm: batches of four need no statistics of others."""

    def __init__(self, joints: int, width: int = 16) -> None:
        super().__init__()
        a, b, c, d = width, 2 * width, 4 * width, 6 * width
        self.stem, self.to_half, self.to_quarter, self.to_eighth = (
            _Block(3, a),
            _Block(a, b, 2),
            _Block(b, c, 2),
            _Block(c, d, 2),
        )
        self.deep = nn.Sequential(_Block(d, d), _Block(d, d))
        self.up4, self.up2, self.up1 = _Block(d + c, c), _Block(c + b, b), _Block(b + a, a)
        self.head = nn.Conv2d(a, joints, 1)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor) -> Tensor:
        """N x 3 x H x W -> N x J x H x W."""
        one = self.stem(pictures - 0.5)
        two = self.to_half(one)
        four = self.to_quarter(two)
        found = self.deep(self.to_eighth(four))
        for skip, up in ((four, self.up4), (two, self.up2), (one, self.up1)):
            found = torch.nn.functional.interpolate(found, scale_factor=2, mode="bilinear", align_corners=False)
            found = up(torch.cat([found, skip], dim=1))
        heat: Tensor = self.head(found)
        return heat
