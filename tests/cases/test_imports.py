"""Annotation files and pictures of real users' tools: what was silently misread, or turned away, is read rightly.

The files of the cases lie in the shared folder (skipped where it is absent); every family is also made anew here.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from labeling.campaigns import reference_questions
from labeling.importing import archive, images, storing
from labeling.importing.parsed import BadInput, Limits
from labeling.models import Dataset, Image, Person
from labeling.skeletons import COCO_17
from tests.conftest import World
from tests.pictures import jpeg
from tests.site import ROOT
from webapp.errors import Refusal
from webapp.jobs import run
from webapp.jobs.models import Job

CASES = ROOT.parent / "shared" / "cases"
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")


def case(name: str) -> Path:
    return next(CASES.glob(f"{name}_*"))


def store(world: World, annotations: Path, pictures: Path, kind: str = "coco", **plan: Any) -> dict[str, Any]:
    config = storing.ImportConfig(
        dataset=plan.pop("dataset", "d"), format=kind, annotations=str(annotations), pictures=str(pictures), **plan
    )
    return storing.store(world.ada, config, lambda *_: None)


def refusal(world: World, annotations: Path, pictures: Path, kind: str = "coco") -> str:
    with pytest.raises(Refusal) as refused:
        store(world, annotations, pictures, kind)
    assert not Dataset.objects.exists()
    return str(refused.value)


def keypoint(name: str, index: int = 0) -> list[float]:
    person = Person.objects.order_by("image__name", "index").select_related("image__dataset__skeleton")[index]
    return list(person.keypoints[person.image.dataset.skeleton.keypoints.index(name)])


# --- the shared files ---


@needs_cases
def test_a_phone_picture_stands_upright_and_every_joint_lies_where_it_was_marked(world: World) -> None:
    result = store(world, case("B01") / "annotations.json", case("B01") / "pictures.zip")
    image = Image.objects.get()
    assert (image.width, image.height) == (120, 200)
    assert [keypoint(n)[:2] for n in ("nose", "left_eye", "right_eye")] == [[30, 170], [60, 100], [100, 20]]
    assert not any("outside" in note for note in result["notes"])
    with Pillow.open(io.BytesIO((storing.Path(storing.settings.MEDIA_ROOT) / image.path).read_bytes())) as stored:
        assert stored.size == (120, 200)
        assert stored.getexif().get(0x0112, 1) == 1
        red, green, blue = stored.convert("RGB").getpixel((30, 170))  # type: ignore[misc]
        assert red > 150 > max(green, blue)


@needs_cases
def test_of_a_picture_with_others_inside_the_first_is_taken(world: World) -> None:
    assert store(world, case("B02") / "annotations.json", case("B02") / "pictures.zip")["people_added"] == 1
    assert sum(k[2] > 0 for k in Person.objects.get().keypoints) == 17


@needs_cases
def test_a_picture_is_never_taken_for_one_of_another_folder(world: World) -> None:
    words = refusal(world, case("B04") / "annotations.json", case("B04") / "pictures.zip")
    assert "val/0001.jpg" in words


@needs_cases
@pytest.mark.parametrize("pair", ["", "_dots"])
def test_names_with_back_slashes_are_found(world: World, pair: str) -> None:
    folder = case("B06")
    assert store(world, folder / f"annotations{pair}.json", folder / f"pictures{pair}.zip")["images_added"] == 1


@needs_cases
@pytest.mark.parametrize("kind", ["utf8_no_flag", "cp932"])
def test_names_of_a_zip_that_does_not_say_its_encoding_are_found(world: World, kind: str) -> None:
    assert store(world, case("B08") / "annotations.json", case("B08") / f"pictures_{kind}.zip")["images_added"] == 1


@needs_cases
def test_what_a_mac_puts_into_a_zip_does_not_count(world: World) -> None:
    assert store(world, case("B09") / "annotations.mat", case("B09") / "pictures.zip", "lsp")["people_added"] == 2


@needs_cases
def test_only_the_category_of_people_is_read_and_the_others_are_counted(world: World) -> None:
    result = store(world, case("B10") / "annotations.json", case("B10") / "pictures.zip")
    assert result["people_added"] == 1
    assert result["notes"]["annotations of the category 'dog', left out"] == 1
    assert Dataset.objects.get().skeleton.name == "coco-17"


@needs_cases
def test_edges_that_count_from_zero_are_noticed(world: World) -> None:
    store(world, case("B12") / "annotations.json", case("B12") / "pictures.zip")
    assert Dataset.objects.get().skeleton.bones == [["hip", "knee"], ["knee", "foot"]]


@needs_cases
def test_keypoints_of_a_picture_that_was_made_smaller_are_scaled(world: World) -> None:
    store(world, case("B13") / "annotations.json", case("B13") / "pictures.zip")
    assert keypoint("nose") == [20, 20, 2]
    assert sum(k[2] > 0 for k in Person.objects.get().keypoints) == 17


@needs_cases
@pytest.mark.parametrize("file", ["annotations", "annotations_mixed"])
def test_ids_of_any_type_are_the_same_id(world: World, file: str) -> None:
    assert store(world, case("B15") / f"{file}.json", case("B15") / "pictures.zip")["people_added"] == 1


@needs_cases
@pytest.mark.parametrize("file", ["semicolon", "semicolon_decimal_comma", "spaces", "tab"])
def test_a_csv_is_read_whatever_stands_between_its_columns(world: World, file: str) -> None:
    store(world, case("B16") / f"{file}.csv", case("B16") / "pictures.zip", "csv")
    assert keypoint("left_wrist") == [20.5, 30, 2]
    if file.startswith("semicolon"):
        assert keypoint("neck") == [50, 60, 1]


@needs_cases
def test_a_3d_place_that_is_not_given_is_unknown_and_asks_nothing(world: World) -> None:
    store(world, case("B18") / "annotations.csv", case("B18") / "pictures.zip", "csv")
    skeleton = Dataset.objects.get().skeleton
    neck, wrist = skeleton.keypoints.index("neck"), skeleton.keypoints.index("left_wrist")
    person = Person.objects.order_by("image__name")[0]
    assert person.truth_mm[neck] is None
    assert person.truth_mm[wrist] == [0, 0, 3000]
    asked = list(reference_questions.candidates(person, skeleton.keypoints, set(skeleton.keypoints)))
    assert len(asked) == 6, "pairs of the four joints that are known"
    assert all(neck not in (c.first, c.second) for c in asked)


@needs_cases
def test_a_colon_in_a_name_is_only_a_letter(world: World) -> None:
    assert store(world, case("B39") / "annotations.json", case("B39") / "pictures.zip")["people_added"] == 1


@needs_cases
def test_an_edge_beyond_the_keypoints_is_named_and_a_category_without_names_too(world: World) -> None:
    pictures = case("B42") / "pictures.zip"
    words = refusal(world, case("B42") / "annotations.json", pictures)
    assert "[32, 33]" in words
    assert "3 keypoints" in words
    assert "names no keypoints" in refusal(world, case("B42") / "annotations_unnamed_points.json", pictures)


@needs_cases
@pytest.mark.parametrize(("ending", "kind"), [("", "TIFF"), ("_bmp", "BMP"), ("_heic", "HEIC")])
def test_a_picture_of_another_kind_is_named(world: World, ending: str, kind: str) -> None:
    words = refusal(world, case("B43") / f"annotations{ending}.json", case("B43") / f"pictures{ending}.zip")
    assert f"is {kind}; give JPEG, PNG or WebP" in words


# --- the families, made anew ---


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_whatever_its_orientation_and_marks_follow(world: World, orientation: int) -> None:
    """One bright square, and its place: as people see it, or as it was stored, where the file gives the stored size."""
    stored = np.zeros((80, 120, 3), np.uint8)
    stored[16:24, 88:96] = 255
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Pillow.fromarray(stored).save(stream, "JPEG", quality=95, exif=exif)
    picture = images.check(stream.getvalue(), "a.jpg", Limits())
    sideways = orientation in images.SIDEWAYS
    assert (picture.width, picture.height) == ((80, 120) if sideways else (120, 80))
    with Pillow.open(io.BytesIO(picture.data)) as upright:
        rows, columns = np.nonzero(np.asarray(upright.convert("L")) > 128)
    place = (columns.mean() + 0.5, rows.mean() + 0.5)
    if sideways:
        assert images.turned(92, 20, orientation, 80, 120) == pytest.approx(place, abs=0.6)


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (32, 1))
    for values, brightest in ((ramp, 255), (ramp // 16, 255), (ramp // 4096 * 8, 120)):
        stream = io.BytesIO()
        Pillow.fromarray(values).save(stream, "PNG")
        picture = images.check(stream.getvalue(), "a.png", Limits())
        with Pillow.open(io.BytesIO(picture.data)) as read:
            assert read.mode == "L"
            assert np.asarray(read).max() == brightest
            assert np.asarray(read).std() > 20
        assert picture.notes


def names_of(*names: str) -> archive.Pictures:
    pictures = archive.Pictures()
    pictures._index([archive.plain_name(n) for n in names])
    return pictures


@given(
    st.lists(st.sampled_from(["train", "val", "a", "übung"]), max_size=3),
    st.lists(st.sampled_from(["data", "set 1"]), max_size=2),
)
def test_a_picture_is_found_below_any_top_folder_and_by_any_spelling(below: list[str], above: list[str]) -> None:
    import unicodedata

    name = "/".join([*below, "im 1.jpg"])
    full = "/".join([*above, name])
    pictures = names_of(full, "other/im 2.jpg")
    for spelt in (name, full, f"./{name}", f"../{name}", f"C:/x/{full}", name.replace("/", "\\")):
        assert pictures.find(unicodedata.normalize("NFD", spelt)) == archive.plain_name(full)


def test_the_longest_common_end_decides_and_a_tie_finds_nothing() -> None:
    pictures = names_of("set/train/1.jpg", "set/val/1.jpg", "set/val/2.jpg")
    assert pictures.find("/home/me/val/1.jpg") == "set/val/1.jpg"
    assert pictures.find("test/1.jpg") is None
    assert pictures.whose(["val/2.jpg", "train/2.jpg"]) == {"val/2.jpg": None, "train/2.jpg": None}
    assert pictures.whose(["set/val/2.jpg", "train/2.jpg"])["set/val/2.jpg"] == "set/val/2.jpg"


def coco(folder: Path, *, count: int = 3, **change: Any) -> tuple[Path, Path]:
    data = {
        "images": [{"id": n, "file_name": f"p{n}.jpg", "width": 96, "height": 128} for n in range(count)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "keypoints": [20 + n, 30, 2] * 17, "bbox": [5, 5, 60, 60]}
            for n in range(count)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_17.keypoints), "skeleton": [[1, 2]]}],
    } | change
    (folder / "a.json").write_text(json.dumps(data))
    with zipfile.ZipFile(folder / "p.zip", "w") as zipped:
        for n in range(count):
            zipped.writestr(f"p{n}.jpg", jpeg(n))
    return folder / "a.json", folder / "p.zip"


def test_a_box_without_a_size_is_drawn_around_the_keypoints(world: World, tmp_path: Path) -> None:
    annotations, pictures = coco(tmp_path, count=1)
    data = json.loads(annotations.read_text())
    data["annotations"][0]["bbox"] = [5, 5, 0, 0]
    annotations.write_text(json.dumps(data))
    result = store(world, annotations, pictures)
    assert result["notes"]["boxes without a size, drawn around the keypoints instead"] == 1
    assert Person.objects.get().bbox == [18.0, 28.0, 4.0, 4.0]


def test_a_picture_of_another_shape_than_the_file_says_is_refused_with_both_sizes(world: World, tmp_path: Path) -> None:
    images_said = [{"id": n, "file_name": f"p{n}.jpg", "width": 100, "height": 50} for n in range(3)]
    words = refusal(world, *coco(tmp_path, images=images_said))
    assert "3 bad rows" in words
    assert "the file says 100x50 px, the picture 'p0.jpg' has 96x128" in words


def test_several_categories_that_may_be_people_are_asked_about(world: World, tmp_path: Path) -> None:
    both = [{"id": n, "name": name, "keypoints": list(COCO_17.keypoints)} for n, name in ((1, "cat"), (2, "dog"))]
    assert "'cat', 'dog'" in refusal(world, *coco(tmp_path, categories=both))


def test_bad_rows_are_listed_all_at_once_and_left_out_where_that_is_wished(world: World, tmp_path: Path) -> None:
    annotations, pictures = coco(tmp_path, count=5)
    data = json.loads(annotations.read_text())
    data["annotations"][1]["keypoints"] = [1, 2]
    data["images"][3]["file_name"] = "lost.jpg"
    annotations.write_text(json.dumps(data))
    with pytest.raises(storing.ImportRefused) as refused:
        store(world, annotations, pictures)
    assert [row["row"] for row in refused.value.more["report"]["rows"]] == ["annotations[1]", "images[3]"]
    result = store(world, annotations, pictures, bad_rows="leave-out")
    assert (result["images_added"], result["people_added"]) == (3, 3)
    assert sum("row left out" in note for note in result["notes"]) == 2


def test_where_every_row_is_bad_nothing_is_imported_even_without_them(world: World, tmp_path: Path) -> None:
    annotations, pictures = coco(tmp_path, count=2, annotations=[{"image_id": 0, "keypoints": [1]}])
    with pytest.raises(storing.ImportRefused, match="1 bad row"):
        store(world, annotations, pictures, bad_rows="leave-out")
    assert not Dataset.objects.exists()


@given(
    separator=st.sampled_from([",", ";", "\t", "|"]),
    mark=st.sampled_from([".", ","]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    pad=st.sampled_from(["", " "]),
    x=st.integers(0, 959).map(lambda n: n / 10),
)
def test_a_csv_means_the_same_in_every_spelling(
    tmp_path_factory: pytest.TempPathFactory,
    separator: str,
    mark: str,
    encoding: str,
    line_end: str,
    pad: str,
    x: float,
) -> None:
    from labeling.importing.parsed import Report
    from labeling.importing.table import read_csv

    if separator == ",":
        mark = "."
    lines = [
        ["image", "person", "keypoint", "x", "y", "Visibility"],
        ["a.jpg", "0", "neck", f"{x:.1f}".replace(".", mark), "30", "2" + mark + "0"],
        [""] * 6,
    ]
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(line_end.join((separator + pad).join(line) for line in lines).encode(encoding))
    report = Report()
    parsed = read_csv(path, archive.Pictures(), Limits(), report)
    assert report.rows == []
    assert parsed.entries[0].people[0].keypoints[parsed.skeleton.index("neck")] == [x, 30.0, 2]


def test_a_misspelt_joint_is_said_with_what_was_meant(tmp_path: Path) -> None:
    from labeling.importing.parsed import Report
    from labeling.importing.table import read_csv

    path, report = tmp_path / "a.csv", Report()
    path.write_text("image,person,keypoint,x,y,visibility\na.jpg,0,left_wirst,1,2,2\na.jpg,0,neck,1,2,2\n")
    read_csv(path, archive.Pictures(), Limits(), report)
    assert "'left_wirst' (did you mean 'left_wrist'?)" in next(iter(report.notes))


def test_a_zip_whose_names_lead_out_is_still_refused(tmp_path: Path) -> None:
    for name in ("../a.jpg", "/a.jpg", "C:/a.jpg", "x/../../a.jpg"):
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as zipped:
            zipped.writestr(name, jpeg())
        with pytest.raises(BadInput, match="leads out of the archive"):
            archive.open_pictures(tmp_path / "p.zip", Limits())


# --- the same through every door ---

DOORS = [
    *(("B01", "coco", ""), ("B02", "coco", ""), ("B04", "coco", ""), ("B06", "coco", ""), ("B09", "lsp", "")),
    *(("B10", "coco", ""), ("B12", "coco", ""), ("B13", "coco", ""), ("B15", "coco", ""), ("B18", "csv", "")),
    *(("B39", "coco", ""), ("B42", "coco", ""), ("B43", "coco", "")),
]


def imported(world: World, door: str, kind: str, annotations: Path, pictures: Path) -> Any:
    """The people that a door imported, or the words with which it refused."""
    files = {
        "annotations": SimpleUploadedFile(annotations.name, annotations.read_bytes()),
        "pictures": SimpleUploadedFile("pictures.zip", pictures.read_bytes()),
    }
    before = set(Job.objects.values_list("pk", flat=True))
    words = ""
    if door == "command":
        try:
            call_command(
                *("import_dataset", str(annotations.parent), "--name", door, "--format", kind),
                *("--annotations", str(annotations), "--pictures", str(pictures)),
            )
        except CommandError as error:
            words = str(error)
    elif door == "api":
        answer = world.client(world.ada).post("/api/v1/imports/", {"dataset": door, "format": kind, **files})
        words = "" if answer.status_code == 202 else answer.json()["detail"]
    else:
        answer = world.client(world.ada).post("/datasets/import/", {"dataset": door, "format": kind, **files})
        words = "" if answer.status_code == 302 else " ".join(map(str, answer.context["messages"]))
    for job in Job.objects.exclude(pk__in=before):
        run.run_job(job.pk)
        job.refresh_from_db()
        words = words or (job.error or {}).get("detail", "")
    people = Person.objects.filter(image__dataset__name=door).order_by("image__name", "index")
    rows = list(people.values_list("image__name", "image__sha256", "keypoints", "bbox", "truth_mm"))
    plain = words.partition("First: ")[2] or words.removeprefix("annotations: ")
    return rows or plain.partition(" (")[0].rstrip(".").lower()


@needs_cases
@pytest.mark.parametrize(("name", "kind", "ending"), DOORS)
def test_command_api_and_dashboard_give_the_same_people_or_the_same_words(
    world: World, name: str, kind: str, ending: str
) -> None:
    folder = case(name)
    annotations = next(folder.glob(f"annotations{ending}.*"))
    results = [
        imported(world, door, kind, annotations, folder / f"pictures{ending}.zip")
        for door in ("command", "api", "page")
    ]
    assert results[0]
    assert results[1] == results[0]
    assert results[2] == results[0]


def test_a_body_that_is_too_large_is_answered_with_the_limit(world: World) -> None:
    client = world.client(world.ada)
    for path, kind in (("/api/v1/campaigns/", "application/json"), ("/login/", "application/x-www-form-urlencoded")):
        answer = client.post(path, b"a" * (17 << 20), content_type=kind)
        assert answer.status_code == 413, path
        assert answer.json()["detail"] == "The body is larger than 16 MiB."
