"""Draw poses of our own authored body; writes training/poses/authored.npz, the library that similar poses are looked up in.

Needs `pip install nearer[render]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandParser

from labeling.skeletons import LSP_14
from training.poses.neighbours import AUTHORED


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=1500)
        parser.add_argument("--seed", type=int, default=13, help="another seed than the sample pictures'")

    def handle(self, **options: Any) -> None:
        from training.simulation.body import pose_body
        from training.simulation.keyposes import draw

        rng = np.random.default_rng(options["seed"])
        poses = []
        for number in range(options["count"]):
            joints = pose_body(draw(rng, number), {}).joints
            x, y, z = 1000 * np.array([joints[name] for name in LSP_14.keypoints]).T  # world: z up
            poses.append(np.stack([x, -z, y], axis=-1))
        every = np.array(poses)
        every -= every.mean(axis=1, keepdims=True)
        np.savez_compressed(AUTHORED, keypoints=np.array(LSP_14.keypoints), poses_mm=every.round().astype(np.int16))
        self.stdout.write(f"wrote {len(every)} poses to {AUTHORED.name}")
