"""Measure how depths of joints vary together over our authored poses; writes labeling/crowd/depths.json.

Needs `pip install nearer[render]`. Cameras stand at any side, pitched between 10 degrees up and 20 degrees down.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandParser

from labeling.crowd.anatomy import FILE
from labeling.skeletons import LSP_14


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=200, help="poses drawn; each is seen from thirty sides")
        parser.add_argument("--seed", type=int, default=7, help="another seed than the sample pictures'")

    def handle(self, **options: Any) -> None:
        from training.simulation.body import pose_body
        from training.simulation.keyposes import draw

        rng = np.random.default_rng(options["seed"])
        depths = []
        for number in range(options["count"]):
            joints = pose_body(draw(rng, number), {}).joints
            at = 1000 * np.array([joints[name] for name in LSP_14.keypoints])  # world: z up
            yaw, pitch = rng.uniform(0, 2 * np.pi, 30), np.radians(rng.uniform(-10, 20, 30))
            ahead = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), -np.sin(pitch)], axis=1)
            depths.append(ahead @ at.T)
        z = np.concatenate(depths)
        z -= z.mean(axis=1, keepdims=True)
        data = {
            "source": f"{options['count']} authored poses (seed {options['seed']}), thirty views each; CC0",
            "joints": list(LSP_14.keypoints),
            "covariance_mm2": (z.T @ z / len(z)).round(1).tolist(),
        }
        FILE.write_text(json.dumps(data, indent=1) + "\n")
        self.stdout.write(f"mean |gap| {np.abs(z[:, :, None] - z[:, None]).mean() * 14 / 13:.0f} mm; wrote {FILE.name}")
