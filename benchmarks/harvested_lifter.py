"""A lifter from harvested labels only, beside lifters of the same poses with other labels.

`python -m benchmarks.harvested_lifter --poses poses.npz [--seeds 3] [--frames 2400] [--json]`. Training takes are seen by four simulated
cameras and a simulated detector ('hard': outliers, swapped limbs, missing joints and views) and harvested at 32^3. A lifter is trained from
scratch, in each view, on: the selected joints where the harvest puts them and their reprojections ('harvested': joints that were not
selected are absent, their depth is the harvest's. The site publishes the same 2D, but depths only of people whose joints are all
accepted, and ordinal pairs of the others: what a lifter learns from those is not measured here); weighted DLT and its reprojections; the truth. No label of a person
enters the first two. Measured on test takes, right 2D, true 3D (mm). Exits non-zero when the harvest is not better than weighted DLT.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import harness
from labeling.releasing.reading import Poses, unlabelled
from labeling.skeletons import H36M_17
from training.lifter import evaluate
from training.lifter import fit as fitting
from training.lifter.config import PRESETS, changed
from training.lifter.data import subset
from training.multiview import harvest, triangulation
from training.multiview.config import HarvestConfig
from training.multiview.recording import Recording
from training.poses.cameras import Camera
from training.poses.mocap import read_sequences
from training.simulation import recordings

Array = NDArray[np.float64]
TAKES, LEAST = 24, 6  # joints below which a person is left out, as in publishing


def rooms(file: Path, split: str, frames: int, seed: int) -> list[tuple[Array, tuple[Camera, ...]]]:
    """World poses (mm, z up) of some takes, each in a room of four cameras."""
    _, clips = read_sequences(file)
    rng = np.random.default_rng([seed, split == "train"])
    clips = [c for c in clips if c.split == split]
    chosen = [clips[n] for n in rng.choice(len(clips), min(TAKES, len(clips)), replace=False)]
    folders = []
    for clip in chosen:
        some = np.linspace(0, len(clip.poses_mm) - 1, max(frames // len(chosen), 2)).astype(int)
        upright = clip.poses_mm[some].astype(np.float64)[..., [0, 2, 1]] * [1.0, -1.0, 1.0]
        folders.append((upright + np.append(rng.uniform(-500, 500, 2), 0.0), recordings.studio(rng)))
    return folders


def views(world: Array, cameras: tuple[Camera, ...], kept: NDArray[np.bool_] | None, split: str) -> Poses:
    """Every frame in every view, keypoints where `world` reprojects; joints that were not kept are absent."""
    pixels = np.concatenate([c.project(world) for c in cameras])
    if kept is not None:
        pixels = np.where(np.tile(kept, (len(cameras), 1))[..., None], pixels, np.nan)
    focal = np.repeat([[c.matrix[0, 0], c.matrix[1, 1]] for c in cameras], len(world), axis=0)
    centre = np.repeat([c.matrix[:2, 2] for c in cameras], len(world), axis=0)
    poses = unlabelled(H36M_17, [str(n) for n in range(len(pixels))], pixels, focal, centre)
    depth = np.concatenate([c.see(world) for c in cameras])
    return replace(poses, split=np.full(len(pixels), split), truth_mm=depth)


def joined(parts: list[Poses]) -> Poses:
    first = parts[0]
    names = ("split", "keypoints_px", "state", "truth_mm", "focal_px", "principal_px")
    whole = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
    return replace(first, names=[str(n) for n in range(len(whole["split"]))], **whole)


def labelled(file: Path, seed: int, frames: int) -> dict[str, Poses]:
    poses: dict[str, list[Poses]] = {"truth": [], "harvested": [], "weighted DLT": []}
    rng = np.random.default_rng([seed, 2])
    for world, cameras in rooms(file, "train", frames, seed):
        source = recordings.SimulatedViews(recordings.detect(world, cameras, H36M_17, recordings.HARD, rng))
        with tempfile.TemporaryDirectory() as folder:
            got = harvest.harvest(Recording(cameras, H36M_17, source), HarvestConfig(grid=32), Path(folder), threads=2)
            position, kept = np.array(got.position), np.array(got.kept)
        chunk = source.read(range(source.frames))
        points = triangulation.linear(cameras, chunk.pixels, chunk.score)
        whole = (np.array(got.outcome) == harvest.Outcome.FOUND).all(axis=1) & kept[:, 0] & (kept.sum(axis=1) >= LEAST)
        there = np.isfinite(points.position).all(axis=(1, 2))
        poses["truth"].append(views(world, cameras, None, "train"))
        poses["harvested"].append(views(position[whole], cameras, kept[whole], "train"))
        poses["weighted DLT"].append(views(points.position[there], cameras, None, "train"))
    return {name: joined([p for p in parts if len(p.names)]) for name, parts in poses.items()}


def main() -> int:
    parser = harness.options(__doc__, needs=["poses"], seeds=3)
    parser.add_argument("--frames", type=int, default=2400)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(asked.seeds):
        test = joined([views(w, c, None, "test") for w, c in rooms(asked.poses, "test", asked.frames // 2, seed)])
        for name, poses in labelled(asked.poses, seed, asked.frames).items():
            config = changed(PRESETS["supervised"], seed=seed, precision="float32")
            lifter = fitting.fit(subset(poses, poses.split == "train"), config, curves=False)
            measured = evaluate.measure(lifter.predict(test), test)
            row = {k: float(measured[k]) for k in ("mpjpe_mm", "pa_mpjpe_mm")} | {"poses": float(len(poses.names))}
            rows.setdefault(name, []).append(row)
            print(f"seed {seed}, {name:13} {len(poses.names)} views: MPJPE {row['mpjpe_mm']:.1f}, "
                  f"PA {row['pa_mpjpe_mm']:.1f} mm", flush=True)  # fmt: skip
    print()
    mean = {name: {k: float(np.mean([r[k] for r in some])) for k in some[0]} for name, some in rows.items()}
    for name, some in rows.items():
        sd = {k: float(np.std([r[k] for r in some])) for k in some[0]}
        print(f"{name:13} MPJPE {mean[name]['mpjpe_mm']:.1f} ± {sd['mpjpe_mm']:.1f}, "
              f"PA {mean[name]['pa_mpjpe_mm']:.1f} ± {sd['pa_mpjpe_mm']:.1f} mm")  # fmt: skip
    better = all(mean["harvested"][k] < mean["weighted DLT"][k] for k in ("mpjpe_mm", "pa_mpjpe_mm"))
    bars = {"harvested labels teach more than weighted DLT's": better}
    return harness.conclude(asked, {"seeds": rows, "mean": mean}, bars)


if __name__ == "__main__":
    sys.exit(main())
