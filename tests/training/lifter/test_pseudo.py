"""Learning pseudo-labels: weights, steady bones, losses by hand and by finite differences, and a lifter that learns them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from labeling.releasing.reading import unlabelled
from labeling.skeletons import COCO_17, H36M_17, LSP_14
from tests.training.video.test_video import walk
from training.lifter import export, fit
from training.lifter.config import PRESETS, PseudoConfig, TuneConfig, changed
from training.lifter.predict import load, predict
from training.lifter.pseudo import Pseudo, clip_lengths, consistency, fidelity, steady_bones, weights_of
from training.poses.mocap import Clip
from training.poses.views import Studio, project
from training.simulation.annotators import LabelConfig, label


def test_joints_above_tau_count_fully_and_others_by_their_confidence() -> None:
    score = np.array([[0.0, 0.3, 0.7, 0.71, 1.0]])
    np.testing.assert_array_equal(weights_of(score, PseudoConfig()), [[0, 0.3, 0.7, 1, 1]])
    np.testing.assert_array_equal(weights_of(score, PseudoConfig(weighted=False)), [[0, 1, 1, 1, 1]])


def test_steady_bones_are_limbs_hips_and_head_of_what_the_skeleton_has() -> None:
    names = [{H36M_17.keypoints[a], H36M_17.keypoints[b]} for a, b in steady_bones(H36M_17)]
    assert {"left_knee", "left_ankle"} in names
    assert {"right_shoulder", "right_elbow"} in names
    assert len(steady_bones(H36M_17)) >= 10
    assert len(steady_bones(LSP_14)) >= 8
    assert len(steady_bones(COCO_17)) >= 8


def test_lengths_are_medians_of_the_sure_frames_of_each_clip() -> None:
    bones = steady_bones(H36M_17)
    _, b = bones[0]
    target = np.zeros((6, 17, 3))
    target[:, b, 0] = [400, 410, 900, 300, 305, 990]
    score = np.ones((6, 17))
    score[[2, 5], b] = 0.2
    pseudo = Pseudo(unlabelled(H36M_17, [""] * 6, np.zeros((6, 17, 2))), target, score, np.array([0, 0, 0, 1, 1, 1]))
    np.testing.assert_allclose(clip_lengths(pseudo, bones, 0.7)[:, 0], [405, 405, 405, 302.5, 302.5, 302.5])


def test_fidelity_and_bone_losses_by_hand() -> None:
    pose = torch.zeros(2, 3, 3)
    target = torch.zeros(2, 3, 3)
    target[0, 1] = torch.tensor([3.0, 0.0, 0.0])  # mean squared coordinate 3
    target[1, 2] = torch.tensor([0.0, 6.0, 0.0])  # 12
    weight = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    assert float(fidelity(pose, target, weight)) == pytest.approx((3 * 1 + 0 + 12 * 0.5) / 2)
    pose[0, 1, 0] = 4.0
    value = consistency(pose, torch.tensor([[0, 1]]), torch.tensor([[5.0], [2.0]]))
    assert float(value) == pytest.approx((1 + 4) / 2, abs=1e-3)
    assert float(consistency(pose, torch.zeros((0, 2), dtype=torch.int64), torch.zeros((2, 0)))) == 0.0


def test_losses_have_the_right_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    pose = torch.randn(3, 4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    target, weight = (torch.rand(*s, dtype=torch.float64, generator=generator) for s in ((3, 4, 3), (3, 4)))
    bones, lengths = torch.tensor([[0, 1], [1, 3]]), torch.rand(3, 2, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda p: fidelity(p, target, weight), pose)
    assert torch.autograd.gradcheck(lambda p: consistency(p, bones, lengths), pose)


@pytest.mark.parametrize("preset", ["nearer", "supervised"])
def test_a_lifter_learns_pseudo_labels_and_keeps_its_input(preset: str, tmp_path: Path) -> None:
    still = np.array([[100.0 * (j % 3), 1700 - 95.0 * j, 60.0 * (j % 2)] for j in range(17)])
    own, other = (still + 0.25 * walk(80, 17, seed) for seed in (1, 2))
    studio = Studio(fps=10.0)
    views, new = (
        project([Clip(n, m.astype(np.float32), 10.0)], H36M_17, studio, 0) for n, m in (("a", own), ("b", other))
    )
    config = changed(
        PRESETS[preset],
        hidden=64,
        epochs=30,
        batch=32,
        precision="float32",
        learning_rate=2e-3,
        lengths="average" if preset == "nearer" else "auto",
    )
    views = label(views, LabelConfig(pairs=30))
    first = fit.fit(views, config, curves=False)
    export.save(first, tmp_path / "first.safetensors")
    pseudo = Pseudo(new, new.truth_mm, np.full(new.state.shape, 0.9), np.zeros(len(new.names), dtype=np.int64))
    tuned = fit.fit(
        views,
        changed(config, epochs=20),
        weights=tmp_path / "first.safetensors",
        curves=False,
        pseudo=(pseudo, PseudoConfig()),
    )
    export.save(tuned, tmp_path / "tuned.safetensors")
    np.testing.assert_array_equal(tuned.statistics.mean, first.statistics.mean)

    def off(path: str) -> float:
        pose = predict(load(tmp_path / path), new)
        return float(np.linalg.norm(pose - (new.truth_mm - new.truth_mm[:, :1]), axis=-1).mean())

    assert off("tuned.safetensors") < 0.9 * off("first.safetensors")


def test_depth_without_a_unit_cannot_learn_mm(tmp_path: Path) -> None:
    views = label(
        project([Clip("a", (1000 + walk(40, 17)).astype(np.float32), 10.0)], H36M_17, Studio(fps=10.0), 0),
        LabelConfig(),
    )
    config = changed(PRESETS["paper"], hidden=16, epochs=1)
    export.save(fit.fit(views, config, curves=False), tmp_path / "m.safetensors")
    pseudo = Pseudo(views, views.truth_mm, np.ones(views.state.shape), np.zeros(len(views.names), dtype=np.int64))
    with pytest.raises(fit.NothingToLearn, match="mm"):
        fit.fit(views, config, weights=tmp_path / "m.safetensors", pseudo=(pseudo, PseudoConfig()))


def test_a_fine_tunes_configuration_holds_both_parts() -> None:
    config = TuneConfig(hidden=96, fidelity_weight=2.0)
    assert config.lifter.hidden == 96
    assert config.lifter.epochs == 20
    assert config.pseudo == PseudoConfig(fidelity_weight=2.0)
