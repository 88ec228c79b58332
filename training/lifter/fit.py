"""Training: all data on the device, one epoch at a time, continued bit for bit from a checkpoint."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from labeling.releasing.reading import Poses
from training.lifter import bones
from training.lifter.batches import Batches
from training.lifter.config import LifterConfig, PseudoConfig
from training.lifter.data import InputStatistics, lifter_input, subset
from training.lifter.evaluate import order_errors
from training.lifter.network import Lifter
from training.lifter.objectives import OBJECTIVES
from training.lifter.predict import load
from training.lifter.pseudo import Pseudo, PseudoLosses
from webapp.errors import InputError
from webapp.progress import Progress, silent

OnEpoch = Callable[[int, dict[str, float]], None]
OnPoses = Callable[[int, NDArray[np.float32], Poses], None]
FLAT = 0.02  # depth spread below this share of the spread in x and y: the poses are flat
CURVE_PEOPLE = 2000  # held-out people that the curves look at
PATIENCE_STEPS = 2000  # a run may look collapsed for so long at its start


class NothingToLearn(InputError):
    """Data from which this configuration cannot learn; says what is missing."""


class Collapsed(InputError):
    """Depth spread or limb ratios died: the run's result would be worthless."""


def uses_bf16(config: LifterConfig, device: str) -> bool:
    """Are matrix products in bfloat16? Processors below AVX-512 only imitate it, 30 to 70 times slower than float32 (measured
    on one with AVX2): there they stay in float32, which the options allow to be more exact."""
    imitated = device.startswith("cpu") and torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2")
    return config.precision == "bf16" and not imitated


@dataclass
class Fitted:
    """A trained network with everything that prediction needs."""

    network: Lifter
    statistics: InputStatistics
    config: LifterConfig
    poses: Poses

    @torch.no_grad()
    def predict(self, poses: Poses) -> Float[np.ndarray, "N J 3"]:
        """N x J x 3 in the camera frame, root at the origin; mm, or the network's units where depth is free."""
        return _predict(self.network, self.statistics, self.config, poses)


def check(poses: Poses, config: LifterConfig) -> Poses:
    """The training poses, if there is something to learn from them. Raises NothingToLearn, NoLengths."""
    train = subset(poses, poses.split == "train")
    if len(train.names) < 2:
        raise NothingToLearn(f"The training split has {len(train.names)} poses; at least 2 are needed.")
    there = train.state > 0
    if not np.isfinite(train.keypoints_px[there]).all():
        bad = int((~np.isfinite(train.keypoints_px).all(-1) & there).any(1).sum())
        raise NothingToLearn(f"{bad} training poses hold 2D keypoints that are not finite numbers.")
    _check_shapes(train.keypoints_px, there)
    if config.objective == "supervised":
        root = train.skeleton.index(train.skeleton.root)
        known = np.isfinite(train.truth_mm).all(-1)
        if (known[:, root] & (known.sum(1) > 1)).sum() < 2:
            raise NothingToLearn(
                f"objective 'supervised' needs true 3D poses with the {train.skeleton.root} of at least 2 training pictures."
            )
    elif not len(train.pose):
        raise NothingToLearn("The release has no labelled pairs in its training pictures.")
    elif (train.p_second == 0.5).all():
        raise NothingToLearn("All labelled pairs of the training pictures are ties: they say nothing of depth.")
    bones.targets(train, bones.resolved(train, config))
    return train


@dataclass(frozen=True)
class Spread:
    """In an epoch's last batch: spread of predicted z, of x and y (network's units), keypoints' distance from the root (px)."""

    depth: float
    picture: float
    keypoints_px: float


def guard(epoch: int, values: dict[str, float], spread: Spread, config: LifterConfig, *, early: bool) -> None:
    """Stop a run whose depth, limbs or likeness to the picture died. Raises Collapsed; lenient while it is `early`."""
    why = ""
    flatness = spread.depth / max(spread.picture, 1e-9)
    if not all(map(math.isfinite, values.values())):
        why = "its losses are no numbers"
    elif early:
        return
    elif flatness < FLAT:
        why = f"the poses are flat (depth spread is {flatness:.1%} of the spread in the picture)"
    elif config.depth == "free" and values.get("skeleton", 0.0) > 1.0:
        why = f"limb ratios are off by {values['skeleton']:.2f} on average"
    elif values.get("reprojection", 0.0) > 0.9 * spread.keypoints_px:
        why = f"the poses do not project onto the keypoints (off by {values['reprojection']:.0f} px)"
    if why:
        raise Collapsed(f"The run collapsed in epoch {epoch + 1}: {why}; try a lower skeleton_weight or learning_rate.")


def _check_shapes(keypoints_px: NDArray[np.float64], there: NDArray[np.bool_]) -> None:
    low = np.where(there[..., None], keypoints_px, np.inf).min(1)
    high = np.where(there[..., None], keypoints_px, -np.inf).max(1)
    if not (high > low).any():
        raise NothingToLearn("All 2D keypoints of each training pose lie on one point.")
    always = keypoints_px[:, there.all(0)]
    if always.shape[1] > 1 and np.allclose(always - always[:, :1], (always - always[:, :1])[:1]):
        raise NothingToLearn("All training poses have the same 2D keypoints: there is nothing to tell them apart by.")


def fit(
    poses: Poses,
    config: LifterConfig,
    *,
    progress: Progress = silent,
    on_epoch: OnEpoch = lambda *_: None,
    on_poses: OnPoses = lambda *_: None,
    checkpoint: Path | None = None,
    weights: Path | None = None,
    every: int = 10,
    device: str = "cpu",
    curves: bool = True,
    share: tuple[int, int] = (0, 1),
    pseudo: tuple[Pseudo, PseudoConfig] | None = None,
) -> Fitted:
    """Train on the `train` split of a release and report losses and, with `curves`, held-out order errors after each epoch.

    `on_poses`: sees some held-out people (N x J x 3 and their data) every `every` epochs; `checkpoint`: where to save as
    often, and to continue from; `weights`: a model to fine-tune (its weights only: optimiser and schedule start fresh);
    `share`: (rank, processes) in a process group that trains together, each on
    its part of every batch (training.lifter.together); `pseudo`: pseudo-labels to learn beside, which needs `weights`: input is then
    standardised as that model's was. Raises NothingToLearn, NoLengths, Collapsed.
    """
    train = check(poses, config)
    config = bones.resolved(train, config)
    held_out = subset(poses, np.flatnonzero(poses.split == "test")[:CURVE_PEOPLE])
    run = _Run(train, config, device, share)
    start = 0
    if weights is not None:
        run.load_weights(weights)
        if pseudo is not None:
            run.learn_beside(*pseudo, load(weights).statistics)
    if checkpoint is not None and checkpoint.exists():
        start = run.load(checkpoint)
    for epoch in range(start, config.epochs):
        progress(epoch, config.epochs, "epochs")
        values = run.epoch(epoch)
        if curves and len(held_out.names):
            predicted = _predict(run.best(), run.statistics, config, held_out)
            values |= {f"held_out_{k}": v for k, v in order_errors(predicted, held_out).items()}
            if (epoch + 1) % every == 0:
                on_poses(epoch, predicted, held_out)
        on_epoch(epoch, values)
        if checkpoint is not None and share[0] == 0 and ((epoch + 1) % every == 0 or epoch + 1 == config.epochs):
            run.save(checkpoint, epoch + 1)
    progress(config.epochs, config.epochs, "epochs")
    return Fitted(run.best().eval(), run.statistics, config, poses)


@torch.no_grad()
def _predict(network: Lifter, statistics: InputStatistics, config: LifterConfig, poses: Poses) -> NDArray[np.float32]:
    if not len(poses.names):
        return np.zeros((0, len(poses.skeleton.keypoints), 3), dtype=np.float32)
    device = network.lengths.device
    view = lifter_input(poses, config, statistics)
    x = statistics.standardise(view.points.reshape(len(view.points), -1))
    network.eval()
    arrays = (torch.from_numpy(a).to(device) for a in (x, view.points, view.inverse_focal, view.to_camera))
    x_, points, inverse_focal, to_camera = arrays
    pose = network(x_, points, inverse_focal)
    return np.asarray(torch.einsum("nij,nkj->nki", to_camera, pose).cpu().numpy())


class _Run:
    def __init__(self, train: Poses, config: LifterConfig, device: str, share: tuple[int, int] = (0, 1)) -> None:
        self.config, self.device, self.share = config, device, share
        self.parts = OBJECTIVES[config.objective, config.depth]
        targets, lengths, own = bones.targets(train, config)
        self.batches = Batches(train, config, own, device)
        self.statistics = self.batches.statistics
        torch.manual_seed(config.seed)
        self.network = Lifter(train.skeleton, config, lengths, targets).to(device)
        if self.batches.truth is not None:
            flat = self.batches.truth.flatten(1)
            mean = flat.nanmean(0)
            spread = ((flat - mean) ** 2).nanmean(0).sqrt()
            # A coordinate that is known of nobody stays at the root, and learns nothing.
            self.network.unnorm.requires_grad_(False).copy_(torch.nan_to_num(spread))
            self.network.offset.copy_(torch.nan_to_num(mean))
        self.averaged = copy.deepcopy(self.network) if config.average else None
        learned = [p for p in self.network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(learned, lr=config.learning_rate, fused=True)
        self.learned = learned
        self.pseudo: PseudoLosses | None = None
        self.steps_per_epoch = max(1, math.ceil(len(train.names) / config.batch))
        self.step = 0

    def learn_beside(self, pseudo: Pseudo, options: PseudoConfig, statistics: InputStatistics) -> None:
        """Add pseudo-labels' losses to every step; the network's input stays what it was trained on."""
        if self.config.objective == "ordinal" and self.config.depth == "free":
            raise NothingToLearn("Pseudo-labels are in mm: start from a model with depth 'bones', or a supervised one.")
        self.statistics = statistics
        self.batches.mean, self.batches.std = (
            torch.from_numpy(v).to(self.device) for v in (statistics.mean, statistics.std)
        )
        self.pseudo = PseudoLosses(pseudo, options, self.config, statistics, self.device)

    def best(self) -> Lifter:
        """The averaged network where weights are averaged, else the network itself."""
        return self.averaged or self.network

    def rate(self) -> float:
        config = self.config
        if config.schedule == "step":
            return float(config.learning_rate * 0.96 ** (self.step // 100_000))
        total = self.steps_per_epoch * config.epochs
        return float(config.learning_rate * 0.5 * (1 + math.cos(math.pi * self.step / total)))

    def epoch(self, epoch: int) -> dict[str, float]:
        # Seeded anew each epoch (dropout included), so that a continued run takes the same steps as an unbroken one.
        torch.manual_seed((self.config.seed * 1_000_003 + epoch) % 2**63)
        generator = torch.Generator(self.device).manual_seed(self.config.seed * 7919 + epoch)
        self.network.train()
        order = torch.randperm(len(self.batches), generator=generator, device=self.device)
        batches = [b for b in torch.split(order, self.config.batch) if len(b) > self.share[1]]
        sums: dict[str, Tensor] = {}
        pose = points = torch.empty(0)
        for people in batches:
            parts, pose, points = self._step(people, generator)
            for key, value in parts.items():
                sums[key] = sums[key] + value if key in sums else value
        values = {k: float(v) / len(batches) for k, v in sums.items()}
        spread = Spread(float(pose[..., 2].std()), float(pose[..., :2].std()), float(points.norm(dim=-1).mean()))
        guard(epoch, values, spread, self.config, early=self.step <= PATIENCE_STEPS)
        return {k: round(v, 6) for k, v in values.items()}

    def _step(self, people: Tensor, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """One step; returns the losses' parts, the poses and their 2D keypoints."""
        config = self.config
        batch = self.batches.draw(people, generator, self.share)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=uses_bf16(config, self.device)):
            features = self.network.features(batch.x)
        parts, pose = self.parts(self.network, batch, features.float(), config)
        if self.pseudo is not None:
            extra = self.pseudo.parts(self.network, len(people), generator)
            parts = parts | extra | {"loss": parts["loss"] + self.pseudo.total(extra)}
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(parts["loss"])
        self._agree()
        torch.nn.utils.clip_grad_norm_(self.learned, config.clip_norm, foreach=True)
        self.optimiser.step()
        self.step += 1
        self._average()
        return {k: v.detach() for k, v in parts.items()}, pose.detach(), batch.points

    @torch.no_grad()
    def _agree(self) -> None:
        """Gradients become their mean over the processes, in one message."""
        if self.share[1] == 1:
            return
        gradients = [p.grad for p in self.learned if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients]) / self.share[1]
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients])):
            gradient.copy_(part.view_as(gradient))

    @torch.no_grad()
    def _average(self) -> None:
        if self.averaged is None:
            return
        share = 1 - min(self.config.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(*self._floats(), share)

    def _floats(self) -> tuple[list[Tensor], list[Tensor]]:
        assert self.averaged is not None  # noqa: S101
        pairs = zip(self.averaged.state_dict().values(), self.network.state_dict().values())
        mean, now = zip(*((a, b) for a, b in pairs if a.is_floating_point()))
        return list(mean), list(now)

    def save(self, path: Path, epoch: int) -> None:
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        if self.averaged is not None:
            tensors |= {f"averaged.{k}": v for k, v in self.averaged.state_dict().items()}
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
        for name, network in (("network.", self.network), ("averaged.", self.averaged)):
            if network is not None:
                network.load_state_dict({k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)})
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
            weights = {k[8:]: v for k, v in tensors.items() if k.startswith("network.")}
            for network in filter(None, (self.network, self.averaged)):
                network.load_state_dict(weights)
        except RuntimeError as error:
            raise NothingToLearn(f"The model to start from has another shape: {error}") from None
