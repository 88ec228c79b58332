"""A video's way: upload, harvest, timeline, review by stretch, undo, data set, fine-tuned lifter; what is refused; who may not."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.management.base import CommandError

from labeling.aggregation import aggregate
from labeling.models import Dataset, Person, Release
from labeling.releasing import freeze
from labeling.skeletons import H36M_17, LSP_14
from tests.conftest import World
from tests.training.video.test_video_harvest import person, seen
from training.harvest.harvester import FILES
from training.harvests import frames, publication, review, uploads
from training.harvests.publication import PublishPlan
from training.harvests.review import Rule
from training.lifter.predict import load
from training.models import Harvest, Model, PseudoLabel, Run
from training.runs import fine_tunes, launch
from training.runs.fine_tunes import TunePlan
from training.video.upload import VideoPlan
from webapp.errors import Conflict, Invalid, NotAllowed
from webapp.jobs import run as jobs

FRAMES = 60
QUICK = {"hidden": 16, "epochs": 3, "batch": 4}


def npz(people: Any, **more: Any) -> SimpleUploadedFile:
    out = io.BytesIO()
    about = {"joint_names": np.array(H36M_17.keypoints), "fps": np.array(10.0), "image_size": np.array([1000, 1000])}
    np.savez(out, people=np.asarray(people, dtype=np.float32), **(about | more))
    return SimpleUploadedFile("d.npz", out.getvalue())


def film(frames: int = FRAMES, size: int = 160) -> SimpleUploadedFile:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(10))
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for n in range(frames):
            picture = np.full((size, size, 3), (4 * n) % 255, dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return SimpleUploadedFile("walk.mp4", out.getvalue())


@pytest.fixture
def model(world: World) -> Model:
    """A lifter of LSP-14 joints from a release, as anybody trains one: few pictures, few epochs."""
    campaign = world.campaign(world.dataset(12), votes_per_pair=1, session_length=100)
    for n in range(36):
        world.vote(world.ann, world.lease(world.ann, campaign), "first" if n % 2 else "second")
    jobs.run_job(aggregate.start(world.ada, campaign).pk)
    run = launch.start(world.resi, freeze.freeze(world.ada, campaign), options=QUICK)
    jobs.run_job(run.job.pk)
    return Model.objects.get()


def harvested(world: World, model: Model, *, people: Any = None, video: bool = True, **plan: Any) -> Harvest:
    plan_of = VideoPlan(name="walk", models=[model.uuid], focal_px=1145, **plan)
    file = npz(seen(person(FRAMES)) if people is None else people)
    files = {"detections": file, "video": film() if video else None}
    harvest = uploads.receive(world.ada, "video", plan_of, files)
    jobs.run_job(harvest.job.pk)
    return Harvest.objects.select_related("job").get(pk=harvest.pk)


def test_a_video_becomes_pseudo_labels_curves_files_and_pictures(world: World, model: Model) -> None:
    harvest = harvested(world, model)
    assert harvest.job.state == "done", harvest.job.error
    assert (harvest.source, harvest.frames, harvest.fps) == ("video", FRAMES, 10.0)
    assert frames.skeleton_of(harvest).keypoints == LSP_14.keypoints
    assert harvest.report["kept"] == harvest.pseudo_labels.count() == round(0.7 * FRAMES) * 14
    assert any("brought to lsp-14 by the joints' names" in f for f in harvest.report["findings"])
    client = world.client(world.rea)
    page = client.get(f"/harvests/{harvest.uuid}/").content.decode()
    assert "Clips" in page
    assert "Fine-tune" not in page
    for name in FILES.values():
        assert len(b"".join(client.get(f"/api/v1/harvests/{harvest.uuid}/files/{name}/").streaming_content)) > 1000
    line = client.get(f"/api/v1/harvests/{harvest.uuid}/timeline/?points=20").json()
    assert (line["frames"], len(line["at"]), len(line["curves"]["expected_mm"])) == (FRAMES, 20, 20)
    whole = np.load(Path(settings.MEDIA_ROOT) / harvest.folder / "timeline.npy")
    np.testing.assert_allclose(np.mean(line["curves"]["error_px"]), whole[:, 0].mean(), rtol=0.01)
    assert [c["rows"] for c in line["clips"]] == [FRAMES]
    some = client.get(f"/api/v1/harvests/{harvest.uuid}/stretch/?first=4&count=5&step=3").json()["frames"]
    assert [f["frame"] for f in some] == [4, 7, 10, 13, 16]
    assert some[0] == client.get(f"/api/v1/harvests/{harvest.uuid}/frames/4/").json()
    moved = np.linalg.norm(np.subtract(some[0]["joints"][3]["position_mm"], some[0]["joints"][3]["before_mm"]))
    assert 0 < moved < 500
    assert client.get(f"/api/v1/harvests/{harvest.uuid}/views/0/7/")["Content-Type"] == "image/jpeg"
    for path in ("timeline/?points=0", "stretch/?first=60", "stretch/?first=1&count=500", "stretch/?first=x"):
        assert client.get(f"/api/v1/harvests/{harvest.uuid}/{path}").status_code == 400


def test_a_stretch_is_accepted_and_becomes_a_data_set_with_ordinal_pairs(world: World, model: Model) -> None:
    harvest = harvested(world, model)
    done = review.decide(world.rea, harvest, "accepted", Rule(frame=10, last_frame=29))
    assert done.labels == PseudoLabel.objects.filter(frame__gte=10, frame__lte=29).count() > 50
    review.undo(world.rea, harvest)
    review.decide(world.rea, harvest, "accepted", Rule(surest=0.8))
    job = publication.publish(world.ada, harvest, PublishPlan(dataset="walkers", least_joints=3))
    jobs.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "done", job.error
    dataset = Dataset.objects.get(name="walkers")
    assert set(dataset.images.values_list("split", flat=True)) == {"train", "test"}
    released = freeze.freeze(world.ada, dataset.campaigns.get())
    ordinal = json.loads((Path(settings.MEDIA_ROOT) / released.folder / "ordinal.json").read_text())
    assert all(0 <= a["prob"] <= 1 for i in ordinal["images"] for a in i["anns"])
    assert sum(len(i["anns"]) for i in ordinal["images"]) > 100


def test_two_people_in_one_picture_are_two_people_of_the_data_set(world: World, model: Model) -> None:
    both = np.concatenate([seen(person(FRAMES)), seen(person(FRAMES, seed=4) + [1200, 0, 0], seed=1)], axis=1)
    harvest = harvested(world, model, people=both)
    assert [c["first_frame"] for c in harvest.report["clips"]] == [0, 0]
    assert harvest.frames == 2 * FRAMES
    assert frames.picture_of(harvest, FRAMES + 7) == 7
    review.decide(world.rea, harvest, "accepted", Rule())
    job = publication.publish(world.ada, harvest, PublishPlan(dataset="both", least_joints=3))
    jobs.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "done", job.error
    people = Person.objects.filter(image__dataset__name="both")
    pictures = set(people.values_list("image__name", flat=True))
    assert people.count() > len(pictures) > FRAMES / 2


def test_a_lifter_is_fine_tuned_on_accepted_pseudo_labels(world: World, model: Model) -> None:
    harvest = harvested(world, model, video=False)
    plan = TunePlan(start_from=model.uuid, options={"epochs": 2})
    with pytest.raises(Conflict, match="accepted pseudo-label"):
        fine_tunes.start(world.ada, harvest, plan)
    review.decide(world.rea, harvest, "accepted", Rule(frame=0, last_frame=39))
    client = world.client(world.ada)
    form = {"start_from": str(model.uuid), "learn_from": "accepted", "epochs": "2", "bones_weight": "0.2"}
    assert "/runs/" in client.post(f"/harvests/{harvest.uuid}/tune/", form)["Location"]
    run = Run.objects.get(method="fine-tune")
    assert (run.config["epochs"], run.config["bones_weight"], run.config["hidden"]) == (2, 0.2, 16)
    jobs.run_job(run.job.pk)
    run.refresh_from_db()
    run.job.refresh_from_db()
    assert run.job.state == "done", run.job.error
    tuned = Model.objects.get(run=run)
    assert load(Path(settings.MEDIA_ROOT) / tuned.path).skeleton.keypoints == LSP_14.keypoints
    about = run.metrics["pseudo"]
    accepted = PseudoLabel.objects.filter(verdict="accepted").count()
    assert about["joints"] == accepted
    assert "true_error" in run.metrics["parent"]
    learned = b"".join(client.get(f"/api/v1/models/{tuned.uuid}/pseudo/").streaming_content)
    assert hashlib.sha256(learned).hexdigest() == about["sha256"]
    arrays = np.load(io.BytesIO(learned))
    assert arrays["target_mm"].shape == (about["people"], 14, 3)
    assert set(np.unique(arrays["score"])) == {0.0, 1.0}
    label = PseudoLabel.objects.filter(verdict="accepted").order_by("frame", "joint").first()
    np.testing.assert_allclose(arrays["target_mm"][0, label.joint], [label.x_mm, -label.z_mm, label.y_mm], atol=0.01)
    assert "estimates, not measurements" in client.get(f"/api/v1/models/{tuned.uuid}/card/").content.decode()
    assert "the model it started from" in client.get(f"/runs/{run.uuid}/").content.decode()
    assert world.client(world.resi).get(f"/api/v1/models/{tuned.uuid}/pseudo/").status_code == 403


def test_automatic_labels_count_by_their_confidence(world: World, model: Model, tmp_path: Path) -> None:
    from training.runs import fine_tune_job

    harvest = harvested(world, model, video=False)
    review.decide(world.rea, harvest, "accepted", Rule(joint="left_wrist"))
    review.decide(world.rea, harvest, "rejected", Rule(joint="right_wrist"))
    fine_tune_job.freeze(harvest, "unrejected", tmp_path / "p.npz")
    pseudo = fine_tune_job.read(tmp_path / "p.npz", LSP_14)
    assert set(np.unique(pseudo.score[:, LSP_14.index("left_wrist")])) <= {0.0, 1.0}
    assert (pseudo.score[:, LSP_14.index("right_wrist")] == 0).all()
    rest = pseudo.score[:, LSP_14.index("left_knee")]
    expected = np.load(Path(settings.MEDIA_ROOT) / harvest.folder / "expected_mm.npy")[:, LSP_14.index("left_knee")]
    there = rest > 0
    frames = np.array(sorted({f for f in PseudoLabel.objects.values_list("frame", flat=True)}))
    assert 0 < rest[there].max() < 1
    assert np.corrcoef(rest[there], expected[frames][there])[0, 1] < -0.8


def test_the_api_and_the_command_line_do_the_same(world: World, model: Model, tmp_path: Path, capsys: Any) -> None:
    client = world.client(world.ada)
    sent = {
        "name": "api",
        "models": str(model.uuid),
        "detections": npz(seen(person(20))),
        "options": '{"keep_share": 1}',
    }
    created = client.post("/api/v1/harvests/video/", sent)
    assert created.status_code == 202, created.content
    harvest = Harvest.objects.get(uuid=created.json()["id"])
    jobs.run_job(harvest.job.pk)
    harvest.refresh_from_db()
    assert harvest.pseudo_labels.count() == 20 * 14
    assert any("focal length is not known" in f for f in harvest.report["findings"])
    body = {"start_from": str(model.uuid), "learn_from": "unrejected", "options": {"epochs": 1}}
    begun = client.post(f"/api/v1/harvests/{harvest.uuid}/tune/", body, content_type="application/json")
    assert begun.status_code == 201, begun.content
    assert begun.json()["method"] == "fine-tune"
    call_command(
        "fine_tune",
        *(str(harvest.uuid), "--epochs", "1", "--here"),
        start_from=str(model.uuid),
        actor="ada",
        learn_from="unrejected",
    )
    assert "model " in capsys.readouterr().out
    (tmp_path / "d.npz").write_bytes(npz(seen(person(20))).read())
    weights = Path(settings.MEDIA_ROOT) / model.path
    call_command(
        "harvest", "video", str(tmp_path / "out"), "--detections", str(tmp_path / "d.npz"), "--models", str(weights)
    )
    assert "found joints kept" in capsys.readouterr().out
    assert (tmp_path / "out" / "poses.c3d").stat().st_size > 1000
    with pytest.raises(CommandError, match="models: 2D keypoints need a model"):
        call_command("harvest", "video", str(tmp_path / "none"), "--detections", str(tmp_path / "d.npz"))
    with pytest.raises(CommandError, match="no such harvest"):
        call_command("fine_tune", "x", start_from=str(model.uuid), actor="ada")


def test_predictions_of_3d_need_no_model(world: World) -> None:
    out = io.BytesIO()
    poses = person(40) - [0, 0, 5000]
    np.savez(out, poses_mm=poses.astype(np.float32), joint_names=np.array(H36M_17.keypoints), fps=np.array(25.0))
    file = SimpleUploadedFile("p.npz", out.getvalue())
    harvest = uploads.receive(world.ada, "video", VideoPlan(name="3d"), {"detections": file})
    jobs.run_job(harvest.job.pk)
    harvest = Harvest.objects.select_related("job").get()
    assert harvest.job.state == "done", harvest.job.error
    assert (harvest.fps, harvest.frames) == (25.0, 40)
    assert harvest.pseudo_labels.exists()


def test_a_zip_of_openpose_frames_and_one_of_pictures_are_read(world: World, model: Model) -> None:
    from tests.conftest import jpeg

    values = seen(person(20))
    packed, pictures = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for f in range(20):
            people = [{"pose_keypoints_2d": values[f, 0].ravel().tolist()}]
            archive.writestr(f"json/{f:04d}_keypoints.json", json.dumps({"people": people}))
    with zipfile.ZipFile(pictures, "w") as archive:
        for f in range(20):
            archive.writestr(f"video/{f:04d}.jpg", jpeg(f))
    plan = VideoPlan(name="zip", models=[model.uuid], skeleton="h36m-17", fps=10)
    zips = {"detections": packed, "video": pictures}
    files = {field: SimpleUploadedFile("it.zip", out.getvalue()) for field, out in zips.items()}
    harvest = uploads.receive(world.ada, "video", plan, files)
    jobs.run_job(harvest.job.pk)
    harvest = Harvest.objects.select_related("job").get()
    assert harvest.job.state == "done", harvest.job.error
    assert len(harvest.report["shown"]) > 10


def test_a_video_of_an_unknown_codec_is_a_finding_and_an_empty_one_is_refused(world: World, model: Model) -> None:
    broken = SimpleUploadedFile("walk.mp4", b"\0\0\0\x18ftypisom" + b"no video at all" * 50)
    plan = VideoPlan(name="broken", models=[model.uuid])
    harvest = uploads.receive(world.ada, "video", plan, {"detections": npz(seen(person(20))), "video": broken})
    jobs.run_job(harvest.job.pk)
    harvest = Harvest.objects.select_related("job").get()
    assert harvest.job.state == "done", harvest.job.error
    assert any("cannot be read: unknown codec or broken file" in f for f in harvest.report["findings"])
    assert harvest.report["shown"] == []
    with pytest.raises(Conflict, match="no videos or pictures"):
        publication.publish(world.ada, harvest, PublishPlan(dataset="none"))
    empty = SimpleUploadedFile("walk.mp4", b"")
    with pytest.raises(Invalid) as refused:
        uploads.receive(world.ada, "video", plan, {"detections": npz(seen(person(20))), "video": empty})
    assert refused.value.field == "video"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"detections": SimpleUploadedFile("d.npz", b"")}, "detections"),
        ({"detections": SimpleUploadedFile("d.npz", b"PK nothing")}, "detections"),
        ({"detections": SimpleUploadedFile("d.exe", b"MZ")}, "detections"),
        ({"detections": "nobody"}, "detections"),
        ({"detections": "flat"}, "detections"),
        ({"models": ""}, "models"),
        ({"models": str(uuid.uuid4())}, "models"),
        ({"models": "seven"}, "models"),
        ({"name": ""}, "name"),
        ({"skeleton": "horse-9"}, "skeleton"),
        ({"options": '{"window_s": -1}'}, "window_s"),
        ({"options": "[]"}, "options"),
        ({"fps": "-3"}, "fps"),
        ({"video": SimpleUploadedFile("v.txt", b"abc")}, "video"),
    ],
)
def test_bad_uploads_are_refused_at_the_door_and_leave_nothing(
    world: World, model: Model, change: dict[str, Any], field: str
) -> None:
    data: dict[str, Any] = {"name": "walk", "models": str(model.uuid), "detections": npz(seen(person(8)))} | change
    if data["detections"] == "nobody":
        data["detections"] = npz(0 * seen(person(8)))
    if data["detections"] == "flat":
        data["detections"] = npz(seen(person(8))[:, 0, :, 0])
    if hasattr(data["detections"], "seek"):
        data["detections"].seek(0)
    response = world.client(world.ada).post("/api/v1/harvests/video/", data)
    assert response.status_code in (400, 413), response.content
    assert response.json()["field"].split(".")[0] == field
    assert not Harvest.objects.exists()
    assert not list(Path(settings.FILE_UPLOAD_TEMP_DIR).glob("*/*"))


def test_fine_tuning_names_what_does_not_fit(world: World, model: Model) -> None:
    harvest = harvested(world, model, video=False)
    review.decide(world.rea, harvest, "accepted", Rule())
    with pytest.raises(Invalid) as refused:
        fine_tunes.start(world.ada, harvest, TunePlan(start_from=uuid.uuid4()))
    assert refused.value.field == "start_from"
    with pytest.raises(Invalid) as refused:
        fine_tunes.start(world.ada, harvest, TunePlan(start_from=model.uuid, options={"epochs": 0}))
    assert refused.value.field == "epochs"
    Run.objects.filter(model=model).update(config=model.run.config | {"depth": "free"})
    with pytest.raises(Invalid, match="depth has no unit"):
        fine_tunes.start(world.ada, harvest, TunePlan(start_from=model.uuid))
    release = Release.objects.get()
    with pytest.raises(Invalid) as refused:
        launch.start(world.ada, release, method="fine-tune")
    assert refused.value.field == "method"


def test_nobody_else_harvests_tunes_or_looks(world: World, model: Model) -> None:
    harvest = harvested(world, model, video=False)
    for account in (world.rea, world.resi, world.ann, world.eve):
        with pytest.raises(NotAllowed):
            files = {"detections": npz(seen(person(5)))}
            uploads.receive(account, "video", VideoPlan(name="x", models=[model.uuid]), files)
        with pytest.raises(NotAllowed):
            fine_tunes.start(account, harvest, TunePlan(start_from=model.uuid))
        assert world.client(account).get("/harvests/new/video/").status_code == 403
    for account in (world.resi, world.ann, world.eve):
        client = world.client(account)
        for path in ("timeline/", "stretch/?first=0"):
            assert client.get(f"/api/v1/harvests/{harvest.uuid}/{path}").status_code in (403, 404)


def test_pages_of_videos_ask_few_questions(world: World, model: Model, django_assert_max_num_queries: Any) -> None:
    harvest = harvested(world, model)
    client = world.client(world.ada)
    for path, most in (
        ("/harvests/", 8),
        ("/harvests/new/video/", 6),
        (f"/harvests/{harvest.uuid}/", 9),
        (f"/harvests/{harvest.uuid}/review/", 6),
        (f"/api/v1/harvests/{harvest.uuid}/timeline/", 5),
        (f"/api/v1/harvests/{harvest.uuid}/stretch/?first=0&count=50", 6),
    ):
        with django_assert_max_num_queries(most):
            assert client.get(path).status_code == 200, path


def test_the_pages_form_starts_a_harvest_and_says_what_is_wrong(world: World, model: Model) -> None:
    client = world.client(world.ada)
    page = client.get("/harvests/new/video/").content.decode()
    assert str(model.uuid) in page
    sent = client.post(
        "/harvests/new/video/", {"name": "form", "models": [str(model.uuid)], "detections": npz(seen(person(12)))}
    )
    assert sent.status_code == 302
    wrong = client.post(
        "/harvests/new/video/", {"name": "form", "models": [], "detections": npz(seen(person(12)))}, follow=True
    )
    assert "need a model that lifts them" in wrong.content.decode()
