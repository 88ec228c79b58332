"""What reviewers correct: a joint put elsewhere and triangulated again, people exchanged over a stretch; each can be taken back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labeling.skeletons import H36M_17
from tests.conftest import World
from tests.training.harvests.test_harvests import harvested
from tests.training.harvests.test_several_people import harvested as harvested_three
from tests.training.harvests.test_video_harvests import harvested as harvested_video
from tests.training.harvests.test_video_harvests import model  # noqa: F401  (a fixture)
from tests.training.multiview.test_multiview import scene
from training.harvests import corrections, frames, review
from training.harvests.corrections import Exchange, Placing
from training.harvests.review import Rule
from training.models import Changed, Harvest, Model, PseudoLabel, Review
from training.multiview import triangulation
from webapp.errors import Invalid, NotAllowed

WRIST = H36M_17.index("left_wrist")


def put(world: World, harvest: Harvest, frame: int, camera: int, at: np.ndarray) -> Review:
    name = harvest.cameras[camera]["name"]
    return corrections.place(
        world.rea, harvest, Placing(frame=frame, joint="left_wrist", camera=name, x=float(at[0]), y=float(at[1]))
    )


def label_at(frame: int) -> PseudoLabel | None:
    return PseudoLabel.objects.filter(frame=frame, joint=WRIST).first()


def numbers(label: PseudoLabel | None) -> list[float] | None:
    return label and [label.x_mm, label.y_mm, label.z_mm, label.error_px, label.verdict]


@pytest.mark.parametrize("kept", [True, False])
def test_a_joint_put_right_in_two_views_is_where_they_meet(world: World, tmp_path: Path, kept: bool) -> None:
    harvest = harvested(world, tmp_path, views=False)
    truth, cameras = scene(12)[1], frames.cameras_of(harvest)
    with_label = set(PseudoLabel.objects.filter(joint=WRIST).values_list("frame", flat=True))
    frame = next(f for f in range(12) if (f in with_label) is kept)
    before, shown = numbers(label_at(frame)), frames.frame_of(harvest, frame)
    right = truth[frame, WRIST] + [40.0, -30.0, 60.0]  # elsewhere than any detector said
    put(world, harvest, frame, 0, cameras[0].project(right[None])[0])
    one_view = numbers(label_at(frame))
    assert np.linalg.norm(np.subtract(one_view[:3], right)) < 60  # the other three views still say where it was
    put(world, harvest, frame, 2, cameras[2].project(right[None])[0])
    label = label_at(frame)
    np.testing.assert_allclose([label.x_mm, label.y_mm, label.z_mm], right, atol=0.5)
    assert label.verdict == "accepted" and label.error_px < 0.1 and set(label.placed) == {"0", "2"}
    rng, pair = np.random.default_rng(0), [cameras[0], cameras[2]]
    noisy = np.stack([c.project(right[None]) for c in pair], axis=1) + rng.normal(0, 3, (4000, 2, 2))  # px
    many = triangulation.linear(pair, noisy[:, :, None], np.ones((4000, 2, 1))).position[:, 0]
    six = np.cov(many.T)[[0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    np.testing.assert_allclose(label.covariance, six, atol=0.1 * np.abs(six).max())
    now = frames.frame_of(harvest, frame)
    np.testing.assert_allclose(now["joints"][WRIST]["position_mm"], right, atol=0.6)
    np.testing.assert_allclose(
        now["views"][2]["joints"][WRIST]["detected"], cameras[2].project(right[None])[0], atol=0.2
    )
    np.testing.assert_allclose(
        now["views"][1]["joints"][WRIST]["detected"], shown["views"][1]["joints"][WRIST]["detected"], atol=0.2
    )  # a detection stays where it was
    assert now["joints"][WRIST - 1] == shown["joints"][WRIST - 1]
    review.undo(world.rea, harvest)
    assert numbers(label_at(frame)) == one_view
    review.undo(world.rea, harvest)
    assert numbers(label_at(frame)) == before and frames.frame_of(harvest, frame) == shown
    assert Changed.objects.count() == (2 if kept else 0)


def test_a_detection_that_contradicts_a_reviewer_is_not_listened_to(world: World, tmp_path: Path) -> None:
    harvest = harvested(world, tmp_path, views=False)
    camera = frames.cameras_of(harvest)[1]
    far = scene(12)[1][3, WRIST] + [400.0, 300.0, -350.0]
    put(world, harvest, 3, 1, camera.project(far[None])[0])
    label = label_at(3)
    seen = camera.project(np.array([[label.x_mm, label.y_mm, label.z_mm]]))[0]
    np.testing.assert_allclose(seen, camera.project(far[None])[0], atol=12)


def test_in_one_camera_the_depth_stays(world: World, model: Model) -> None:  # noqa: F811
    harvest = harvested_video(world, model, video=False)
    label = PseudoLabel.objects.filter(frame=5).first()
    camera = frames.cameras_of(harvest)[0]
    name = frames.skeleton_of(harvest).keypoints[label.joint]
    old = np.array([[label.x_mm, label.y_mm, label.z_mm]])
    at = camera.project(old)[0] + [12.0, -7.0]
    corrections.place(
        world.rea,
        harvest,
        Placing(frame=5, joint=name, camera=camera.name, x=float(at[0]), y=float(at[1])),
    )
    label.refresh_from_db()
    new = np.array([[label.x_mm, label.y_mm, label.z_mm]])
    np.testing.assert_allclose(camera.project(new)[0], at, atol=0.01)
    np.testing.assert_allclose(camera.see(new)[0, 2], camera.see(old)[0, 2], rtol=1e-6)


def test_people_are_exchanged_over_a_stretch_and_back(world: World, tmp_path: Path) -> None:
    harvest, _ = harvested_three(world, tmp_path)
    clips = {clip["person"] + 1: clip for clip in harvest.report["clips"]}

    def row(person: int, frame: int) -> int:
        return int(clips[person]["row"] + frame - clips[person]["first_frame"])

    def labels(person: int, frame: int) -> list[tuple[int, float]]:
        return list(PseudoLabel.objects.filter(frame=row(person, frame)).order_by("joint").values_list("joint", "x_mm"))

    def position(person: int, frame: int) -> list[list[float]]:
        return [joint["position_mm"] for joint in frames.frame_of(harvest, row(person, frame))["joints"]]

    before = {(p, f): (labels(p, f), position(p, f)) for p in (1, 3) for f in (9, 10, 15, 16)}
    put_by_hand = corrections.place(
        world.rea, harvest, Placing(frame=row(3, 10), joint="neck", camera="cam1", x=500, y=300)
    )
    review.undo(world.rea, harvest)
    assert put_by_hand.labels == 1
    done = corrections.exchange(world.rea, harvest, Exchange(person=1, other=3, first=10, last=15))
    assert done.labels == sum(len(before[key][0]) for key in before if 10 <= key[1] <= 15) + sum(
        len(labels(p, f)) for p in (1, 3) for f in range(11, 15)
    )
    for frame in (10, 15):
        assert (labels(1, frame), position(1, frame)) == before[3, frame]
        assert (labels(3, frame), position(3, frame)) == before[1, frame]
    for frame in (9, 16):
        assert (labels(1, frame), position(1, frame)) == before[1, frame]
    review.decide(world.rea, harvest, "accepted", Rule(person=1))
    review.undo(world.rea, harvest)
    review.undo(world.rea, harvest)
    assert {key: (labels(*key), position(*key)) for key in before} == before
    early = corrections.exchange(world.rea, harvest, Exchange(person=2, other=3, first=0, last=23))
    assert (early.rule["frame"], early.rule["last_frame"]) == (6, 23)  # as long as both are there


def test_what_cannot_be_corrected_is_said(world: World, tmp_path: Path) -> None:
    harvest = harvested(world, tmp_path, views=False)
    whole = {"frame": 3, "joint": "neck", "camera": "cam1", "x": 10, "y": 10}
    for change, field in (
        ({"joint": "tail"}, "joint"),
        ({"camera": "cam9"}, "camera"),
        ({"x": 1000}, "x"),
        ({"y": -1}, "y"),
        ({"frame": 99}, "frame"),
    ):
        with pytest.raises(Invalid) as refused:
            corrections.place(world.rea, harvest, Placing(**{**whole, **change}))
        assert refused.value.field == field
    with pytest.raises(NotAllowed):
        corrections.place(world.ann, harvest, Placing(**whole))
    with pytest.raises(Invalid) as refused:
        corrections.exchange(world.rea, harvest, Exchange(person=1, other=2, first=0, last=3))
    assert refused.value.field == "person"
    client = world.client(world.rea)
    url = f"/api/v1/harvests/{harvest.uuid}"
    answer = client.post(f"{url}/place/", {**whole, "x": "many"}, content_type="application/json")
    assert (answer.status_code, answer.json()["field"]) == (400, "x")
    assert client.post(f"{url}/place/", whole, content_type="application/json").status_code == 201
