"""Training poses on the device, and batches of them: mirrored and turned copies, and the pairs that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from labeling.releasing.reading import Poses
from training.lifter import augmentation
from training.lifter.config import LifterConfig
from training.lifter.data import InputStatistics, lifter_input, statistics_of, twin_order


@dataclass
class Batch:
    """B people: x B x 2J standardised; points, present, inverse_focal, to_camera as in data.LifterInput; P pairs (row: person in batch).

    `truth` B x J x 3 (mm, root at 0, in the points' frame, NaN where unknown) and `lengths` B x T only where asked for.
    """

    x: Float[Tensor, "B D"]
    points: Float[Tensor, "B J 2"]
    present: Float[Tensor, "B J"]
    inverse_focal: Float[Tensor, " B"]
    to_camera: Float[Tensor, "B 3 3"]
    row: Int[Tensor, " P"]
    first: Int[Tensor, " P"]
    second: Int[Tensor, " P"]
    p_second: Float[Tensor, " P"]
    truth: Float[Tensor, "B J 3"] | None
    lengths: Float[Tensor, "B T"] | None


class Batches:
    """All training poses resident on one device; `draw` makes a batch without a Python loop over people."""

    def __init__(self, train: Poses, config: LifterConfig, lengths: np.ndarray | None, device: str) -> None:
        self.config, self.device = config, device
        view = lifter_input(train, config)
        self.statistics: InputStatistics = statistics_of(view, train)
        to = self._tensor
        self.points, self.present = to(view.points), to(view.present)
        self.inverse_focal, self.to_camera = to(view.inverse_focal), to(view.to_camera)
        self.mean, self.std = to(self.statistics.mean), to(self.statistics.std)
        self.twins = to(twin_order(train))
        self.lengths = None if lengths is None else to(lengths.astype(np.float32))
        self.truth = None
        if config.objective == "supervised":
            root = train.skeleton.index(train.skeleton.root)
            self.truth = to(
                np.einsum("nij,nki->nkj", view.to_camera, train.truth_mm - train.truth_mm[:, root, None]).astype(
                    np.float32
                )
            )
        self._index_pairs(train)

    def _tensor(self, array: Any) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array)).to(self.device)

    def _index_pairs(self, train: Poses) -> None:
        """Tables N x K (most pairs of a pose): joints and p of each pair; `count` N of them are there."""
        people = len(train.names)
        order = np.argsort(train.pose, kind="stable")
        count = np.bincount(train.pose, minlength=people)
        place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
        table = np.zeros((3, people, max(1, int(count.max(initial=0)))), dtype=np.float32)
        table[:, train.pose[order], place] = train.first[order], train.second[order], train.p_second[order]
        self.pairs = self._tensor(table[:2].astype(np.int64))
        self.p_second = self._tensor(table[2])
        self.count = self._tensor(count)
        self.even = bool((count == count[0]).all() and count[0] > 0)

    def __len__(self) -> int:
        return len(self.points)

    def draw(self, everybody: Int[Tensor, " N"], generator: torch.Generator, share: tuple[int, int] = (0, 1)) -> Batch:
        """The people (indices), as copies, with their pairs; of them every n-th from the k-th, `share` being (k, n).

        Random numbers are drawn for everybody, so that all shares together are the batch of one process.
        """

        def chance() -> Tensor:
            return torch.rand(len(everybody), generator=generator, device=self.device)[share[0] :: share[1]]

        people = everybody[share[0] :: share[1]]
        points, present, to_camera = self.points[people], self.present[people], self.to_camera[people]
        truth = None if self.truth is None else self.truth[people]
        if self.config.rotate_deg:
            plane, space = augmentation.turns(chance(), self.config.rotate_deg)
            points, to_camera = points @ plane, to_camera @ space
            truth = None if truth is None else truth @ space
        mirror = augmentation.Mirror(chance() < 0.5, self.twins) if self.config.mirror else None
        if mirror:
            points, present = mirror.points(points), mirror.joints(present)
            to_camera = mirror.rotation(to_camera)
            truth = None if truth is None else mirror.points(truth)
        x = (points.flatten(1) - self.mean) / self.std.clamp_min(1e-6)
        x = torch.where(self.std > 1e-6, x, 0.0)
        pairs = self._pairs(people, mirror, chance() if self.config.pairs == "one" else None)
        lengths = None if self.lengths is None else self.lengths[people]
        return Batch(x, points, present, self.inverse_focal[people], to_camera, *pairs, truth, lengths)

    def _pairs(
        self, people: Tensor, mirror: augmentation.Mirror | None, chance: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        first, second = self.pairs[0][people], self.pairs[1][people]
        p_second, count = self.p_second[people], self.count[people]
        most = first.shape[1]
        row = torch.arange(len(people), device=self.device)[:, None].expand(-1, most)
        if chance is not None:
            which = (chance * count).long()[:, None]
            row, first, second, p_second = (t.gather(1, which) for t in (row, first, second, p_second))
            there = (count > 0)[:, None]
        else:
            there = torch.arange(most, device=self.device) < count[:, None]
        if self.even:
            row, first, second, p_second = (t.reshape(-1) for t in (row, first, second, p_second))
        else:
            row, first, second, p_second = (t[there] for t in (row, first, second, p_second))
        if mirror:
            first, second = mirror.names(first, row), mirror.names(second, row)
        return row, first, second, p_second
