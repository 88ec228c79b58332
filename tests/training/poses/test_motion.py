"""Motion files: BVH, ASF/AMC and Human3.6M against geometry worked out by hand, and bad files by name."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from django.core.management import CommandError, call_command

from labeling.releasing import reading
from labeling.skeletons import H36M_17, LSP_14
from training.lifter import evaluate
from training.poses import human36m
from training.poses.acclaim import CMU_UNIT_MM, read_acclaim
from training.poses.bvh import read_bvh
from training.poses.mocap import BadMotion, Clip, Motion, as_h36m17, read_sequences
from training.poses.sources import centred, read_views
from training.poses.views import Studio, project

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Spine
  {
    OFFSET 0 10 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 5 0
    }
  }
}
MOTION
Frames: 3
Frame Time: 0.05
1 2 3 0 0 0 0 0 0
0 0 0 90 0 0 0 0 0
0 0 0 0 0 0 0 90 0
"""


def test_bvh_positions_follow_offsets_and_turns(tmp_path: Path) -> None:
    (tmp_path / "a.bvh").write_text(BVH)
    motion = read_bvh(tmp_path / "a.bvh")
    assert motion.joints == ["Hips", "Spine", "Spine_end"]
    assert motion.fps == pytest.approx(20)
    expected = [
        [[1, 2, 3], [1, 12, 3], [1, 17, 3]],
        [[0, 0, 0], [-10, 0, 0], [-15, 0, 0]],  # a quarter turn about z takes y to -x
        [[0, 0, 0], [0, 10, 0], [0, 10, 5]],  # the spine alone: a quarter turn about x takes y to z
    ]
    assert np.allclose(motion.positions_mm, 10 * np.array(expected), atol=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("HIERARCHY", "x", "no BVH file"),
        ("Frames: 3", "Frames: 4", "do not fit"),
        ("0 0 0 90", "0 0 nan 90", "do not fit"),
        ("OFFSET 0 10 0", "OFFSET 0 ten 0", "broken"),
        ("Zrotation Xrotation Yrotation\n    End", "Wrotation Xrotation Yrotation\n    End", "unknown channel"),
        ("\n}\nMOTION", "\nMOTION", "unclosed"),
    ],
)
def test_a_bad_bvh_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in BVH
    (tmp_path / "a.bvh").write_text(BVH.replace(old, new))
    with pytest.raises(BadMotion, match=says):
        read_bvh(tmp_path / "a.bvh")


ASF = """:units
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name thigh
     direction 0 -1 0
     length 2
     axis 0 0 0 XYZ
     dof rx ry rz
  end
  begin
     id 2
     name shin
     direction 0 -1 0
     length 3
     axis 0 0 90 XYZ
     dof rx
  end
:hierarchy
  begin
    root thigh
    thigh shin
  end
"""
AMC = """:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
thigh 0 0 0
shin 0
2
root 0 0 0 0 0 0
thigh 90 0 0
shin 0
3
root 0 0 0 0 0 0
thigh 0 0 0
shin 90
"""


def test_acclaim_positions_follow_axes_and_turns(tmp_path: Path) -> None:
    (tmp_path / "a.asf").write_text(ASF)
    (tmp_path / "a.amc").write_text(AMC)
    motion = read_acclaim(tmp_path / "a.asf", tmp_path / "a.amc")
    assert motion.joints == ["root", "thigh", "shin"]
    expected = [
        [[1, 2, 3], [1, 0, 3], [1, -3, 3]],
        [[0, 0, 0], [0, 0, -2], [0, 0, -5]],  # about x by 90 degrees: -y goes to -z
        # the shin's own x axis is the world's y (axis turned by 90 degrees about z): -y stays where it is
        [[0, 0, 0], [0, -2, 0], [0, -5, 0]],
    ]
    assert np.allclose(motion.positions_mm, CMU_UNIT_MM * np.array(expected), atol=1e-3)


@pytest.mark.parametrize(
    ("asf", "amc", "says"),
    [
        (ASF.replace("length 2", "length long"), AMC, "cannot be read"),
        (ASF.replace("thigh shin", "foot shin"), AMC, "hangs on no bone"),
        ("", AMC, "no ASF skeleton"),
        (ASF, AMC.replace("shin 90", "shin 90 1"), "line 14"),
        (ASF, AMC.replace("shin 90", ""), "2 of 3 frames"),
        (ASF, "", "0 frames"),
    ],
)
def test_bad_acclaim_files_are_named(tmp_path: Path, asf: str, amc: str, says: str) -> None:
    (tmp_path / "a.asf").write_text(asf)
    (tmp_path / "a.amc").write_text(amc)
    with pytest.raises(BadMotion, match=says):
        read_acclaim(tmp_path / "a.asf", tmp_path / "a.amc")


def test_joints_are_found_by_the_names_that_files_use() -> None:
    names = [f"{s}{n}" for s in ("Left", "Right") for n in ("UpLeg", "Leg", "Foot", "Arm", "ForeArm", "Hand")]
    names += ["Spine", "Neck", "Head", "Head_end"]
    place = np.random.default_rng(0).normal(0, 300, (5, len(names), 3)).astype(np.float32)
    clip = as_h36m17(Motion(names, place, 30.0), "take")
    at = {j: clip.poses_mm[:, n] for n, j in enumerate(H36M_17.keypoints)}
    assert np.array_equal(at["left_elbow"], place[:, names.index("LeftForeArm")])
    assert np.array_equal(at["right_knee"], place[:, names.index("RightLeg")])
    assert np.allclose(at["mid_hip"], (at["left_hip"] + at["right_hip"]) / 2)
    with pytest.raises(BadMotion, match="left_knee"):
        as_h36m17(Motion([n for n in names if n != "LeftLeg"], place[:, 1:], 30.0), "take")


WORLD = np.random.default_rng(2).normal(0, 0.4, (6, 32, 3)) + [0.1, 0.2, 1.0]


def videopose3d(path: Path, subjects: object) -> Path:
    np.savez_compressed(path, positions_3d=np.array(subjects, dtype=object))
    return path


def test_videopose3ds_file_is_read_without_building_anything_but_arrays(tmp_path: Path) -> None:
    subjects = {"S1": {"Walking 1": WORLD.astype(np.float32)}, "S9": {"Eating": WORLD[:3].astype(np.float32)}}
    clips = human36m.read_videopose3d(videopose3d(tmp_path / "data_3d_h36m.npz", subjects))
    assert [(c.name, c.split, c.action, len(c.poses_mm)) for c in clips] == [
        ("S1/Walking 1", "train", "Walking", 6),
        ("S9/Eating", "test", "Eating", 3),
    ]
    up = clips[0].poses_mm[:, H36M_17.index("neck")]
    assert np.allclose(up, 1000 * WORLD[:, 13][:, [0, 2, 1]] * [1, 1, -1], atol=1e-2)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/nearer-was-here",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (Evil(), "is no array"),
        ({"S1": {"Walking": np.zeros((4, 9, 3))}}, "not frames x 32"),
        ({"S1": {"Walking": np.full((4, 32, 3), np.nan)}}, "not frames x 32"),
        (7, "not VideoPose3D"),
    ],
    ids=["code", "joints", "nan", "number"],
)
def test_a_file_that_is_not_videopose3ds_is_refused_and_runs_nothing(
    tmp_path: Path, content: object, says: str
) -> None:
    with pytest.raises(BadMotion, match=says):
        human36m.read_videopose3d(videopose3d(tmp_path / "x.npz", content))
    assert not Path("/tmp/nearer-was-here").exists()  # noqa: S108
    with pytest.raises(BadMotion):
        (tmp_path / "y.npz").write_bytes(pickle.dumps({}))
        human36m.read_videopose3d(tmp_path / "y.npz")


def test_martinez_files_are_seen_by_their_own_cameras(tmp_path: Path) -> None:
    folder = tmp_path / "S9" / "MyPoses" / "3D_positions"
    folder.mkdir(parents=True)
    with h5py.File(folder / "Walking 1.h5", "w") as file:
        file["3D_positions"] = (WORLD * 1000).reshape(len(WORLD), 96).T
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # looks along the world's +y, z up
    place = np.array([100.0, -4000.0, 1000.0])
    with h5py.File(tmp_path / "cameras.h5", "w") as file:
        for key, value in {
            "R": turn.T,
            "T": place[:, None],
            "f": np.array([[1100.0], [1200.0]]),
            "c": np.array([[500.0], [400.0]]),
            "k": np.zeros((3, 1)),
            "p": np.zeros((2, 1)),
        }.items():
            file[f"subject9/camera1/{key}"] = value
    clips, cameras = human36m.read_martinez(tmp_path)
    poses = human36m.project(clips, cameras, every=2)
    assert set(poses.split) == {"test"}
    assert set(poses.action) == {"Walking"}
    neck = WORLD[::2, 13] * 1000 - place
    neck_mm = poses.truth_mm[:, H36M_17.index("neck")]
    assert np.allclose(neck_mm, np.stack([neck[:, 0], -neck[:, 2], neck[:, 1]], -1), atol=1e-2)
    pixel = poses.keypoints_px[:, H36M_17.index("neck")]
    assert np.allclose(pixel, neck_mm[:, :2] / neck_mm[:, 2:] * [1100, 1200] + [500, 400], atol=1e-3)
    with pytest.raises(BadMotion, match="below it"):
        human36m.read_martinez(tmp_path / "S9")


def test_distortion_grows_with_the_square_of_the_radius() -> None:
    lens = np.array([0.1, 0.01, 0.02, 0.03, 0.001])  # k1 k2 p1 p2 k3
    camera = human36m.Human36mCamera("c", (1000, 1000), np.eye(3), lens, np.eye(3), np.zeros(3), 1)
    seen = camera.project(np.array([[[0.3, -0.4, 1.0]]]))
    grow = 1 + 0.1 * 0.25 + 0.01 * 0.0625 + 0.001 * 0.015625 + 0.02 * -0.4 + 0.03 * 0.3
    assert np.allclose(seen[0, 0], [0.3 * grow + 0.03 * 0.25, -0.4 * grow + 0.02 * 0.25])


class TestViews:
    clip = Clip("a/walk", np.random.default_rng(1).normal(0, 300, (40, 17, 3)).astype(np.float32) + [0, 900, 0], 30.0)

    def test_pixels_are_the_projection_of_the_truth_and_bones_keep_their_direction(self) -> None:
        poses = project([self.clip], H36M_17, Studio(), 3)
        assert len(poses.names) == 20 * 4
        assert np.allclose(poses.keypoints_px, 1145 * poses.truth_mm[..., :2] / poses.truth_mm[..., 2:] + 500)
        distance = np.linalg.norm(poses.truth_mm[:, 0], axis=-1)
        assert ((distance > 3000) & (distance < 7000)).all()

    def test_the_four_views_of_a_pose_are_one_pose(self) -> None:
        poses = project([self.clip], H36M_17, Studio(), 3)
        sizes = np.linalg.norm(poses.truth_mm[:, :, None] - poses.truth_mm[:, None], axis=-1).reshape(20, 4, 17, 17)
        assert np.allclose(sizes, sizes[:, :1], atol=1e-6)

    def test_a_clip_looks_the_same_in_every_set_and_other_seeds_differ(self) -> None:
        alone = project([self.clip], H36M_17, Studio(), 3)
        other = Clip("b/run", self.clip.poses_mm, 30.0)
        assert np.array_equal(project([other, self.clip], H36M_17, Studio(), 3).truth_mm[80:], alone.truth_mm)
        assert not np.allclose(project([self.clip], H36M_17, Studio(), 4).truth_mm, alone.truth_mm)

    def test_a_person_is_as_symmetric_as_the_bones_were(self) -> None:
        pose = np.abs(np.random.default_rng(5).normal(0, 300, (1, 17, 3)))
        for left, right in H36M_17.twins:
            pose[0, H36M_17.index(right)] = pose[0, H36M_17.index(left)] * [-1, 1, 1]
        pose[0, [0, 7, 8, 9, 10], 0] = 0
        clip = Clip("c", np.repeat(pose, 4, 0).astype(np.float32), 15.0)
        poses = project([clip], H36M_17, Studio(), 1)
        tree = np.array(H36M_17.tree)
        size = np.linalg.norm(poses.truth_mm[0, tree[:, 1]] - poses.truth_mm[0, tree[:, 0]], axis=-1)
        group = np.array(H36M_17.groups(H36M_17.tree))
        for k in set(group):
            assert np.ptp(size[group == k]) < 1e-2

    def test_a_bad_file_of_sequences_is_named(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", poses=np.zeros((3, 4, 3)))
        with pytest.raises(BadMotion, match="seq_id"):
            read_sequences(tmp_path / "a.npz")


class TestSources:
    def test_every_layout_ends_as_seventeen_joints_with_depth(self, tmp_path: Path) -> None:
        videopose3d(tmp_path / "data_3d_h36m.npz", {"S1": {"Walking 1": WORLD.astype(np.float32)}})
        (tmp_path / "bvh").mkdir()
        for n in range(4):
            (tmp_path / "bvh" / f"walk_{n}.bvh").write_text(figure_bvh())
        for path, people in ((tmp_path / "data_3d_h36m.npz", 8), (tmp_path / "bvh", 4 * 4)):
            views = read_views(path)
            assert views.truth_mm.shape == (people, 17, 3)
            assert np.isfinite(views.keypoints_px).all()
        assert (read_views(tmp_path / "bvh").split == "test").sum() == 4
        assert set(read_views(tmp_path / "bvh").action) == {"walk"}

    def test_a_folder_without_motion_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(BadMotion, match="holds no cameras"):
            read_views(tmp_path)


def figure_bvh() -> str:
    """One frame of a standing figure with the joint names that most BVH files use."""

    def joint(name: str, offset: str, inside: str) -> str:
        return f"JOINT {name} {{ OFFSET {offset} CHANNELS 0 {inside} }} "

    end = "End Site { OFFSET 0 8 0 }"
    body = "".join(
        joint(f"{s}UpLeg", f"{x} 0 0", joint(f"{s}Leg", "0 -44 0", joint(f"{s}Foot", "0 -45 0", end)))
        for s, x in (("Left", 13), ("Right", -13))
    )
    arms = "".join(
        joint(f"{s}Arm", f"{x} 0 0", joint(f"{s}ForeArm", f"{x} 0 0", joint(f"{s}Hand", f"{x} 0 0", end)))
        for s, x in (("Left", 15), ("Right", -15))
    )
    spine = joint("Spine", "0 23 0", joint("Neck", "0 25 0", arms + joint("Head", "0 12 0", end)))
    return (
        "HIERARCHY ROOT Hips { OFFSET 0 0 0 CHANNELS 3 Xposition Yposition Zposition "
        + body
        + spine
        + "} MOTION Frames: 1 Frame Time: 0.0333 0 95 0"
    )


def test_reproduce_lists_experiments_and_prints_ours_beside_the_papers(tmp_path: Path, capsys) -> None:
    with pytest.raises(CommandError, match="starts so"):
        call_command("reproduce", "paper-table9")
    assert "paper-fig4d-flip25" in capsys.readouterr().out
    with pytest.raises(CommandError, match="--motion"):
        call_command("reproduce", "paper-table1-2")
    world = {f"S{s}": {"Walking 1": (WORLD + 0.01 * s).astype(np.float32)} for s in (1, 9)}
    path = videopose3d(tmp_path / "data_3d_h36m.npz", world)
    call_command(
        "reproduce", "paper-table1-2", "--motion", str(path), "--epochs", "1", "--json", str(tmp_path / "f.json")
    )
    lines = capsys.readouterr().out.splitlines()
    line = next(row for row in lines if row.startswith("paper-table1-2:"))
    assert line.endswith("64.58, 48.97")
    assert f"{json.loads((tmp_path / 'f.json').read_text())['paper-table1-2'][0]['pa_mpjpe_mm']:7.2f}" in line
    over = lines[lines.index(line) + 1]
    assert over.strip().startswith("mean over actions")
    assert lines[lines.index(line) + 2].strip().startswith("Walking")
    assert over.split()[-2:] == lines[lines.index(line) + 2].split()[-2:]  # one action only


def test_means_over_actions_count_an_action_once_however_many_frames_it_has() -> None:
    truth = np.zeros((4, 14, 3))
    truth[:, :, 0] = np.arange(14) * 50.0
    predicted = truth.copy()
    predicted[3, :, 1] += np.where(np.arange(14) % 2, 60.0, 0.0)
    skeleton = LSP_14
    people = reading.unlabelled(skeleton, [f"n{n}" for n in range(4)], np.ones((4, 14, 2)))
    people = replace(people, truth_mm=truth, action=np.array(["Walking", "Walking", "Walking", "Sitting"]))
    means = evaluate.by_action(predicted, people)
    wrong = means["by_action"]["Sitting"]["pa_mpjpe_mm"]
    assert means["by_action"]["Walking"] == {"people": 3, "coded_scale_mm": 0.0, "pa_mpjpe_mm": 0.0}
    assert wrong > 10
    assert means["over_actions"]["pa_mpjpe_mm"] == pytest.approx(wrong / 2, abs=0.001)
    assert evaluate.by_action(predicted, replace(people, action=None)) == {}


@pytest.mark.parametrize("metres", [0.5, 10.0])
def test_loose_motion_stays_before_the_cameras_however_far_it_walks(metres: float) -> None:
    rng = np.random.default_rng(0)
    body = rng.uniform(-250, 250, (1, 17, 3)) + [4000.0, 900.0, -3000.0]  # somewhere in the hall
    poses = np.repeat(body, 60, axis=0)
    poses[..., 0] += 1000 * metres * np.linspace(0, 1, 60)[:, None]
    clip = Clip("walk", poses, 15.0)
    views = project([centred(clip)], H36M_17, Studio(), 0)
    assert (views.truth_mm[..., 2] > 2000).all()
    assert (views.keypoints_px >= 0).all() and (views.keypoints_px <= 1000).all()
    still = centred(clip).poses_mm
    assert (np.ptp(still[:, 0, 0]) < 1) == (metres > 2)  # a step is kept, a walk is not
    np.testing.assert_allclose(still - still[:, :1], poses - poses[:, :1], atol=1e-9)
