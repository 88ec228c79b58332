"""Does a harvest pay? A generic 2D network, fine-tuned to a person and cameras by what was harvested with it.

`python -m benchmarks.personalise --poses poses.npz [--seeds 3] [--json]`. Everything is simulated (training/simulation/people.py): pictures
of people drawn as strokes, in suits. One network is trained on 60 people in usual suits and cameras. It meets a person in a looser suit
of other colours and four cameras of other heights, tints and noise, so that what it gets wrong hangs on person and camera. Its heatmaps
are harvested on half of the test takes, with the person's limb lengths given; then it is fine-tuned, four epochs, to: the selected joints
reprojected; all joints reprojected; its own maxima ('bootstrap'). The other test takes tell: 2D error (px of 64) and MPJPE of the next
harvest (mm); 'truth', fine-tuned to the true joints, is what is possible. Seeds change person, cameras, pictures and fine-tuning.
Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import harness
from labeling.skeletons import H36M_17
from training.harvest.arrays import Outcome
from training.heatmaps.config import HeatmapConfig
from training.heatmaps.fit import fit, predict
from training.heatmaps.network import STRIDE, HeatmapNetwork
from training.multiview import harvest
from training.multiview.config import HarvestConfig
from training.multiview.heatmaps import Maps
from training.multiview.recording import Chunk, Recording
from training.poses.cameras import Camera
from training.simulation import people, recordings
from training.video.smoothing import to_lengths

Array = NDArray[np.float64]
SIZE = 64
GENERIC_PEOPLE, PICTURES_EACH = 60, 120
LESSONS = ((2, 2e-3, 1.5), (3, 1.5e-3, 1.0), (2, 6e-4, 1.0), (1, 2e-4, 1.0))  # wide targets first, then narrow
HEIGHTS_MM = (500.0, 1400.0, 2400.0, 3300.0)  # of the person's cameras; the generic ones are at 1.6 m
LOOSE, VARY, HARSH = 1.3, 0.3, 3.0  # the person's suit and cameras; usual: 1, 0.1, 1
SHARPEN = 3  # squared error makes broad heatmaps of unsure joints: their cube is harvested
INLIER_PX = 60.0  # of the cameras' pictures: four to five pixels of the network's
FRAMES, HELD_OUT = 600, 150
PAYS = 0.85
UNFLIPPED = 0.0  # suits have sides
TWINS = [(H36M_17.index(a), H36M_17.index(b)) for a, b in H36M_17.twins]


@dataclass
class Takes:
    """Poses (mm, z up): of the training takes, and of every other test take."""

    train: Array
    first: Array
    later: Array

    @classmethod
    def read(cls, file: Path) -> Takes:
        data = np.load(file)
        take, split = data["seq_id"], data["split"][data["seq_id"]]
        poses = data["poses"].astype(np.float64)[..., [0, 2, 1]] * [1.0, -1.0, 1.0]
        tests = np.unique(take[split == "test"])
        return cls(poses[split == "train"], poses[np.isin(take, tests[::2])], poses[np.isin(take, tests[1::2])])


def generic(takes: Takes) -> HeatmapNetwork:
    """A network of other people in other cameras."""
    rng = np.random.default_rng([0, 0])
    pictures, points = [], []
    for _ in range(GENERIC_PEOPLE):
        worn = people.clothes(rng, H36M_17)
        for camera in recordings.studio(rng):
            poses = takes.train[rng.integers(len(takes.train), size=PICTURES_EACH // 4)]
            turn = rng.uniform(0, 2 * np.pi, len(poses))
            picture, point, _ = people.render(
                turned(poses, turn), camera, H36M_17, worn, people.lighting(rng), rng, SIZE
            )
            pictures.append(picture)
            points.append(point)
    torch.manual_seed(0)
    network = HeatmapNetwork(17)
    everything = np.ones((sum(map(len, points)), 17), dtype=bool)
    for number, (epochs, rate, sigma) in enumerate(LESSONS):
        config = HeatmapConfig(epochs=epochs, batch=32, learning_rate=rate, sigma_px=sigma, seed=number, flip=UNFLIPPED)
        fit(network, np.concatenate(pictures), np.concatenate(points), everything, TWINS, config)
    return network


def turned(poses: Array, turn: Array) -> Array:
    c, s = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x, y, z = np.moveaxis(poses, -1, 0)
    return np.stack([c * x - s * y, s * x + c * y, z], axis=-1)


class Filmed:
    """One person in four cameras; a source of heatmaps by whatever network is set."""

    def __init__(
        self, poses: Array, cameras: Sequence[Camera], worn: people.Clothes, looks: Sequence[people.Lighting], rng: Any
    ) -> None:
        shots = [people.render(poses, c, H36M_17, worn, lighting, rng, SIZE) for c, lighting in zip(cameras, looks)]
        self.poses, self.frames = poses, len(poses)
        self.pictures = np.stack([s[0] for s in shots], axis=1)
        self.points, self.to_map = np.stack([s[1] for s in shots], axis=1), np.stack([s[2] for s in shots], axis=1)
        self.to_cells = (self.to_map + [0, 0, 0.5, 0.5]) / STRIDE - [0, 0, 0.5, 0.5]
        self.heat = np.zeros(0, np.float32)

    def look_with(self, network: HeatmapNetwork) -> None:
        flat = self.pictures.reshape(-1, 3, SIZE, SIZE)
        heat = predict(network, flat).reshape(self.frames, -1, 17, SIZE // STRIDE, SIZE // STRIDE)
        top = heat.max(
            axis=(0, 1, 3, 4), keepdims=True
        )  # squared error keeps peaks low: a joint's best one counts as 1
        self.heat = np.clip(heat / np.maximum(top, 1e-3), 0, 1) ** SHARPEN

    def read(self, frames: Sequence[int]) -> Chunk:
        maps = Maps(self.heat[list(frames)], self.to_cells[list(frames)])
        return Chunk(*maps.peaks(), maps)

    def maxima(self) -> tuple[Array, Array]:
        """Where each heatmap is highest, in pixels of the 64 x 64 pictures, and how high."""
        where, height = Maps(self.heat, self.to_cells).peaks()
        return self.in_picture(where), height

    def in_picture(self, pixels: Array) -> Array:
        return pixels * self.to_map[:, :, None, :2] + self.to_map[:, :, None, 2:]

    def error_px(self) -> float:
        """Mean distance of maxima from the joints, in pixels of the 64 x 64 pictures."""
        return float(np.linalg.norm(self.maxima()[0] - self.points, axis=-1).mean())


def harvested(filmed: Filmed, cameras: tuple[Camera, ...], lengths: list[float]) -> harvest.Harvest:
    with tempfile.TemporaryDirectory() as folder:
        config = HarvestConfig(grid=48, least_score=0.05, inlier_px=INLIER_PX)
        recorded = Recording(cameras, H36M_17, filmed)
        outcome = harvest.harvest(recorded, config, Path(folder), threads=torch.get_num_threads(), lengths_mm=lengths)
        return harvest.Harvest(*(np.array(getattr(outcome, name)) for name in outcome.__dataclass_fields__))


def some(poses: Array, count: int) -> Array:
    return poses[np.linspace(0, len(poses) - 1, count).astype(int)]


def experiment(takes: Takes, network: HeatmapNetwork, seed: int) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng([seed, 1])
    worn = people.clothes(rng, H36M_17, LOOSE, VARY)
    cameras = recordings.studio(rng, high_mm=rng.permutation(HEIGHTS_MM).tolist())
    looks = [people.lighting(rng, HARSH) for _ in cameras]
    bones = [np.linalg.norm(takes.train[:, a] - takes.train[:, b], axis=-1) for a, b in H36M_17.tree]
    body = np.median(bones, axis=1) * rng.uniform(0.93, 1.07)
    turn = rng.uniform(0, 2 * np.pi, FRAMES + HELD_OUT)
    first, later = (
        to_lengths(some(p, n), body, H36M_17, 1.0) for p, n in ((takes.first, FRAMES), (takes.later, HELD_OUT))
    )
    film = Filmed(turned(first, turn[:FRAMES]), cameras, worn, looks, rng)
    held = Filmed(turned(later, turn[FRAMES:]), cameras, worn, looks, rng)
    film.look_with(network)
    outcome = harvested(film, cameras, body.tolist())
    off = np.linalg.norm(outcome.position - film.poses, axis=-1)
    reprojected = film.in_picture(np.stack([c.project(outcome.position) for c in cameras], axis=1))
    error = np.linalg.norm(reprojected - film.points, axis=-1)
    print(f"seed {seed}: 2D {film.error_px():.2f} px; harvest {off.mean():.1f} mm, kept {off[outcome.kept].mean():.1f} mm, "
          f"{error[np.broadcast_to(outcome.kept[:, None], error.shape)].mean():.2f} px", flush=True)  # fmt: skip
    maxima, height = film.maxima()
    views = error.shape
    lessons = {
        "selected": (reprojected, np.broadcast_to(outcome.kept[:, None], views)),
        "all": (reprojected, np.broadcast_to((outcome.outcome == Outcome.FOUND)[:, None], views)),
        "bootstrap": (maxima, height > 0),
        "truth": (film.points, np.ones(views, dtype=bool)),
    }
    rows: dict[str, dict[str, float]] = {}
    for name in ("generic", *lessons):
        learned = copy.deepcopy(network)
        if name in lessons:
            points, mask = lessons[name]
            flat, options = film.pictures.reshape(-1, 3, SIZE, SIZE), HeatmapConfig(seed=seed, flip=UNFLIPPED)
            fit(learned, flat, points.reshape(-1, 17, 2), mask.reshape(-1, 17).copy(), TWINS, options)
        held.look_with(learned)
        second = harvested(held, cameras, body.tolist())
        mpjpe = float(np.linalg.norm(second.position - held.poses, axis=-1).mean())
        rows[name] = {"px": held.error_px(), "mpjpe": mpjpe}
        print(
            f"  seed {seed}, {name:10} held-out 2D error {rows[name]['px']:.3f} px, harvest {mpjpe:.1f} mm", flush=True
        )
    return rows


def main() -> int:
    parser = harness.options(__doc__, needs=["poses"], seeds=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="seeds side by side, a thread each")
    asked = parser.parse_args()
    takes = Takes.read(asked.poses)
    started = time.monotonic()
    network = generic(takes)
    print(f"generic network in {time.monotonic() - started:.0f} s", flush=True)
    with ProcessPoolExecutor(asked.processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        results = list(pool.map(partial(experiment, takes, network), range(asked.seeds)))
    mean = {name: {k: float(np.mean([f[name][k] for f in results])) for k in ("px", "mpjpe")} for name in results[0]}
    print()
    for name, row in mean.items():
        sd = {k: float(np.std([f[name][k] for f in results])) for k in row}
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
    return harness.conclude(asked, {"seeds": results, "mean": mean}, bars)


if __name__ == "__main__":
    sys.exit(main())
