"""From one camera's tracks (or a predictor's poses) to 3D joints with uncertainty, in windows: any length in little memory.

Per window: 2D tracks cleaned and lifted again by every model and its mirror; the mean smoothed in one convex problem with what is
believed of each joint; root placed before the camera so that it projects onto the tracks; covariance from calibrated disagreement.
Windows overlap and are faded into each other. Results are the arrays of a multi-view harvest with one camera, one row a frame of a clip,
clips end to end; `state.json` says how far they are in force, so a killed run goes on where it was and ends the same. Nothing is NaN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from labeling.skeletons import Skeleton
from training.harvest import arrays, selection
from training.harvest.arrays import HarvestArrays, Outcome, Size
from training.harvest.harvester import BadRecording
from training.poses.cameras import Camera
from training.video import confidence, filters, priors, smoothing, tracks
from training.video.clips import Clip
from training.video.confidence import Calibration, UncertaintyFeatures
from training.video.config import VideoConfig
from training.video.lifting import UNKNOWN, View
from webapp.progress import Progress, silent

Array = NDArray[np.float64]
Lift = Callable[[Array, View], tuple[Array, Array]]
USUAL_DEPTH_MM = 4000.0
LEVEL = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # world (z up) to camera (y down) of a camera held level
UNSEEN_COVARIANCE_MM2 = 600.0**2
STILL_PX, STILL_S = 0.25, 2.0  # a track that moves less for so long is a stuck detection


@dataclass(frozen=True)
class Video:
    """What one camera saw: clips over `people` F x P x J x 3 (px, px, score), or `poses_mm` F x P x J x 3 with `score` F x P x J of a
    predictor of 3D. `view` holds the intrinsics where they are known, `size` the picture's."""

    skeleton: Skeleton
    clips: Sequence[Clip]
    fps: float
    size: tuple[int, int]
    people: Float[np.ndarray, "F P J 3"] | None = None
    poses_mm: Float[np.ndarray, "F P J 3"] | None = None
    score: Float[np.ndarray, "F P J"] | None = None
    view: View = UNKNOWN
    name: str = "video"

    @property
    def rows(self) -> int:
        return sum(len(c.slots) for c in self.clips)

    @property
    def camera(self) -> Camera:
        """Level and at the origin; a focal length that nobody knows is 1.2 times the picture's longer side."""
        known = np.isfinite(self.view.focal_px).all()
        fx, fy = self.view.focal_px if known else (1.2 * max(self.size),) * 2
        centred = np.isfinite(self.view.principal_px).all()
        cx, cy = self.view.principal_px if centred else ((self.size[0] - 1) / 2, (self.size[1] - 1) / 2)
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
        return Camera(self.name, self.size, matrix, np.zeros(5), LEVEL.copy(), np.zeros(3))


EXTRA = ("before", "expected_mm", "method")


def harvest(
    video: Video,
    lift: Lift | None,
    config: VideoConfig,
    folder: Path,
    *,
    calibration: Calibration | None = None,
    models: str = "",
    progress: Progress = silent,
) -> HarvestArrays:
    """Harvest a video into `folder`, going on where an earlier call with the same input and options stopped. Raises BadRecording.

    `lift` is not needed where the video brings 3D predictions. `calibration`: of this lifter; else a usual one's. `models`: what `lift` lifts
    with, so that nothing goes on from what other models found.
    """
    if not video.rows:
        raise BadRecording("Nobody is detected in any frame.", field="detections", fix="check scores and skeleton")
    if video.people is not None and lift is None:
        raise BadRecording("2D keypoints need a lifter.", field="models", fix="choose a trained model")
    windows = _windows(
        [len(c.slots) for c in video.clips], round(config.window_s * video.fps), round(config.fade_s * video.fps)
    )
    views, joints = 1, len(video.skeleton.keypoints)
    made_of = _made_of(video, config, f"{models} {calibration}")
    writing = arrays.start(folder, Size(video.rows, views, joints), made_of, extra=EXTRA)
    solve = _Solve(video, lift, config, calibration or USUAL)
    for number in range(writing.done, len(windows)):
        window = windows[number]
        progress(window.start, video.rows, "frames")
        with threadpool_limits(1, user_api="blas"):  # its matrices are small: more threads only wait for each other
            rows = solve(window)
        tail = _faded(rows, window, folder / "tail.npz", number)
        writing.append(window.start, rows)
        _write_tail(folder, number + 1, tail)
        writing.advance(number + 1)
    kept = _kept(writing.arrays, video, config)
    progress(video.rows, video.rows, "frames")
    return writing.keep(kept)


# windows


@dataclass(frozen=True)
class Window:
    """Rows [start, stop) of clip `clip`, which begins at row `base`; the first `fade` rows are also the last of the window before."""

    clip: int
    base: int
    start: int
    stop: int
    fade: int


def _windows(lengths: Sequence[int], size: int, fade: int) -> list[Window]:
    """Clips cut into windows of about `size` rows; a remainder shorter than half a window joins the last."""
    size, windows, base = max(size, 2), [], 0
    fade = min(max(fade, 1), size // 2)
    for clip, length in enumerate(lengths):
        count = max(1, round((length - fade) / max(size - fade, 1)))
        edges = np.linspace(0, length - fade if count > 1 else length, count + 1).round().astype(int)
        for n in range(count):
            stop = length if n == count - 1 else int(edges[n + 1]) + fade
            windows.append(Window(clip, base, base + int(edges[n]), base + stop, fade if n else 0))
        base += length
    return windows


BLENDED = ("position", "covariance", "before", "expected_mm", "uncertainty", "offset_px")


def _faded(rows: dict[str, Any], window: Window, path: Path, number: int) -> dict[str, Any]:
    """Blend the first rows with the end of the window before (kept beside the arrays); returns this window's own unblended rows."""
    own = {name: rows[name].copy() for name in BLENDED}
    if window.fade:
        with np.load(path.with_name(f"tail{number}.npz"), allow_pickle=False) as before:
            share = (np.arange(window.fade) + 1) / (window.fade + 1)
            for name in BLENDED:
                wide = share.reshape(-1, *[1] * (rows[name].ndim - 1))
                last = before[name][-window.fade :]
                rows[name][: window.fade] = (1 - wide) * last + wide * rows[name][: window.fade]
    return own


def _write_tail(folder: Path, number: int, rows: dict[str, Any]) -> None:
    """The next window's beginning, under its number: a window that runs again finds what it found."""
    part = folder / "tail.part.npz"
    np.savez(part, **{name: values[-4096:] for name, values in rows.items()})
    part.replace(folder / f"tail{number}.npz")
    (folder / f"tail{number - 2}.npz").unlink(missing_ok=True)


# one window


@dataclass(frozen=True)
class _Solve:
    video: Video
    lift: Lift | None
    config: VideoConfig
    calibration: Calibration

    def __call__(self, window: Window) -> dict[str, Any]:
        clip = self.video.clips[window.clip]
        first, last = window.start - window.base, window.stop - window.base
        frames, slots = clip.first + np.arange(first, last), clip.slots[first:last]
        if self.video.poses_mm is not None:
            return self._of_poses(frames, slots)
        return self._of_tracks(frames, slots)

    def _of_tracks(self, frames: NDArray[np.int64], slots: NDArray[np.int64]) -> dict[str, Any]:
        video, config = self.video, self.config
        assert video.people is not None  # noqa: S101
        assert self.lift is not None  # noqa: S101
        track_px = np.where((slots >= 0)[:, None, None], video.people[frames, np.maximum(slots, 0)], 0.0).astype(
            np.float64
        )
        pixels, score = track_px[..., :2], np.where(np.isfinite(track_px).all(axis=-1), track_px[..., 2], 0.0)
        clean = tracks.clean(pixels, score, video.skeleton, config.tracks, video.fps)
        known = np.broadcast_to(clean.known, score.shape)
        plain, turned = self.lift(np.where(known[..., None], clean.pixels, np.nan), video.view)
        raw = self.lift(np.where((score > 0)[..., None], pixels, np.nan), video.view)
        features = UncertaintyFeatures.of(np.nan_to_num(plain), np.nan_to_num(turned), clean.weight)
        expected = self.calibration.expected_mm(features)
        lifted = np.nan_to_num((plain.mean(axis=0) + turned.mean(axis=0)) / 2)
        there = np.isfinite(plain[0]).all(axis=-1)
        relative, method = self._smoothed(lifted, self.calibration.near(features) * there)
        before = filters.interpolated(_flat(raw[0].mean(axis=0)), np.isfinite(_flat(raw[0][0]))).reshape(lifted.shape)
        depth = self._placed(relative, clean.pixels, np.where(known, np.maximum(clean.weight, 0.02), 0.0))
        outcome = np.where(
            ~there, Outcome.NOBODY, np.where(known & (clean.weight > 0), Outcome.FOUND, Outcome.INFERRED)
        )
        return self._rows(
            relative, before, depth, expected, outcome, method, np.where((score > 0)[..., None], pixels, np.nan)
        )

    def _of_poses(self, frames: NDArray[np.int64], slots: NDArray[np.int64]) -> dict[str, Any]:
        video = self.video
        assert video.poses_mm is not None  # noqa: S101
        assert video.score is not None  # noqa: S101
        there = slots >= 0
        poses = np.asarray(video.poses_mm[frames, np.maximum(slots, 0)], dtype=np.float64)
        score = np.where(there[:, None], np.asarray(video.score[frames, np.maximum(slots, 0)], dtype=np.float64), 0.0)
        known = np.isfinite(poses).all(axis=-1) & np.isfinite(score) & (score > 0)
        root = video.skeleton.index(video.skeleton.root)
        relative = np.where(known[..., None], poses - np.nan_to_num(poses[:, root : root + 1]), 0.0)
        filled = filters.interpolated(_flat(relative), np.repeat(known, 3, axis=1)).reshape(relative.shape)
        score = np.where(known, np.clip(np.nan_to_num(score), 0, 1), 0.0)
        smooth, method = self._smoothed(filled, score)
        off = np.linalg.norm(smooth - filled, axis=-1)
        expected = 30.0 + 150.0 * (1 - score) + off
        outcome = np.where(
            ~known.any(axis=1, keepdims=True), Outcome.NOBODY, np.where(known, Outcome.FOUND, Outcome.INFERRED)
        )
        depth = np.broadcast_to([0.0, 0.0, USUAL_DEPTH_MM], (len(frames), 3))
        nowhere = np.full((*score.shape, 2), np.nan)
        return self._rows(smooth, filled, depth, expected, outcome, method, nowhere)

    def _smoothed(self, lifted: Array, score: Array) -> tuple[Array, int]:
        """Root-relative poses after the convex problem; a window of one frame stays as it was lifted."""
        if len(lifted) < 2 or not (score > 0).any() or not self.config.smooth:
            return lifted, 0
        options = self.config.poses if self.video.poses_mm is not None else self.config.lifted
        likely = priors.authored(self.video.skeleton) if options.prior else None
        done = smoothing.smooth(lifted, np.clip(score, 0, 1), options, self.video.fps, self.video.skeleton, likely)
        root = self.video.skeleton.index(self.video.skeleton.root)
        return done.positions - done.positions[:, root : root + 1], int(done.method == "plain")

    def _placed(self, relative: Array, pixels: Array, weight: Array) -> Array:
        """Where the root is (camera frame, F x 3, mm): least squares of the projection, then steady in depth."""
        k = self.video.camera.matrix
        rays = (pixels - k[:2, 2]) / k[[0, 1], [0, 1]]
        # X + Tx = u (Z + Tz): per joint two equations, three unknowns a frame
        rows = np.zeros((*rays.shape[:2], 2, 3))
        rows[..., 0, 0] = rows[..., 1, 1] = 1.0
        rows[..., 2] = -rays
        right = rays * relative[..., 2:] - relative[..., :2]
        gram = np.einsum("fjak,fjal,fj->fkl", rows, rows, weight) + 1e-6 * np.eye(3)
        aim = np.einsum("fjak,fja,fj->fk", rows, right, weight)
        place = np.linalg.solve(gram, aim[..., None])[..., 0]
        sure = weight.sum(axis=1) * (place[:, 2] > 300) * (place[:, 2] < 100_000)
        if not (sure > 0).any():
            return np.broadcast_to([0.0, 0.0, USUAL_DEPTH_MM], place.shape).copy()
        depth = filters.interpolated(place[:, 2:], (sure > 0)[:, None])
        depth = filters.smoothed(depth, sure + 1e-3, self.config.root_stiffness * (self.video.fps / 10) ** 4)
        middle = rows[..., :2]  # x and y again, for the depth that is left
        inner = np.einsum("fjak,fjal,fj->fkl", middle, middle, weight) + 1e-9 * np.eye(2)
        left = np.einsum("fjak,fja,fj->fk", middle, right + rays * depth[:, None], weight)
        return np.concatenate([np.linalg.solve(inner, left[..., None])[..., 0], depth], axis=1)

    def _rows(
        self,
        relative: Array,
        before: Array,
        root: Array,
        expected: Array,
        outcome: NDArray[Any],
        method: int,
        pixels: Array,
    ) -> dict[str, Any]:
        camera = self.video.camera
        position, earlier = relative + root[:, None], before + root[:, None]
        nobody = outcome == Outcome.NOBODY
        covariance = confidence.covariance_mm2(expected)
        covariance[nobody] = UNSEEN_COVARIANCE_MM2 * np.eye(3)
        focal, centre = camera.matrix[[0, 1], [0, 1]], camera.matrix[:2, 2]
        shown = position[..., :2] / np.maximum(position[..., 2:], 1.0) * focal + centre
        seen = np.isfinite(pixels).all(axis=-1) & ~nobody
        offset = np.where(seen[..., None], np.nan_to_num(pixels) - shown, 0.0)
        world = np.where(nobody[..., None], 0.0, position @ LEVEL)
        turned = np.einsum("ai,...ab,bj->...ij", LEVEL, covariance, LEVEL)
        return {
            "position": world,
            "covariance": turned,
            "uncertainty": selection.log_determinant(turned, 1.0),
            "outcome": outcome.astype(np.uint8),
            "seen": seen[:, None],
            "offset_px": offset[:, None],
            "kept": np.zeros(outcome.shape, dtype=bool),
            "before": earlier @ LEVEL,
            "expected_mm": expected,
            "method": np.full(len(relative), method, dtype=np.uint8),
        }


def _flat(values: Array) -> Array:
    return values.reshape(len(values), -1)


# Fitted on training takes of the lifters of benchmarks/video.py (walking and running, and all takes, together); their test takes'
# reliability is printed there. A lifter of other motion is calibrated by `Calibration.fit` on whatever truth there is.
USUAL = Calibration((1.53, 0.88, 0.01, 0.18), 0.70)


# what is kept, and how far a run is


def _kept(result: HarvestArrays, video: Video, config: VideoConfig) -> NDArray[np.bool_]:
    """The most certain share of each joint among frames `labels_per_s` apart."""
    step = max(1, round(video.fps / config.labels_per_s)) if config.labels_per_s else 1
    there = np.zeros(video.rows, dtype=bool)
    base = 0
    for clip in video.clips:
        there[base : base + len(clip.slots) : step] = True
        base += len(clip.slots)
    candidate = there[:, None] & (np.asarray(result.outcome) == Outcome.FOUND)
    return selection.most_certain(result.uncertainty.astype(np.float64), candidate, config.keep_share)


def _digest(video: Video) -> str:
    """Of what was detected or predicted, read piece by piece."""
    digest = hashlib.sha256()
    for values in (video.people, video.poses_mm, video.score):
        if values is not None:
            for first in range(0, len(values), 4096):
                digest.update(np.ascontiguousarray(values[first : first + 4096]).tobytes())
    return digest.hexdigest()


def _made_of(video: Video, config: VideoConfig, models: str) -> list[Any]:
    about: list[Any] = [models, _digest(video), config.model_dump_json(), repr(video.skeleton)]
    about += [video.fps, video.size, repr(video.view)]
    return about + [[c.person, c.first, len(c.slots)] for c in video.clips]
