"""Training speed: poses per CPU-second of our step beside a per-sample re-statement of the reference step, in one run.

`python -m benchmarks.lifter_speed [--epoch] [--device cuda] [--json]`. One thread; synthetic poses of 17 joints; the rows take turns and
each reports its best round. The reference is written from docs/methods/lifter.md: a Dataset that builds each item in
Python, a loader that collates them, one pair per pose, unfused Adam, checks for NaN. `--epoch` times one whole epoch over
1,559,752 poses (as many as Human3.6M's training frames). Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import harness
from labeling.releasing.reading import Poses
from labeling.skeletons import H36M_17
from training.lifter import bones
from training.lifter.config import PAPER, PRESETS, LifterConfig, changed
from training.lifter.fit import _Run, uses_bf16
from training.simulation import annotators

EQUAL, RECOMMENDED, GPU_EPOCH_S = 2.8, 10.0, 1.5
H36M_POSES = 1_559_752
JOINTS = 17
BONES = [(H36M_17.index(a), H36M_17.index(b)) for a, b in H36M_17.bones]


def synthetic(people: int, pairs: int = 1) -> Poses:
    """Random poses around a plausible size, with simulated labels."""
    rng = np.random.default_rng(0)
    truth = rng.normal(
        0,
        250,
        (people, JOINTS, 3),
    ).astype(np.float32) + np.array([0, 0, 5000], dtype=np.float32)
    nothing = np.zeros(0, dtype=np.int64)
    poses = Poses(
        H36M_17,
        [""] * people,
        np.full(people, "train"),
        1145.0 * truth[..., :2].astype(np.float64) / truth[..., 2:] + 500,
        np.full((people, JOINTS), 2, dtype=np.int8),
        nothing,
        nothing,
        nothing,
        np.zeros(0),
        truth.astype(np.float64),
        focal_px=np.full((people, 2), 1145.0),
        principal_px=np.full((people, 2), 500.0),
    )
    return annotators.label(poses, annotators.LabelConfig(pairs=pairs))


class PerSample(torch.utils.data.Dataset):
    """One pose at a time, as the reference builds items: six arrays, a pair drawn and swapped by chance, its label from the
    true depths, the length of every limb by tensor operations, and the seven arrays of the camera."""

    def __init__(self, poses: Poses) -> None:
        flat = poses.keypoints_px - poses.keypoints_px[:, :1]
        self.inputs = flat.reshape(len(flat), -1).astype(np.float32)
        self.root_px = poses.keypoints_px[:, 0].astype(np.float32)
        self.root_mm = poses.truth_mm[:, 0].astype(np.float32)
        self.truth = (poses.truth_mm - poses.truth_mm[:, :1]).reshape(len(flat), -1).astype(np.float32)
        with np.errstate(all="ignore"):
            self.standard_inputs = np.nan_to_num((self.inputs - self.inputs.mean(0)) / self.inputs.std(0))
            self.standard_targets = np.nan_to_num((self.truth - self.truth.mean(0)) / self.truth.std(0))
        self.pairs: list[list[tuple[int, int]]] = [[] for _ in range(len(flat))]
        self.right: list[list[int]] = [[] for _ in range(len(flat))]
        for n, a, b in zip(poses.pose, poses.first, poses.second):
            self.pairs[n].append((int(a), int(b)))
            self.right[n].append(1)
        tangential = np.zeros((2, 1), dtype=np.float32)
        self.cameras = {
            (1, 1): (
                np.eye(3, dtype=np.float32),
                np.zeros((3, 1), dtype=np.float32),
                np.full((2, 1), 1145.0, dtype=np.float32),
                np.full((2, 1), 500.0, dtype=np.float32),
                np.zeros((3, 1), dtype=np.float32),
                tangential,
            )
        }

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        arrays = (self.inputs, self.standard_inputs, self.root_px, self.truth, self.standard_targets, self.root_mm)
        columns = [torch.from_numpy(a[index, :]) for a in arrays]
        turn, place, focal, centre, radial, tangential = self.cameras[1, 1]
        swapped = np.zeros(tangential.shape).astype(np.float32)
        swapped[1, 0], swapped[0, 0] = tangential[0, 0], tangential[1, 0]
        camera = (turn, place, focal, centre, radial, tangential, swapped)
        which = np.random.randint(len(self.pairs[index]))
        pair = self.pairs[index][which]
        if np.random.rand() > 0.5:
            pair = pair[::-1]
        depths = torch.from_numpy(np.array([3 * pair[0] + 2, 3 * pair[1] + 2]))
        order = torch.from_numpy(np.zeros(1, dtype=np.float32))
        gap = self.truth[index, 3 * pair[0] + 2] - self.truth[index, 3 * pair[1] + 2]
        order[0] = 1.0 if gap > 0 else -1.0 if gap < 0 else 0.0
        order[0] *= self.right[index][which]
        limbs = torch.zeros((1, len(BONES)))
        pose = columns[3]
        for number, (a, b) in enumerate(BONES):
            first, second = pose[[3 * a, 3 * a + 1, 3 * a + 2]], pose[[3 * b, 3 * b + 1, 3 * b + 2]]
            limbs[:, number] = torch.sqrt(((first - second) ** 2).sum(dim=0))
        return (*columns, depths, order, limbs, camera)


class Reference:
    """The reference training step, per-sample data and unfused optimiser; losses as in docs/methods/lifter.md."""

    def __init__(self, poses: Poses, batch: int = 64) -> None:
        torch.manual_seed(0)
        width = 1024

        def layer(inputs: int) -> list[nn.Module]:
            return [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5)]

        self.enter = nn.Sequential(*layer(2 * JOINTS))
        self.stage = nn.Sequential(*layer(width), *layer(width))
        self.pose, self.scale = nn.Linear(width, 3 * JOINTS), nn.Linear(width, 1)
        self.unnorm = nn.Parameter(torch.full((3 * JOINTS,), 100.0))
        modules = (self.enter, self.stage, self.pose, self.scale)
        self.parameters = [p for m in modules for p in m.parameters()] + [self.unnorm]
        self.optimiser = torch.optim.Adam(self.parameters, lr=1e-3)
        self.loader = torch.utils.data.DataLoader(PerSample(poses), batch_size=batch, shuffle=True)
        self.log: list[float] = []
        self.reference = torch.tensor(bones.assumed_mm(poses, BONES, generic=True), dtype=torch.float32)

    def epoch(self) -> None:
        for original, input_px, _, _, _, _, depths, order, _, _ in self.loader:
            self.optimiser.zero_grad()
            x = self.enter(input_px)
            x = x + self.stage(x)
            out = self.pose(x) * self.unnorm
            scale = torch.sigmoid(self.scale(x))
            self._check(out.mean())
            rows = range(len(out))
            gap = out[rows, depths[:, 0]] - out[rows, depths[:, 1]]
            gap = gap / torch.abs(gap).mean()
            label = order[:, 0]
            fits = torch.log1p(torch.exp(torch.min(85.0 * torch.ones(gap.shape), -2.5 * label * gap)))
            known = torch.abs(label)
            relative = (known * fits + (1.0 - known) * gap * gap).mean()
            self._check(relative)
            off = (out[:, 0::3] * scale - original[:, 0::2]) ** 2 + (out[:, 1::3] * scale - original[:, 1::2]) ** 2
            reprojection = 0.1 * torch.sqrt(off + 1e-8).mean(dim=1).mean()
            self._check(reprojection)
            pose = out.view(-1, JOINTS, 3)
            root = torch.sqrt((pose[:, 0] ** 2).sum(1) + 1e-8).mean()
            first, second = [a for a, _ in BONES], [b for _, b in BONES]
            sizes = torch.sqrt(((pose[:, first] - pose[:, second]) ** 2).sum(2) + 1e-8)
            ratio = sizes / sizes[:, 2].unsqueeze(1) - self.reference / self.reference[2]
            camera = root + torch.sqrt(ratio**2 + 1e-8).mean(1).mean()
            self._check(camera)
            loss = relative + reprojection + camera
            loss.backward()
            self.log.append(loss.item())
            nn.utils.clip_grad_norm_(self.parameters, max_norm=1)
            self.optimiser.step()

    def _check(self, value: torch.Tensor) -> None:
        self.log.append(value.item())
        if np.isnan(self.log[-1]):
            raise RuntimeError("NaN")


def cpu_s(work: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(poses: Poses, config: LifterConfig, device: str = "cpu") -> Callable[[], object]:
    run = _Run(poses, bones.resolved(poses, config), device)
    count = iter(range(10**6))
    return lambda: run.epoch(next(count))


def main() -> int:
    parser = harness.options(__doc__)
    parser.add_argument("--people", type=int, default=8192, help="simulated poses")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epoch", action="store_true", help="also one epoch of Human3.6M's size")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    large = PRESETS["nearer-large"]
    one, five = synthetic(options.people), synthetic(options.people, 5)
    reference = Reference(one)
    rows: dict[str, Callable[[], object]] = {
        "reference step, batch 64": reference.epoch,
        "paper, batch 64 (equal settings)": ours(one, changed(PAPER, batch=64)),
        "paper, batch 64, bf16": ours(one, changed(PAPER, batch=64, precision="bf16")),
        "paper, batch 1024, bf16": ours(one, changed(PAPER, batch=1024, precision="bf16")),
        "nearer-large (recommended), 5 pairs": ours(five, large),
        "nearer-large, hidden 1024, 5 pairs": ours(five, changed(large, hidden=1024)),
    }
    for work in rows.values():
        work()
    best = dict.fromkeys(rows, float("inf"))
    for _ in range(options.rounds):
        for name, work in rows.items():
            best[name] = min(best[name], cpu_s(work))
    rate = {name: options.people / seconds for name, seconds in best.items()}
    base = rate["reference step, batch 64"]
    print(f"poses per CPU-second, one thread, best of {options.rounds} rounds of {options.people} poses")
    for name, value in rate.items():
        print(f"{name:40s} {value:9.0f}  {value / base:6.2f} x")
    results: dict[str, Any] = {"poses_per_cpu_second": rate, "reference": base}
    bars = [
        ("equal settings", rate["paper, batch 64 (equal settings)"] / base, EQUAL),
        ("recommended setting", rate["nearer-large (recommended), 5 pairs"] / base, RECOMMENDED),
    ]
    if options.epoch:
        results["epoch_s"] = _whole_epoch(options.device, large)
        if options.device != "cpu":
            bars.append(("whole epoch: seconds allowed / taken", GPU_EPOCH_S / results["epoch_s"], 1.0))
    held = {f"{name} {value:.2f}, at least {bar}": value >= bar for name, value, bar in bars}
    return harness.conclude(options, results, held)


def _whole_epoch(device: str, config: LifterConfig) -> float:
    """Wall seconds of one epoch over as many poses as Human3.6M has for training; the share of the measured matrix rate."""
    torch.set_num_threads(torch.get_num_threads() if device != "cpu" else 2)
    if device != "cpu":
        config = changed(config, batch=4096)
    poses = synthetic(H36M_POSES, 5)
    prepared = time.perf_counter()
    epoch = ours(poses, config, device)
    prepared = time.perf_counter() - prepared
    if device != "cpu":
        epoch()
        torch.cuda.synchronize()
    started = time.perf_counter()
    epoch()
    if device != "cpu":
        torch.cuda.synchronize()
    took = time.perf_counter() - started
    per_pose = 3 * 2 * (2 * JOINTS * config.hidden + 2 * config.hidden**2 + 17 * config.hidden)
    share = per_pose * H36M_POSES / took / matrix_rate(device)
    print(
        f"one epoch of {H36M_POSES} poses, batch {config.batch}, {device}: {took:.1f} s (prepared in {prepared:.1f} s); {share:.1%} of the matrix rate"
    )
    return took


def matrix_rate(device: str) -> float:
    """Floating-point operations per second of large matrix products in the recommended preset's precision, measured here."""
    size = 2048 if device == "cpu" else 8192
    kind = torch.bfloat16 if uses_bf16(PRESETS["nearer-large"], device) else torch.float32
    a = torch.randn(size, size, dtype=kind, device=device)
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        a @ a
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


if __name__ == "__main__":
    sys.exit(main())
