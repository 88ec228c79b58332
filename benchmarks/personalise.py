"""Does a harvest pay? A generic 2D network, fine-tuned to a person and cameras by what was harvested with it.

`python -m benchmarks.personalise --poses poses.npz [--json F] [--seeds 3]`. Everything is simulated (training/heatmaps/dolls.py): pictures
of people drawn as strokes in their clothes. A network trained on 20 people and many cameras meets a person in looser clothes and four
cameras it does not know. Its heatmaps are harvested on training takes; then it is fine-tuned, four epochs, to: the selected joints
reprojected; all joints reprojected; its own maxima ('bootstrap'). Held-out takes tell: 2D error (px of 64) and MPJPE of the next
harvest (mm). Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labeling.skeletons import H36M_17
from training.heatmaps import dolls
from training.heatmaps.fit import HeatmapConfig, fit, predict
from training.heatmaps.network import HeatmapNetwork
from training.multiview import harvest, simulate
from training.multiview.cameras import Camera
from training.multiview.config import HarvestConfig
from training.multiview.harvest import Outcome
from training.multiview.heatmaps import Maps
from training.multiview.recording import Chunk, Recording

Array = NDArray[np.float64]
SIZE = 64
GENERIC_PEOPLE, PICTURES_EACH = 20, 120
LESSONS = ((5, 2e-3, 3.0), (4, 1e-3, 2.0), (3, 5e-4, 1.0))
INLIER_PX = 40.0  # of the cameras' pictures: three to four pixels of the network's
FRAMES, HELD_OUT = 160, 100
PAYS = 0.85
TWINS = [(H36M_17.index(a), H36M_17.index(b)) for a, b in H36M_17.twins]


@dataclass
class Takes:
    """Poses (mm, z up) by split."""

    train: Array
    test: Array

    @classmethod
    def read(cls, file: Path) -> Takes:
        data = np.load(file)
        split = data["split"][data["seq_id"]]
        poses = data["poses"].astype(np.float64)[..., [0, 2, 1]] * [1.0, -1.0, 1.0]
        return cls(poses[split == "train"], poses[split == "test"])


def generic(takes: Takes, seed: int) -> HeatmapNetwork:
    """A network of other people in other cameras."""
    rng = np.random.default_rng([seed, 0])
    pictures, points = [], []
    for _ in range(GENERIC_PEOPLE):
        worn = dolls.dress(rng, H36M_17)
        for camera in simulate.studio(rng):
            poses = takes.train[rng.integers(len(takes.train), size=PICTURES_EACH // 4)]
            turn = rng.uniform(0, 2 * np.pi, len(poses))
            picture, point, _ = dolls.photograph(turned(poses, turn), camera, H36M_17, worn, dolls.look(rng), rng, SIZE)
            pictures.append(picture)
            points.append(point)
    torch.manual_seed(seed)
    network = HeatmapNetwork(17)
    everything = np.ones((sum(map(len, points)), 17), dtype=bool)
    for number, (epochs, rate, sigma) in enumerate(
        LESSONS
    ):  # wide targets first: narrow ones alone teach 'nothing anywhere'
        config = HeatmapConfig(epochs=epochs, batch=16, learning_rate=rate, sigma_px=sigma, seed=10 * seed + number)
        fit(network, np.concatenate(pictures), np.concatenate(points), everything, TWINS, config)
    return network


def turned(poses: Array, turn: Array) -> Array:
    c, s = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x, y, z = np.moveaxis(poses, -1, 0)
    return np.stack([c * x - s * y, s * x + c * y, z], axis=-1)


class Filmed:
    """One person in four cameras; a source of heatmaps by whatever network is set."""

    def __init__(
        self, poses: Array, cameras: Sequence[Camera], worn: dolls.Dress, looks: Sequence[dolls.Look], rng: Any
    ) -> None:
        shots = [dolls.photograph(poses, c, H36M_17, worn, look, rng, SIZE) for c, look in zip(cameras, looks)]
        self.poses, self.frames = poses, len(poses)
        self.pictures = np.stack([s[0] for s in shots], axis=1)
        self.points, self.to_map = np.stack([s[1] for s in shots], axis=1), np.stack([s[2] for s in shots], axis=1)
        self.heat = np.zeros(0, np.float32)

    def look_with(self, network: HeatmapNetwork) -> None:
        flat = self.pictures.reshape(-1, 3, SIZE, SIZE)
        heat = predict(network, flat).reshape(self.frames, -1, 17, SIZE, SIZE)
        top = heat.max(
            axis=(0, 1, 3, 4), keepdims=True
        )  # squared error keeps peaks low: each joint's best one counts as 1
        self.heat = np.clip(heat / np.maximum(top, 1e-3), 0, 1)

    def read(self, frames: Sequence[int]) -> Chunk:
        maps = Maps(self.heat[list(frames)], self.to_map[list(frames)])
        return Chunk(*maps.peaks(), maps)

    def error_px(self) -> float:
        """Mean distance of maxima from the joints, in pixels of the 64 x 64 pictures."""
        found, _ = Maps(self.heat, self.to_map).peaks()
        own = found * self.to_map[:, :, None, :2] + self.to_map[:, :, None, 2:]
        return float(np.linalg.norm(own - self.points, axis=-1).mean())


def harvested(
    filmed: Filmed, cameras: tuple[Camera, ...], lengths: list[float] | None = None
) -> tuple[harvest.Harvest, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        config = HarvestConfig(grid=48, least_score=0.05, inlier_px=INLIER_PX)
        found = harvest.harvest(
            Recording(cameras, H36M_17, filmed), config, Path(folder), threads=2, lengths_mm=lengths
        )
        kept = harvest.Harvest(*(np.array(getattr(found, name)) for name in found.__dataclass_fields__))
        return kept, harvest.lengths_of(Path(folder))


def experiment(takes: Takes, seed: int) -> dict[str, dict[str, float]]:
    started = time.monotonic()
    network = generic(takes, seed)
    rng = np.random.default_rng([seed, 1])
    worn, cameras = dolls.dress(rng, H36M_17, loose=1.35), simulate.studio(rng)
    looks = [dolls.look(rng) for _ in cameras]
    first = takes.test[np.linspace(0, len(takes.test) // 2 - 1, FRAMES).astype(int)]
    later = takes.test[np.linspace(len(takes.test) // 2, len(takes.test) - 1, HELD_OUT).astype(int)]
    turn = rng.uniform(0, 2 * np.pi, (FRAMES + HELD_OUT,))
    film = Filmed(turned(first, turn[:FRAMES]), cameras, worn, looks, rng)
    held = Filmed(turned(later, turn[FRAMES:]), cameras, worn, looks, rng)
    film.look_with(network)
    found, lengths = harvested(film, cameras)
    off = np.linalg.norm(found.position - film.poses, axis=-1)
    print(
        f"seed {seed}: generic network in {time.monotonic() - started:.0f} s; first harvest {off.mean():.1f} mm, kept {off[found.kept].mean():.1f} mm",
        flush=True,
    )
    again = np.stack([c.project(found.position) for c in cameras], axis=1)
    reprojected = again * film.to_map[:, :, None, :2] + film.to_map[:, :, None, 2:]
    own, height = Maps(film.heat, film.to_map).peaks()
    maxima = own * film.to_map[:, :, None, :2] + film.to_map[:, :, None, 2:]
    views = (len(film.poses), len(cameras), 17)
    fine = np.broadcast_to((found.outcome == Outcome.FOUND)[:, None], views)
    lessons = {
        "selected": (reprojected, np.broadcast_to(found.kept[:, None], views)),
        "all": (reprojected, fine),
        "bootstrap": (maxima, height > 0),
    }
    rows: dict[str, dict[str, float]] = {}
    for name in ("generic", *lessons):
        learned = copy.deepcopy(network)
        if name in lessons:
            points, mask = lessons[name]
            flat = film.pictures.reshape(-1, 3, SIZE, SIZE)
            fit(learned, flat, points.reshape(-1, 17, 2), mask.reshape(-1, 17).copy(), TWINS, HeatmapConfig(seed=seed))
        held.look_with(learned)
        second, _ = harvested(held, cameras, lengths)
        mpjpe = float(np.linalg.norm(second.position - held.poses, axis=-1).mean())
        rows[name] = {"px": held.error_px(), "mpjpe": mpjpe}
        print(f"  {name:10} held-out 2D error {rows[name]['px']:.3f} px, harvest {mpjpe:.1f} mm", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--poses", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    takes = Takes.read(asked.poses)
    found = [experiment(takes, seed) for seed in range(asked.seeds)]
    mean = {name: {k: float(np.mean([f[name][k] for f in found])) for k in ("px", "mpjpe")} for name in found[0]}
    print()
    for name, row in mean.items():
        sd = {k: float(np.std([f[name][k] for f in found])) for k in row}
        print(f"{name:10} {row['px']:.3f} ± {sd['px']:.3f} px, {row['mpjpe']:.1f} ± {sd['mpjpe']:.1f} mm")
    left = {k: mean["selected"][k] / mean["generic"][k] for k in ("px", "mpjpe")}
    bars = {
        f"held-out 2D error falls to {left['px']:.3f} (bar {PAYS})": left["px"] <= PAYS,
        f"MPJPE of the next harvest falls to {left['mpjpe']:.3f} (bar {PAYS})": left["mpjpe"] <= PAYS,
        "selected beats all": mean["selected"]["px"] < mean["all"]["px"]
        and mean["selected"]["mpjpe"] < mean["all"]["mpjpe"],
        "all beats bootstrap": mean["all"]["px"] < mean["bootstrap"]["px"]
        and mean["all"]["mpjpe"] < mean["bootstrap"]["mpjpe"],
    }
    for name, holds in bars.items():
        print(f"{'holds ' if holds else 'FAILS '} {name}")
    if asked.json:
        asked.json.write_text(json.dumps({"seeds": found, "mean": mean, "bars": bars}, indent=1))
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
