"""The lifter's losses, gradients, metrics, checkpoint and prediction against plain re-statements."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch

from labeling.releasing.reading import Poses
from labeling.skeletons import BUILT_IN, H36M_17, LSP_14
from training.lifter import bones, data, evaluate, export, foreshortening, losses, network, objectives
from training.lifter import fit as fitting
from training.lifter.batches import Batches
from training.lifter.config import PAPER, LifterConfig
from training.lifter.network import tree_path
from training.lifter.predict import BadModel, load, predict
from training.simulation import annotators

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


def plain_losses(pose, scale, target, row, first, second, r, bones, lengths, unit, root) -> dict[str, float]:
    """The coded losses once more, in plain Python floats, pose by pose (docs/methods/lifter.md)."""
    gaps = [pose[i][a][2] - pose[i][b][2] for i, a, b in zip(row, first, second)]
    mean = sum(abs(g) for g in gaps) / len(gaps)
    total = 0.0
    for g, sign in zip(gaps, r):
        d = g / mean
        total += d * d if sign == 0 else math.log1p(math.exp(min(85.0, -2.5 * sign * d)))
    terms = {"relative": total / len(gaps), "reprojection": 0.0, "root": 0.0, "skeleton": 0.0}
    people, joints = len(pose), len(pose[0])
    for n in range(people):
        for j in range(joints):
            du = scale[n] * pose[n][j][0] - target[n][j][0]
            dv = scale[n] * pose[n][j][1] - target[n][j][1]
            terms["reprojection"] += math.sqrt(du * du + dv * dv + 1e-8) / (people * joints)
        terms["root"] += math.sqrt(sum(c * c for c in pose[n][root]) + 1e-8) / people
        size = [math.sqrt(sum((pose[n][a][c] - pose[n][b][c]) ** 2 for c in range(3)) + 1e-8) for a, b in bones]
        for k in range(len(bones)):
            off = size[k] / size[unit] - lengths[k] / lengths[unit]
            terms["skeleton"] += math.sqrt(off * off + 1e-8) / (people * len(bones))
    return terms


class TestPaperLosses:
    """`paper` is as the authors coded it: values and gradients equal a plain re-statement, alone and summed."""

    weights = {"relative": 1.0, "reprojection": 0.1, "root": 1.0, "skeleton": 1.0}

    def world(self, seed: int) -> dict:
        rng = np.random.default_rng(seed)
        compared = bones.compared(H36M_17)
        return {
            "pose": rng.normal(0, 90, (5, 17, 3)),
            "scale": rng.uniform(0.1, 0.9, 5),
            "target": rng.normal(0, 60, (5, 17, 2)),
            "row": rng.integers(0, 5, 11),
            "first": rng.integers(0, 8, 11),
            "second": rng.integers(8, 17, 11),
            "r": np.array([1, -1, 0, 1, 1, -1, -1, 0, 1, -1, 1]),
            "bones": compared,
            "lengths": rng.uniform(50, 450, len(compared)),
            "unit": 2,
            "root": 0,
        }

    def ours(self, w: dict, pose: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        t = {k: torch.as_tensor(v) for k, v in w.items() if k in ("row", "first", "second")}
        p = torch.as_tensor((w["r"] + 1) / 2)
        return {
            "relative": losses.relative(pose[..., 2], t["row"], t["first"], t["second"], p, 2.5, soft=False),
            "reprojection": losses.reprojection(pose, scale, torch.as_tensor(w["target"]), torch.ones(pose.shape[:2])),
            "root": losses.root(pose, w["root"]),
            "skeleton": losses.skeleton(pose, torch.tensor(w["bones"]), torch.as_tensor(w["lengths"]), w["unit"]),
        }

    @pytest.mark.parametrize("name", ["relative", "reprojection", "root", "skeleton", "sum"])
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_value_and_gradient(self, name: str, seed: int) -> None:
        w = self.world(seed)
        pose = torch.tensor(w["pose"], requires_grad=True)
        scale = torch.tensor(w["scale"], requires_grad=True)

        def one(parts):
            return sum(self.weights[k] * v for k, v in parts.items()) if name == "sum" else parts[name]

        def plain(pose: np.ndarray, scale: np.ndarray) -> float:
            return one(plain_losses(**(w | {"pose": pose.tolist(), "scale": scale.tolist()})))

        value = one(self.ours(w, pose, scale))
        value.backward()
        assert value.item() == pytest.approx(plain(w["pose"], w["scale"]), rel=1e-5, abs=1e-5)
        step = 1e-4
        gradient = np.zeros_like(w["pose"])
        for index in np.ndindex(gradient.shape):
            up, down = w["pose"].copy(), w["pose"].copy()
            up[index] += step
            down[index] -= step
            gradient[index] = (plain(up, w["scale"]) - plain(down, w["scale"])) / (2 * step)
        assert np.abs(gradient - pose.grad.numpy()).max() < 1e-5
        for n in range(5 if scale.grad is not None else 0):
            up, down = w["scale"].copy(), w["scale"].copy()
            up[n] += step
            down[n] -= step
            slope = (plain(w["pose"], up) - plain(w["pose"], down)) / (2 * step)
            assert scale.grad[n].item() == pytest.approx(slope, rel=1e-5, abs=1e-4)


def test_soft_targets_are_the_cross_entropy() -> None:
    depth = torch.tensor([[3.0, 1.0]])
    one = [torch.tensor([v]) for v in (0, 0, 1)]
    q = 1 / (1 + math.exp(-2.5))
    expected = -(0.7 * math.log(q) + 0.3 * math.log(1 - q))
    assert losses.relative(depth, *one, torch.tensor([0.7]), 2.5).item() == pytest.approx(expected, abs=1e-6)


def test_soft_and_hard_agree_on_sure_labels_and_differ_on_ties() -> None:
    depth, row = torch.randn(4, 9, dtype=torch.float64), torch.tensor([0, 1, 2])
    first, second = torch.tensor([0, 1, 2]), torch.tensor([5, 6, 7])
    sure, tie = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.5, 0.5, 0.5])
    soft, hard = (losses.relative(depth, row, first, second, sure, 2.5, soft=s) for s in (True, False))
    assert soft.item() == pytest.approx(hard.item(), abs=1e-12)
    gap = depth[row, first] - depth[row, second]
    squared = ((gap / gap.abs().mean()) ** 2).mean().item()
    assert losses.relative(depth, row, first, second, tie, 2.5, soft=False).item() == pytest.approx(squared)


def test_perspective_reprojection_of_true_poses_is_nothing() -> None:
    rng = np.random.default_rng(3)
    pose = torch.tensor(rng.normal(0, 300, (4, 7, 3)))
    focal, distance = 1100.0, torch.tensor([4000.0, 5000.0, 4500.0, 6100.0])
    target = focal * pose[..., :2] / (pose[..., 2] + distance[:, None])[..., None]
    per_focal = torch.full((4,), 1 / focal, dtype=torch.float64)
    value = losses.reprojection(pose, focal / distance, target, torch.ones(4, 7), per_focal)
    assert value.item() == pytest.approx(0, abs=2e-4)


def test_absent_keypoints_do_not_count_in_the_reprojection_loss() -> None:
    pose = torch.tensor([[[0.0, 0, 0], [3, 4, 9], [0, 10, 0]]])
    target, present = torch.tensor([[[0.0, 0], [6, 8], [50, 50]]]), torch.tensor([[1.0, 1, 0]])
    assert losses.reprojection(pose, torch.tensor([1.0]), target, present).item() == pytest.approx(2.5, abs=1e-3)


def test_reference_bones_are_named_and_the_trunk_is_left_out() -> None:
    compared = bones.compared(LSP_14)
    names = {frozenset((LSP_14.keypoints[a], LSP_14.keypoints[b])) for a, b in compared}
    assert frozenset(("left_hip", "left_shoulder")) not in names
    assert len(compared) == 12
    assert len(bones.compared(H36M_17)) == 16


class TestBones:
    """Depth from signed bones: the tables against sampling, the assembled pose against geometry."""

    def test_expected_cosines_equal_those_of_sampled_bones(self) -> None:
        rng = np.random.default_rng(0)
        cosine = rng.random(4_000_000)
        seen = np.log(np.sqrt(1 - cosine**2) * (1 + 0.1 * rng.standard_normal(len(cosine))).clip(1e-6))
        for middle in (-1.0, -0.5, -0.2, 0.0):
            near = np.abs(seen - middle) < 0.015
            first, second, _ = foreshortening.tables()
            assert foreshortening.at(first, np.array(middle)) == pytest.approx(cosine[near].mean(), abs=0.02)
            assert foreshortening.at(second, np.array(middle)) == pytest.approx((cosine[near] ** 2).mean(), abs=0.02)

    def test_the_prior_is_a_density(self) -> None:
        width = (foreshortening.HIGH - foreshortening.LOW) / foreshortening.BINS
        assert np.exp(foreshortening.tables()[2]).sum() * width == pytest.approx(1, abs=0.01)

    def test_a_bone_as_long_in_the_picture_as_in_space_has_little_depth_and_a_short_one_all(self) -> None:
        first = foreshortening.tables()[0]
        assert foreshortening.at(first, np.log(np.array(0.1))) > 0.98
        assert foreshortening.at(first, np.log(np.array(1.0))) < 0.4

    def test_the_tree_reaches_every_joint_once_and_paths_end_at_the_root(self) -> None:
        for skeleton in BUILT_IN.values():
            assert sorted(child for _, child in skeleton.tree) == sorted(
                set(range(len(skeleton.keypoints))) - {skeleton.index(skeleton.root)}
            )
            path = tree_path(skeleton)
            steps = np.random.default_rng(1).normal(size=path.shape[1])
            z = path @ steps
            for number, (parent, child) in enumerate(skeleton.tree):
                assert z[child] - z[parent] == pytest.approx(steps[number], abs=1e-6)

    def test_ordering_is_the_probit_of_the_gap(self) -> None:
        gap, variance = torch.tensor([200.0, -100.0]), torch.tensor([90_000.0, 40_000.0])
        p = torch.tensor([1.0, 0.25])
        normal = NormalDist()
        plain = -math.log(normal.cdf(200 / 300)) - 0.25 * math.log(normal.cdf(-0.5)) - 0.75 * math.log(normal.cdf(0.5))
        assert losses.ordering(gap, variance, p).item() == pytest.approx(plain / 2, rel=1e-5)


class TestInput:
    def test_absent_keypoints_are_filled_by_what_the_others_say(self) -> None:
        rng = np.random.default_rng(5)
        shape = rng.normal(0, 50, (14, 2))
        people = shape[None] * rng.uniform(0.5, 2, (60, 1, 1)) + rng.normal(0, 0.5, (60, 14, 2)) + 300
        p = replace(poses(60), keypoints_px=people, state=np.full((60, 14), 2, dtype=np.int8))
        whole = data.lifter_input(p, SMALL)
        state = p.state.copy()
        state[7, 3] = 0
        part = data.lifter_input(replace(p, state=state), SMALL, data.statistics_of(whole, p))
        scale = whole.size[7] / part.size[7]
        assert np.abs(part.points[7, 3] / scale - whole.points[7, 3]).max() < 8
        assert part.present[7, 3] == 0

    def test_a_known_camera_is_turned_to_the_root(self) -> None:
        rng = np.random.default_rng(6)
        truth = rng.normal(0, 300, (9, 14, 3)) + [900, -500, 4000]
        focal, principal = 1100.0, np.array([500.0, 400.0])
        p = replace(
            poses(9),
            state=np.full((9, 14), 2, dtype=np.int8),
            truth_mm=truth,
            keypoints_px=focal * truth[..., :2] / truth[..., 2:] + principal,
            focal_px=np.full((9, 2), focal),
            principal_px=np.tile(principal, (9, 1)),
        )
        view = data.lifter_input(p, SMALL)
        turned = np.einsum("nij,nki->nkj", view.to_camera, truth)  # camera frame -> the points' frame
        root = LSP_14.index("neck")
        assert np.abs(turned[:, root, :2]).max() < 1e-3
        expected = focal * turned[..., :2] / turned[..., 2:] / view.size[:, None, None]
        assert np.abs(view.points - expected).max() < 1e-3
        assert np.allclose(view.inverse_focal, view.size / focal)

    def test_copies_keep_depths_and_mirrored_ones_swap_names(self) -> None:
        p = poses(30)
        batches = Batches(p, SMALL.model_copy(update={"rotate_deg": 40.0}), None, "cpu")
        people = torch.arange(30)
        batch = batches.draw(people, torch.Generator().manual_seed(0))
        plain = batches.points
        assert torch.allclose(batch.points.norm(dim=-1).sum(1), plain.norm(dim=-1).sum(1), rtol=1e-4)
        swapped = batch.first != torch.as_tensor(p.first)
        assert 0.2 < swapped.float().mean() < 0.8
        assert torch.equal(batches.twins[batch.first[swapped]], torch.as_tensor(p.first)[swapped])
        # The turn takes a copy's pose back to the camera's depth axis: e_z is kept by in-plane turns and mirrors.
        assert torch.allclose(batch.to_camera[:, 2], torch.tensor([0.0, 0.0, 1.0]).expand(30, 3), atol=1e-6)


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


@pytest.mark.parametrize(
    "changes",
    [{"stages": 2}, {"depth": "free"}, {"lengths": "learned", "learn_pitch": True}, {"average": 0.0}],
    ids=str,
)
def test_numpy_prediction_and_onnx_equal_torch(tmp_path: Path, changes: dict) -> None:
    fitted = fitting.fit(poses(), SMALL.model_copy(update=changes))
    assert export.save_onnx(fitted, tmp_path / "m.onnx") < 1e-4
    export.save(fitted, tmp_path / "m.safetensors")
    ours = predict(load(tmp_path / "m.safetensors"), poses())
    theirs = fitted.predict(poses())
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


def test_a_file_that_is_no_lifter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(BadModel):
        load(tmp_path / "x.safetensors")


def test_training_lowers_the_relative_loss_for_both_presets() -> None:
    for preset in (SMALL, PAPER.model_copy(update={"hidden": 32, "batch": 8, "learning_rate": 1e-2})):
        seen: list[float] = []
        fitting.fit(
            poses(40), preset.model_copy(update={"epochs": 40}), on_epoch=lambda _, v, seen=seen: seen.append(v["loss"])
        )
        assert np.mean(seen[-5:]) < 0.7 * np.mean(seen[:3])


def _where(p: Poses, **changes: np.ndarray) -> Poses:
    return replace(p, **changes)


@pytest.mark.parametrize(
    ("spoil", "config", "says"),
    [
        (lambda p: _where(p, split=np.full(len(p.names), "test")), {}, "training split has 0 poses"),
        (lambda p: data.subset(p, np.array([0, 2])), {}, "has 1 poses"),
        (lambda p: _where(p, keypoints_px=p.keypoints_px * np.nan), {}, "not finite"),
        (lambda p: _where(p, keypoints_px=p.keypoints_px * 0 + 7), {}, "one point"),
        (lambda p: _where(p, keypoints_px=p.keypoints_px[:1] + 0 * p.keypoints_px), {}, "same 2D keypoints"),
        (lambda p: data.subset(_where(p, pose=p.pose * 0 + 2), p.split != "x"), {}, "no labelled pairs"),
        (lambda p: _where(p, p_second=p.p_second * 0 + 0.5), {}, "ties"),
        (lambda p: _where(p, truth_mm=p.truth_mm * np.nan), {"lengths": "average"}, "lengths 'average'"),
        (lambda p: _where(p, truth_mm=p.truth_mm * np.nan), {"objective": "supervised", "depth": "free"}, "true 3D"),
    ],
    ids=[
        "no train split",
        "one pose",
        "NaN",
        "constant point",
        "all alike",
        "no pairs",
        "all ties",
        "lengths",
        "truth",
    ],
)
def test_bad_input_is_named_before_the_first_step(spoil, config: dict, says: str) -> None:
    with pytest.raises((fitting.NothingToLearn, bones.NoLengths), match=says):
        fitting.fit(spoil(poses()), SMALL.model_copy(update=config))


def test_contradicting_options_are_refused() -> None:
    with pytest.raises(ValueError, match="supervised"):
        LifterConfig(objective="supervised")
    with pytest.raises(ValueError, match="input_scale"):
        LifterConfig(input_scale="pixels")


def test_a_run_that_no_longer_fits_the_picture_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "PATIENCE_STEPS", 300)
    adrift = {"hidden": 16, "batch": 4, "epochs": 200, "relative_weight": 0.0, "reprojection_weight": 0.0}
    with pytest.raises(fitting.Collapsed, match="do not project onto the keypoints"):
        fitting.fit(poses(), PAPER.model_copy(update=adrift))


@pytest.mark.parametrize(
    ("values", "depth", "says"),
    [
        ({"loss": math.nan}, 90.0, "no numbers"),
        ({"loss": 1.0}, 1.0, "flat"),
        ({"loss": 1.0, "skeleton": 1.2}, 90.0, "limb ratios"),
    ],
)
def test_the_guard_names_what_died(values: dict, depth: float, says: str) -> None:
    with pytest.raises(fitting.Collapsed, match=says):
        fitting.guard(3, values, fitting.Spread(depth, 100.0, 130.0), PAPER, early=False)
    fitting.guard(3, {"loss": 1.0, "skeleton": 0.4}, fitting.Spread(60.0, 100.0, 130.0), PAPER, early=False)


class TestSimulatedLabels:
    def test_every_pair_of_a_pose_is_another_and_clean_labels_are_true(self) -> None:
        labelled = annotators.label(poses(40), annotators.LabelConfig(pairs=6, noise="none"))
        assert len(labelled.pose) == 240
        assert len({(n, *sorted((a, b))) for n, a, b in zip(labelled.pose, labelled.first, labelled.second)}) == 240
        gap = annotators.depth_gap(labelled, labelled.pose, labelled.first, labelled.second)
        assert np.array_equal(labelled.p_second == 1, gap > 0)

    def test_annotators_are_right_as_often_as_the_authors_line_says(self) -> None:
        labelled = annotators.label(poses(3000), annotators.LabelConfig(pairs="all"))
        assert len(labelled.pose) == 3000 * 91
        gap = annotators.depth_gap(labelled, labelled.pose, labelled.first, labelled.second)
        right = (labelled.p_second == 1) == (gap > 0)
        for low, high in ((0, 50), (150, 250), (400, 9000)):
            inside = (np.abs(gap) >= low) & (np.abs(gap) < high)
            expected = annotators.correct_probability(gap[inside]).mean()
            assert right[inside].mean() == pytest.approx(expected, abs=0.01)

    def test_flips_ties_noise_and_pitch(self) -> None:
        clean = annotators.LabelConfig(noise="none")
        p = poses(500)
        turned = annotators.label(p, clean.model_copy(update={"flipped": 1.0}))
        assert (turned.p_second == 1 - annotators.label(p, clean).p_second).all()
        ties = annotators.label(p, clean.model_copy(update={"tie_below_mm": 100.0}))
        gap = annotators.depth_gap(ties, ties.pose, ties.first, ties.second)
        assert np.array_equal(ties.p_second == 0.5, np.abs(gap) <= 100)
        noisy = annotators.label(p, clean.model_copy(update={"pixel_sd": 3.0}))
        assert (noisy.keypoints_px - p.keypoints_px).std() == pytest.approx(3, rel=0.05)
        level = annotators.label(p, clean.model_copy(update={"pitch_deg": 90.0}))
        y = p.truth_mm[..., 1]
        assert np.array_equal(level.p_second == 1, y[level.pose, level.first] < y[level.pose, level.second])


def test_order_error_counts_wrong_pairs() -> None:
    p = poses(6)
    assert evaluate.order_errors(p.truth_mm, p) == {"label_error": 0.0, "true_error": 0.0}
    assert evaluate.order_errors(-p.truth_mm, p) == {"label_error": 1.0, "true_error": 1.0}


def test_mirroring_keeps_the_order_and_swaps_the_names() -> None:
    order = data.twin_order(poses())
    assert order[LSP_14.index("left_knee")] == LSP_14.index("right_knee")
    assert order[LSP_14.index("neck")] == LSP_14.index("neck")
    assert (order[order] == np.arange(14)).all()


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(401, 503)
    for share in (0.25, 0.5, 0.9):
        out = network.Dropout(share)(x)
        assert (out == 0).float().mean().item() == pytest.approx(share, abs=0.005)
        assert torch.allclose(out[out != 0], torch.tensor(1 / (1 - share)))
    assert torch.equal(network.Dropout(0.5).eval()(x), x)


def test_a_learned_pitch_tilts_the_axis_by_which_labels_are_judged() -> None:
    config = SMALL.model_copy(update={"learn_pitch": True})
    lifter = network.Lifter(LSP_14, config, np.full(13, 300.0), list(LSP_14.tree))
    batch = Batches(poses(9), config.model_copy(update={"rotate_deg": 0.0, "mirror": False}), None, "cpu").draw(
        torch.arange(9), torch.Generator()
    )
    pose = torch.randn(9, 14, 3)
    with torch.no_grad():
        lifter.pitch.fill_(0.3)
        depth = objectives.toward_camera(lifter, batch, pose)
    assert torch.allclose(depth, math.cos(0.3) * pose[..., 2] - math.sin(0.3) * pose[..., 1], atol=1e-5)
    # The same axis as simulated annotators who do not see that the camera looks down by 0.3 rad.
    level = annotators.depth_gap(
        replace(poses(9), truth_mm=pose.numpy().astype(float)), *(np.array([v]) for v in (4, 2, 7)), math.degrees(0.3)
    )
    assert level[0] == pytest.approx(float(depth[4, 2] - depth[4, 7]), abs=1e-5)


def test_lengths_nobody_knows_are_learned_and_the_papers_are_typical() -> None:
    unknown = replace(poses(), truth_mm=poses().truth_mm * np.nan)
    assert bones.resolved(poses(), SMALL).lengths == "average"
    assert bones.resolved(unknown, SMALL).lengths == "learned"
    assert bones.resolved(unknown, PAPER).lengths == "typical"


def test_of_a_pose_with_unknown_places_only_the_known_ones_are_learned() -> None:
    pose, truth = torch.zeros(2, 3, 3), torch.full((2, 3, 3), 2.0)
    assert losses.supervised(pose, truth).item() == 4.0
    truth[0, 1] = float("nan")
    truth[1, 0] = 5.0
    assert losses.supervised(pose, truth).item() == pytest.approx((12 * 4 + 3 * 25) / 15)


def test_supervised_training_takes_people_of_whom_some_joints_are_unknown() -> None:
    p = poses(60)
    truth = p.truth_mm.copy()
    wrist = LSP_14.index("left_wrist")
    truth[::3, wrist] = np.nan
    config = SMALL.model_copy(update={"objective": "supervised", "depth": "free", "lengths": "typical", "epochs": 3})
    steps: list[dict[str, float]] = []
    fitted = fitting.fit(
        replace(p, truth_mm=truth), config, on_epoch=lambda _, values: steps.append(values), curves=False
    )
    assert all(torch.isfinite(w).all() for w in fitted.network.state_dict().values())
    assert steps[-1]["loss"] < steps[0]["loss"]
    # What is unknown is not taken for something: another value there changes nothing, a known one does.
    for joint, same in ((wrist, True), (LSP_14.index("right_wrist"), False)):
        other = p.truth_mm.copy()
        other[::3, joint] += 500.0
        other[::3, wrist] = np.nan
        again = fitting.fit(replace(p, truth_mm=other), config, curves=False)
        assert all(map(torch.equal, fitted.network.state_dict().values(), again.network.state_dict().values())) == same
    with pytest.raises(fitting.NothingToLearn, match="true 3D poses with the neck"):
        nothing = p.truth_mm.copy()
        nothing[:, LSP_14.index("neck")] = np.nan
        fitting.fit(replace(p, truth_mm=nothing), config)
