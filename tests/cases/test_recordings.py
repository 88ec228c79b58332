"""Detections, calibrations, videos and motion as users' tools write them: read rightly, or refused in words that lead on."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from labeling.skeletons import BODY_25, BODY_25B, BUILT_IN, COCO_17, H36M_17, Skeleton
from tests.cases.test_imports import case, needs_cases
from tests.site import ROOT
from training.harvest import footage, timeline
from training.harvest.formats import detections
from training.harvest.harvester import BadRecording
from training.multiview import calibration
from training.multiview.upload import matched
from training.poses.acclaim import read_acclaim
from training.poses.bvh import read_bvh
from training.poses.mocap import BadMotion, Motion, as_h36m17
from training.poses.sources import read_views


def unpacked(archive: Path, folder: Path) -> Path:
    from labeling.importing.archive import Zip
    from labeling.importing.parsed import Limits

    opened = Zip(archive, Limits())
    for name in opened.members:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(opened.read(name))
    return folder


# --- the shared files ---


@needs_cases
def test_frames_follow_the_numbers_in_their_names(tmp_path: Path) -> None:
    openpose = detections.read_single(unpacked(case("B19") / "openpose.zip", tmp_path), skeleton=BODY_25)
    assert openpose.people[:, 0, 0, 0, 0].tolist() == list(range(100, 112))
    coco = detections.read_single(case("B19") / "coco_detections.json")
    assert coco.people[:, 0, 0, 0, 0].tolist() == [19.5 + n for n in range(12)]


@needs_cases
def test_a_person_without_joints_is_nobody_and_the_old_key_is_read(tmp_path: Path) -> None:
    some = detections.read_single(
        unpacked(case("B21") / "openpose_frame2_empty_list.zip", tmp_path / "a"), skeleton=BODY_25
    )
    assert len(some.people) == 12
    assert [bool((frame[..., 2] > 0).any()) for frame in some.people] == [n != 2 for n in range(12)]
    old = detections.read_single(unpacked(case("B21") / "openpose_old_key.zip", tmp_path / "b"))
    assert (old.skeleton.name, old.people.shape[3]) == ("coco-18", 18)
    with pytest.raises(BadRecording, match="'pose_keypoints' of an OpenPose before 2018: 18 joints, body-25 has 25"):
        detections.read_single(tmp_path / "b", skeleton=BODY_25)


@needs_cases
@pytest.mark.parametrize("name", ["halpe26", "coco18"])
def test_detectors_of_26_and_of_18_joints_are_read(tmp_path: Path, name: str) -> None:
    some = detections.read_single(unpacked(case("B22") / f"{name}.zip", tmp_path))
    assert some.skeleton.name == {"halpe26": "halpe-26", "coco18": "coco-18"}[name]
    assert (some.people[..., 2] > 0).any()


@needs_cases
def test_what_a_mac_puts_into_a_zip_of_frames_does_not_count(tmp_path: Path) -> None:
    archive = next(case("B23").glob("*.zip"))
    assert len(detections.read_single(unpacked(archive, tmp_path), skeleton=BODY_25).people) == 12
    with zipfile.ZipFile(archive) as zipped:  # also where somebody else unpacked it
        zipped.extractall(tmp_path / "all")
    assert len(detections.read_single(tmp_path / "all", skeleton=BODY_25).people) == 12


@needs_cases
def test_a_mark_at_the_start_of_a_file_is_skipped() -> None:
    calib = next(case("B25").glob("*.toml"))
    assert calib.read_bytes().startswith(b"\xef\xbb\xbf")
    assert len(calibration.read(calib, unit="m")) >= 2
    assert read_bvh(next(case("B25").glob("*.bvh"))).joints


@needs_cases
@pytest.mark.parametrize("rename", ["", "_json"])
def test_views_go_to_cameras_by_name(tmp_path: Path, rename: str) -> None:
    folder = unpacked(next(case("B26").glob("*unpack*.zip")), tmp_path)
    if rename:
        for view in [p for p in sorted(folder.rglob("*")) if p.is_dir() and any(p.glob("*.json"))]:
            view.rename(view.with_name(view.name.removesuffix("_json") + rename))
    top = next(
        p
        for p in [folder, *folder.rglob("*")]
        if p.is_dir() and any(q.is_dir() and any(q.glob("*.json")) for q in p.iterdir())
    )
    seen = detections.read(top, skeleton=BODY_25B)
    cameras = calibration.read(next(case("B26").glob("*3142.toml")), unit="m")
    match = matched(seen.cameras, cameras, len(seen.cameras))
    assert match.notes == []
    digits = [[int(c) for c in name if c.isdigit()][-1] for name in seen.cameras]
    assert [digits[v] for v in match.views] == [[int(c) for c in camera.name if c.isdigit()][-1] for camera in cameras]


@needs_cases
def test_mixamo_names_are_read_without_their_prefix() -> None:
    clip = as_h36m17(read_bvh(case("B28") / "walk.bvh"), "walk")
    wrist = clip.poses_mm[0, H36M_17.index("left_wrist")]
    assert wrist == pytest.approx([710, 1350, 0], abs=1)


@needs_cases
def test_a_person_is_as_large_as_a_person_whatever_the_unit() -> None:
    for path in case("B30").glob("*.bvh"):
        clip = as_h36m17(read_bvh(path), "walk")
        assert np.ptp(clip.poses_mm[0, :, 1]) == pytest.approx(1500, rel=0.1)
    from training.poses.human36m import read_videopose3d

    for path in case("B30").glob("*.npz"):
        for clip in read_videopose3d(path):
            assert 500 < np.ptp(clip.poses_mm, axis=1).max() < 2600


@needs_cases
@pytest.mark.parametrize(
    "name", ["upper_channels.bvh", "frame_time_lower.bvh", "frames_nospace.bvh", "WALK.BVH", "xsens_names.bvh"]
)
def test_every_spelling_of_bvh_is_read(tmp_path: Path, name: str) -> None:
    shutil.copyfile(case("B32") / name, tmp_path / name)
    assert len(read_views(tmp_path).names) > 0


@needs_cases
def test_of_angles_the_motions_own_unit_counts() -> None:
    for stem in ("02", "rad_02"):
        motion = read_acclaim(case("B33") / f"{stem}.asf", case("B33") / f"{stem}_01.amc")
        clip = as_h36m17(motion, stem)
        arm = clip.poses_mm[0, H36M_17.index("left_wrist")] - clip.poses_mm[0, H36M_17.index("neck")]
        assert arm == pytest.approx([169, 564, 0], abs=2)


@needs_cases
def test_a_phone_video_stands_upright(tmp_path: Path) -> None:
    folder = tmp_path / "video"
    folder.mkdir()
    shutil.copyfile(case("B34") / "phone_rot90.mp4", folder / "video.mp4")
    assert footage.upright_size(folder / "video.mp4") == (216, 384)
    shown = footage.extract(folder, ["video"], [0], tmp_path / "out")
    assert shown.frames == [{0}]
    from PIL import Image

    with Image.open(tmp_path / "out" / "0" / "000000.jpg") as picture:
        assert picture.size == (216, 384)
        red = np.asarray(picture.convert("RGB")).astype(int)
    rows, columns = np.nonzero((red[..., 0] > 150) & (red[..., 1] < 100))
    assert rows.mean() < 384 / 2
    assert columns.mean() > 216 / 2


@needs_cases
def test_a_file_with_sound_only_is_said_to_be_one(tmp_path: Path) -> None:
    sound = next(p for p in case("B36").iterdir() if p.suffix in footage.VIDEOS)
    shutil.copyfile(sound, tmp_path / sound.name)
    notes = footage.extract(tmp_path, ["video"], [0], tmp_path / "out").notes
    assert notes == [f"{sound.name} holds sound, but no video"]


@needs_cases
def test_joints_are_those_that_the_file_names() -> None:
    folder = case("B37")
    assert detections.read_single(folder / "own_export_h36m17.coco.json").skeleton.name == "h36m-17"
    assert detections.read_single(folder / "lsp14_in_category.json").skeleton.name == "lsp-14"


@needs_cases
def test_a_camera_that_sees_markers_only_is_left_out() -> None:
    cameras = calibration.read(next(p for p in case("B46").iterdir() if p.suffix in (".txt", ".xml")))
    assert len(cameras) == 4


# --- the families, made anew ---


@given(
    numbers=st.sets(st.integers(0, 60), min_size=2, max_size=30),
    start=st.integers(0, 500),
    digits=st.sampled_from([1, 6, 12]),
    around=st.sampled_from([("frame", ""), ("video_", "_keypoints"), ("cam1_", "_v2")]),
)
def test_a_frame_is_where_its_number_says(numbers: set[int], start: int, digits: int, around: tuple[str, str]) -> None:
    ordered = sorted(numbers)
    names = [f"{around[0]}{start + n:0{digits}d}{around[1]}" for n in ordered]
    whole = [f"{around[0]}{start + n:0{digits}d}{around[1]}" for n in range(61)]
    line = timeline.of(["a", "b"], [names, whole])
    assert line.places == [ordered, list(range(61))]
    assert line.frames == 61
    assert [note.split(":")[0] for note in line.notes] == ["a"] * (len(ordered) < 61)


def test_names_without_one_number_are_taken_as_people_count() -> None:
    assert timeline.of(["a"], [["b10", "a2x", "b9"]]).places == [[2, 0, 1]]
    assert timeline.of(["a"], [["1700000000123", "1700000033456", "1700000066789"]]).frames == 3


def openpose(folder: Path, skeleton: Skeleton, frames: int = 4) -> Path:
    """A standing person, by the places of the joints' names."""
    folder.mkdir(parents=True)
    height = {"head": 0, "nose": 8, "eye": 5, "ear": 7, "neck": 20, "shoulder": 22, "elbow": 42, "wrist": 60, "hip": 60}
    height |= {"mid_hip": 58, "knee": 85, "ankle": 110, "heel": 112, "big_toe": 114, "small_toe": 115}
    for frame in range(frames):
        flat: list[float] = []
        for name in skeleton.keypoints:
            part = name.removeprefix("left_").removeprefix("right_")
            side = 12 * name.startswith("left_") - 12 * name.startswith("right_")
            flat += [300 + side + frame, 100 + 3 * height[part], 0.9]
        (folder / f"f_{frame}.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": flat}]}))
    return folder


@pytest.mark.parametrize("name", ["body-25", "body-25b", "coco-17", "coco-18", "halpe-26"])
def test_a_detector_that_does_not_name_its_joints_is_told_by_limbs_that_people_have(tmp_path: Path, name: str) -> None:
    some = detections.read_single(openpose(tmp_path / "a", BUILT_IN[name]))
    assert some.skeleton.name == name
    assert name in some.notes[-1]


def test_joints_of_no_known_detector_are_refused_with_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": [1, 2, 0.5] * 7}]}))
    with pytest.raises(BadRecording, match="7 joints are those of no detector known here") as refused:
        detections.read_single(tmp_path / "a")
    assert "halpe-26 (26)" in (refused.value.fix or "")


def cameras_named(*names: str) -> tuple[Any, ...]:
    from training.poses.cameras import Camera

    return tuple(Camera(n, (100, 100), np.eye(3), np.zeros(5), np.eye(3), np.zeros(3)) for n in names)


def test_a_camera_more_or_a_view_more_is_left_out_and_said() -> None:
    cameras = cameras_named("cam_01", "cam_02", "cam_03", "cam_04")
    match = matched(["cam_04_json", "cam_02_json", "cam_01_json"], cameras, 3)
    assert (match.views, [c.name for c in match.cameras]) == ([2, 1, 0], ["cam_01", "cam_02", "cam_04"])
    assert match.notes == ["camera cam_03 has no detections and is left out"]
    match = matched(["1", "2", "9"], cameras, 3)
    assert match.views == [0, 1]
    assert "9 has no camera of its name and is left out" in match.notes


def test_without_names_that_fit_as_many_views_as_cameras_are_needed() -> None:
    cameras = cameras_named("left", "right", "top")
    assert matched([], cameras, 3).views == [0, 1, 2]
    assert "in the order" in matched(["x", "y", "z"], cameras, 3).notes[0]
    with pytest.raises(BadRecording, match="2 views, but 3 cameras: x, y and left, right, top"):
        matched(["x", "y"], cameras, 2)


NAMES = {
    "mixamo": (
        "mixamorig:{}UpLeg",
        "mixamorig:{}Leg",
        "mixamorig:{}Foot",
        "mixamorig:{}Arm",
        "mixamorig:{}ForeArm",
        "mixamorig:{}Hand",
    ),
    "biped": (
        "Bip01 {0[0]} Thigh",
        "Bip01 {0[0]} Calf",
        "Bip01 {0[0]} Foot",
        "Bip01 {0[0]} UpperArm",
        "Bip01 {0[0]} Forearm",
        "Bip01 {0[0]} Hand",
    ),
    "xsens": ("{}Hip", "{}Knee", "{}Ankle", "{}Shoulder", "{}Elbow", "{}Wrist"),
    "blender": ("thigh.{0[0]}", "shin.{0[0]}", "foot.{0[0]}", "upper_arm.{0[0]}", "forearm.{0[0]}", "hand.{0[0]}"),
}


@pytest.mark.parametrize("program", NAMES)
def test_the_joints_of_every_program_are_found_and_collar_bones_are_no_shoulders(program: str) -> None:
    prefix = {"mixamo": "mixamorig:", "biped": "Bip01 "}.get(program, "")
    joints = [prefix + n for n in ("Hips", "Spine", "Neck", "Head", "Head_end")]
    for side in ("Left", "Right"):
        joints += [n.format(side) for n in NAMES[program]]
        joints += [f"{prefix}{side}Shoulder"] * (program == "mixamo")
    places = np.random.default_rng(0).uniform(0, 1500, (2, len(joints), 3)).astype(np.float32)
    clip = as_h36m17(Motion(joints, places, 30.0), program)
    for part, number in (("hip", 0), ("knee", 1), ("ankle", 2), ("shoulder", 3), ("elbow", 4), ("wrist", 5)):
        at = joints.index(NAMES[program][number].format("Left"))
        assert (clip.poses_mm[:, H36M_17.index(f"left_{part}")] == places[:, at]).all()
    assert (clip.poses_mm[:, H36M_17.index("chin")] == places[:, 3]).all()
    assert (clip.poses_mm[:, H36M_17.index("head")] == places[:, 4]).all()


def test_a_person_of_no_persons_size_is_refused() -> None:
    joints = [n for n in H36M_17.keypoints if n != "mid_hip"]
    with pytest.raises(BadMotion, match=r"a person of 1.5\d* mm|a person of 1.4\d* mm"):
        as_h36m17(Motion(joints, np.random.default_rng(0).uniform(0, 1.5, (2, 16, 3)).astype(np.float32), 30.0), "x")


BALANCE = ROOT.parent / "shared" / "data" / "multiview_balancing"


@pytest.fixture
def balance(tmp_path: Path) -> Path:
    """Some frames of the balancing trial as Pose2Sim lays them out: a folder of JSON files per camera."""
    if not BALANCE.is_dir():
        pytest.skip("the balancing trial is not here")
    with np.load(BALANCE / "detections_body25b.npz") as file:
        people, count = file["people"][::12], file["people_count"][::12]
    for view in range(4):
        folder = tmp_path / "pose" / f"cam_{view + 1:02d}_json"
        folder.mkdir(parents=True)
        for n, (frame, there) in enumerate(zip(people[:, view], count[:, view])):
            listed = [{"pose_keypoints_2d": person.ravel().tolist()} for person in frame[:there]]
            listed += [{"pose_keypoints_2d": []}] * (n == 3)
            (folder / f"take_{12 * n:06d}_keypoints.json").write_text(json.dumps({"people": listed}))
    return tmp_path


def harvested(folder: Path, name: str, *options: str) -> tuple[np.ndarray, list[str]]:
    files = ("--calibration", str(BALANCE / "Calib_qualisys.toml"), "--detections", str(folder / "pose"))
    call_command(
        "harvest", "multiview", str(folder / name), *files, "--grid", "16", *options, stdout=(folder / "log").open("w")
    )
    return np.load(folder / name / "position.npy"), json.loads((folder / name / "report.json").read_text())["findings"]


def test_a_recording_gives_the_same_joints_whether_its_detector_is_named_or_not(balance: Path) -> None:
    by_name, _ = harvested(balance, "a", "--unit", "m", "--skeleton", "body-25b")
    by_limbs, findings = harvested(balance, "b", "--unit", "m")
    assert np.array_equal(by_name, by_limbs)
    assert "the detector's 25 joints are read as body-25b" in findings


@pytest.mark.parametrize("left_out", [1, 4])
def test_a_recording_runs_with_a_camera_more_calibrated_than_filmed(balance: Path, left_out: int) -> None:
    shutil.rmtree(balance / "pose" / f"cam_{left_out:02d}_json")
    position, findings = harvested(balance, "a", "--unit", "m")
    assert np.isfinite(position).all()
    assert f"camera cam_{left_out:02d} has no detections and is left out" in findings


def test_a_calibration_in_another_unit_is_refused_with_the_likely_one(balance: Path) -> None:
    with pytest.raises(CommandError, match=r"the person is 1\.\d+ mm large; is its unit m\?"):
        harvested(balance, "a", "--unit", "mm")


def test_results_of_alphapose_are_read_by_their_pictures_numbers(tmp_path: Path) -> None:
    people = [{"image_id": f"{n}.jpg", "keypoints": [n, 2, 0.5] * 26, "score": 2.1, "idx": 1} for n in (10, 2, 3)]
    (tmp_path / "alphapose-results.json").write_text(json.dumps(people))
    some = detections.read_single(tmp_path / "alphapose-results.json")
    assert some.skeleton.name == "halpe-26"
    assert some.people[:, 0, 0, 0, 0].tolist() == [2, 3, 0, 0, 0, 0, 0, 0, 10]
    assert "6 of 9 frames have no file" in some.notes[0]


def test_predictions_of_mmpose_are_read_with_the_names_of_their_joints(tmp_path: Path) -> None:
    person = {"keypoints": [[5.0, 6.0]] * 17, "keypoint_scores": [0.7] * 17}
    frames = [{"frame_id": n, "instances": [person] * (n != 2)} for n in (1, 2, 3)]
    names = {str(n): name for n, name in enumerate(COCO_17.keypoints)}
    (tmp_path / "v.json").write_text(json.dumps({"meta_info": {"keypoint_id2name": names}, "instance_info": frames}))
    some = detections.read_single(tmp_path / "v.json")
    assert some.skeleton.name == "coco-17"
    assert (some.people[:, 0, :, 0, 2] > 0).any(axis=1).tolist() == [True, False, True]


def readable(path: Path) -> bool:
    """Whether a file is read into finite joints, or refused with its field and a reason."""
    try:
        people = detections.read_single(path).people
    except BadRecording as refused:
        return bool(refused.field in ("detections", "skeleton") and refused.detail)
    return bool(np.isfinite(people).all() and people.size)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "people",
                        "pose_keypoints_2d",
                        "instance_info",
                        "frame_id",
                        "instances",
                        "keypoints",
                        "keypoint_scores",
                        "image_id",
                        "images",
                        "annotations",
                        "categories",
                        "file_name",
                        "id",
                        "meta_info",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_no_json_does_anything_but_be_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(data))
    assert readable(path)
    folder = tmp_path_factory.mktemp("frames")
    (folder / "0.json").write_text(json.dumps(data))
    assert readable(folder)


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.lists(
        st.sampled_from(
            [
                b"HIERARCHY ",
                b"ROOT ",
                b"JOINT ",
                b"{ ",
                b"} ",
                b"OFFSET ",
                b"CHANNELS ",
                b"3 ",
                b"1 ",
                b"Xrotation ",
                b"End Site ",
                b"MOTION\n",
                b"Frames: 1\n",
                b"Frame Time: .03\n",
                b"nan ",
            ]
        ),
        max_size=25,
    ).map(b"".join)
)
def test_no_bvh_does_anything_but_be_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bvh") / "a.bvh"
    path.write_bytes(data)
    motion, why = None, ""
    try:
        motion = read_bvh(path)
    except BadMotion as error:
        why = str(error)
    assert path.name in why if motion is None else motion.positions_mm.shape[1:] == (len(motion.joints), 3)
