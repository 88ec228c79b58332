"""The 2D heatmap network: targets, variations, masks, and that it learns a person."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from PIL import Image

from labeling.skeletons import H36M_17
from tests.training.multiview.test_multiview import scene
from training.harvest import arrays
from training.heatmaps import files
from training.heatmaps.config import HeatmapConfig
from training.heatmaps.fit import _varied, fit, gaussians, predict
from training.heatmaps.network import HeatmapNetwork, to_cells
from training.multiview import calibration
from training.simulation import people

TWINS = [(H36M_17.index(a), H36M_17.index(b)) for a, b in H36M_17.twins]


def test_targets_are_gaussians_of_one_cell_around_the_keypoint() -> None:
    maps = gaussians(torch.tensor([[[3.0, 5.0], [2.5, 1.0]]]), (8, 9), 1.0)
    assert maps.shape == (1, 2, 8, 9)
    assert float(maps[0, 0, 5, 3]) == 1.0
    assert float(maps[0, 0, 6, 4]) == pytest.approx(np.exp(-1))
    assert float(maps[0, 1, 1, 2]) == pytest.approx(np.exp(-0.125))


def test_a_cell_covers_two_by_two_pixels() -> None:
    pixels = torch.tensor([[[0.0, 1.0], [0.5, 0.5], [62.0, 63.0], [62.5, 62.5]]])
    np.testing.assert_allclose(to_cells(pixels)[0], [[-0.25, 0.25], [0, 0], [30.75, 31.25], [31, 31]])
    with pytest.raises(ValueError, match="multiple of 16"):
        HeatmapNetwork(3, width=8)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_keypoints_move_with_the_pictures_and_mirrored_ones_change_sides(flip: float) -> None:
    """A white spot is painted at each of two twins; after every variation the spots lie where the keypoints say."""
    count, size = 12, 65
    rng = np.random.default_rng(0)
    points = torch.tensor(rng.uniform(18, 46, (count, 2, 2)), dtype=torch.float32)
    pictures = torch.zeros(count, 3, size, size)
    pictures[:, :2] = gaussians(points, (size, size), 2.0)  # red: left, green: right
    known = torch.ones(count, 2, dtype=torch.bool)
    config = HeatmapConfig(flip=flip)
    moved, place, still = _varied(pictures, points, known, [1, 0], config, torch.Generator().manual_seed(3))
    for n in range(count):
        for joint in range(2):
            channel = 1 - joint if flip else joint  # what was painted left is a right joint in the mirror
            spot = moved[n, channel].argmax()
            assert still[n, joint]
            assert float(place[n, joint, 0]) == pytest.approx(float(spot % size), abs=1.01)
            assert float(place[n, joint, 1]) == pytest.approx(float(spot // size), abs=1.01)


def test_joints_that_were_not_selected_teach_nothing() -> None:
    torch.manual_seed(0)
    network = HeatmapNetwork(3, width=16)
    pictures = np.random.default_rng(0).random((6, 3, 32, 32), dtype=np.float32)
    points = np.random.default_rng(1).uniform(2, 13, (6, 3, 2))
    selected = np.ones((6, 3), dtype=bool)
    selected[:, 1] = False
    other = points.copy()
    other[:, 1] = np.nan
    config = HeatmapConfig(epochs=2, flip=0.0)
    one, two = copy.deepcopy(network), copy.deepcopy(network)
    assert fit(one, pictures, points, selected, [], config) == fit(two, pictures, other, selected, [], config)
    for a, b in zip(one.parameters(), two.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    torch.testing.assert_close(one.head.weight[1], network.head.weight[1], rtol=0, atol=0)
    assert not torch.equal(one.head.weight[0], network.head.weight[0])


def test_nothing_selected_leaves_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    network = HeatmapNetwork(2, width=16)
    before = copy.deepcopy(network.state_dict())
    fit(network, np.zeros((3, 3, 32, 32), np.float32), np.zeros((3, 2, 2)), np.zeros((3, 2), bool), [], HeatmapConfig())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_small_network_learns_the_joints_of_one_person() -> None:
    recorded, world = scene(24)
    rng = np.random.default_rng(0)
    worn, seen_as = people.clothes(rng, H36M_17), people.lighting(rng)
    pictures, points, to_map = people.render(world, recorded.cameras[0], H36M_17, worn, seen_as, rng, 32)
    assert pictures.shape == (24, 3, 32, 32)
    assert 0 <= pictures.min() <= pictures.max() <= 1
    right = recorded.cameras[0].project(world) * to_map[:, None, :2] + to_map[:, None, 2:]
    np.testing.assert_allclose(points, right)
    torch.manual_seed(0)
    network = HeatmapNetwork(17)
    config = HeatmapConfig(epochs=60, batch=8, learning_rate=3e-3, turn_deg=5, scale=0.05, flip=0)
    losses = fit(network, pictures, points, np.ones((24, 17), bool), TWINS, config)
    assert losses[-1] < losses[0] / 3
    heat = predict(network, pictures)
    assert heat.shape == (24, 17, 16, 16)
    best = heat.reshape(24, 17, -1).argmax(axis=-1)
    middle = np.stack([best % 16, best // 16], axis=-1) * 2 + 0.5  # of the two by two pixels of a cell
    off = np.linalg.norm(middle - points, axis=-1)
    assert np.median(off) < 2.0


def test_a_picture_is_cut_out_where_its_map_says() -> None:
    """A white spot of one pixel in a black frame appears where to_map sends it, on whole and reduced frames."""
    for side, left, top in ((31.0, 20.0, 30.0), (157.0, 5.0, 8.0)):
        frame = np.zeros((200, 220, 3), np.uint8)
        frame[38:43, 28:33] = 255  # around (30, 40)
        to_map = files.to_square(np.array([left, top, side, side]), 32)
        cut = files.cut_out(Image.fromarray(frame), to_map, 32)[0]
        y, x = np.mgrid[:32, :32]
        middle = np.array([(cut * x).sum(), (cut * y).sum()]) / cut.sum()
        np.testing.assert_allclose(middle, np.array([30.0, 40.0]) * to_map[:2] + to_map[2:], atol=0.12)


def test_a_network_survives_its_file_and_others_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = HeatmapNetwork(17, width=16)
    files.save(network, H36M_17.keypoints, 64, tmp_path / "n.safetensors")
    again, size = files.load(tmp_path / "n.safetensors", H36M_17.keypoints)
    assert size == 64
    picture = np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32)
    np.testing.assert_array_equal(predict(network, picture), predict(again, picture))
    with pytest.raises(files.BadNetwork, match="other keypoints"):
        files.load(tmp_path / "n.safetensors", ("nose", "tail"))
    (tmp_path / "b.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(files.BadNetwork, match="not a readable"):
        files.load(tmp_path / "b.safetensors", H36M_17.keypoints)
    with pytest.raises(files.BadNetwork, match="not a readable"):
        files.load(tmp_path / "absent.safetensors", H36M_17.keypoints)


def test_a_harvest_teaches_a_network_whose_heatmaps_are_harvested_again(tmp_path: Path) -> None:
    """The whole way on files: detections -> harvest -> network -> heatmaps -> harvest; simulated person, drawn pictures."""
    recorded, world = scene(12)
    rng = np.random.default_rng(3)
    worn = people.clothes(rng, H36M_17)
    calibration.write(recorded.cameras, tmp_path / "rig.toml", "toml")
    chunk = recorded.source.read(range(12))
    names = [c.name for c in recorded.cameras]
    keypoints = np.concatenate([chunk.pixels, chunk.score[..., None]], axis=-1)
    np.savez(tmp_path / "d.npz", keypoints=keypoints, joint_names=np.array(H36M_17.keypoints), camera_names=names)
    for camera in recorded.cameras:
        drawn, _, to_map = people.render(world, camera, H36M_17, worn, people.lighting(rng), rng, 128)
        (tmp_path / "views" / camera.name).mkdir(parents=True)
        for n, picture in enumerate(drawn):  # put back where the camera saw it
            s, c = to_map[n, :2], to_map[n, 2:]
            image = Image.fromarray(np.round(255 * picture.transpose(1, 2, 0)).astype(np.uint8))
            back = (s[0], 0, (-0.5 * s[0]) + c[0] + 0.5, 0, s[1], (-0.5 * s[1]) + c[1] + 0.5)
            image.transform(camera.size, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR).save(
                tmp_path / "views" / camera.name / f"{n:04d}.png"
            )
    rig = ("--calibration", str(tmp_path / "rig.toml"))
    call_command(
        "harvest", "multiview", str(tmp_path / "first"), *rig, "--detections", str(tmp_path / "d.npz"), "--grid", "24",
    )  # fmt: skip
    output = io.StringIO()
    call_command(
        "personalise", tmp_path / "rig.toml", tmp_path / "first", tmp_path / "views", tmp_path / "own",
        "--flip", "0", size=32, stdout=output,
    )  # fmt: skip
    assert "48 pictures, " in output.getvalue()
    call_command(
        "harvest", "multiview", str(tmp_path / "second"), *rig, "--detections", str(tmp_path / "own" / "heatmaps"),
        "--grid", "24", "--least-score", "0.05", "--inlier-px", "60", "--skeleton", "h36m-17",
    )  # fmt: skip
    off = np.linalg.norm(arrays.read(tmp_path / "second").position - world, axis=-1)
    assert np.median(off) < 120
    with pytest.raises(CommandError, match="network: "):
        call_command(
            "personalise", tmp_path / "rig.toml", tmp_path / "first", tmp_path / "views", tmp_path / "own",
            network=tmp_path / "d.npz",
        )  # fmt: skip
    with pytest.raises(CommandError, match="17 joints in 4 views"):
        call_command(
            "personalise", tmp_path / "rig.toml", tmp_path / "first", tmp_path / "views", tmp_path / "own",
            skeleton="body-25",
        )  # fmt: skip
