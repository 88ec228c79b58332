"""A recording's way: upload, harvest, review, undo, data set, release; and what is refused on the way."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image as Picture

from labeling.models import Dataset, Label, Person
from labeling.releasing import freeze
from labeling.skeletons import H36M_17
from tests.conftest import World
from tests.training.multiview.test_multiview import scene
from training.harvest.harvester import FILES
from training.harvests import frames, publication, review, uploads
from training.harvests.publication import PublishPlan
from training.harvests.review import Rule
from training.models import Harvest, PseudoLabel, Review
from training.multiview import calibration
from training.multiview.upload import MultiviewPlan
from webapp.errors import Conflict, Invalid, NotAllowed
from webapp.jobs import run as jobs

FRAMES = 12


def upload(tmp_path: Path, *, views: bool = True, frames: int = FRAMES) -> dict[str, SimpleUploadedFile]:
    recorded, _ = scene(frames)
    calibration.write(recorded.cameras, tmp_path / "rig.toml", "toml")
    chunk = recorded.source.read(range(frames))
    values = np.concatenate([chunk.pixels, chunk.score[..., None]], axis=-1).astype(np.float32)
    names = [c.name for c in recorded.cameras]
    np.savez(
        tmp_path / "d.npz",
        keypoints=values,
        joint_names=np.array(H36M_17.keypoints),
        camera_names=names,
        fps=np.array(25.0),
    )
    files = {
        "calibration": SimpleUploadedFile("rig.toml", (tmp_path / "rig.toml").read_bytes()),
        "detections": SimpleUploadedFile("d.npz", (tmp_path / "d.npz").read_bytes()),
    }
    if views:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for n, name in enumerate(names):
                for f in range(frames if n else frames - 2):  # the first camera stops early
                    noise = np.random.default_rng([n, f]).integers(0, 255, (25, 25, 3), dtype=np.uint8)
                    stream = io.BytesIO()
                    Picture.fromarray(noise).resize((1000, 1000)).save(stream, "JPEG")
                    archive.writestr(f"views/{name}/{f:04d}.jpg", stream.getvalue())
        files["views"] = SimpleUploadedFile("views.zip", out.getvalue())
    return files


def harvested(world: World, tmp_path: Path, **options: Any) -> Harvest:
    files = upload(tmp_path, **options)
    plan = MultiviewPlan(name="walk", options={"grid": 24})
    harvest = uploads.receive(world.ada, "multiview", plan, files)
    jobs.run_job(harvest.job.pk)
    harvest = Harvest.objects.select_related("job").get()
    assert harvest.job.state == "done", harvest.job.error
    return harvest


def test_a_recording_becomes_pseudo_labels_files_and_pictures(world: World, tmp_path: Path) -> None:
    harvest = harvested(world, tmp_path)
    kept = round(0.7 * FRAMES) * 17
    assert harvest.report["kept"] == harvest.pseudo_labels.count() == kept
    assert (harvest.frames, harvest.fps, len(harvest.lengths_mm)) == (FRAMES, 25.0, 16)
    assert any(
        "cam1 ends early: 2 frames from 10 on are not in it" in finding for finding in harvest.report["findings"]
    )
    client = world.client(world.rea)
    page = client.get(f"/harvests/{harvest.uuid}/").content.decode()
    assert "left wrist" in page
    assert "cam1 ends early" in page
    for name in FILES.values():
        assert len(b"".join(client.get(f"/api/v1/harvests/{harvest.uuid}/files/{name}/").streaming_content)) > 1000
    frame = client.get(f"/api/v1/harvests/{harvest.uuid}/frames/3/").json()
    label = PseudoLabel.objects.filter(frame=3).first()
    assert frame["joints"][label.joint]["verdict"] == "waiting"
    seen = frame["views"][2]["joints"][label.joint]
    camera = frames.cameras_of(harvest)[2]
    np.testing.assert_allclose(seen["at"], camera.project(np.array([label.x_mm, label.y_mm, label.z_mm])), atol=0.11)
    picture = client.get(f"/api/v1/harvests/{harvest.uuid}/views/2/3/")
    assert picture["Content-Type"] == "image/jpeg"
    assert client.get(f"/api/v1/harvests/{harvest.uuid}/views/0/11/").status_code == 404
    assert client.get(f"/api/v1/harvests/{harvest.uuid}/frames/99/").status_code == 400


def test_projected_covariances_equal_the_spread_of_projected_points(world: World, tmp_path: Path) -> None:
    recorded, _ = scene(1)
    camera = recorded.cameras[0]
    rng = np.random.default_rng(0)
    root = rng.normal(0, 6, (3, 3))
    middle = np.array([[150.0, -80.0, 1100.0]])
    many = middle + rng.normal(size=(200_000, 3)) @ root.T
    covariance = frames.projected_covariance(camera, middle, (root @ root.T)[None])[0]
    np.testing.assert_allclose(covariance, np.cov(camera.project(many).T), rtol=0.03, atol=0.05)


def test_decisions_are_counted_kept_and_undone_in_order(world: World, tmp_path: Path) -> None:
    harvest = harvested(world, tmp_path, views=False)
    frame = PseudoLabel.objects.first().frame
    here = PseudoLabel.objects.filter(frame=frame).count()
    first = review.decide(world.rea, harvest, "accepted", Rule(frame=frame))
    assert first.labels == here
    neck = PseudoLabel.objects.filter(joint=H36M_17.index("neck")).count()
    second = review.decide(world.ada, harvest, "rejected", Rule(joint="neck"))
    assert second.labels == neck
    with pytest.raises(Conflict):
        review.decide(world.ada, harvest, "rejected", Rule(joint="neck"))
    assert review.undo(world.rea, harvest) == second
    verdicts = set(PseudoLabel.objects.filter(joint=H36M_17.index("neck")).values_list("frame", "verdict"))
    assert all(v == ("accepted" if f == frame else "waiting") for f, v in verdicts)
    assert review.undo(world.rea, harvest) == first
    assert set(PseudoLabel.objects.values_list("verdict", flat=True)) == {"waiting"}
    with pytest.raises(Conflict):
        review.undo(world.rea, harvest)
    url, third = (
        f"/api/v1/harvests/{harvest.uuid}/undo/",
        review.decide(world.rea, harvest, "accepted", Rule(joint="neck")),
    )
    asked = [{"review": str(first.uuid)}, {"review": str(third.uuid)}, {"review": str(third.uuid)}, {"review": "x"}]
    client = world.client(world.ada)
    assert [client.post(url, one, content_type="application/json").status_code for one in asked] == [409, 200, 409, 400]
    history = world.client(world.rea).get(f"/api/v1/harvests/{harvest.uuid}/reviews/").json()
    assert [(h["reviewer"], h["undone_by"]) for h in history] == [
        ("rea", "ada"),
        ("ada", "rea"),
        ("rea", "rea"),
    ]


def test_rules_choose_by_certainty_error_joint_and_frames(world: World, tmp_path: Path) -> None:
    harvest = harvested(world, tmp_path, views=False)
    each = round(0.7 * FRAMES)
    assert review.matching(harvest, Rule(surest=0.5)).count() == 17 * round(0.5 * each)
    sure = review.matching(harvest, Rule(surest=0.5, joint="head"))
    rest = PseudoLabel.objects.filter(joint=H36M_17.index("head")).exclude(pk__in=sure)
    assert max(sure.values_list("uncertainty", flat=True)) <= min(rest.values_list("uncertainty", flat=True))
    middle = sorted(PseudoLabel.objects.values_list("error_px", flat=True))[50]
    assert review.matching(harvest, Rule(most_error_px=middle)).count() == 51
    both = review.matching(harvest, Rule(most_error_px=middle, least_error_px=middle)).count()
    assert both == 1
    worst = {c["name"]: review.matching(harvest, Rule(camera=c["name"])).count() for c in harvest.cameras}
    assert sum(worst.values()) == PseudoLabel.objects.count()
    assert min(worst.values()) > 0
    frames = set(review.matching(harvest, Rule(frame=2, last_frame=4)).values_list("frame", flat=True))
    assert frames <= {2, 3, 4}
    for rule, field in ((Rule(joint="tail"), "joint"), (Rule(camera="cam9"), "camera"), (Rule(last_frame=3), "frame")):
        with pytest.raises(Invalid) as refused:
            review.matching(harvest, rule)
        assert refused.value.field == field


def test_accepted_joints_become_a_data_set_with_ordinal_pairs_that_can_be_released(
    world: World, tmp_path: Path
) -> None:
    harvest = harvested(world, tmp_path)
    plan = PublishPlan(dataset="harvested", pairs_per_person=10, least_joints=3)
    with pytest.raises(Conflict, match="accepted"):
        publication.publish(world.ada, harvest, plan)
    review.decide(world.rea, harvest, "accepted", Rule())
    with pytest.raises(NotAllowed):
        publication.publish(world.rea, harvest, plan)
    job = publication.publish(world.ada, harvest, plan)
    jobs.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "done", job.error
    dataset = Dataset.objects.get(name="harvested")
    assert str(harvest.uuid) in dataset.description
    frame, camera = 5, frames.cameras_of(harvest)[1]
    person = Person.objects.get(image__dataset=dataset, image__name=f"{camera.name}/{frame:06d}.jpg")
    assert person.image.source == f"harvest {harvest.uuid}, {camera.name}, frame {frame}"
    assert set(dataset.images.values_list("split", flat=True)) == {"train", "test"}
    labels = {label.joint: label for label in PseudoLabel.objects.filter(frame=frame)}
    for joint, (x, y, state) in enumerate(person.keypoints):
        if joint in labels:
            label = labels[joint]
            right = camera.project(np.array([label.x_mm, label.y_mm, label.z_mm])) + 0.5
            np.testing.assert_allclose([x, y], right, atol=0.01)
        else:
            assert state == 0
    whole = {pk: [place is not None for place in truth] for pk, truth in Person.objects.values_list("pk", "truth_mm")}
    assert not all(map(all, whole.values())), "some joints were not accepted, and the others keep their depth"
    for joint, place in enumerate(person.truth_mm):
        assert (place is not None) == (joint in labels)
        if place is not None:
            label = labels[joint]
            np.testing.assert_allclose(place, camera.see(np.array([label.x_mm, label.y_mm, label.z_mm])), atol=0.01)
    campaign = dataset.campaigns.get()
    release = freeze.freeze(world.ada, campaign)
    assert release.aggregation_run.model == "imported"
    for row in Label.objects.filter(run=release.aggregation_run, pair__person=person).select_related("pair"):
        gap = [
            float(camera.see(np.array([labels[j].x_mm, labels[j].y_mm, labels[j].z_mm]))[2])
            for j in (row.pair.first, row.pair.second)
        ]
        assert (row.p_first_closer > 0.5) == (gap[0] < gap[1])
    with pytest.raises(Invalid, match="of this name"):
        publication.publish(world.ada, harvest, plan)


def test_nobody_else_sees_or_decides(world: World, tmp_path: Path) -> None:
    files = upload(tmp_path)
    for account in (world.rea, world.resi, world.ann, world.eve):
        with pytest.raises(NotAllowed):
            uploads.receive(account, "multiview", MultiviewPlan(name="x"), files)
    harvest = harvested(world, tmp_path)
    for account in (world.resi, world.ann, world.eve):
        client = world.client(account)
        assert client.get("/harvests/").status_code == 403
        assert client.get(f"/harvests/{harvest.uuid}/review/").status_code == 403
        for path in ("", "frames/1/", "strip/", "reviews/", "files/poses.trc/", "views/1/1/"):
            assert client.get(f"/api/v1/harvests/{harvest.uuid}/{path}").status_code in (403, 404)
        for verb in (review.decide, review.undo):
            arguments = ("accepted", Rule()) if verb is review.decide else ()
            with pytest.raises(NotAllowed):
                verb(account, harvest, *arguments)
    assert not Review.objects.exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"calibration": b""}, "calibration"),
        ({"calibration": b"[a"}, "calibration"),
        ({"calibration": b"[cam1]\nname='cam1'\n"}, "unit"),
        ({"detections": b""}, "detections"),
        ({"detections": b"PK nothing"}, "detections"),
        ({"name": ""}, "name"),
        ({"skeleton": "horse-9"}, "skeleton"),
        ({"skeleton": "coco-17", "detections": "short"}, "skeleton"),
        ({"options": '{"grid": 65}'}, "grid"),
        ({"options": "[1]"}, "options"),
        ({"unit": "m"}, "unit"),
        ({"detections": "three"}, "detections"),
    ],
)
def test_bad_uploads_are_refused_at_the_door_and_leave_nothing(
    world: World, tmp_path: Path, settings: Any, change: dict[str, Any], field: str
) -> None:
    files = upload(tmp_path, views=False)
    data: dict[str, Any] = {"name": "walk", **files}
    for key, value in change.items():
        if value in ("short", "three"):
            with np.load(tmp_path / "d.npz") as file:
                values = file["keypoints"][:, :, :16] if value == "short" else file["keypoints"][:, :3]
                names = file["joint_names"]
            out = io.BytesIO()
            np.savez(out, keypoints=values, joint_names=names)
            value = out.getvalue()
        data[key] = SimpleUploadedFile(files[key].name, value) if key in files else value
    response = world.client(world.ada).post("/api/v1/harvests/", data)
    assert response.status_code in (400, 413), response.content
    assert response.json()["field"] == field
    assert not Harvest.objects.exists()
    assert not list(Path(settings.FILE_UPLOAD_TEMP_DIR).glob("*/*"))


def test_a_recording_that_does_not_fit_is_explained_on_its_page(world: World, tmp_path: Path) -> None:
    files = upload(tmp_path, views=False, frames=20)
    with np.load(tmp_path / "d.npz") as file:
        arrays = dict(file)
    arrays["camera_names"] = np.array(["cam3", "cam2", "cam1", "cam4"])
    out = io.BytesIO()
    np.savez(out, **arrays)
    swapped = SimpleUploadedFile("d.npz", out.getvalue())
    plan = MultiviewPlan(name="swapped", options={"grid": 24})
    harvest = uploads.receive(world.ada, "multiview", plan, files | {"detections": swapped})
    jobs.run_job(harvest.job.pk)
    harvest.job.refresh_from_db()
    assert harvest.job.state == "failed"
    page = world.client(world.ada).get(f"/harvests/{harvest.uuid}/").content.decode()
    assert "look swapped" in page
    assert "swap the calibrations" in page
    assert not PseudoLabel.objects.exists()


def test_a_zip_of_openpose_folders_is_harvested_in_the_order_of_camera_names(world: World, tmp_path: Path) -> None:
    files = upload(tmp_path, views=False)
    with np.load(tmp_path / "d.npz") as file:
        values = file["keypoints"]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for v in (3, 1, 0, 2):
            for f in range(FRAMES):
                people = [{"pose_keypoints_2d": values[f, v].ravel().tolist()}]
                archive.writestr(f"json/cam{v + 1}/{f:04d}_keypoints.json", json.dumps({"people": people}))
    zipped = SimpleUploadedFile("d.zip", out.getvalue())
    plan = MultiviewPlan(name="json", skeleton="h36m-17", options={"grid": 24})
    harvest = uploads.receive(world.ada, "multiview", plan, files | {"detections": zipped})
    jobs.run_job(harvest.job.pk)
    harvest = Harvest.objects.get()
    assert harvest.job.state == "done", harvest.job.error
    assert harvest.report["median_px"] < 12


def test_a_zip_that_leads_out_of_its_folder_is_refused(world: World, tmp_path: Path) -> None:
    files = upload(tmp_path, views=False)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../../evil.json", "{}")
    zipped = SimpleUploadedFile("d.zip", out.getvalue())
    plan = MultiviewPlan(name="evil", skeleton="h36m-17")
    harvest = uploads.receive(world.ada, "multiview", plan, files | {"detections": zipped})
    jobs.run_job(harvest.job.pk)
    harvest.job.refresh_from_db()
    assert harvest.job.state == "failed"
    assert "leads out" in harvest.job.error["detail"]


def test_pages_of_recordings_ask_few_questions(
    world: World, tmp_path: Path, django_assert_max_num_queries: Any
) -> None:
    harvest = harvested(world, tmp_path, views=False)
    client = world.client(world.ada)
    for path, most in (("/harvests/", 8), (f"/harvests/{harvest.uuid}/", 8), (f"/harvests/{harvest.uuid}/review/", 6)):
        with django_assert_max_num_queries(most):
            assert client.get(path).status_code == 200
    with django_assert_max_num_queries(8):
        assert client.get(f"/api/v1/harvests/{harvest.uuid}/frames/2/").status_code == 200
    assert client.get("/harvests/new/multiview/").status_code == 200


def test_a_recording_is_harvested_from_the_command_line(tmp_path: Path) -> None:
    from django.core.management import CommandError, call_command

    upload(tmp_path, views=False)
    output = io.StringIO()
    files = ("--calibration", str(tmp_path / "rig.toml"), "--detections", str(tmp_path / "d.npz"))
    arguments = ("multiview", str(tmp_path / "out"), *files)
    call_command("harvest", *arguments, "--grid", "24", stdout=output)
    assert f"{round(0.7 * FRAMES) * 17} of {17 * FRAMES} found joints kept" in output.getvalue()
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert "work" not in names  # what only a restart needs
    assert {"report.json", "poses.trc", "poses.c3d", "poses.npz", "poses.coco.json", "position.npy"} <= names
    for change, words in ((("--grid", "7"), "grid: "), (("--unit", "m"), "unit")):
        with pytest.raises(CommandError, match=words):
            call_command("harvest", *arguments, *change, stdout=output)
    # What an attempt read from other detections is not gone on with: here it left work behind, then the file was changed.
    work = tmp_path / "out" / "work"
    assert work.exists()
    (work / "detections.json").write_text("of another file")
    with np.load(tmp_path / "d.npz") as file:
        np.savez(tmp_path / "d.npz", **{**file, "fps": np.array(12.0)})
    call_command("harvest", *arguments, "--grid", "24", stdout=output)
    assert not work.exists()
    with pytest.raises(CommandError, match=r"detections: rig\.toml ends in none of \.npz, \.zip"):
        call_command("harvest", *arguments[:-1], str(tmp_path / "rig.toml"), stdout=output)
    with pytest.raises(CommandError, match=r"invalid choice: 'none' .*multiview.*video"):
        call_command("harvest", "none", str(tmp_path / "out"))
