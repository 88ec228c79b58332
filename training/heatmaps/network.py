"""A small 2D network: picture of one person -> a heatmap per joint, at half the picture's resolution.

N pictures, J joints, H x W pixels (multiples of 16), RGB in 0..1. Cell (x, y) of a heatmap covers pixels 2x, 2x + 1 and 2y, 2y + 1.
Source of the idea, not of the layers: the hourglass of Newell et al. 2016; this one is small enough for a processor.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

STRIDE = 2


class _Block(nn.Module):
    def __init__(self, inward: int, outward: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inward, outward, kernel, stride, 1, bias=False), nn.GroupNorm(8, outward), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class HeatmapNetwork(nn.Module):
    """Down to a sixteenth and up to a half again, with skips. Group norm: batches of four need no statistics of others."""

    def __init__(self, joints: int, width: int = 32) -> None:
        super().__init__()
        if width % 16:
            raise ValueError(f"width must be a multiple of 16, not {width}")
        a, b, c, d = width, width * 3 // 2, width * 2, width * 3
        self.to_half, self.to_quarter, self.to_eighth, self.to_sixteenth = (
            _Block(3, a, 2, kernel=4),
            _Block(a, b, 2),
            _Block(b, c, 2),
            _Block(c, d, 2),
        )
        self.deep = nn.Sequential(_Block(d, d), _Block(d, d))
        self.up8, self.up4, self.up2 = _Block(d + c, c), _Block(c + b, b), _Block(b + a, a)
        self.head = nn.Conv2d(a, joints, 1)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, pictures: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N J h w"]:
        """N x 3 x H x W -> N x J x H/2 x W/2."""
        half = self.to_half(pictures - 0.5)
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        out = self.deep(self.to_sixteenth(eighth))
        for skip, up in ((eighth, self.up8), (quarter, self.up4), (half, self.up2)):
            out = torch.nn.functional.interpolate(out, scale_factor=2, mode="nearest")
            out = up(torch.cat([out, skip], dim=1))
        heat: Tensor = self.head(out)
        return heat


def to_cells(points: Float[Tensor, "... 2"]) -> Float[Tensor, "... 2"]:
    """Pixels of the picture -> cells of its heatmaps (centres at whole numbers in both)."""
    return (points + 0.5) / STRIDE - 0.5
