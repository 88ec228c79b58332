"""The lifting network: Martinez et al. 2017 with a scale head and learned output scaling (Ronchi et al. 2018, Fig. 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.lifter.config import LifterConfig

OUTPUT_SCALE = 100.0


class Stage(nn.Module):
    """Two fully connected layers with a skip; nothing after the sum."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layer(width, width, dropout), *_layer(width, width, dropout))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _layer(inputs: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(dropout)]


class Lifter(nn.Module):
    """2D keypoints to 3D pose and camera scale.

    Input B x 2J, standardised. Output: pose B x J x 3 in arbitrary units of one global scale (camera frame: x right,
    y down, z away), and the scale s (B), in 0..scale_range, of the scaled orthographic camera.
    """

    def __init__(self, joints: int, config: LifterConfig) -> None:
        super().__init__()
        self.enter = nn.Sequential(*_layer(2 * joints, config.hidden, config.dropout))
        self.stages = nn.Sequential(*(Stage(config.hidden, config.dropout) for _ in range(config.stages)))
        self.pose = nn.Linear(config.hidden, 3 * joints)
        self.scale = nn.Linear(config.hidden, 1)
        self.unnorm = nn.Parameter(torch.full((3 * joints,), OUTPUT_SCALE))
        self.scale_range, self.joints = config.scale_range, joints
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.stages(self.enter(x))
        pose = (self.pose(features) * self.unnorm).view(-1, self.joints, 3)
        return pose, torch.sigmoid(self.scale(features)).squeeze(-1) * self.scale_range
