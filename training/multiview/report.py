"""How good a recording and its harvest are, per camera and per joint: what a person reads before trusting pseudo-labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from training.harvest.arrays import WORDS, HarvestArrays, Outcome, Stretch, counts, frame_of_row
from training.harvest.selection import spearman
from training.multiview.recording import Recording
from training.multiview.triangulation import reprojected

Array = NDArray[np.float64]
MOST_ROWS = 200_000  # residuals of a camera that medians are taken of
SYSTEMATIC_PX, SYSTEMATIC_SHARE = 2.0, 0.25
SHIFT_FRAMES, LEAST_MOTION_PX, MOTION_OVER = 0.5, 1.0, 5


@dataclass(frozen=True)
class CameraQuality:
    """Pixels: `dx`, `dy` median of detection minus reprojection; `shift_frames`: how late the camera seems to be; `dropped`: share of its
    detections further from the reprojection than the inlier distance; `without`: frames in which it shows nobody."""

    name: str
    detections: int
    mean_px: float
    median_px: float
    p95_px: float
    dx_px: float
    dy_px: float
    shift_frames: float
    dropped: float
    without: list[int]

    @property
    def systematic(self) -> bool:
        away = float(np.hypot(self.dx_px, self.dy_px))
        return away > SYSTEMATIC_PX and away > SYSTEMATIC_SHARE * self.median_px

    @property
    def late(self) -> bool:
        return abs(self.shift_frames) > SHIFT_FRAMES


def report(recorded: Recording, result: HarvestArrays, *, inlier_px: float, undistort: bool = True) -> dict[str, Any]:
    """Tables per camera and joint, and findings in words. Plain numbers, no NaN."""
    cameras = [_camera(recorded, result, v, inlier_px, undistort) for v in range(len(recorded.cameras))]
    names = recorded.skeleton.keypoints
    rows = len(result.position)
    error = result.error_px
    joints = []
    for j, name in enumerate(names):
        seen, fine = result.seen[:, :, j], result.outcome[:, j] == Outcome.FOUND
        joints.append(
            {
                "name": name,
                "found": int(fine.sum()),
                "kept": int(result.kept[:, j].sum()),
                "median_px": _round(np.median(error[:, :, j][seen]) if seen.any() else 0.0),
                "spread_mm": _round(_spread(result.covariance[fine, j])),
                "outcomes": {
                    WORDS[o]: int((result.outcome[:, j] == o).sum())
                    for o in Outcome
                    if (result.outcome[:, j] == o).any()
                },
            }
        )
    both = (result.outcome == Outcome.FOUND) & result.seen.any(axis=1)
    mean_error = error.sum(axis=1) / np.maximum(result.seen.sum(axis=1), 1)
    return {
        "frames": len(np.unique(frame_of_row(recorded.stretches, rows))),
        "rows": rows,
        "found": int((result.outcome == Outcome.FOUND).sum()),
        "kept": int(result.kept.sum()),
        "outcomes": counts(result.outcome),
        "median_px": _round(np.median(error[result.seen]) if result.seen.any() else 0.0),
        "rank_agreement": _round(spearman(result.uncertainty[both].astype(float), mean_error[both].astype(float)), 3),
        "cameras": [
            {**vars(c), "without": c.without[:200], "systematic": c.systematic, "late": c.late} for c in cameras
        ],
        "joints": joints,
        "clips": [_clip(stretch, result) for stretch in recorded.stretches],
        "findings": _findings(cameras, joints, frame_of_row(recorded.stretches, rows), result),
    }


def _clip(stretch: Stretch, result: HarvestArrays) -> dict[str, Any]:
    """One person's rows, as the page's table of clips shows them."""
    rows = slice(stretch.row, stretch.row + stretch.rows)
    seen, outcome = np.asarray(result.seen[rows]), np.asarray(result.outcome[rows])
    error = result.error_px[rows][seen]
    good = outcome == Outcome.FOUND
    return {
        **vars(stretch),
        "ends": "",
        "missing": int((outcome == Outcome.NOBODY).all(axis=1).sum()),
        "median_px": _round(np.median(error) if len(error) else 0.0),
        "expected_mm": _round(_spread(np.asarray(result.covariance[rows])[good]), 1),
        "outcome": f"{int(good.sum())} joints found",
    }


def _round(value: Any, digits: int = 2) -> float:
    number = float(value)
    return round(number, digits) if np.isfinite(number) else 0.0


def _spread(covariance: NDArray[np.floating]) -> float:
    """Root of the mean eigenvalue, median over frames."""
    return float(np.median(np.sqrt(np.trace(covariance, axis1=1, axis2=2) / 3))) if len(covariance) else 0.0


def _camera(recorded: Recording, result: HarvestArrays, v: int, inlier_px: float, undistort: bool) -> CameraQuality:
    seen = result.seen[:, v]
    rows = np.argwhere(seen)
    step = max(1, len(rows) // MOST_ROWS)
    frame, joint = rows[::step].T if len(rows) else (np.zeros(0, int), np.zeros(0, int))
    off = result.offset_px[frame, v, joint].astype(np.float64)
    error = np.linalg.norm(off, axis=1)
    if not len(error):
        off, error = np.zeros((1, 2)), np.zeros(1)
    frames = frame_of_row(recorded.stretches, len(seen))
    return CameraQuality(
        name=recorded.cameras[v].name,
        detections=int(seen.sum()),
        mean_px=_round(error.mean()),
        median_px=_round(np.median(error)),
        p95_px=_round(np.percentile(error, 95)),
        dx_px=_round(np.median(off[:, 0])),
        dy_px=_round(np.median(off[:, 1])),
        shift_frames=_round(_late(recorded, result, v, undistort)),
        dropped=_round((error > inlier_px).mean(), 4),
        without=np.setdiff1d(frames, frames[seen.any(axis=1)]).tolist(),
    )


def _late(recorded: Recording, result: HarvestArrays, v: int, undistort: bool) -> float:
    """Least squares of offset = -lateness x image velocity over found joints that move; robust by one round of trimming.

    Velocity is taken over MOTION_OVER frames on each side: over one its own noise would hide the slope. What the camera itself pulled
    the estimate along, one part in V, is put back.
    """
    frames = min(len(result.position), 20_000)
    reach = MOTION_OVER
    if frames < 4 * reach:
        return 0.0
    position, views = result.position[:frames], len(recorded.cameras)
    fine = result.outcome[:frames] == Outcome.FOUND
    place = reprojected([recorded.cameras[v]], position, undistort)[:, 0]
    velocity = (place[2 * reach :] - place[: -2 * reach]) / (2 * reach)
    seen = result.seen[reach : frames - reach, v]
    person = np.concatenate([np.full(s.rows, n) for n, s in enumerate(recorded.people)])[:frames]
    seen = seen & (person[2 * reach :] == person[: -2 * reach])[:, None]
    usable = fine[2 * reach :] & fine[: -2 * reach] & seen & np.isfinite(velocity).all(axis=-1)
    speed = velocity[usable]
    off = result.offset_px[reach : frames - reach, v][usable].astype(np.float64) * views / (views - 1)
    moving = np.linalg.norm(speed, axis=1) > LEAST_MOTION_PX if len(speed) else np.zeros(0, bool)
    if moving.sum() < 50:
        return 0.0
    speed, off = speed[moving], off[moving] - np.median(off[moving], axis=0)
    late = 0.0
    for _ in range(2):
        left = np.linalg.norm(off + late * speed, axis=1)
        near = left <= np.percentile(left, 90)
        late = float(-(off[near] * speed[near]).sum() / (speed[near] ** 2).sum())
    return late


def _findings(
    cameras: list[CameraQuality], joints: list[dict[str, Any]], frame: Int[np.ndarray, " R"], result: HarvestArrays
) -> list[str]:
    """`frame`: the recording's, of each row."""
    findings, frames = [], len(np.unique(frame))
    for c in cameras:
        if c.systematic:
            findings.append(
                f"{c.name} is off by ({c.dx_px:+.1f}, {c.dy_px:+.1f}) px everywhere: its calibration or its timing, not the detector"
            )
        if c.late:
            findings.append(
                f"{c.name} seems {abs(c.shift_frames):.1f} frames {'late' if c.shift_frames > 0 else 'early'}"
            )
        if c.dropped > 0.5:
            findings.append(f"{c.dropped:.0%} of the detections of {c.name} do not fit the other cameras")
        if c.without:
            listed = ", ".join(map(str, c.without[:8])) + (
                f" and {len(c.without) - 8} more" if len(c.without) > 8 else ""
            )
            findings.append(f"{c.name} shows nobody in {len(c.without)} of {frames} frames: {listed}")
    nobody = np.setdiff1d(frame, frame[(result.outcome != Outcome.NOBODY).any(axis=1)])
    if len(nobody):
        findings.append(f"{len(nobody)} frames have nobody in two views, the first is {int(nobody[0])}")
    for outcome in (Outcome.OUTSIDE, Outcome.CONTRADICTION):
        hit = (result.outcome == outcome).any(axis=1)
        if hit.any():
            findings.append(f"{len(set(frame[hit]))} frames: {WORDS[outcome]}, the first is {int(frame[hit].min())}")
    for joint in joints:
        if joint["found"] < 0.5 * len(frame):
            findings.append(
                f"{joint['name']} is found in {joint['found']} of {len(frame)} {'frames' if frames == len(frame) else 'poses'} only"
            )
    return findings
