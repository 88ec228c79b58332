"""The same recording through the command, the API and the dashboard: the same joints and findings, or the same refusal."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from labeling.skeletons import LSP_14
from tests.cases.test_imports import case, needs_cases
from tests.cases.test_recordings import BALANCE, balance  # noqa: F401  (a fixture)
from tests.conftest import World
from tests.training.harvests.test_video_harvests import model  # noqa: F401  (a fixture)
from training.models import Harvest, Model
from webapp.jobs import run

DOORS = ("command", "api", "page")


def zipped(folder: Path) -> Path:
    """A folder as people upload it."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(folder))
    return path


def harvested(world: World, door: str, kind: str, files: dict[str, Path], plan: dict[str, Any], folder: Path) -> Any:
    """Joints, findings and counts of a harvest, or the words with which a door refused."""
    options = {"grid": 16} if kind == "multiview" else {}
    if door == "command":
        return _by_command(kind, files, plan, options, folder)
    before = set(Harvest.objects.values_list("pk", flat=True))
    form: dict[str, Any] = {"name": "walk", **plan}
    form |= {name: SimpleUploadedFile(path.name, path.read_bytes()) for name, path in files.items()}
    client, words = world.client(world.ada), ""
    if door == "api":
        answer = client.post(f"/api/v1/harvests/{kind}/", form | {"options": json.dumps(options)})
        words = "" if answer.status_code == 202 else answer.json()["detail"]
    else:
        answer = client.post(f"/harvests/new/{kind}/", form | options)
        words = "" if answer.status_code == 302 else re.sub(r"<[^>]+>", "", answer.content.decode())
    for harvest in Harvest.objects.exclude(pk__in=before).select_related("job"):
        run.run_job(harvest.job.pk)
        harvest = Harvest.objects.select_related("job").get(pk=harvest.pk)
        if harvest.report:
            return _outcome(np.load(Path(settings.MEDIA_ROOT) / harvest.folder / "position.npy"), harvest.report)
        words = harvest.job.error["detail"]
    return words


def _by_command(kind: str, files: dict[str, Path], plan: dict[str, Any], options: dict[str, Any], folder: Path) -> Any:
    arguments = [f"--{name}={path}" for name, path in files.items()]
    lifters = [str(Path(settings.MEDIA_ROOT) / m.path) for m in Model.objects.filter(uuid=plan.get("models") or None)]
    arguments += [
        f"--{name.replace('_', '-')}={value}" for name, value in {**plan, **options}.items() if name != "models"
    ]
    arguments += ["--models", *lifters] if lifters else []
    with (folder / "log").open("w") as log:
        try:
            call_command("harvest", kind, str(folder / "out"), *arguments, stdout=log)
        except CommandError as error:
            return str(error).partition(": ")[2]
    report = json.loads((folder / "out" / "report.json").read_text())
    return _outcome(np.load(folder / "out" / "position.npy"), report)


def _outcome(position: np.ndarray, report: dict[str, Any]) -> Any:
    return position.round(3).tolist(), sorted(report["findings"]), report["found"], report["kept"]


def same(world: World, kind: str, files: dict[str, Path], plan: dict[str, Any], folder: Path) -> Any:
    """What the command says, after the other doors said the same."""
    by_command = harvested(world, "command", kind, files, plan, folder)
    for door in DOORS[1:]:
        other = harvested(world, door, kind, files, plan, folder)
        if isinstance(by_command, str):
            assert isinstance(other, str), other
            words = by_command.partition(";")[0].rstrip(".").replace("'", "").lower()
            assert words in other.replace("&#x27;", "").replace("'", "").lower(), f"{door}: {other[:400]}"
        else:
            assert other == by_command, door
    return by_command


# --- several cameras ---


def recording(folder: Path, *, calibration: Path | None = None) -> dict[str, Path]:
    return {"calibration": calibration or BALANCE / "Calib_qualisys.toml", "detections": zipped(folder / "pose")}


def test_a_recording_without_a_word_on_its_detector(world: World, balance: Path) -> None:  # noqa: F811
    position, findings, _, kept = same(world, "multiview", recording(balance), {"unit": "m"}, balance)
    assert np.shape(position)[1:] == (25, 3) and kept > 0
    assert "the detector's 25 joints are read as body-25b" in findings
    named, *_ = harvested(
        world, "command", "multiview", recording(balance), {"unit": "m", "skeleton": "body-25b"}, balance
    )
    assert named == position


@pytest.mark.parametrize("left_out", [1, 2, 3, 4])
def test_a_recording_without_one_of_its_cameras(world: World, balance: Path, left_out: int) -> None:  # noqa: F811
    shutil.rmtree(balance / "pose" / f"cam_{left_out:02d}_json")
    _, findings, joints, _ = same(world, "multiview", recording(balance), {"unit": "m"}, balance)
    assert f"camera cam_{left_out:02d} has no detections and is left out" in findings and joints > 0


@needs_cases
def test_a_recording_whose_cameras_come_in_another_order(world: World, tmp_path: Path) -> None:
    files = {
        "calibration": next(case("B26").glob("*3142.toml")),
        "detections": next(case("B26").glob("*unpack*.zip")),
    }
    position, *_ = same(world, "multiview", files, {"unit": "m", "skeleton": "body-25b"}, tmp_path)
    right = files | {"calibration": BALANCE / "Calib_qualisys.toml"}
    if BALANCE.is_dir():
        other, *_ = harvested(world, "api", "multiview", right, {"unit": "m", "skeleton": "body-25b"}, tmp_path)
        assert np.abs(np.subtract(other, position)).max() < 1.0


@needs_cases
def test_a_calibration_with_a_camera_that_sees_markers_only(world: World, tmp_path: Path) -> None:
    files = {"calibration": next(case("B46").glob("*.qca.txt")), "detections": next(case("B26").glob("*unpack*.zip"))}
    outcome = same(world, "multiview", files, {"skeleton": "body-25b"}, tmp_path)
    assert any("sees markers only and is left out" in finding for finding in outcome[1])


@needs_cases
def test_a_calibration_in_another_unit(world: World, tmp_path: Path) -> None:
    files = {
        "calibration": case("B45") / "Calib_in_metres.toml",
        "detections": next(case("B26").glob("*unpack*.zip")),
    }
    words = same(world, "multiview", files, {"unit": "mm", "skeleton": "body-25b"}, tmp_path)
    assert "mm large; is its unit m?" in words


# --- one camera ---

VIDEOS = [
    *(("B19", "openpose.zip", {"skeleton": "body-25"}), ("B19", "coco_detections.json", {})),
    *(("B21", "openpose_frame2_empty_list.zip", {"skeleton": "body-25"}), ("B21", "openpose_old_key.zip", {})),
    *(("B21", "openpose_old_key.zip", {"skeleton": "body-25"}), ("B22", "halpe26.zip", {}), ("B22", "coco18.zip", {})),
    *(("B23", "openpose.zip", {"skeleton": "body-25"}), ("B37", "lsp14_in_category.json", {})),
    *(("B37", "own_export_h36m17.coco.json", {}), ("B34", "keypoints_216x384.npz", {"focal_px": 300})),
    ("B36", "keypoints.npz", {}),
]


@needs_cases
@pytest.mark.parametrize(("name", "detections", "plan"), VIDEOS)
def test_keypoints_of_one_camera(
    world: World,
    model: Model,  # noqa: F811
    tmp_path: Path,
    name: str,
    detections: str,
    plan: dict[str, Any],
) -> None:
    assert LSP_14.keypoints
    files = {"detections": case(name) / detections}
    if film := next(case(name).glob("*.mp4"), None):
        files["video"] = film
    outcome = same(world, "video", files, {**plan, "models": str(model.uuid)}, tmp_path)
    if isinstance(outcome, str):
        assert name == "B21" and "before 2018" in outcome
    elif name == "B36":
        assert sum("sound" in finding for finding in outcome[1]) == 1
