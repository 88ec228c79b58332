"""Several people in one recording: each is harvested, named, reviewed alone, exported with markers of their own, and published in one picture."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path

import c3d
import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image as Picture

from labeling.models import Person
from labeling.skeletons import H36M_17
from tests.conftest import World
from tests.training.multiview.test_multiview import crossing
from training.harvest.arrays import Stretch, lanes
from training.harvests import frames, publication, review, uploads
from training.harvests.publication import PublishPlan
from training.harvests.review import Rule
from training.models import Harvest, PseudoLabel
from training.multiview import calibration
from training.multiview.upload import MultiviewPlan
from webapp.errors import Invalid
from webapp.jobs import run as jobs

FRAMES = 24


def harvested(world: World, folder: Path, people: str = "") -> tuple[Harvest, np.ndarray]:
    """A harvest of three simulated people, the third of whom is there from frame 6 on, and the truth."""
    cameras, seen, truth = crossing(FRAMES, 0)
    place = np.stack([camera.project(truth[2, :6]) for camera in cameras], axis=1)
    off = np.median(np.linalg.norm(seen[:6, ..., :2] - place[:, :, None], axis=-1), axis=-1)
    for f in range(6):
        for v in range(len(cameras)):
            seen[f, v, off[f, v].argmin(), :, 2] = 0
    calibration.write(cameras, folder / "rig.toml", "toml")
    names = [camera.name for camera in cameras]
    np.savez(
        folder / "d.npz", people=seen, joint_names=np.array(H36M_17.keypoints), camera_names=names, fps=np.array(25.0)
    )
    views = io.BytesIO()
    with zipfile.ZipFile(views, "w") as archive:
        for name in names:
            for f in range(FRAMES):
                stream = io.BytesIO()
                Picture.new("RGB", (1000, 1000), (f, 90, 120)).save(stream, "JPEG")
                archive.writestr(f"{name}/{f:04d}.jpg", stream.getvalue())
    files = {
        "calibration": SimpleUploadedFile("rig.toml", (folder / "rig.toml").read_bytes()),
        "detections": SimpleUploadedFile("d.npz", (folder / "d.npz").read_bytes()),
        "views": SimpleUploadedFile("views.zip", views.getvalue()),
    }
    plan = MultiviewPlan(name="three", people=people, options={"grid": 24})
    harvest = uploads.receive(world.ada, "multiview", plan, files)
    jobs.run_job(harvest.job.pk)
    return Harvest.objects.select_related("job").get(), truth


def test_everybody_is_harvested_and_reviewed_alone(world: World, tmp_path: Path) -> None:
    harvest, truth = harvested(world, tmp_path)
    assert harvest.job.state == "done", harvest.job.error
    clips = harvest.report["clips"]
    assert [clip["person"] for clip in clips] == [0, 1, 2]
    assert sorted((clip["first_frame"], clip["rows"]) for clip in clips) == [(0, 24), (0, 24), (6, 18)]
    assert harvest.frames == 24 + 24 + 18
    assert "3 people are told apart, numbered by how much is seen of them" in harvest.report["findings"]
    assert any(finding.startswith("person 3: frames 6 to 23") for finding in harvest.report["findings"])
    position = np.load(Path(frames.settings.MEDIA_ROOT) / harvest.folder / "position.npy")
    whose = []
    for clip in clips:
        own = position[clip["row"] : clip["row"] + clip["rows"]]
        away = np.linalg.norm(own[None] - truth[:, clip["first_frame"] : clip["first_frame"] + clip["rows"]], axis=-1)
        nearest = np.median(away, axis=2).argmin(axis=0)
        assert len(set(nearest)) == 1
        assert np.median(away[nearest[0]]) < 60  # mm, on a coarse grid
        whose.append(int(nearest[0]))
        assert len(clip["lengths_mm"]) == 16
    assert sorted(whose) == [0, 1, 2] and whose[2] == 2

    page = world.client(world.rea).get(f"/harvests/{harvest.uuid}/").content.decode()
    assert "<h2>People" in page
    row = clips[2]["row"] + 3
    frame = world.client(world.rea).get(f"/api/v1/harvests/{harvest.uuid}/frames/{row}/").json()
    assert (frame["person"], frame["picture"]) == (3, 9)
    review.decide(world.rea, harvest, "accepted", Rule(person=2))
    accepted = PseudoLabel.objects.filter(verdict="accepted").values_list("frame", flat=True)
    assert set(accepted) <= set(range(24, 48)) and len(accepted) > 100
    with pytest.raises(Invalid) as refused:
        review.matching(harvest, Rule(person=4))
    assert refused.value.field == "person"


def test_files_and_data_sets_hold_everybody(world: World, tmp_path: Path) -> None:
    harvest, _ = harvested(world, tmp_path)
    folder = Path(frames.settings.MEDIA_ROOT) / harvest.folder
    lines = (folder / "poses.trc").read_text().splitlines()
    assert lines[2].split("\t")[2:4] == ["24", "51"]  # frames, markers
    assert lines[3].split("\t")[2:].count("P3:neck") == 1
    late = lines[3].split("\t").index("P3:neck")
    assert lines[5].split("\t")[late] == "" and lines[5 + 12].split("\t")[late] != ""
    with (folder / "poses.c3d").open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a file without analog channels
        labels = [label.strip() for label in c3d.Reader(file).point_labels]
    assert labels[0] == f"P1:{H36M_17.keypoints[0]}" and len(labels) == 51
    coco = json.loads((folder / "poses.coco.json").read_text())
    assert len(coco["images"]) == 24 * 4
    at_once = [a["track_id"] for a in coco["annotations"] if a["image_id"] == 1 + 12]
    assert sorted(at_once) == [1, 2, 3]
    with np.load(folder / "poses.npz") as arrays:
        assert arrays["frame"].tolist()[-18:] == list(range(6, 24))
        assert np.bincount(arrays["person"]).tolist() == [0, 24, 24, 18]

    review.decide(world.rea, harvest, "accepted", Rule())
    job = publication.publish(world.ada, harvest, PublishPlan(dataset="three", least_joints=3))
    jobs.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "done", job.error
    camera = frames.cameras_of(harvest)[0].name
    together = Person.objects.filter(image__dataset__name="three", image__name=f"{camera}/000012.jpg")
    assert together.count() == 3 and len(set(together.values_list("image", flat=True))) == 1
    splits = dict(Person.objects.values_list("image__name", "image__split"))
    test = {name[-10:-4] for name, split in splits.items() if split == "test"}
    assert test and min(test) > max(name[-10:-4] for name, split in splits.items() if split == "train")


def test_one_of_them_can_be_chosen_and_the_others_are_named(world: World, tmp_path: Path) -> None:
    harvest, _ = harvested(world, tmp_path, people="3")
    (clip,) = harvest.report["clips"]
    assert (clip["person"], clip["first_frame"], harvest.frames) == (2, 6, 18)
    assert review.matching(harvest, Rule(person=3)).count() == harvest.pseudo_labels.count() > 0
    assert not any("nobody in two views" in finding for finding in harvest.report["findings"])
    assert any(finding.startswith("person 1: ") and "left out" in finding for finding in harvest.report["findings"])


def test_a_person_who_is_not_there_cannot_be_chosen(world: World, tmp_path: Path) -> None:
    harvest, _ = harvested(world, tmp_path, people="1, 7")
    assert harvest.job.state == "failed"
    assert harvest.job.error["field"] == "people" and "1 to 3" in harvest.job.error["fix"]


def test_stretches_that_overlap_lie_in_different_lanes() -> None:
    one, two, three = Stretch(0, 0, 10, 0), Stretch(1, 10, 5, 5), Stretch(2, 15, 4, 10)
    assert lanes([one, two, three]) == [[one, three], [two]]
    assert lanes([]) == []
