"""The video harvester's library: who is who, confidence, windows that resume, what becomes of bad input. One camera, simulated people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from labeling.skeletons import COCO_17, H36M_17, LSP_14, Skeleton
from tests.training.video.test_video import walk
from training.harvest.arrays import HarvestArrays, Outcome
from training.harvest.harvester import BadRecording
from training.simulation import videos
from training.video import confidence, harvest, report
from training.video.clips import Clip, alone, follow
from training.video.confidence import Calibration, UncertaintyFeatures
from training.video.config import ClipConfig, SmoothConfig, VideoConfig
from training.video.harvest import Video
from training.video.lifting import BadLifter, View, in_skeleton

Array = NDArray[np.float64]
FPS, FOCAL = 10.0, 1145.0
VIEW = View((FOCAL, FOCAL), (500.0, 500.0))


def person(frames: int, seed: int = 3) -> Array:
    """A person of low-rank motion 5 m away, camera frame, mm."""
    still = np.array([[0.0, (j - 8) * 95.0, 30.0 * (j % 3)] for j in range(17)])
    still[0] = 0
    return np.asarray(still + 0.3 * walk(frames, 17, seed) + [0, 0, 5000])


def seen(truth: Array, noise: float = 2.0, seed: int = 0) -> Array:
    """F x 1 x 17 x 3 as a detector would see it."""
    pixels = FOCAL * truth[..., :2] / truth[..., 2:] + 500
    pixels = pixels + np.random.default_rng(seed).normal(0, noise, pixels.shape)
    return np.asarray(np.concatenate([pixels, np.full((*pixels.shape[:-1], 1), 0.9)], axis=-1)[:, None])


def lift_with(truth: Array) -> Any:
    """A lifter that scales the picture and guesses depth by it: three hypotheses, no network."""

    def lift(pixels: Array, view: View) -> tuple[Array, Array]:
        there = np.isfinite(pixels).all(axis=-1, keepdims=True)
        count = there.sum(axis=1, keepdims=True)
        middle = np.nansum(np.where(there, pixels, 0), axis=1, keepdims=True) / np.where(count > 1, count, np.nan)
        pixels = np.where(there, pixels, middle)  # as a lifter completes absent keypoints
        flat = (pixels - pixels[:, :1]) * 5000 / FOCAL
        pose = np.concatenate([flat, 0.2 * flat[..., :1]], axis=-1)
        several = np.stack([pose, 1.02 * pose, 0.99 * pose])
        return several, several * [1, 1, 0.9]

    return lift


def video(people: Array, fps: float = FPS, **more: Any) -> Video:
    return Video(H36M_17, follow(people, fps, ClipConfig()).clips, fps, (1000, 1000), people=people, view=VIEW, **more)


def harvested(people: Array, folder: Path, config: VideoConfig | None = None, fps: float = FPS) -> harvest.Harvest:
    return harvest.harvest(video(people, fps), lift_with(people), config or VideoConfig(), folder)


# clips


def test_two_people_who_come_in_changing_order_are_told_apart() -> None:
    a, b = seen(person(30)), seen(person(30, seed=4) + [1500, 0, 0])
    both = np.concatenate([a, b], axis=1)
    both[::2] = both[::2, ::-1]
    followed = follow(both, FPS, ClipConfig())
    assert [len(c.slots) for c in followed.clips] == [30, 30]
    assert followed.crossings == []
    assert sorted(c.slots.tolist() for c in followed.clips) == [[0, 1] * 15, [1, 0] * 15]


def test_clips_are_cut_where_two_people_could_be_exchanged() -> None:
    still = np.repeat(person(1), 41, axis=0)
    walks = np.linspace(-1200, 1200, 41)[:, None, None] * np.array([1.0, 0, 0])
    both = np.concatenate([seen(still + walks), seen(still - walks, seed=1)], axis=1)
    followed = follow(both, FPS, ClipConfig())
    assert followed.crossings
    assert all(17 <= f <= 24 for f in followed.crossings)
    assert sum(c.why == "another person crosses" for c in followed.clips) >= 2
    for clip in followed.clips:  # each of the long ones is one person from end to end
        if len(clip.slots) > 10:
            assert len(set(clip.slots.tolist())) == 1


def test_a_gap_is_bridged_where_short_and_cut_where_long() -> None:
    people = seen(person(60))
    people[10:13] = 0
    people[30:45] = 0
    followed = follow(people, FPS, ClipConfig(gap_s=0.5))
    assert [(c.first, len(c.slots), c.why) for c in followed.clips] == [
        (0, 30, "not seen for 0.5 s"),
        (45, 15, "the video ends"),
    ]
    assert followed.clips[0].slots[10:13].tolist() == [-1, -1, -1]


def test_a_body_that_jumps_is_somebody_else() -> None:
    truth = person(40)
    truth[20:] += [2500, 0, 0]
    assert [c.first for c in follow(seen(truth), FPS, ClipConfig()).clips] == [0, 20]


def test_predicted_people_are_taken_as_they_were_followed() -> None:
    score = np.zeros((9, 2, 3))
    score[2:7, 0] = 1
    score[4, 0] = 0
    score[0:3, 1] = 0.5
    clips = alone(score).clips
    assert [(c.first, c.slots.tolist()) for c in clips] == [(2, [0, 0, -1, 0, 0]), (0, [1, 1, 1])]


def test_other_skeletons_are_brought_to_the_lifters() -> None:
    coco = np.random.default_rng(0).uniform(1, 100, (4, 17, 3))
    coco[..., 2] = 0.8
    coco[2, COCO_17.index("left_hip"), 2] = 0.0
    mapped = in_skeleton(coco, COCO_17, LSP_14)
    np.testing.assert_array_equal(mapped[:, LSP_14.index("left_knee")], coco[:, COCO_17.index("left_knee")])
    hips = coco[:, [COCO_17.index("left_hip"), COCO_17.index("right_hip")]]
    back = in_skeleton(coco, COCO_17, H36M_17)[:, H36M_17.index("mid_hip")]
    np.testing.assert_allclose(back[[0, 1, 3], :2], hips[[0, 1, 3], :, :2].mean(axis=1))
    assert back[2].tolist() == [0, 0, 0]
    with pytest.raises(BadLifter, match="joints of h36m-17"):
        in_skeleton(coco[:, :2], Skeleton("two", COCO_17.keypoints[:2], (), COCO_17.keypoints[0]), H36M_17)


# confidence


def test_calibration_finds_the_line_that_made_the_errors() -> None:
    rng = np.random.default_rng(1)
    signs = UncertaintyFeatures(
        np.exp(rng.normal(3, 1, (400, 17))), np.exp(rng.normal(3, 1, (400, 17))), rng.uniform(0, 1, (400, 17))
    )
    planted = (1.2, 0.6, 0.3, 0.5)
    error = np.exp((signs.features @ np.array(planted)).reshape(400, 17) + rng.normal(0, 0.4, (400, 17)))
    line = Calibration.fit(signs, error)
    np.testing.assert_allclose(line.line, planted, atol=0.05)
    assert line.width == pytest.approx(0.4, abs=0.02)
    assert float((line.expected_mm(signs) / error).mean()) == pytest.approx(np.exp(0.4**2), rel=0.03)
    table = confidence.reliability(line.near(signs), error < confidence.NEAR_MM)
    assert table.error < 0.02
    with pytest.raises(ValueError, match="too few to calibrate"):
        Calibration.fit(UncertaintyFeatures(*(np.ones((2, 3)),) * 3), np.ones((2, 3)))


def test_expected_errors_become_covariances_of_that_length() -> None:
    cov = confidence.covariance_mm2(np.array([80.0]))[0]
    drawn = np.random.default_rng(2).multivariate_normal(np.zeros(3), cov, 200_000)
    assert float(np.linalg.norm(drawn, axis=1).mean()) == pytest.approx(80, rel=0.01)
    assert np.sqrt(cov[2, 2] / cov[0, 0]) == pytest.approx(confidence.DEEPER)


def test_reliability_of_a_known_forecast() -> None:
    table = confidence.reliability(np.array([0.95, 0.95, 0.15, 0.15]), np.array([True, False, False, False]))
    np.testing.assert_allclose(table.observed, [0.0, 0.5])
    assert table.error == pytest.approx((0.15 + 0.45) / 2)


# the harvest


def test_a_harvest_is_nearer_to_the_truth_than_what_was_lifted_at_first(tmp_path: Path) -> None:
    truth = person(120)
    people = seen(truth, noise=3)
    rng = np.random.default_rng(5)
    wrong = rng.random((120, 1, 17)) < 0.08
    people[..., :2] += np.where(wrong[..., None], rng.normal(0, 60, people[..., :2].shape), 0)
    people[..., 2] = np.where(wrong, 0.4, 0.9)
    result = harvested(people, tmp_path)
    clean = lift_with(truth)(seen(truth, noise=0)[:, 0, :, :2], VIEW)[0].mean(axis=0)
    now = np.array(result.position) @ harvest.LEVEL.T
    first = np.array(result.extra["before"]) @ harvest.LEVEL.T

    def off(pose: Array) -> float:
        return float(np.linalg.norm((pose - pose[:, :1]) - clean, axis=-1).mean())

    assert off(now) < 0.4 * off(first)
    assert float(np.median(result.error_px)) < 6
    assert abs(float(np.median(now[:, 0, 2])) - 5000) < 400
    share = result.kept.sum() / result.kept.size
    assert share == pytest.approx(0.7, abs=0.01)
    for name in ("position", "covariance", "uncertainty", "before", "expected_mm"):
        assert np.isfinite(result.named()[name]).all(), name


def test_a_stopped_harvest_goes_on_and_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    people = seen(person(300))
    config = VideoConfig(window_s=5, fade_s=1)
    whole = harvested(people, tmp_path / "whole", config)

    class Stopped(Exception):
        pass

    for limit in (0, 80, 200):

        def progress(done: int, total: int, unit: str, limit: int = limit) -> None:
            if done > limit:
                raise Stopped

        with pytest.raises(Stopped):
            harvest.harvest(video(people), lift_with(people), config, tmp_path / "cut", progress=progress)
    again = harvested(people, tmp_path / "cut", config)
    for name, values in whole.named().items():
        np.testing.assert_array_equal(again.named()[name], values)


def test_a_harvest_does_not_go_on_from_other_detections_or_other_models(tmp_path: Path) -> None:
    people, others = seen(person(40)), seen(person(40, seed=9))
    harvested(people, tmp_path / "a")
    np.testing.assert_array_equal(
        harvested(others, tmp_path / "a").position, harvested(others, tmp_path / "b").position
    )
    calls = []

    def lift(pixels: Array, view: View) -> tuple[Array, Array]:
        calls.append(len(pixels))
        return lift_with(people)(pixels, view)  # type: ignore[no-any-return]

    harvest.harvest(video(others), lift, VideoConfig(), tmp_path / "a", models="other")
    assert calls


@given(st.lists(st.integers(1, 400), min_size=1, max_size=4), st.integers(2, 60), st.integers(1, 30))
@settings(deadline=None, max_examples=60)
def test_windows_cover_every_row_and_overlap_by_the_fade(lengths: list[int], size: int, fade: int) -> None:
    windows = harvest._windows(lengths, size, fade)
    base = 0
    for clip, length in enumerate(lengths):
        own = [w for w in windows if w.clip == clip]
        assert (own[0].start, own[-1].stop, own[0].fade) == (base, base + length, 0)
        for before, after in zip(own, own[1:]):
            assert before.stop - after.start == after.fade >= 1
            assert after.stop > before.stop
        base += length


def test_windows_change_little(tmp_path: Path) -> None:
    people = seen(person(400), noise=3)
    whole = harvested(people, tmp_path / "one", VideoConfig(window_s=60))
    parts = harvested(people, tmp_path / "several", VideoConfig(window_s=12, fade_s=2))
    assert float(np.linalg.norm(np.array(whole.position) - np.array(parts.position), axis=-1).mean()) < 12


def test_labels_are_taken_from_frames_a_tenth_of_a_second_apart(tmp_path: Path) -> None:
    result = harvested(seen(person(90)), tmp_path, VideoConfig(labels_per_s=10, keep_share=1.0), fps=30)
    assert np.flatnonzero(result.kept.any(axis=1)).tolist() == list(range(0, 90, 3))


def test_the_report_sets_plain_filters_beside_the_harvest(tmp_path: Path) -> None:
    people = seen(person(120), noise=6)
    result, quality = harvest_and_report(people, tmp_path)
    rows = {c["name"]: c for c in quality["controls"]}
    first = np.array(result.extra["before"]) - np.array(result.extra["before"])[:, :1]
    bent = np.linalg.norm(np.diff(first, n=2, axis=0), axis=-1).mean(axis=1).sum() / 120
    assert rows["as lifted at first"]["shaking_mm"] == pytest.approx(bent, abs=0.01)
    assert rows["as lifted at first"]["moved_mm"] == 0
    for name in ("Savitzky-Golay, 5 frames", "Butterworth, 2.2 Hz", "Kalman and RTS", "this harvest"):
        assert rows[name]["shaking_mm"] < rows["as lifted at first"]["shaking_mm"]
        assert rows[name]["moved_mm"] > 0


# each a named outcome


def harvest_and_report(
    people: Array, folder: Path, fps: float = FPS, **options: Any
) -> tuple[HarvestArrays, dict[str, Any]]:
    followed = follow(people, fps, ClipConfig())
    one = Video(H36M_17, followed.clips, fps, (1000, 1000), people=people, view=VIEW)
    result = harvest.harvest(one, lift_with(people), VideoConfig(**options), folder)
    assert all(np.isfinite(np.asarray(values, dtype=float)).all() for values in result.named().values())
    return result, report.report(one, result, followed, [])


def test_one_frame_is_lifted_alone(tmp_path: Path) -> None:
    result, quality = harvest_and_report(seen(person(1)), tmp_path)
    assert quality["clips"][0]["outcome"] == "one frame: lifted alone"
    assert result.outcome.tolist() == [[Outcome.FOUND] * 17]


def test_all_unconfident_is_nobody_detected_or_a_guess(tmp_path: Path) -> None:
    people = seen(person(20))
    people[..., 2] = 0
    with pytest.raises(BadRecording, match="Nobody is detected"):
        harvested(people, tmp_path / "none")
    people[..., 2] = 0.02
    _, quality = harvest_and_report(people, tmp_path / "little")
    assert quality["clips"][0]["outcome"] in ("completed", "nobody sure: every joint follows from guesses")


def test_a_joint_that_never_moves_is_named(tmp_path: Path) -> None:
    people = seen(person(60))
    people[:, 0, 5, :2] = (311.0, 222.0)
    _, quality = harvest_and_report(people, tmp_path)
    assert f"clip 1: the detections of {H36M_17.keypoints[5]} never move; they look stuck" in quality["findings"]


def test_a_stretch_of_nan_is_filled_and_named(tmp_path: Path) -> None:
    people = seen(person(60))
    people[20:24] = np.nan
    people[40:44, 0, 7] = np.nan
    people[..., 2] = np.nan_to_num(people[..., 2])
    result, quality = harvest_and_report(people, tmp_path)
    assert any("nobody is seen in 4 frames" in f for f in quality["findings"])
    assert (result.outcome[40:44, 7] == Outcome.INFERRED).all()
    assert not result.kept[20:24].any()


def test_a_joint_that_is_never_seen_follows_from_the_others(tmp_path: Path) -> None:
    people = seen(person(30))
    people[:, 0, 9, 2] = 0
    result, _ = harvest_and_report(people, tmp_path)
    assert (result.outcome[:, 9] == Outcome.INFERRED).all()
    assert not result.kept[:, 9].any()


def test_a_thousand_frames_a_second_are_slow_motion(tmp_path: Path) -> None:
    slow = person(30)
    people = seen(np.repeat(slow, 40, axis=0)[:900], noise=1)
    result, quality = harvest_and_report(people, tmp_path, fps=1000.0)
    assert any("1000 frames a second: taken as slow motion" in f for f in quality["findings"])
    assert len(np.flatnonzero(result.kept.any(axis=1))) == 9


def test_two_people_crossing_are_cut_and_named(tmp_path: Path) -> None:
    still = np.repeat(person(1), 41, axis=0)
    walks = np.linspace(-1200, 1200, 41)[:, None, None] * np.array([1.0, 0, 0])
    _, quality = harvest_and_report(
        np.concatenate([seen(still + walks), seen(still - walks, seed=1)], axis=1), tmp_path
    )
    assert any("two people cross in frame" in f for f in quality["findings"])
    assert len(quality["clips"]) >= 3


def test_predictions_of_3d_are_smoothed_without_a_lifter(tmp_path: Path) -> None:
    truth = walk(150, 17, seed=6)
    rng = np.random.default_rng(7)
    wrong = rng.random((150, 17)) < 0.15
    given_mm = truth + rng.normal(0, 25, truth.shape) + np.where(wrong[..., None], rng.normal(0, 250, truth.shape), 0)
    given_mm[:, 0] = 0  # a predictor's root is where it says
    given_mm[60:63] = np.nan
    score = np.where(wrong, 0.4, 0.9)
    score[60:63] = 0
    clips = alone(score[:, None]).clips
    one = Video(H36M_17, clips, FPS, (1000, 1000), poses_mm=given_mm[:, None], score=score[:, None])
    options = VideoConfig(poses=SmoothConfig(bones=0.0))  # this motion has no steady bones
    result = harvest.harvest(one, None, options, tmp_path)
    now = np.array(result.position) @ harvest.LEVEL.T
    rest = np.isfinite(given_mm).all(axis=(1, 2))
    before = np.linalg.norm(given_mm[rest] - truth[rest], axis=-1).mean()
    assert np.linalg.norm(now - now[:, :1] - truth, axis=-1)[rest].mean() < 0.5 * before
    assert (result.outcome[60:63] == Outcome.NOBODY).all()
    assert not result.seen.any()
    two_d = Video(H36M_17, [Clip(0, 0, np.zeros(3, dtype=int))], FPS, (9, 9), people=seen(person(3)))
    with pytest.raises(BadRecording, match="need a lifter"):
        harvest.harvest(two_d, None, VideoConfig(), tmp_path / "no")


def test_detections_simulated_for_the_benchmarks_are_as_said() -> None:
    pixels = np.repeat(seen(person(1), noise=0)[:, 0, :, :2], 4000, axis=0)
    detected, score = videos.detected(pixels, H36M_17, videos.LIGHT, np.random.default_rng(8))
    fine = np.abs(detected - pixels)[score > 0.6]
    assert 3 < np.median(fine) / 0.6745 < 8
    assert score.min() >= 0
    assert score.max() <= 1
