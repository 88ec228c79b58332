"""Files of DeepLabCut and SLEAP, and skeletons of the user's own: read by name, or refused with what is missing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.skeletons import BadSkeleton, Skeleton, described
from training.harvest.formats import detections
from training.harvest.harvester import BadRecording, HarvestPlan

OWN = Skeleton("custom", ("nose", "hip", "foot"), (("nose", "hip"), ("hip", "foot")), "nose")
NAMES = ("foot", "nose", "hip")  # as the file has them


def places(frames: int = 4, people: int = 1, seed: int = 0) -> np.ndarray:
    """F x P x J x 3 in the order of NAMES, scores above 0."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.uniform(5, 600, (frames, people, 3, 2)), rng.uniform(0.4, 1, (frames, people, 3, 1))], axis=-1
    )


def deeplabcut(values: np.ndarray, frames: list[str], *, scored: bool = True) -> str:
    out = io.StringIO()
    rows = csv.writer(out)
    people = values.shape[1]
    coords = ["x", "y", "likelihood"] if scored else ["x", "y"]
    columns = [(f"animal{p}", name, c) for p in range(people) for name in NAMES for c in coords]
    rows.writerow(["scorer"] + ["net"] * len(columns))
    if people > 1:
        rows.writerow(["individuals"] + [c[0] for c in columns])
    rows.writerow(["bodyparts"] + [c[1] for c in columns])
    rows.writerow(["coords"] + [c[2] for c in columns])
    for frame, row in zip(frames, values):
        rows.writerow([frame, *(repr(float(v)) for v in row[..., : len(coords)].ravel())])
    return out.getvalue()


def sleap(path: Path, values: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["tracks"] = values[..., :2].transpose(1, 3, 2, 0)
        file["point_scores"] = values[..., 2].transpose(1, 2, 0)
        file["node_names"] = np.array([name.encode() for name in NAMES])
        file["edge_inds"] = np.array([[1, 2], [2, 0]])


@pytest.mark.parametrize("people", [1, 2])
def test_a_csv_of_deeplabcut_is_read_by_the_names_of_its_joints(tmp_path: Path, people: int) -> None:
    values = places(people=people)
    values[2, 0, 1] = [np.nan, np.nan, 0.9]
    (tmp_path / "d.csv").write_text(deeplabcut(values, ["0", "1", "2", "5"]))
    some = detections.read_single(tmp_path / "d.csv", skeleton=OWN)
    assert some.people.shape == (6, 1, people, 3, 3)  # frames 3 and 4 are missing
    right = values[:, :, [1, 2, 0]]
    np.testing.assert_allclose(some.people[[0, 1, 5], 0], right[[0, 1, 3]], rtol=1e-6)
    assert (some.people[3:5] == 0).all()
    assert (some.people[2, 0, 0, 0] == 0).all()  # not a number


def test_labels_by_hand_have_pictures_for_frames_and_no_scores(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(
        deeplabcut(places(), [f"labeled-data/v/img{n}.png" for n in (2, 10, 9, 3)], scored=False)
    )
    some = detections.read_single(tmp_path / "d.csv", skeleton=OWN)
    assert some.people.shape[0] == 9
    assert set(some.people[[0, 1, 7, 8], 0, 0, :, 2].ravel().tolist()) == {1.0}


def test_a_zip_of_cameras_may_hold_csv_files(tmp_path: Path) -> None:
    for n, camera in enumerate(("left", "right")):
        text = deeplabcut(places(seed=n), ["0", "1", "2", "3"])
        (tmp_path / f"{camera}DLC_resnet50_walkshuffle1_1000.csv").write_text(text)
    some = detections.read(tmp_path, skeleton=OWN)
    assert some.cameras == ("left", "right") and some.people.shape == (4, 2, 1, 3, 3)
    with pytest.raises(BadRecording) as refused:
        detections.read(tmp_path)
    assert refused.value.field == "own_skeleton" and "foot, nose, hip" in refused.value.detail
    with pytest.raises(BadRecording, match="there is no joint 'tail'"):
        detections.read(tmp_path, skeleton=described("nose, hip, tail; nose-hip, hip-tail"))


def test_sleap_brings_its_own_bones_and_folders_name_cameras(tmp_path: Path) -> None:
    values = [places(people=2, seed=n) for n in range(2)]
    for camera, some in zip(("back", "side"), values):
        (tmp_path / camera).mkdir()
        sleap(tmp_path / camera / "session.analysis.h5", some)
    read = detections.read(tmp_path)
    assert read.cameras == ("back", "side")
    assert read.skeleton.keypoints == NAMES and read.skeleton.bones == (("nose", "hip"), ("hip", "foot"))
    np.testing.assert_allclose(read.people.transpose(1, 0, 2, 3, 4), values, rtol=1e-6)


def test_pandas_fixed_layout_has_names_and_its_table_has_none(tmp_path: Path) -> None:
    values = places()[:, 0]
    flat = values.reshape(len(values), -1)
    with h5py.File(tmp_path / "fixed.h5", "w") as file:
        group = file.create_group("df_with_missing")
        for n, words in enumerate((["net"], list(NAMES), ["x", "y", "likelihood"])):
            group[f"axis0_level{n}"] = np.array([w.encode() for w in words])
        group["axis0_label0"] = np.zeros(9, int)
        group["axis0_label1"] = np.repeat(np.arange(3), 3)
        group["axis0_label2"] = np.tile(np.arange(3), 3)
        group["axis1"], group["block0_values"] = np.arange(4), flat
    with h5py.File(tmp_path / "table.h5", "w") as file:
        rows = np.zeros(4, dtype=[("index", "<i8"), ("values_block_0", "<f8", (9,))])
        rows["index"], rows["values_block_0"] = np.arange(4), flat
        file.create_group("df_with_missing")["table"] = rows
    named = detections.read_single(tmp_path / "fixed.h5", skeleton=OWN)
    np.testing.assert_allclose(named.people[:, 0, 0], values[:, [1, 2, 0]], rtol=1e-6)
    in_order = described("foot, nose, hip; nose-hip, hip-foot")
    unnamed = detections.read_single(tmp_path / "table.h5", skeleton=in_order)
    np.testing.assert_allclose(unnamed.people[:, 0, 0], values, rtol=1e-6)
    with pytest.raises(BadRecording, match="which have no names, are those of no skeleton known here"):
        detections.read_single(tmp_path / "table.h5")


def test_joints_of_a_coco_category_with_edges_are_a_skeleton(tmp_path: Path) -> None:
    person = {"image_id": 1, "category_id": 1, "keypoints": [10, 20, 2, 30, 40, 2, 50, 60, 2]}
    about = {"id": 1, "name": "person", "keypoints": list(NAMES), "skeleton": [[2, 3], [3, 1]]}
    data = {"images": [{"id": 1, "file_name": "0.jpg"}], "annotations": [person], "categories": [about]}
    (tmp_path / "d.json").write_text(json.dumps(data))
    assert detections.read_single(tmp_path / "d.json").skeleton.bones == (("nose", "hip"), ("hip", "foot"))
    about["skeleton"] = [[2, 3], [3, 4]]
    (tmp_path / "d.json").write_text(json.dumps(data))
    with pytest.raises(BadRecording, match=r"the edge \[3, 4\], but there are 3 keypoints"):
        detections.read_single(tmp_path / "d.json")


def test_a_trial_of_pose2sim_is_read_from_its_synchronised_folder_and_nobody_is_an_empty_object(tmp_path: Path) -> None:
    body = np.random.default_rng(0).uniform(10, 500, (17, 3))
    body[:, 2] = 0.9
    for folder, people in (("pose", []), ("pose-sync", [{"pose_keypoints_2d": body.ravel().tolist()}, {}])):
        for camera in ("cam01_json", "cam02_json"):
            (tmp_path / folder / camera).mkdir(parents=True)
            (tmp_path / folder / camera / "f_0001.json").write_text(json.dumps({"people": people}))
    some = detections.read(tmp_path)
    assert some.people.shape == (1, 2, 1, 17, 3)


def test_a_skeleton_by_hand_is_names_and_bones_or_json() -> None:
    by_hand = described("nose, hip, foot; nose-hip, hip-foot")
    assert by_hand == OWN == described(json.dumps(OWN.as_dict()))
    for text, words in (
        ("nose, hip", "needs bones"),
        ("nose, hip; nose-tail", "'nose-tail' joins no two"),
        ("{", "no JSON"),
        ("nose, nose; nose-nose", "different names"),
        ("x" * 20_001, "at most"),
    ):
        with pytest.raises(BadSkeleton, match=words):
            described(text)
    assert described("left-ear, chin; left-ear-chin").bones == (("left-ear", "chin"),)
    assert described('{"name": "\\u0000", "keypoints": ["a", "b"], "bones": [["a", "b"]]}').name == "custom"
    with pytest.raises(BadRecording) as refused:
        _ = HarvestPlan(name="x", skeleton="lsp-14", own_skeleton="a, b; a-b").asked_skeleton
    assert refused.value.field == "own_skeleton"


@settings(max_examples=150, deadline=None)
@given(
    cut=st.integers(0, 400),
    noise=st.binary(max_size=40),
    as_text=st.booleans(),
    numbers=st.floats(-1e300, 1e300) | st.just(float("nan")),
)
def test_no_table_does_anything_but_be_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes, as_text: bool, numbers: float
) -> None:
    folder = tmp_path_factory.mktemp("tracked")
    if as_text:
        path, data = folder / "d.csv", deeplabcut(places() * numbers, ["0", "1", "2", "3"]).encode()
    else:
        path = folder / "d.h5"
        sleap(path, places())
        data = path.read_bytes()
    path.write_bytes(data[:cut] + noise + data[cut + len(noise) :])
    try:
        some = detections.read_single(path, skeleton=OWN)
    except BadRecording:
        return
    assert np.isfinite(some.people).all() and (some.people[..., 2] >= 0).all() and (some.people[..., 2] <= 1).all()


def test_hdf5_that_points_to_other_files_or_claims_any_size_is_refused_unread(tmp_path: Path) -> None:
    secret, other = tmp_path / "secret.txt", tmp_path / "other.h5"
    secret.write_bytes(b"SECRETKEY-abcdef" * 4)
    sleap(other, places())

    def refusal(change: Callable[[h5py.File], None]) -> str:
        path = tmp_path / "d.h5"
        sleap(path, places())
        with h5py.File(path, "a") as file:
            change(file)
        with pytest.raises(BadRecording) as refused:
            detections.read_single(path, skeleton=OWN)
        return refused.value.detail

    def external(file: h5py.File) -> None:
        del file["node_names"]
        file.create_dataset("node_names", (3,), dtype="S16", external=[(str(secret), 0, 48)])

    def linked(file: h5py.File) -> None:
        del file["tracks"]
        file["tracks"] = h5py.ExternalLink(str(other), "tracks")

    def virtual(file: h5py.File) -> None:
        del file["tracks"]
        layout = h5py.VirtualLayout((1, 2, 3, 4), "f8")
        layout[:] = h5py.VirtualSource(str(other), "tracks", (1, 2, 3, 4))
        file.create_virtual_dataset("tracks", layout)

    def huge(file: h5py.File) -> None:
        del file["node_names"]
        file.create_dataset("node_names", (10**12,), dtype="S16", chunks=(1000,))

    def group(file: h5py.File) -> None:
        del file["tracks"]
        file.create_group("tracks")

    assert "'node_names' does not lie in the file itself" in refusal(external)
    assert "'tracks' does not lie in the file itself" in refusal(linked)
    assert "'tracks' does not lie in the file itself" in refusal(virtual)
    assert "'node_names' is larger than 1 MiB" in refusal(huge)
    assert "'tracks' does not lie" in refusal(group)


def test_a_wide_csv_and_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    def read(text: str) -> detections.Detected:
        (tmp_path / "d.csv").write_text(text)
        return detections.read_single(tmp_path / "d.csv", skeleton=OWN)

    wide = 40_000
    with pytest.raises(BadRecording, match="columns are too many"):
        read("\n".join(",".join([head, *["x"] * wide]) for head in ("scorer", "bodyparts", "coords", "0")))
    with pytest.raises(BadRecording, match="row 1 has 2 columns"):
        read("scorer,n,n,n\nbodyparts,a,a,a\ncoords,x,y,likelihood\n0,1\n")
    values = places(2)
    for frames in (["²", "³"], ["9" * 5000, "1"]):
        assert len(read(deeplabcut(values, frames)).people) == 2
    (tmp_path / "m.json").write_text('{"instance_info": [{"frame_id": 1e400, "instances": []}]}')
    with pytest.raises(BadRecording, match="MMPose"):
        detections.read_single(tmp_path / "m.json")
