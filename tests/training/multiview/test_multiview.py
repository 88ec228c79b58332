"""Cameras, triangulation, pictorial structures and the harvest, against brute force, analytic cases and a real recording."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from itertools import combinations
from pathlib import Path

import c3d
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.skeletons import BODY_25, BODY_25B, COCO_17, H36M_17, Skeleton
from tests.site import ROOT
from training.harvest import arrays, selection
from training.harvest.archives import bounded
from training.harvest.arrays import Outcome
from training.harvest.formats import detections, poses
from training.harvest.harvester import BadRecording
from training.multiview import (
    association,
    calibration,
    harvest,
    heatmaps,
    limbs,
    pictorial,
    report,
    triangulation,
)
from training.multiview.config import HarvestConfig
from training.multiview.recording import Detections, HeatmapFiles, Recording
from training.poses import rotations
from training.poses.cameras import BadCamera, Camera, checked, distorted
from training.simulation import recordings

REAL = Path(os.environ.get("NEARER_SHARED", ROOT.parent / "shared")) / "data" / "multiview_balancing"
real = pytest.mark.skipif(not REAL.exists(), reason="the real recording is not on this machine")
PREVIEW = HarvestConfig(grid=32)


def camera(seed: int = 0, name: str = "cam", bent: float = 1.0, skew: float = 0.0) -> Camera:
    rng = np.random.default_rng(seed)
    turn = rotations.of_vector(rng.normal(0, 1.5, 3))
    matrix = np.array([[1100 + 50 * rng.random(), skew, 511.3], [0, 1120 + 50 * rng.random(), 387.9], [0, 0, 1]])
    lens = bent * np.array([-0.11, 0.06, 0.0011, -0.0007, -0.012]) * rng.uniform(0.5, 1, 5)
    return Camera(name, (1024, 768), matrix, lens, turn, rng.normal(0, 900, 3) + [0, 0, 4000])


def scene(
    frames: int = 6, detector: recordings.Detector = recordings.CLEAN, seed: int = 0
) -> tuple[Recording, np.ndarray]:
    """A made-up person who stands and leans, in four simulated cameras."""
    rng = np.random.default_rng(seed)
    up = {"mid_hip": 900, "mid_spine": 1150, "neck": 1400, "chin": 1500, "head": 1650}
    joints = np.zeros((17, 3))
    for n, name in enumerate(H36M_17.keypoints):
        side = 1 if name.startswith("left") else -1 if name.startswith("right") else 0
        part = name.split("_")[-1]
        height = {"hip": 890, "knee": 460, "ankle": 60, "shoulder": 1380, "elbow": 1120, "wrist": 900}.get(part, 0)
        out = {"hip": 120, "knee": 130, "ankle": 140, "shoulder": 170, "elbow": 260, "wrist": 330}.get(part, 0)
        joints[n] = [side * out, 40 * (part == "wrist"), up.get(name, height)]
    angles = rng.normal(0, 0.25, (frames, 3)) * [0.4, 0.4, 2]
    world = np.stack([joints @ rotations.of_vector(a).T for a in angles]) + np.array([80.0, -60.0, 20.0])
    cameras = recordings.studio(rng)
    return Recording(
        cameras, H36M_17, recordings.SimulatedViews(recordings.detect(world, cameras, H36M_17, detector, rng))
    ), world


# cameras


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(calibration.LAYOUTS))
def test_cameras_survive_every_layout(tmp_path_factory: pytest.TempPathFactory, seed: int, layout: str) -> None:
    rig = [camera(seed + n, f"cam {n}", skew=0.0 if layout == "h36m" else 0.3) for n in range(3)]
    suffix = {"toml": ".toml", "qca": ".qca.txt", "opencv-yaml": ".yaml"}.get(layout, ".npz")
    path = tmp_path_factory.mktemp("rig") / f"rig{suffix}"
    calibration.write(rig, path, layout)
    for before, after in zip(rig, calibration.read(path), strict=True):
        assert (after.name, after.size) == (before.name, before.size)
        for part in ("matrix", "distortion", "rotation", "translation"):
            np.testing.assert_allclose(getattr(after, part), getattr(before, part), rtol=1e-12, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 3.1415926))
def test_a_rotation_is_its_vector_and_back_up_to_half_a_turn(seed: int, angle: float) -> None:
    axis = np.random.default_rng(seed).normal(size=3)
    vector = angle * axis / np.linalg.norm(axis)
    rotation = rotations.of_vector(vector)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotations.of_vector(rotations.to_vector(rotation)), rotation, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_undistorting_is_the_inverse_of_distorting_to_a_millionth_of_a_pixel(seed: int) -> None:
    one = camera(seed)
    flat = np.random.default_rng(seed).uniform(-0.45, 0.45, (200, 2))
    pixels = one.pixels(distorted(flat, one.distortion))
    np.testing.assert_allclose(one.rays(pixels), flat, atol=1e-6 / 1170)


def test_points_beyond_the_fold_of_a_lens_have_no_ray() -> None:
    folded = Camera(
        "wide", (1000, 1000), np.diag([500.0, 500.0, 1.0]), np.array([-0.4, 0, 0, 0, 0]), np.eye(3), np.zeros(3)
    )
    assert np.isfinite(folded.rays(np.array([[200.0, 0.0]]))).all()
    assert np.isnan(folded.rays(np.array([[900.0, 0.0]]))).all()


def test_projection_by_hand() -> None:
    one = Camera(
        "c",
        (640, 480),
        np.array([[500, 0, 320], [0, 400, 240], [0, 0, 1.0]]),
        np.zeros(5),
        np.eye(3),
        np.array([0, 0, 1000.0]),
    )
    np.testing.assert_allclose(one.project(np.array([[200.0, -100.0, 1000.0]])), [[370.0, 220.0]])
    assert np.isnan(one.project(np.array([[0.0, 0.0, -2000.0]]))).all()
    np.testing.assert_allclose(one.centre, [0, 0, -1000])


@real
def test_qualisys_and_toml_give_the_same_real_cameras() -> None:
    a, b = calibration.read(REAL / "Calib.qca.txt"), calibration.read(REAL / "Calib_qualisys.toml", unit="m")
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one.rotation, other.rotation, atol=1e-14)
        np.testing.assert_allclose(one.translation, other.translation, atol=1e-11)
        np.testing.assert_array_equal(one.matrix, other.matrix)
        assert one.size == other.size == (1088, 1920)


TOML = (
    '[a]\nname="a"\nsize=[640,480]\nmatrix=[[500,0,320],[0,500,240],[0,0,1]]\nrotation=[0,0,0]\ntranslation=[0,0,1]\n'
)
BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><calibration>&a;</calibration>'


@pytest.mark.parametrize(
    ("name", "text", "unit", "field"),
    [
        ("a.toml", TOML, "", "unit"),
        ("a.toml", TOML, "furlong", "unit"),
        ("a.toml", TOML.replace("[640,480]", "[640]"), "m", "size"),
        ("a.toml", TOML.replace("500,0,320", "-500,0,320"), "m", "matrix"),
        ("a.toml", TOML.replace("500,0,320", "nan,0,320"), "m", "matrix"),
        ("a.toml", TOML + "fisheye=true\n", "m", "fisheye"),
        ("a.toml", TOML.replace("rotation=[0,0,0]\n", ""), "m", "rotation"),
        ("a.toml", TOML.replace("[0,0,0]", "[[2,0,0],[0,1,0],[0,0,1]]"), "m", "rotation"),
        ("a.toml", TOML + TOML.replace("[a]", "[b]"), "m", "name"),
        ("a.toml", TOML + TOML.replace("[a]", "[b]").replace('"a"', '"b"'), "m", "translation"),
        ("a.toml", "", "m", "calibration"),
        ("a.toml", "no = [", "m", "calibration"),
        ("a.qca.txt", BOMB, "", "calibration"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "m", "calibration"),
        ("a.yaml", "names: [a]", "m", "size"),
        ("a.yaml", "x: &x [1, 1]\nnames: [*x, *x]", "m", "calibration"),
        ("a.json", "{}", "", "calibration"),
    ],
)
def test_bad_calibrations_are_refused_by_field(tmp_path: Path, name: str, text: str, unit: str, field: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadCamera) as refused:
        calibration.read(tmp_path / name, unit=unit)
    assert refused.value.field == field


def test_a_centre_and_a_translation_together_are_ambiguous(tmp_path: Path) -> None:
    calibration.write([camera()], tmp_path / "a.npz", "h36m")
    with np.load(tmp_path / "a.npz") as file:
        np.savez(tmp_path / "b.npz", t=np.zeros((1, 3)), **dict(file))
    with pytest.raises(BadCamera, match="both C and t"):
        calibration.read(tmp_path / "b.npz")


# triangulation


def test_exact_detections_give_exact_points_however_they_are_weighted() -> None:
    rig = recordings.studio(np.random.default_rng(0), 3)
    world = np.random.default_rng(1).uniform(-500, 500, (4, 5, 3)) + [0, 0, 900]
    pixels = np.stack([c.project(world) for c in rig], axis=1)
    score = np.random.default_rng(2).uniform(0.4, 1, pixels.shape[:3])
    for points in (
        triangulation.linear(rig, pixels, score),
        triangulation.linear(rig, pixels, score, weighted=False),
        triangulation.ransac(rig, pixels, score),
    ):
        np.testing.assert_allclose(points.position, world, atol=1e-6)
        assert points.error_px.max() < 1e-6


def test_ransac_leaves_the_view_that_is_wrong_out_and_two_views_are_needed() -> None:
    rig = recordings.studio(np.random.default_rng(0), 4)
    world = np.array([[[100.0, -50.0, 1200.0], [0.0, 0.0, 800.0]]])
    pixels = np.stack([c.project(world) for c in rig], axis=1)
    pixels[0, 2, 0] += 200
    score = np.ones((1, 4, 2))
    score[0, 1:, 1] = 0.1
    points = triangulation.ransac(rig, pixels, score)
    np.testing.assert_allclose(points.position[0, 0], world[0, 0], atol=1e-6)
    assert points.used[0, :, 0].tolist() == [True, True, False, True]
    assert points.known.tolist() == [[True, False]]
    assert np.linalg.norm(triangulation.linear(rig, pixels, score).position[0, 0] - world[0, 0]) > 50


@real
def test_weighted_dlt_equals_the_reference_of_a_real_recording() -> None:
    from benchmarks.multiview import trc

    data = np.load(REAL / "detections_body25b.npz")
    names, reference = trc(REAL / "reference_triangulated.trc")
    order = [list(data["joint_names"]).index(name) for name in names]
    values = data["keypoints"][:, :, order].astype(float)
    rig = calibration.read(REAL / "Calib.qca.txt")
    points = triangulation.linear(rig, values[..., :2], values[..., 2], undistort=False)
    assert np.nanmedian(np.linalg.norm(points.position - reference, axis=-1)) < 1e-3


# pictorial structures

SMALL = pictorial.Grid(torch.zeros(2, 3, dtype=torch.float64), 2000.0, 10)


def brute_force(
    log_unary: np.ndarray, grid: pictorial.Grid, tree: pictorial.Tree, lengths: list[float], eps: float
) -> np.ndarray:
    """Sum-product with dense tables of all pairs of voxels."""
    frames, joints, n = log_unary.shape[:3]
    at = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 3)
    away = np.sqrt(((at[:, None] - at[None]) ** 2).sum(-1))
    tables = [(np.abs(away - length / grid.cell_mm) <= eps).astype(float) for length in lengths]
    near: dict[int, list[tuple[int, int]]] = {j: [] for j in range(joints)}
    for edge, (p, c) in enumerate(tree):
        near[p].append((c, edge))
        near[c].append((p, edge))
    out = np.zeros((frames, joints, n**3))
    for f in range(frames):
        unary = np.exp(log_unary[f]).reshape(joints, -1)

        def message(a: int, b: int, edge: int, unary: np.ndarray = unary) -> np.ndarray:
            belief = unary[a].copy()
            for other, e in near[a]:
                if other != b:
                    belief *= message(other, a, e)
            sent = tables[edge] @ belief
            return sent / max(sent.max(), 1e-300)

        for j in range(joints):
            belief = unary[j].copy()
            for other, e in near[j]:
                belief *= message(other, j, e)
            out[f, j] = belief / max(belief.max(), 1e-300)
    return out.reshape(log_unary.shape)


TREE = H36M_17.tree
LENGTHS = [float(x) for x in np.random.default_rng(0).uniform(250, 900, len(TREE))]


@pytest.mark.parametrize(("precision", "bar"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_marginals_equal_dense_pair_tables(precision: torch.dtype, bar: float) -> None:
    unary = np.log(np.random.default_rng(1).random((2, 17, 10, 10, 10)))
    right = brute_force(unary, SMALL, TREE, LENGTHS, 1.0)
    result = pictorial.beliefs(torch.tensor(unary).to(precision), SMALL, TREE, LENGTHS, 1.0)
    assert np.abs(result.double().numpy() - right).max() <= bar


def test_contradictory_spikes_are_right_in_float64() -> None:
    rng = np.random.default_rng(2)
    unary = np.full((1, 17, 10, 10, 10), 1e-6)
    for j in range(17):
        unary[0, j, *rng.integers(0, 10, 3)] = 1.0
    right = brute_force(np.log(unary), SMALL, TREE, LENGTHS, 1.0)
    result = pictorial.beliefs(torch.tensor(np.log(unary)), SMALL, TREE, LENGTHS, 1.0)
    assert np.abs(result.numpy() - right).max() <= 1e-8


def test_the_in_place_path_equals_the_batched_one() -> None:
    """Large cubes go one by one through buffers that stay; twice, so that what was left in them would show."""
    grid = pictorial.Grid(torch.zeros(1, 3), 2000.0, 48)
    tree, lengths = ((0, 1), (1, 2)), [400.0, 250.0]
    for seed in (0, 1):
        unary = torch.rand(1, 3, 48, 48, 48, generator=torch.Generator().manual_seed(seed)).log()
        result = pictorial.beliefs(unary.double(), grid, tree, lengths)
        belief = unary.double().exp()
        kernel = torch.fft.rfftn(shell(48, 250.0 / grid.cell_mm))
        sent = torch.fft.irfftn(torch.fft.rfftn(belief[0, 2], (128,) * 3) * kernel, (128,) * 3)[:48, :48, :48]
        sent = belief[0, 1] * sent / sent.max()
        kernel = torch.fft.rfftn(shell(48, 400.0 / grid.cell_mm))
        sent = torch.fft.irfftn(torch.fft.rfftn(sent, (128,) * 3) * kernel, (128,) * 3)[:48, :48, :48]
        right = belief[0, 0] * sent / sent.max()
        assert float((result[0, 0] - right / right.max()).abs().max()) < 1e-12


def shell(n: int, length: float) -> torch.Tensor:
    step = torch.arange(128, dtype=torch.float64)
    step = torch.minimum(step, 128 - step)
    away = (step[:, None, None] ** 2 + step[None, :, None] ** 2 + step[None, None] ** 2).sqrt()
    return ((away - length).abs() <= 1.0).double()


def test_moments_equal_sums_written_out() -> None:
    belief = torch.rand(2, 3, 7, 7, 7, dtype=torch.float64) ** 8
    grid = pictorial.Grid(torch.tensor([[100.0, -50.0, 900.0], [0.0, 0.0, 0.0]], dtype=torch.float64), 600.0, 7)
    result = pictorial.moments(belief, grid, entropy=True)
    axis = (np.arange(7) - 3) * 100.0
    at = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    for f in range(2):
        for j in range(3):
            p = belief[f, j].numpy().ravel()
            p = p / p.sum()
            mean = p @ at
            np.testing.assert_allclose(result.mean[f, j], mean + grid.centre[f].numpy(), atol=1e-9)
            np.testing.assert_allclose(result.covariance[f, j], (at - mean).T @ ((at - mean) * p[:, None]), atol=1e-6)
            assert float(result.entropy[f, j]) == pytest.approx(-(p * np.log(p)).sum())
            near = (np.abs(at - at[p.argmax()]) <= 300).all(axis=1)
            q = p * near / p[near].sum()
            np.testing.assert_allclose(result.mode_mean[f, j], q @ at + grid.centre[f].numpy(), atol=1e-9)
            off = at - q @ at
            np.testing.assert_allclose(result.mode_covariance[f, j], off.T @ (off * q[:, None]), atol=1e-6)


def test_float32_differs_from_float64_by_less_than_a_hundredth_on_realistic_frames() -> None:
    recorded, _ = scene(2, recordings.HARD)
    chunk = recorded.source.read([0, 1])
    lengths = limbs.from_points(triangulation.ransac(recorded.cameras, chunk.pixels, chunk.score), H36M_17).tolist()
    results = {}
    for precision in ("float32", "float64"):
        config = HarvestConfig(precision=precision, estimate="mean")
        results[precision] = harvest.solve(recorded, chunk, config, lengths)
    fine, quick = results["float64"], results["float32"]
    assert np.abs(fine["position"] - quick["position"]).max() < 0.01
    assert np.abs(fine["uncertainty"] - quick["uncertainty"]).max() < 0.01


def test_the_floor_of_fewer_views_weighs_as_much_as_that_of_four() -> None:
    assert pictorial.delta_for(4, 64) == pytest.approx(0.01)
    assert 64**3 * pictorial.delta_for(2, 64) ** 2 == pytest.approx(64**3 * 0.01**4)
    assert 32**3 * pictorial.delta_for(3, 32) ** 3 == pytest.approx(64**3 * 0.01**4)


def test_fft_sizes_hold_the_shell_and_are_quick() -> None:
    assert [pictorial.fft_size(n) for n in (64, 70, 78, 33)] == [64, 72, 80, 36]


# the harvest


def test_a_clean_recording_is_found_to_a_few_centimetres_and_better_than_triangulated(tmp_path: Path) -> None:
    recorded, world = scene(24)
    result = harvest.harvest(recorded, HarvestConfig(grid=48), tmp_path)
    assert (result.outcome == Outcome.FOUND).all()
    assert np.linalg.norm(result.position - world, axis=-1).mean() < 32
    assert result.kept.sum(axis=0).tolist() == [round(0.7 * 24)] * 17
    (lengths,) = harvest.lengths_of(tmp_path)
    right = [np.linalg.norm(world[0, a] - world[0, b]) for a, b in TREE]
    assert np.abs(np.array(lengths) - right).max() < 40


def test_a_harvest_that_was_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    recorded, _ = scene(10, recordings.HARD)
    config = HarvestConfig(grid=24, frames_at_once=3)
    whole = harvest.harvest(recorded, config, tmp_path / "whole", threads=2)

    class Killed(Exception):
        pass

    def stop(done: int, total: int, unit: str) -> None:
        if done == 6:
            raise Killed

    with pytest.raises(Killed):
        harvest.harvest(recorded, config, tmp_path / "parts", progress=stop)
    asked: list[int] = []
    again = harvest.harvest(recorded, config, tmp_path / "parts", progress=lambda done, *_: asked.append(done))
    assert asked == [6, 9, 10]
    for name in ("position", "covariance", "uncertainty", "outcome", "seen", "offset_px", "kept"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def test_missing_views_have_named_outcomes_and_nothing_is_ever_nan(tmp_path: Path) -> None:
    recorded, world = scene(12)
    views = recorded.source.detected.peaks  # type: ignore[attr-defined]
    views[0, :, :, :, 2] = 0  # nobody
    views[1, 1:, :, :, 2] = 0  # one view
    views[2, 2:, :, :, 2] = 0  # two views
    views[3, :, 5, :, 2] = 0  # a joint that nobody sees
    views[4, 1:, 9, :, 2] = 0  # a joint that one view sees
    result = harvest.harvest(recorded, PREVIEW, tmp_path)
    assert set(result.outcome[0]) == set(result.outcome[1]) == {Outcome.NOBODY}
    assert set(result.outcome[2]) <= {Outcome.FOUND, Outcome.OUTSIDE}
    assert result.outcome[3, 5] == result.outcome[4, 9] == Outcome.INFERRED
    assert np.linalg.norm(result.position[3, 5] - world[3, 5]) < 600  # it hangs on its limbs
    for name in ("position", "covariance", "uncertainty", "offset_px"):
        assert np.isfinite(getattr(result, name)).all()
    assert not result.kept[:2].any()
    quality = report.report(recorded, result, inlier_px=15.0)
    assert "nan" not in json.dumps(quality).lower()
    assert any("2 frames have nobody in two views, the first is 0" in finding for finding in quality["findings"])


def test_nan_detections_count_as_missing(tmp_path: Path) -> None:
    recorded, _ = scene(8)
    chunk = recorded.source.read(range(8))
    values = np.concatenate([chunk.pixels, chunk.score[..., None]], axis=-1)
    values[3, 1, 4] = np.nan
    values[5, 0, 2, 0] = np.inf
    result = harvest.harvest(Recording(recorded.cameras, H36M_17, Detections(values)), PREVIEW, tmp_path)
    assert not result.seen[3, 1, 4]
    assert not result.seen[5, 0, 2]
    assert np.isfinite(result.position).all()


def test_limbs_that_no_cube_can_hold_are_a_contradiction_and_a_body_beyond_it_is_outside(tmp_path: Path) -> None:
    recorded, _ = scene(3)
    result = harvest.harvest(recorded, PREVIEW, tmp_path / "a", lengths_mm=[9000.0] * 16)
    assert set(result.outcome.ravel()) == {Outcome.CONTRADICTION}
    assert (result.position == 0).all()
    small = harvest.harvest(recorded, HarvestConfig(grid=32, cube_mm=700), tmp_path / "b")
    ankle = H36M_17.index("left_ankle")
    assert set(small.outcome[:, ankle]) <= {Outcome.OUTSIDE, Outcome.CONTRADICTION}
    assert not small.kept[:, ankle].any()


def test_recordings_that_cannot_be_harvested_are_refused_in_words(tmp_path: Path) -> None:
    recorded, _ = scene(20)
    cameras, source = recorded.cameras, recorded.source

    def refusal(cameras: tuple[Camera, ...], source: object) -> BadRecording:
        with pytest.raises(BadRecording) as refused:
            harvest.harvest(Recording(cameras, H36M_17, source), PREVIEW, tmp_path / "no")  # type: ignore[arg-type]
        assert not (tmp_path / "no" / "position.npy").exists()
        return refused.value

    swapped = refusal((cameras[2], cameras[1], cameras[0], cameras[3]), source)
    assert swapped.field == "cameras"
    assert "cam3 and cam1 look swapped" in str(swapped)
    half = tuple(
        Camera(c.name, (500, 500), np.diag([0.5, 0.5, 1]) @ c.matrix, c.distortion, c.rotation, c.translation)
        for c in cameras
    )
    assert refusal(half, source).field == "calibration"
    assert refusal(cameras[:1], Detections(np.zeros((5, 1, 17, 3)))).field == "cameras"
    assert refusal(cameras, Detections(np.zeros((5, 4, 17, 3)))).field == "detections"
    assert refusal(cameras, Detections(np.zeros((0, 4, 17, 3)))).field == "detections"


def test_the_report_exposes_a_camera_that_is_off_and_one_that_is_late(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    _, world = scene(1)
    walk = np.stack([np.linspace(-700, 700, 120), 300 * np.sin(np.arange(120) / 6), np.zeros(120)], axis=-1)
    moving = world + walk[:, None]
    cameras = recordings.studio(rng)
    bias = np.zeros((4, 17, 2))
    bias[1] = [9.0, -4.0]
    seen = recordings.detect(moving, cameras, H36M_17, recordings.CLEAN, rng, bias)
    late = recordings.detect(np.roll(moving, 3, axis=0), cameras, H36M_17, recordings.CLEAN, rng)
    seen.peaks[3:, 3] = late.peaks[3:, 3]
    seen.right_px[3:, 3] = late.right_px[3:, 3]
    recorded = Recording(cameras, H36M_17, recordings.SimulatedViews(seen), 30.0)
    quality = report.report(recorded, harvest.harvest(recorded, PREVIEW, tmp_path), inlier_px=15.0)
    off = {c["name"]: c["systematic"] for c in quality["cameras"]}
    assert off["cam2"]
    assert not off["cam1"]
    shift = {c["name"]: c["shift_frames"] for c in quality["cameras"]}
    assert shift["cam4"] > 1.0
    assert max(shift, key=lambda n: shift[n]) == "cam4"
    assert any("cam2 is off by" in finding for finding in quality["findings"])
    assert any("cam4 seems" in finding and "late" in finding for finding in quality["findings"])


def test_selection_keeps_the_surest_share_of_each_joint() -> None:
    uncertainty = np.array([[3.0, 1.0], [1.0, 2.0], [2.0, 9.0], [4.0, 0.0]])
    candidate = np.array([[True, True], [True, True], [True, True], [True, False]])
    kept = selection.most_certain(uncertainty, candidate, 0.5)
    assert kept.tolist() == [[False, True], [True, True], [True, False], [False, False]]
    assert selection.log_determinant(np.zeros((3, 3)), 2.0) == pytest.approx(6 * np.log(2))
    assert selection.spearman(np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 3, 4])) == pytest.approx(0.8)


# heatmaps and files


def test_peaks_of_drawn_heatmaps_lie_where_they_were_put() -> None:
    rng = np.random.default_rng(0)
    pixels, score = rng.uniform(100, 400, (2, 3, 5, 2)), rng.uniform(0.5, 1, (2, 3, 5))
    score[1, 2, 3] = 0.1
    maps = heatmaps.of_detections(pixels, score)
    peaks, height = maps.peaks()
    cell = 1 / maps.to_map[:, :, None, :2]
    known = score > 0.3
    assert (np.abs(peaks - pixels) / cell)[known].max() < 0.51
    assert height[1, 2, 3] == 0
    assert not maps.has_peak[1, 2, 3]
    assert height[known] == pytest.approx(score[known], abs=0.25)


def test_heatmap_files_are_read_one_at_a_time_and_bad_ones_named(tmp_path: Path) -> None:
    recorded, _ = scene(5)
    chunk = recorded.source.read(range(5))
    assert chunk.maps is not None
    bytes_ = np.rint(255 * chunk.maps.values).astype(np.uint8)
    np.savez(tmp_path / "b.npz", heatmaps=bytes_[3:], to_map=chunk.maps.to_map[3:])
    np.savez(tmp_path / "a.npz", heatmaps=bytes_[:3], to_map=chunk.maps.to_map[:3])
    files = HeatmapFiles(tmp_path, 4, 17)
    assert files.frames == 5
    np.testing.assert_allclose(files.read([1, 4]).maps.values, chunk.maps.values[[1, 4]], atol=1 / 500)  # type: ignore[union-attr]
    with pytest.raises(BadRecording, match="not frames x 4 x 16"):
        HeatmapFiles(tmp_path, 4, 16)
    np.savez(tmp_path / "c.npz", heatmaps=bytes_[:1])
    with pytest.raises(BadRecording, match=r"c\.npz"):
        HeatmapFiles(tmp_path, 4, 17).read([5])
    (tmp_path / "c.npz").write_bytes(b"nothing")
    with pytest.raises(BadRecording, match=r"c\.npz"):
        HeatmapFiles(tmp_path, 4, 17)


def test_archives_that_unpack_without_end_are_not_read(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("keypoints.npy", "w", force_zip64=True) as file,
    ):
        for _ in range(80):
            file.write(bytes(1 << 20))
    with pytest.raises(BadCamera, match="unpacks to 80 MiB"):
        calibration.read(tmp_path / "bomb.npz")
    with pytest.raises(ValueError, match="unpacks to 80 MiB"):
        bounded(tmp_path / "bomb.npz", 10 << 20)
    with pytest.raises(BadRecording, match=r"bomb\.npz"):
        detections.read(tmp_path / "bomb.npz")


def test_people_of_several_views_are_told_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    _, world = scene(6)
    other = world + [900.0, 300.0, 0.0]
    cameras = recordings.studio(rng)
    people = np.zeros((6, 4, 2, 17, 3), np.float32)
    truth = np.zeros((6, 4, 17, 3), np.float32)
    for n, body in enumerate((world, other)):
        seen = recordings.detect(body, cameras, H36M_17, recordings.CLEAN, rng)
        values = np.concatenate([seen.pixels, seen.score[..., None]], axis=-1)
        for f in range(6):
            for v in range(4):
                people[f, v, (n + f + v) % 2] = values[f, v]
        if n == 0:
            truth = values.astype(np.float32)
    people[2, 1, :, :, 2] = 0  # a view in which nobody is seen
    truth[2, 1] = 0
    groups = association.grouped(cameras, people[0], inlier_px=15, least_score=0.3)
    assert [len(g.members) for g in groups] == [4, 4]
    followed = association.follow(cameras, people, inlier_px=15, least_score=0.3)
    assert len(followed.subjects) == 2 and not followed.brief
    own = [subject.detections(people) for subject in followed.subjects]
    mine = int(np.abs(own[1][0] - truth[0]).max() < np.abs(own[0][0] - truth[0]).max())
    np.testing.assert_allclose(own[mine], truth, atol=1e-3)  # the same person in every frame and view


def crossing(frames: int, seed: int) -> tuple[tuple[Camera, ...], np.ndarray, np.ndarray]:
    """Three simulated people whose ways cross in a room, 5 m in all: cameras, people F x V x P x J x 3 in no order, truth 3 x F x J x 3 mm."""
    rng = np.random.default_rng(seed)
    _, bodies = scene(3, seed=seed)
    cameras = recordings.studio(rng)
    at = np.linspace(-1, 1, frames)[:, None]
    ways = [(np.array([1.0, 0.1]), [0, 350]), (np.array([-1.0, 0.3]), [0, -350]), (np.array([0.2, 1.0]), [1200, 0])]
    truth = np.stack(
        [
            body + np.concatenate([1600 * at * way + offset, np.zeros((frames, 1))], axis=1)[:, None]
            for body, (way, offset) in zip(bodies, ways)
        ]
    )
    people = np.zeros((frames, len(cameras), 3, 17, 3), np.float32)
    for n, body in enumerate(truth):
        seen = recordings.detect(body, cameras, H36M_17, recordings.HARD, rng)
        people[:, :, n] = np.concatenate([seen.pixels, seen.score[..., None]], axis=-1)
    order = rng.permuted(np.broadcast_to(np.arange(3), people.shape[:3]), axis=2)
    return cameras, np.take_along_axis(people, order[..., None, None], axis=2), truth


@pytest.mark.parametrize("seed", range(4))
def test_three_people_who_cross_are_told_apart(seed: int) -> None:
    cameras, people, truth = crossing(150, seed)
    near = min(np.linalg.norm(truth[a] - truth[b], axis=-1).mean(axis=1).min() for a, b in combinations(range(3), 2))
    assert 150 < near < 900  # they come near, but do not walk through each other
    followed = association.follow(cameras, people, inlier_px=15, least_score=0.3, least_frames=15)
    assert len(followed.subjects) == 3
    wrong = 0
    whose = []
    for subject in followed.subjects:
        own = subject.detections(people)
        points = triangulation.linear(cameras, own[..., :2].astype(float), own[..., 2].astype(float))
        away = np.linalg.norm(points.position[None] - truth[:, subject.first : subject.last + 1], axis=-1)
        nearest = np.nanmedian(away, axis=2).argmin(axis=0)
        whose.append(int(np.bincount(nearest).argmax()))
        wrong += int((nearest != whose[-1]).sum())
        assert len(nearest) > 145
    assert sorted(whose) == [0, 1, 2]
    assert wrong <= 0.01 * 3 * 150


def test_pairs_that_meet_behind_a_camera_do_not_hide_those_that_meet_before_it() -> None:
    rng = np.random.default_rng(3)
    cameras, (_, body) = recordings.studio(rng), scene(1)
    people = np.zeros((4, 5, 17, 3), np.float32)
    for n in range(5):
        turn = 2 * np.pi * n / 5
        seen = recordings.detect(
            body + [1500 * np.cos(turn), 1500 * np.sin(turn), 0], cameras, H36M_17, recordings.CLEAN, rng
        )
        people[:, n] = np.concatenate([seen.pixels, seen.score[..., None]], axis=-1)[0]
    groups = association.grouped(cameras, people, inlier_px=15, least_score=0.3)
    assert sorted(sorted(p for _, p in group.members) for group in groups) == [[n] * 4 for n in range(5)]


def test_who_is_away_for_long_is_somebody_else() -> None:
    cameras, people, _ = crossing(60, 2)
    people[20:50, ..., 2] = 0  # a door: nobody is there
    at_most = {
        away: len(
            association.follow(cameras, people, inlier_px=15, least_score=0.3, least_frames=5, most_away=away).subjects
        )
        for away in (10, 100)
    }
    assert at_most == {10: 6, 100: 3}


def test_c3d_holds_more_markers_than_one_list_of_names(tmp_path: Path) -> None:
    frames, crowd = 2, 16
    result = arrays.start(tmp_path, arrays.Size(frames * crowd, 2, 17), ["crowd"]).arrays
    result.position[:] = np.arange(frames * crowd)[:, None, None]
    stretches = [arrays.Stretch(n, n * frames, frames, 0) for n in range(crowd)]
    poses.write(tmp_path / "out.c3d", "c3d", result, H36M_17, (), 30.0, stretches=stretches)
    with (tmp_path / "out.c3d").open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        reader = c3d.Reader(file)
        points = next(iter(reader.read_frames()))[1]
        more = reader.get("POINT:LABELS2").string_array
    assert len(points) == 16 * 17
    assert points[-1, 0] == 30 and more[-1].strip() == f"P16:{H36M_17.keypoints[-1]}"


@real
def test_the_subject_of_a_real_recording_is_pose2sims() -> None:
    people = detections.read(REAL / "detections_body25b.npz")
    assert people.skeleton == BODY_25B
    followed = association.follow(
        calibration.read(REAL / "Calib.qca.txt"), people.people[:40], inlier_px=15, least_score=0.3, least_frames=20
    )
    assert len(followed.subjects) == 2  # somebody stands at the wall, whom two cameras show
    assert followed.subjects[0].views > 3.9 and followed.subjects[1].views == 2
    subject = followed.subjects[0].detections(people.people[:40])
    theirs = np.load(REAL / "detections_body25b.npz")["keypoints"][:40]
    assert len(subject) == 40
    assert (np.abs(subject - theirs).max(axis=(2, 3)) < 1e-3).mean() > 0.97


def test_openpose_and_coco_files_become_the_same_detections(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = np.round(rng.uniform(1, 900, (3, 2, 2, 17, 3)), 2)
    values[..., 2] = 1
    values[0, 1, 1] = 0
    values[2, 0, 0, 4] = 0
    for v, name in enumerate(("left", "right")):
        (tmp_path / "open" / name).mkdir(parents=True)
        images, people = [], []
        for f in range(3):
            listed = [{"pose_keypoints_2d": p.ravel().tolist()} for p in values[f, v]]
            (tmp_path / "open" / name / f"{f:03d}_keypoints.json").write_text(json.dumps({"people": listed}))
            images.append({"id": f + 7, "file_name": f"{f}.jpg", "width": 1000, "height": 900})
            for p in values[f, v]:
                flat = p + [0.5, 0.5, 1] * (p[:, 2:] > 0)
                people.append({"image_id": f + 7, "keypoints": flat.ravel().tolist()})
        (tmp_path / "coco").mkdir(exist_ok=True)
        (tmp_path / "coco" / f"{name}.json").write_text(json.dumps({"images": images, "annotations": people}))
    one = detections.read(tmp_path / "open", skeleton=COCO_17)
    other = detections.read(tmp_path / "coco")
    assert one.cameras == other.cameras == ("left", "right")
    np.testing.assert_allclose(one.people, values, atol=1e-3)
    np.testing.assert_allclose(other.people, values, atol=1e-3)
    assert other.size == (1000, 900)
    assert detections.read(tmp_path / "open").skeleton == COCO_17
    with pytest.raises(BadRecording, match="17 joints, body-25 has 25") as refused:
        detections.read(tmp_path / "open", skeleton=BODY_25)
    assert refused.value.field == "skeleton"


@pytest.mark.parametrize(
    "content", [b"", b"[1, 2", b'{"people": 3}', b'{"people": [{"pose_keypoints_2d": ["a"]}]}', b'{"people": [7]}']
)
def test_broken_openpose_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cam").mkdir()
    (tmp_path / "cam" / "0.json").write_bytes(content)
    with pytest.raises(BadRecording, match=r"0\.json"):
        detections.read(tmp_path)


def test_written_poses_read_back(tmp_path: Path) -> None:

    from benchmarks.multiview import trc

    recorded, _ = scene(6)
    result = harvest.harvest(recorded, HarvestConfig(grid=24), tmp_path / "h")
    result.outcome[2, 3] = Outcome.OUTSIDE
    for kind in poses.FILES:
        poses.write(tmp_path / f"out.{kind}", kind, result, H36M_17, recorded.cameras, 50.0)
    names, back = trc(tmp_path / "out.trc")
    assert tuple(names) == H36M_17.keypoints
    assert np.isnan(back[2, 3]).all()
    there = result.outcome == Outcome.FOUND
    np.testing.assert_allclose(back[there], result.position[there], atol=1e-9)
    with (tmp_path / "out.c3d").open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        reader = c3d.Reader(file)
        frames = [points for _, points, _ in reader.read_frames()]
    np.testing.assert_allclose(np.stack(frames)[there][:, :3], result.position[there], atol=1e-3)
    assert frames[2][3, 3] == -1
    with np.load(tmp_path / "out.npz") as file:
        np.testing.assert_array_equal(file["position_mm"], result.position)
        assert file["joint_names"].tolist() == list(H36M_17.keypoints)
    coco = json.loads((tmp_path / "out.coco").read_text())
    person = next(p for p in coco["annotations"] if p["image_id"] == 1)
    flat = np.array(person["keypoints"]).reshape(-1, 3)
    kept = result.kept[0]
    np.testing.assert_allclose(flat[kept, :2], recorded.cameras[0].project(result.position[0])[kept] + 0.5, atol=1e-3)


def test_limbs_that_nobody_shows_are_named() -> None:
    skeleton = Skeleton("two", ("left_a", "b"), (("left_a", "b"),), "b")
    with pytest.raises(limbs.NoLengths, match="b to left_a"):
        limbs.lengths(np.zeros((9, 2, 3)), np.zeros((9, 2), bool), skeleton)
    with pytest.raises(limbs.NoLengths, match="no limb"):
        limbs.lengths(np.zeros((9, 2, 3)), np.zeros((9, 2), bool), skeleton, assume=True)


def test_a_limb_that_nobody_shows_is_assumed_beside_others_that_are_seen() -> None:
    skeleton = Skeleton("three", ("hip", "knee", "toe"), (("hip", "knee"), ("knee", "toe")), "hip")
    position, sure = np.zeros((9, 3, 3)), np.ones((9, 3), bool)
    position[:, 1, 1], sure[:, 2] = 400.0, False
    assert limbs.lengths(position, sure, skeleton, assume=True).tolist() == [400.0, 200.0]


def test_two_cameras_in_one_place_are_refused() -> None:
    with pytest.raises(BadCamera, match="one place"):
        checked([camera(1, "a"), camera(1, "b")])
    with pytest.raises(BadCamera, match="no camera"):
        checked([])
