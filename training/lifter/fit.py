"""Training: all data on the device, one epoch at a time, continued bit for bit from a checkpoint."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from labeling.releasing.reading import Poses
from training.lifter import bones, losses
from training.lifter.config import LifterConfig
from training.lifter.data import Frame, centred, frame_of, subset, twin_order
from training.lifter.evaluate import order_errors
from training.lifter.network import Lifter

OnEpoch = Callable[[int, dict[str, float]], None]
Progress = Callable[[int, int, str], None]


class NothingToLearn(ValueError):
    """A release without labelled training pairs, or with fewer than two training poses."""


class Collapsed(RuntimeError):
    """Depth spread or limb ratios died: the run's result would be worthless."""


@dataclass
class Fitted:
    """A trained network with everything that prediction needs."""

    network: Lifter
    frame: Frame
    config: LifterConfig
    poses: Poses


def fit(
    poses: Poses,
    config: LifterConfig,
    *,
    progress: Progress = lambda *_: None,
    on_epoch: OnEpoch = lambda *_: None,
    checkpoint: Path | None = None,
    weights: Path | None = None,
    every: int = 10,
    device: str = "cpu",
) -> Fitted:
    """Train on the `train` split of a release and report losses and held-out order errors after each epoch.

    `checkpoint`: where to save every `every` epochs and to continue from; `weights`: a model to fine-tune (its weights
    only: optimiser and schedule start fresh). Raises NothingToLearn, Collapsed.
    """
    train, held_out = subset(poses, poses.split == "train"), subset(poses, poses.split == "test")
    if len(train.names) < 2 or not len(train.pose):
        raise NothingToLearn("The release has no labelled pairs in its training pictures.")
    run = _Run(train, config, device)
    start = 0
    if weights is not None:
        run.load_weights(weights)
    if checkpoint is not None and checkpoint.exists():
        start = run.load(checkpoint)
    for epoch in range(start, config.epochs):
        progress(epoch, config.epochs, "epochs")
        values = run.epoch(epoch)
        values |= {f"held_out_{k}": v for k, v in order_errors(run.predict(held_out), held_out).items()}
        on_epoch(epoch, values)
        if checkpoint is not None and ((epoch + 1) % every == 0 or epoch + 1 == config.epochs):
            run.save(checkpoint, epoch + 1)
    progress(config.epochs, config.epochs, "epochs")
    run.network.eval()
    return Fitted(run.network, run.frame, config, poses)


class _Run:
    def __init__(self, train: Poses, config: LifterConfig, device: str) -> None:
        self.config, self.train, self.device = config, train, device
        points, present, _ = centred(train, config)
        self.frame = frame_of(points, present)
        to = self._tensor
        self.points, self.present = to(points), to(present)
        self.mean, self.std = to(self.frame.mean), to(self.frame.std)
        self.first, self.second = to(train.first), to(train.second)
        p = train.p_second if config.targets == "soft" else np.where(train.p_second == 0.5, 0.5, train.p_second > 0.5)
        self.p_second = to(p.astype(np.float32))
        order = np.argsort(train.pose, kind="stable")
        self.pair_order = to(order)
        self.pair_count = to(np.bincount(train.pose, minlength=len(train.names)))
        self.pair_start = torch.cumsum(self.pair_count, 0) - self.pair_count
        self.twins = to(twin_order(train))
        found, lengths, self.unit = bones.reference(train.skeleton)
        self.bones = to(np.array(found, dtype=np.int64).reshape(-1, 2))
        self.lengths = to(np.array(lengths, dtype=np.float32))
        self.root = train.skeleton.index(train.skeleton.root)
        torch.manual_seed(config.seed)
        self.network = Lifter(len(train.skeleton.keypoints), config).to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, fused=True)
        self.steps_per_epoch = max(1, math.ceil(len(train.names) / config.batch))
        self.step = 0

    def _tensor(self, array: Any) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array)).to(self.device)

    def rate(self) -> float:
        config = self.config
        if config.schedule == "step":
            return float(config.learning_rate * 0.96 ** (self.step // 100_000))
        total = self.steps_per_epoch * config.epochs
        return float(config.learning_rate * 0.5 * (1 + math.cos(math.pi * self.step / total)))

    def epoch(self, epoch: int) -> dict[str, float]:
        # Seeded anew each epoch (dropout included), so that a continued run takes the same steps as an unbroken one.
        torch.manual_seed((self.config.seed * 1_000_003 + epoch) % 2**63)
        generator = torch.Generator().manual_seed(self.config.seed * 7919 + epoch)
        self.network.train()
        order = torch.randperm(len(self.points), generator=generator).to(self.device)
        batches = [b for b in torch.split(order, self.config.batch) if len(b) > 1]
        sums: dict[str, Tensor] = {}
        for batch in batches:
            for key, value in self._step(batch, generator).items():
                sums[key] = sums.get(key, torch.zeros((), device=self.device)) + value
        values = {k: float(v) / len(batches) for k, v in sums.items()}
        spread = values.pop("depth_spread")
        if not math.isfinite(values["loss"]) or spread < 1e-3:
            raise Collapsed(
                f"The run collapsed in epoch {epoch}: loss {values['loss']:.3g}, depth spread {spread:.3g}."
            )
        return {k: round(v, 6) for k, v in values.items()}

    def _step(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        points, present, flipped = self._augmented(batch, generator)
        row, first, second, p_second = self._pairs(batch, flipped, generator)
        flat = (points.flatten(1) - self.mean) / self.std.clamp_min(1e-6)
        flat = torch.where(self.std > 1e-6, flat, 0.0) * present.repeat_interleave(2, 1)
        pose, scale = self.network(flat)
        c = self.config
        parts = {
            "relative": losses.relative(pose, row, first, second, p_second, c.slope),
            "reprojection": losses.reprojection(pose, scale, points, present),
            "root": losses.root(pose, self.root),
            "skeleton": losses.skeleton(pose, self.bones, self.lengths, self.unit),
        }
        total = (
            c.relative_weight * parts["relative"]
            + c.reprojection_weight * parts["reprojection"]
            + c.root_weight * parts["root"]
            + c.skeleton_weight * parts["skeleton"]
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), c.clip_norm)
        self.optimiser.step()
        self.step += 1
        spread = pose.detach()[..., 2].std()
        return {"loss": total.detach(), **{k: v.detach() for k, v in parts.items()}, "depth_spread": spread}

    def _augmented(self, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Turned in the picture and mirrored: neither changes which joint is closer (mirroring swaps the names)."""
        points, present = self.points[batch], self.present[batch]
        flipped = torch.zeros(len(batch), dtype=torch.bool, device=self.device)
        if self.config.rotate_deg:
            turn = (torch.rand(len(batch), generator=generator).to(self.device) * 2 - 1) * math.radians(
                self.config.rotate_deg
            )
            c, s = torch.cos(turn)[:, None], torch.sin(turn)[:, None]
            x, y = points[..., 0], points[..., 1]
            points = torch.stack([c * x - s * y, s * x + c * y], -1)
        if self.config.mirror:
            flipped = (torch.rand(len(batch), generator=generator) < 0.5).to(self.device)
            other = points[:, self.twins] * torch.tensor([-1.0, 1.0], device=self.device)
            points = torch.where(flipped[:, None, None], other, points)
            present = torch.where(flipped[:, None], present[:, self.twins], present)
        return points, present, flipped

    def _pairs(
        self, batch: Tensor, flipped: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count = self.pair_count[batch]
        if self.config.pairs == "one":
            draw = (torch.rand(len(batch), generator=generator).to(self.device) * count).long()
            row = torch.nonzero(count).squeeze(1)
            which = self.pair_order[(self.pair_start[batch] + draw)[row]]
        else:
            row = torch.repeat_interleave(torch.arange(len(batch), device=self.device), count)
            within = torch.arange(len(row), device=self.device) - torch.repeat_interleave(
                torch.cumsum(count, 0) - count, count
            )
            which = self.pair_order[self.pair_start[batch][row] + within]
        first, second = self.first[which], self.second[which]
        swap = flipped[row]
        first, second = torch.where(swap, self.twins[first], first), torch.where(swap, self.twins[second], second)
        return row, first, second, self.p_second[which]

    @torch.no_grad()
    def predict(self, poses: Poses) -> np.ndarray:
        """N x J x 3 in the network's units."""
        if not len(poses.names):
            return np.zeros((0, len(poses.skeleton.keypoints), 3))
        points, present, _ = centred(poses, self.config)
        flat = self.frame.standardise(points.reshape(len(points), -1)) * np.repeat(present, 2, axis=1)
        self.network.eval()
        return self.network(self._tensor(flat))[0].cpu().numpy()

    def save(self, path: Path, epoch: int) -> None:
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{k}": v for k, v in state.items()}
        meta = {"epoch": str(epoch), "step": str(self.step), "config": self.config.model_dump_json()}
        aside = path.with_suffix(f".{os.getpid()}")
        save_file({k: v.contiguous() for k, v in tensors.items()}, aside, metadata=meta)
        os.replace(aside, path)

    def load(self, path: Path) -> int:
        """Continue from a checkpoint of the same configuration; returns the next epoch."""
        with safe_open(path, "pt") as file:
            meta = file.metadata()
            if json.loads(meta["config"]) != json.loads(self.config.model_dump_json()):
                return 0
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        self.network.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("network.")})
        whole = self.optimiser.state_dict()
        whole["state"] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                whole["state"].setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict(whole)
        self.step = int(meta["step"])
        return int(meta["epoch"])

    def load_weights(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        try:
            self.network.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("network.")})
        except RuntimeError as error:
            raise NothingToLearn(f"The model to start from has another shape: {error}") from None
