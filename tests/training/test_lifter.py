"""The lifter's losses, gradients, metrics, checkpoint and prediction against plain re-statements."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from labeling.releasing.reading import Poses
from labeling.skeletons import H36M_17, LSP_14
from training.lifter import bones, data, evaluate, export, losses
from training.lifter import fit as fitting
from training.lifter.config import PAPER, LifterConfig
from training.lifter.predict import BadModel, load, predict
from training.poses import metrics

SMALL = LifterConfig(hidden=32, epochs=6, batch=8, dropout=0.2)


def poses(count: int = 21, pairs: int = 4, seed: int = 2) -> Poses:
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 200, (count, 14, 3)) + [0, 0, 3000]
    pose = np.repeat(np.arange(count), pairs)
    first = rng.integers(0, 7, count * pairs)
    second = rng.integers(7, 14, count * pairs)
    closer = truth[pose, second, 2] < truth[pose, first, 2]
    state = np.full((count, 14), 2, dtype=np.int8)
    state[3, 5] = 0
    return Poses(
        LSP_14,
        [f"{n}.jpg" for n in range(count)],
        np.where(np.arange(count) % 3 == 2, "test", "train"),
        truth[..., :2] * 0.4 + 300,
        state,
        pose,
        first,
        second,
        np.where(closer, 0.9, 0.1),
        truth,
    )


def test_relative_loss_equals_the_authors_rule_pair_by_pair() -> None:
    pose = torch.randn(5, 7, 3, dtype=torch.float64, requires_grad=True)
    row, first, second = torch.tensor([0, 1, 1, 4]), torch.tensor([0, 2, 5, 1]), torch.tensor([3, 6, 0, 2])
    r = [1, -1, -1, 1]  # +1: the first is farther
    z = pose.detach().numpy()[..., 2]
    gaps = [z[i, a] - z[i, b] for i, a, b in zip(row.tolist(), first.tolist(), second.tolist())]
    scale = sum(map(abs, gaps)) / 4
    plain = sum(math.log1p(math.exp(-2.5 * s * g / scale)) for s, g in zip(r, gaps)) / 4
    p = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    ours = losses.relative(pose, row, first, second, p, 2.5)
    assert ours.item() == pytest.approx(plain, abs=1e-6)
    assert torch.autograd.gradcheck(lambda x: losses.relative(x, row, first, second, p, 2.5), (pose,))


def test_soft_targets_are_the_cross_entropy() -> None:
    pose = torch.zeros(1, 2, 3)
    pose[0, 0, 2], pose[0, 1, 2] = 3.0, 1.0
    one = [torch.tensor([v]) for v in (0, 0, 1)]
    q = 1 / (1 + math.exp(-2.5))
    expected = -(0.7 * math.log(q) + 0.3 * math.log(1 - q))
    assert losses.relative(pose, *one, torch.tensor([0.7]), 2.5).item() == pytest.approx(expected, abs=1e-6)


def test_reprojection_root_and_skeleton_by_hand() -> None:
    pose = torch.tensor([[[0.0, 0, 0], [3, 4, 9], [0, 10, 0]]])
    target, present = torch.tensor([[[0.0, 0], [6, 8], [50, 50]]]), torch.tensor([[1.0, 1, 0]])
    assert losses.reprojection(pose, torch.tensor([1.0]), target, present).item() == pytest.approx(2.5, abs=1e-3)
    assert losses.root(pose + torch.tensor([3.0, 4.0, 0.0]), 0).item() == pytest.approx(5.0, abs=1e-5)
    ratio = abs(math.sqrt(9 + 16 + 81) / 10 - 2 / 1)
    found = losses.skeleton(pose, torch.tensor([[0, 2], [0, 1]]), torch.tensor([1.0, 2.0]), 0)
    assert found.item() == pytest.approx(ratio / 2, abs=1e-3)


def test_reference_bones_are_named_and_the_trunk_is_left_out() -> None:
    found, lengths, unit = bones.reference(LSP_14)
    names = {frozenset((LSP_14.keypoints[a], LSP_14.keypoints[b])) for a, b in found}
    assert frozenset(("left_hip", "left_shoulder")) not in names
    assert len(found) == len(lengths) == 12
    assert {LSP_14.keypoints[j] for j in found[unit]} == {"right_knee", "right_ankle"}
    assert len(bones.reference(H36M_17)[0]) == 16


def test_a_continued_run_equals_an_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole = fitting.fit(poses(), SMALL, checkpoint=tmp_path / "whole.safetensors", every=3)

    class Killed(Exception):
        pass

    def die(epoch: int, values: dict[str, float]) -> None:
        if epoch == 4:
            raise Killed

    with pytest.raises(Killed):
        fitting.fit(poses(), SMALL, checkpoint=tmp_path / "broken.safetensors", every=3, on_epoch=die)
    again = fitting.fit(poses(), SMALL, checkpoint=tmp_path / "broken.safetensors", every=3)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_numpy_prediction_equals_torch(tmp_path: Path) -> None:
    fitted = fitting.fit(poses(), SMALL.model_copy(update={"stages": 2}))
    export.save(fitted, tmp_path / "m.safetensors")
    ours = predict(load(tmp_path / "m.safetensors"), poses())
    points, present, _ = data.centred(poses(), fitted.config)
    flat = fitted.frame.standardise(points.reshape(len(points), -1)) * np.repeat(present, 2, axis=1)
    with torch.no_grad():
        theirs = fitted.network(torch.from_numpy(flat))[0].numpy()
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()


def test_a_file_that_is_no_lifter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(BadModel):
        load(tmp_path / "x.safetensors")


def test_training_lowers_the_relative_loss_for_both_presets() -> None:
    for preset in (SMALL, PAPER.model_copy(update={"hidden": 32, "batch": 8})):
        seen: list[float] = []
        fitting.fit(
            poses(40), preset.model_copy(update={"epochs": 40}), on_epoch=lambda _, v, seen=seen: seen.append(v["loss"])
        )
        assert np.mean(seen[-5:]) < 0.7 * np.mean(seen[:3])


def test_nothing_to_learn_is_said() -> None:
    with pytest.raises(fitting.NothingToLearn):
        fitting.fit(data.subset(poses(), poses().split == "test"), SMALL)


def test_order_error_counts_wrong_pairs() -> None:
    p = poses(6)
    assert evaluate.order_errors(p.truth_mm, p) == {"label_error": 0.0, "true_error": 0.0}
    assert evaluate.order_errors(-p.truth_mm, p) == {"label_error": 1.0, "true_error": 1.0}


def test_mirroring_keeps_the_order_and_swaps_the_names() -> None:
    order = data.twin_order(poses())
    assert order[LSP_14.index("left_knee")] == LSP_14.index("right_knee")
    assert order[LSP_14.index("neck")] == LSP_14.index("neck")
    assert (order[order] == np.arange(14)).all()


class TestMetrics:
    truth = np.random.default_rng(0).normal(0, 300, (4, 9, 3))

    def turn(self) -> np.ndarray:
        q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
        return q * np.sign(np.linalg.det(q))

    def test_mpjpe_ignores_the_place_and_n_mpjpe_the_size(self) -> None:
        assert metrics.mpjpe_mm(self.truth + 50, self.truth) == pytest.approx(0, abs=1e-9)
        assert metrics.n_mpjpe_mm(0.3 * self.truth - 7, self.truth) == pytest.approx(0, abs=1e-9)
        one = self.truth.copy()
        one[:, 3, 0] += 90
        assert metrics.mpjpe_mm(one, self.truth) == pytest.approx(10)

    def test_pa_mpjpe_ignores_turn_size_and_place_but_not_reflection(self) -> None:
        moved = 2.5 * self.truth @ self.turn() + [1, 2, 3]
        assert metrics.pa_mpjpe_mm(moved, self.truth) == pytest.approx(0, abs=1e-9)
        assert metrics.pa_mpjpe_mm(self.truth * [1, 1, -1], self.truth) > 50

    def test_no_poses_are_refused(self) -> None:
        with pytest.raises(metrics.EmptyPoses):
            metrics.mpjpe_mm(self.truth[:0], self.truth[:0])
