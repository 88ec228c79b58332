"""The multi-view harvester: accuracy, selection, speed and memory.

`python -m benchmarks.multiview [--poses poses.npz] [--recording FOLDER] [--parts accuracy speed memory recording] [--json]`.
accuracy: real motion (climbing, jumping, walking, running, boxing takes) in four simulated cameras with a simulated detector, 'hard' and
'clean' (training/simulation/recordings.py), 216 frames a seed, limb lengths estimated from the recording. speed: one thread, all in one
run; dense pair tables by their number of operations at the matrix rate measured here. memory: 10,000 frames in a process of its
own. recording: a folder like `multiview_balancing`, beside its reference. Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import harness
from labeling.skeletons import H36M_17, Skeleton
from training.harvest import selection
from training.harvest.arrays import Outcome
from training.multiview import calibration, harvest, report, triangulation
from training.multiview.config import HarvestConfig
from training.multiview.recording import Detections, Recording
from training.simulation import recordings

Array = NDArray[np.float64]
TAKES = ("asf/01", "asf/02", "asf/03")
CLIPS = 9
HARD_MM, OF_RANSAC, OF_WEIGHTED, OF_DLT, LENGTHS_MM = 40.0, 0.6, 0.5, 0.95, 5.0
TOP, RHO = 0.92, 0.2
FRAME_MS, FRAME_MB, DENSE, PREVIEW, GPU_FPS = 250.0, 1024.0, 10.0, 7.0, 400.0
FLAT_MB = 40.0
REFERENCE_MM, MEDIAN_MM, MEAN_MM, REPROJECTION_PX = 0.001, 16.0, 21.0, 12.5
FEET = (
    "RHip-RKnee-RAnkle-RBigToe RBigToe-RSmallToe RAnkle-RHeel LHip-LKnee-LAnkle-LBigToe LBigToe-LSmallToe LAnkle-LHeel RHip-LHip "
    "Neck-RShoulder-RElbow-RWrist Neck-LShoulder-LElbow-LWrist Neck-Head Neck-Nose RShoulder-RHip"
)


def clips(file: Path, seed: int, frames: int) -> list[Array]:
    """World poses (mm, z up) of nine takes, each somewhere within half a metre of the room's middle."""
    data = np.load(file)
    rng = np.random.default_rng(seed)
    names = [n for n, name in enumerate(data["seq_names"]) if str(name).startswith(TAKES)]
    takes = []
    for take in rng.choice(names, CLIPS, replace=False):
        poses = data["poses"][data["seq_id"] == take].astype(np.float64)
        some = np.linspace(0, len(poses) - 1, frames // CLIPS).astype(int)
        upright = poses[some][..., [0, 2, 1]] * [1.0, -1.0, 1.0]
        takes.append(upright + np.append(rng.uniform(-500, 500, 2), 0.0))
    return takes


def accuracy(
    file: Path, detector: recordings.Detector, seed: int, frames: int, *, true_lengths: bool = False
) -> dict[str, float]:
    rng = np.random.default_rng([seed, 1])
    errors: dict[str, list[Array]] = {k: [] for k in ("dlt", "weighted dlt", "ransac", "structures", "mean")}
    scores: dict[str, list[Array]] = {k: [] for k in ("determinant", "local", "confidence", "reprojection")}
    for poses in clips(file, seed, frames):
        cameras = recordings.studio(rng)
        views = recordings.SimulatedViews(recordings.detect(poses, cameras, H36M_17, detector, rng))
        recorded = Recording(cameras, H36M_17, views)
        lengths = None
        if true_lengths:
            lengths = [float(np.linalg.norm(poses[:, a] - poses[:, b], axis=-1).mean()) for a, b in H36M_17.tree]
        chunk = views.read(range(views.frames))
        for name, points in (
            ("dlt", triangulation.linear(cameras, chunk.pixels, chunk.score, weighted=False)),
            ("weighted dlt", triangulation.linear(cameras, chunk.pixels, chunk.score)),
            ("ransac", triangulation.ransac(cameras, chunk.pixels, chunk.score)),
        ):
            errors[name].append(np.linalg.norm(points.position - poses, axis=-1))
        for estimate, ranked in (("mode", "determinant"), ("mean", "local")):
            if estimate == "mean" and true_lengths:
                continue
            with tempfile.TemporaryDirectory() as folder:
                config = HarvestConfig(estimate=estimate, rank_by=ranked)
                outcome = harvest.harvest(recorded, config, Path(folder), lengths_mm=lengths, threads=2)
                off = np.linalg.norm(outcome.position - poses, axis=-1)
                errors["structures" if estimate == "mode" else "mean"].append(off)
                scores[ranked].append(outcome.uncertainty.astype(np.float64))
                if estimate == "mode":
                    seen = np.maximum(outcome.seen.sum(axis=1), 1)
                    scores["reprojection"].append(outcome.error_px.sum(axis=1) / seen)
                    scores["confidence"].append(-chunk.score.sum(axis=1))
    joined = {k: np.concatenate(v) for k, v in errors.items() if v}
    row = {k: float(np.nanmean(v)) for k, v in joined.items()}
    if true_lengths:
        return row
    off = joined["structures"]
    for name, parts in scores.items():
        score = np.concatenate(parts)
        kept = selection.most_certain(score, np.ones_like(score, dtype=bool), 0.7)
        row[f"top by {name}"] = float(off[kept].mean() / off.mean())
        row[f"rho by {name}"] = float(
            np.mean([selection.spearman(score[:, j], off[:, j]) for j in range(score.shape[1])])
        )
    return row


def show(title: str, rows: list[dict[str, float]]) -> dict[str, float]:
    mean = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
    print(f"\n{title} (mean ± sd of {len(rows)} seeds)")
    for k, v in mean.items():
        digits = 3 if k.startswith(("top", "rho")) else 1
        print(f"  {k:22} {v:.{digits}f} ± {np.std([r[k] for r in rows]):.{digits}f}")
    return mean


def speed(device: str) -> dict[str, float]:
    """Milliseconds a frame of the whole way: triangulation, unary, marginals, moments; one thread a frame."""
    rng = np.random.default_rng(0)
    cameras = recordings.studio(rng)
    pose = 900.0 * rng.random((8, 17, 3)) - [450.0, 450.0, -450.0]
    views = recordings.SimulatedViews(recordings.detect(pose, cameras, H36M_17, recordings.CLEAN, rng))
    recorded = Recording(cameras, H36M_17, views)
    lengths = [float(x) for x in (130, 440, 450, 130, 440, 450, 230, 250, 120, 110, 150, 280, 250, 150, 280, 250)]
    torch.set_num_threads(1)
    chunk = views.read(list(range(8)) * (1 if device == "cpu" else 8))
    best: dict[str, list[float]] = {}
    for turn in range(5):  # sizes in turn, so that a busy neighbour slows both; the first round warms up
        for n in (64, 32):
            for threads in (1, 2) if device == "cpu" else (1,):
                with ThreadPoolExecutor(threads) as pool:
                    started = time.perf_counter()
                    alone = None if threads == 1 else pool  # as the harvester does
                    harvest.solve(recorded, chunk, HarvestConfig(grid=n), lengths, device=device, pool=alone)
                    took = 1000 * (time.perf_counter() - started) / len(chunk.pixels)
                if turn:
                    best.setdefault(f"{n}" + " on two" * (threads - 1), []).append(took)
    fastest = {name: min(times) for name, times in best.items()}
    a = torch.randn(2048, 2048, device=device)
    rates = []
    for _ in range(5):
        started = time.perf_counter()
        b = a @ a
        if device != "cpu":
            torch.cuda.synchronize()
        rates.append(2 * 2048**3 / (time.perf_counter() - started))
    del b
    messages, voxels = 2 * (len(H36M_17.keypoints) - 1), 64**3
    fastest["rate"] = max(rates)
    fastest["dense"] = 1000 * messages * 2 * voxels**2 / fastest["rate"]
    return fastest


ONE = """
import json, resource, sys, tempfile, numpy as np
from pathlib import Path
from labeling.skeletons import H36M_17
from training.multiview import harvest
from training.simulation import recordings
from training.multiview.config import HarvestConfig
from training.multiview.recording import Detections, Recording
frames, grid, threads = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
cameras = recordings.studio(rng)
walk = np.cumsum(rng.normal(0, 2, (frames, 1, 3)), axis=0) * [1, 1, 0] % 400
body = 900.0 * rng.random((17, 3)) - [450.0, 450.0, -450.0]
found = recordings.detect(body + walk, cameras, H36M_17, recordings.CLEAN, rng)
values = np.concatenate([found.pixels, found.score[..., None]], axis=-1).astype(np.float32)
with tempfile.TemporaryDirectory() as folder:
    np.save(Path(folder) / "detections.npy", values)
    del values, found, walk
    mapped = np.load(Path(folder) / "detections.npy", mmap_mode="r")
    peaks = []
    def watch(done, total, unit):
        if done % 400 == 0:
            pages = int(open("/proc/self/statm").read().split()[1]) - int(open("/proc/self/statm").read().split()[2])
            peaks.append(pages * resource.getpagesize() / 2**20)
    config = HarvestConfig(grid=grid)
    harvest.harvest(Recording(cameras, H36M_17, Detections(mapped)), config, Path(folder) / "out", progress=watch, threads=threads)
    print(json.dumps({"rss": peaks, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def memory(frames: int, grid: int, threads: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", ONE, str(frames), str(grid), str(threads)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def trc(file: Path) -> tuple[list[str], Array]:
    """Markers of a Pose2Sim TRC (Y up, m) in its world frame (Z up, mm)."""
    lines = [line.rstrip("\n").split("\t") for line in file.read_text().splitlines()]
    names = [name for name in lines[3][2:] if name]
    rows = np.array(
        [[float(x) if x else np.nan for x in row[2 : 2 + 3 * len(names)]] for row in lines[5:] if len(row) > 5]
    )
    return names, 1000 * rows.reshape(-1, len(names), 3)[..., [2, 0, 1]]


def recording(folder: Path) -> dict[str, Any]:
    cameras = calibration.read(folder / "Calib.qca.txt")
    data = np.load(folder / "detections_body25b.npz")
    names, reference = trc(folder / "reference_triangulated.trc")
    order = [list(data["joint_names"]).index(name) for name in names]
    values = data["keypoints"][:, :, order].astype(np.float64)
    bones = tuple((a, b) for part in FEET.split() for a, b in zip(part.split("-"), part.split("-")[1:]))
    skeleton = Skeleton("body25b-21", tuple(names), bones, "Neck")
    weighted = triangulation.linear(cameras, values[..., :2], values[..., 2], undistort=False)
    recorded = Recording(cameras, skeleton, Detections(values), 60.0)
    with tempfile.TemporaryDirectory() as out:
        outcome = harvest.harvest(recorded, HarvestConfig(), Path(out), threads=2)
        off = np.linalg.norm(outcome.position - reference, axis=-1)
        off = off[outcome.outcome == Outcome.FOUND]
        quality = report.report(recorded, outcome, inlier_px=15.0)
    for finding in quality["findings"]:
        print(f"  {finding}")
    same = np.linalg.norm(weighted.position - reference, axis=-1)
    return {
        "same": float(np.nanmedian(same)),
        "median": float(np.nanmedian(off)),
        "mean": float(np.nanmean(off)),
        "reprojection": quality["median_px"],
        "systematic": [c["name"] for c in quality["cameras"] if c["systematic"]],
        "without": {c["name"]: c["without"] for c in quality["cameras"] if c["without"]},
    }


def main() -> int:
    parts = ["accuracy", "recording", "speed", "memory"]
    parser = harness.options(__doc__, takes=["poses", "recording"], seeds=3, parts=parts, usual=["speed", "memory"])
    parser.add_argument("--frames", type=int, default=216)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bars: dict[str, bool] = {}
    results: dict[str, Any] = {}
    if "accuracy" in asked.parts:
        seeds = range(asked.seeds)
        hard = show(
            "hard, simulated detector", [accuracy(asked.poses, recordings.HARD, s, asked.frames) for s in seeds]
        )
        true = show(
            "hard, true limb lengths",
            [accuracy(asked.poses, recordings.HARD, s, asked.frames, true_lengths=True) for s in seeds],
        )
        clean = show(
            "clean, simulated detector", [accuracy(asked.poses, recordings.CLEAN, s, asked.frames) for s in seeds]
        )
        results["accuracy"] = {"hard": hard, "true lengths": true, "clean": clean}
        ours = hard["structures"]
        bars |= {
            f"hard: MPJPE {ours:.1f} mm (bar {HARD_MM})": ours <= HARD_MM,
            f"hard: {ours / hard['ransac']:.3f} of RANSAC (bar {OF_RANSAC})": ours <= OF_RANSAC * hard["ransac"],
            f"hard: {ours / hard['weighted dlt']:.3f} of weighted DLT (bar {OF_WEIGHTED})": ours
            <= OF_WEIGHTED * hard["weighted dlt"],
            f"clean: {clean['structures'] / clean['dlt']:.3f} of DLT (bar {OF_DLT})": clean["structures"]
            <= OF_DLT * clean["dlt"],
            f"estimated lengths cost {ours - true['structures']:+.1f} mm (bar {LENGTHS_MM})": ours - true["structures"]
            <= LENGTHS_MM,
            f"selection: top 70 % at {hard['top by determinant']:.3f} of all (bar {TOP})": hard["top by determinant"]
            <= TOP,
            f"selection: by confidence {hard['top by confidence']:.3f}": hard["top by determinant"]
            < hard["top by confidence"],
            f"selection: Spearman per joint {hard['rho by determinant']:.3f} (bar {RHO})": hard["rho by determinant"]
            >= RHO,
        }
    if "recording" in asked.parts:
        print("\nreal recording")
        real = results["recording"] = recording(asked.recording)
        bars |= {
            f"weighted DLT beside the reference: median {real['same']:.2g} mm (bar {REFERENCE_MM})": real["same"]
            <= REFERENCE_MM,
            f"structures beside the reference: median {real['median']:.1f} mm (bar {MEDIAN_MM})": real["median"]
            <= MEDIAN_MM,
            f"structures beside the reference: mean {real['mean']:.1f} mm (bar {MEAN_MM})": real["mean"] <= MEAN_MM,
            f"median reprojection {real['reprojection']:.2f} px (bar {REPROJECTION_PX})": real["reprojection"]
            <= REPROJECTION_PX,
            f"cameras named: {', '.join(real['systematic'])}; without anybody: {real['without']}": bool(
                real["systematic"]
            ),
        }
    if "speed" in asked.parts:
        cpu = results["speed"] = speed("cpu")
        print(
            f"\none thread: 64^3 {cpu['64']:.0f} ms a frame, 32^3 {cpu['32']:.0f} ms; {cpu['rate'] / 1e9:.0f} GFLOP/s of matrix products"
        )
        bars |= {
            f"64^3: {cpu['64 on two']:.0f} ms a frame on two cores, {cpu['64']:.0f} ms on one (bar {FRAME_MS:.0f} on two)": cpu[
                "64 on two"
            ]
            <= FRAME_MS,
            f"dense pair tables would take {cpu['dense'] / cpu['64']:.0f}x (bar {DENSE:.0f})": cpu["dense"]
            >= DENSE * cpu["64"],
            f"32^3 is {cpu['64'] / cpu['32']:.1f}x faster (bar {PREVIEW:.0f})": cpu["64"] >= PREVIEW * cpu["32"],
        }
        if torch.cuda.is_available():
            gpu = results["gpu"] = speed("cuda")
            rate = 1000 / gpu["64"]
            bars[f"GPU: {rate:.0f} frames a second at 64^3 (bar {GPU_FPS:.0f} on an H200)"] = rate >= GPU_FPS
    if "memory" in asked.parts:
        one, long = memory(400, 64, 1), memory(10_000, 32, 2)
        results["memory"] = {"one": one, "long": long}
        grown = max(long["rss"][1:]) - long["rss"][1]
        bars |= {
            f"64^3: peak {one['peak']:.0f} MiB (bar {FRAME_MB:.0f})": one["peak"] <= FRAME_MB,
            f"10,000 frames (32^3): grown by {grown:.0f} MiB since frame 400 (bar {FLAT_MB:.0f})": grown <= FLAT_MB,
        }
    return harness.conclude(asked, results, bars)


if __name__ == "__main__":
    sys.exit(main())
