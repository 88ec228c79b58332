"""Imports read what the files mean, all or nothing, and never twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from labeling.importing import storing
from labeling.models import Dataset, Image, Person
from tests.conftest import World, jpeg, write_dataset
from tests.site import ROOT
from webapp.errors import Refusal

SHARED = ROOT.parent / "shared" / "data" / "lspet_400"


def store(world: World, kind: str, annotations: Path, pictures: Path, name: str = "d") -> dict[str, Any]:
    plan = storing.ImportConfig(dataset=name, format=kind, annotations=str(annotations), pictures=str(pictures))
    return storing.store(world.ada, plan, lambda *_: None)


def lsp_files(folder: Path, extended: bool) -> tuple[Path, Path, np.ndarray]:
    pictures = folder / "images"
    pictures.mkdir(parents=True)
    for n in range(3):
        (pictures / f"im{n + 1:04d}.jpg").write_bytes(jpeg(n))
    xy = np.random.default_rng(0).uniform(5, 90, (3, 14, 2))
    third = np.tile((np.arange(14) % 2).astype(float), (3, 1))
    joints = np.concatenate([xy, third[..., None]], -1)  # N x 14 x 3
    joints[1, 4, :2] = -20.0
    array = joints.transpose(1, 2, 0) if extended else joints.transpose(2, 1, 0)
    savemat(folder / "joints.mat", {"joints": array})
    return folder / "joints.mat", pictures, joints


@pytest.mark.parametrize("extended", [False, True])
def test_the_third_channel_of_the_two_lsp_files_means_opposite_things(
    world: World, tmp_path: Path, extended: bool
) -> None:
    annotations, pictures, joints = lsp_files(tmp_path / "lsp", extended)
    store(world, "lsp-extended" if extended else "lsp", annotations, pictures)
    person = Person.objects.get(image__name="im0001.jpg")
    visible = [k[2] == 2 for k in person.keypoints]
    assert visible == [(third == 1) == extended for third in joints[0, :, 2]]
    assert person.keypoints[3][:2] == pytest.approx(joints[0, 3, :2])
    assert Person.objects.get(image__name="im0002.jpg").keypoints[4] == [0, 0, 0]


def test_the_layout_of_the_other_lsp_file_is_named(world: World, tmp_path: Path) -> None:
    annotations, pictures, _ = lsp_files(tmp_path / "lsp", True)
    with pytest.raises(Refusal, match="layout of the other LSP format"):
        store(world, "lsp", annotations, pictures)


def test_an_import_repeated_adds_nothing_and_one_with_more_adds_the_rest(world: World, tmp_path: Path) -> None:
    assert store(world, "json", *write_dataset(tmp_path / "a", 4))["images_added"] == 4
    assert store(world, "json", *write_dataset(tmp_path / "a", 4))["images_added"] == 0
    result = store(world, "json", *write_dataset(tmp_path / "a", 6))
    assert (result["images_added"], result["images_known"]) == (2, 4)
    assert Image.objects.count() == 6


def test_one_bad_row_imports_nothing_and_the_report_names_it(world: World, tmp_path: Path) -> None:
    annotations, pictures = write_dataset(tmp_path / "a", 5)
    data = json.loads(annotations.read_text())
    data["images"][3]["people"][0]["keypoints"]["neck"] = [400, 5, 2]
    annotations.write_text(json.dumps(data))
    with pytest.raises(storing.ImportRefused) as refused:
        store(world, "json", annotations, pictures)
    assert refused.value.more["report"]["rows"] == [
        {"row": "images[3], person 0", "field": "neck", "reason": "lies outside the picture of 96x128 px"}
    ]
    assert not Dataset.objects.exists()


def test_coco_reads_several_people_and_custom_categories(world: World, tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "a.jpg").write_bytes(jpeg())
    coco = {
        "categories": [{"id": 1, "name": "person", "keypoints": ["top", "tail", "tip"], "skeleton": [[1, 2], [2, 3]]}],
        "images": [{"id": 7, "file_name": "a.jpg"}],
        "annotations": [
            {"image_id": 7, "keypoints": [10, 20, 2, 30, 40, 1, 0, 0, 0], "bbox": [5, 5, 50, 60]},
            {"image_id": 7, "keypoints": [11, 21, 2, 31, 41, 2, 12, 13, 2], "bbox": [6, 6, 40, 50]},
            {"image_id": 7, "keypoints": [0] * 9, "num_keypoints": 0},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    store(world, "coco", tmp_path / "coco.json", tmp_path / "pics")
    first, second = Person.objects.order_by("index")
    assert first.keypoints == [[10, 20, 2], [30, 40, 1], [0, 0, 0]]
    assert second.bbox == [6, 6, 40, 50]
    assert Dataset.objects.get().skeleton.bones == [["top", "tail"], ["tail", "tip"]]


def test_mpii_reads_ids_visibility_and_split(world: World, tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    for n in range(2):
        (tmp_path / "pics" / f"{n}.jpg").write_bytes(jpeg(n))

    def points(rows: list[tuple[int, float, float, str]]) -> np.ndarray:
        dtype = [("x", "O"), ("y", "O"), ("id", "O"), ("is_visible", "O")]
        return np.array([(x, y, i, v) for i, x, y, v in rows], dtype=dtype).reshape(1, -1)

    def rect(p: np.ndarray) -> np.ndarray:
        inner = np.array([(p,)], dtype=[("point", "O")]).reshape(1, 1)
        return np.array([(inner,)], dtype=[("annopoints", "O")]).reshape(1, 1)

    image = [np.array([(f"{n}.jpg",)], dtype=[("name", "O")]).reshape(1, 1) for n in range(2)]
    annolist = np.array(
        [
            (image[0], rect(points([(0, 10.0, 20.0, "1"), (9, 30.0, 40.0, "0")]))),
            (image[1], rect(points([(6, 5.0, 6.0, "1")]))),
        ],
        dtype=[("image", "O"), ("annorect", "O")],
    ).reshape(1, -1)
    release = np.array([(annolist, np.array([[1, 0]]))], dtype=[("annolist", "O"), ("img_train", "O")]).reshape(1, 1)
    savemat(tmp_path / "mpii.mat", {"RELEASE": release})
    store(world, "mpii", tmp_path / "mpii.mat", tmp_path / "pics")
    person = Person.objects.get(image__name="0.jpg")
    assert person.keypoints[0] == [10, 20, 2]
    assert person.keypoints[9] == [30, 40, 1]
    assert Image.objects.get(name="1.jpg").split == "test"


def test_csv_equals_json(world: World, tmp_path: Path) -> None:
    annotations, pictures = write_dataset(tmp_path / "a", 3)
    lines = ["image,person,keypoint,x,y,visibility,x_mm,y_mm,z_mm,split"]
    for image in json.loads(annotations.read_text())["images"]:
        person = image["people"][0]
        for name, (x, y, v) in person["keypoints"].items():
            lines.append(
                ",".join(map(str, [image["file"], 0, name, x, y, v, *person["truth_mm"][name], image["split"]]))
            )
    (tmp_path / "a.csv").write_text("\n".join(lines))
    store(world, "json", annotations, pictures, "from json")
    store(world, "csv", tmp_path / "a.csv", pictures, "from csv")

    def rows(name: str) -> list[Any]:
        return list(
            Person.objects.filter(image__dataset__name=name)
            .order_by("image__name")
            .values_list("keypoints", "truth_mm", "bbox")
        )

    assert rows("from csv") == rows("from json")


def test_the_real_lsp_extended_pictures_have_the_visibility_of_the_file(world: World) -> None:
    if not SHARED.exists():
        pytest.skip("the LSP-extended pictures are not on this machine")
    store(world, "lsp-extended", SHARED / "joints.mat", SHARED / "images")
    joints = loadmat(SHARED / "joints.mat")["joints"].transpose(2, 0, 1)
    people = Person.objects.select_related("image").order_by("image__name")
    assert people.count() == 400
    for person, truth in zip(people, joints, strict=True):
        w, h = person.image.width, person.image.height
        outside = (truth[:, 0] < 0) | (truth[:, 1] < 0) | (truth[:, 0] > w) | (truth[:, 1] > h)
        expected = np.where(outside, 0, np.where(truth[:, 2] == 1, 2, 1))
        assert [k[2] for k in person.keypoints] == expected.tolist()
