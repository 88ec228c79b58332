"""What a person reads before trusting a video's pseudo-labels: clips, joints, what was doubted; and the curves of the timeline."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from training.harvest.arrays import HarvestArrays, Outcome, counts
from training.video import filters, smoothing
from training.video.clips import Followed
from training.video.harvest import STILL_PX, STILL_S, Video
from webapp.progress import Progress, silent

Array = NDArray[np.float64]
AT_ONCE = 4096
CURVES = ("error_px", "expected_mm", "shaking_before_mm", "shaking_after_mm")


def timeline(result: HarvestArrays, fps: float, *, progress: Progress = silent) -> Float[np.ndarray, "R C"]:
    """Rows x CURVES: mean reprojection error (px), mean expected error (mm), and mean second difference (mm) at 10 frames a second of
    the joints around their middle, as lifted and as harvested."""
    rows = len(result.position)
    out = np.zeros((rows, len(CURVES)), dtype=np.float32)
    scale = (fps / 10) ** 2
    for start in range(0, rows, AT_ONCE):
        progress(start, rows, "frames looked through")
        few = slice(start, min(start + AT_ONCE, rows))
        seen = np.asarray(result.seen[few, 0])
        off = np.linalg.norm(result.offset_px[few, 0], axis=-1)
        out[few, 0] = (off * seen).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        out[few, 1] = np.asarray(result.extra["expected_mm"][few]).mean(axis=1)
        wide = slice(max(start - 1, 0), min(few.stop + 1, rows))
        for column, values in ((2, result.extra["before"]), (3, result.position)):
            some = np.asarray(values[wide], dtype=np.float64)
            some = some - some.mean(axis=1, keepdims=True)
            if len(some) > 2:
                bent = np.linalg.norm(np.diff(some, n=2, axis=0), axis=-1).mean(axis=1) * scale
                first = wide.start + 1
                inside = slice(max(first, few.start), min(first + len(bent), few.stop))
                out[inside, column] = bent[inside.start - first : inside.stop - first]
    return out


def report(
    video: Video,
    result: HarvestArrays,
    followed: Followed,
    notes: list[str],
    *,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Tables and findings in words; plain numbers, no NaN."""
    names = video.skeleton.keypoints
    outcome = np.asarray(result.outcome)
    good = outcome == Outcome.FOUND
    error = np.asarray(result.error_px)[:, 0]
    seen = np.asarray(result.seen)[:, 0]
    expected = np.asarray(result.extra["expected_mm"])
    joints = []
    for j, name in enumerate(names):
        some = seen[:, j]
        joints.append(
            {
                "name": name,
                "found": int(good[:, j].sum()),
                "kept": int(np.asarray(result.kept[:, j]).sum()),
                "median_px": round(float(np.median(error[some, j])), 2) if some.any() else 0.0,
                "spread_mm": round(float(np.median(expected[:, j])), 1),
            }
        )
    return {
        "harvester": "video",
        "frames": video.rows,
        "found": int(good.sum()),
        "kept": int(np.asarray(result.kept).sum()),
        "median_px": round(float(np.median(error[seen])), 2) if seen.any() else 0.0,
        "outcomes": counts(result.outcome),
        "joints": joints,
        "cameras": [],
        "clips": _clips(video, result),
        "controls": _controls(video, result, progress),
        "findings": notes + _findings(video, result, followed),
    }


def _clips(video: Video, result: HarvestArrays) -> list[dict[str, Any]]:
    base, clips = 0, []
    for clip in video.clips:
        rows = slice(base, base + len(clip.slots))
        seen = np.asarray(result.seen[rows, 0])
        error = np.asarray(result.error_px[rows, 0])
        position = np.asarray(result.position[rows])[:: max(1, len(clip.slots) // 2000)]
        lengths = smoothing.bone_lengths(position, np.ones(position.shape[:2]), video.skeleton)
        clips.append(
            {
                "person": clip.person,
                "row": base,
                "rows": len(clip.slots),
                "first_frame": clip.first,
                "ends": clip.why,
                "missing": int((clip.slots < 0).sum()),
                "median_px": round(float(np.median(error[seen])), 2) if seen.any() else 0.0,
                "expected_mm": round(float(np.mean(result.extra["expected_mm"][rows])), 1),
                "outcome": _outcome(result, rows),
                "lengths_mm": video.skeleton.by_edge([round(float(length), 1) for length in lengths]),
            }
        )
        base += len(clip.slots)
    return clips


def _controls(video: Video, result: HarvestArrays, progress: Progress) -> list[dict[str, str | float]]:
    """What plain filters make of the same first lift, beside the harvest: shaking (mean second difference at 10 frames a second, mm),
    how much bones change their length (standard deviation over a clip, mm), and how far they were moved from the first lift (mm)."""
    sums: dict[str, list[Array]] = {}
    parent, child = np.array(video.skeleton.tree).T
    root, fps, base = video.skeleton.index(video.skeleton.root), video.fps, 0
    for clip in video.clips:
        for start in range(base, base + len(clip.slots), AT_ONCE):
            progress(start, video.rows, "frames compared")
            rows = slice(start, min(start + AT_ONCE, base + len(clip.slots)))
            first = np.asarray(result.extra["before"][rows], dtype=np.float64)
            first = first - first[:, root : root + 1]
            now = np.asarray(result.position[rows], dtype=np.float64)
            shape, flat = first.shape, first.reshape(len(first), -1)
            noise = np.repeat(
                np.maximum(np.asarray(result.extra["expected_mm"][rows], dtype=np.float64), 5.0), 3, axis=1
            )
            methods = {
                "as lifted at first": flat,
                "Savitzky-Golay, 5 frames": filters.savitzky_golay(flat, 5, 2),
                "Butterworth, 2.2 Hz": filters.butterworth(flat, fps, 2.2),
                "Kalman and RTS": filters.kalman_rts(flat, noise, fps, 1000.0),
                "this harvest": (now - now[:, root : root + 1]).reshape(len(first), -1),
            }
            for name, values in methods.items():
                pose = values.reshape(shape)
                bent = np.linalg.norm(np.diff(pose, n=2, axis=0), axis=-1).sum() * (fps / 10) ** 2 / shape[1]
                varied = np.linalg.norm(pose[:, child] - pose[:, parent], axis=-1).std(axis=0).mean() * len(pose)
                moved = np.linalg.norm(pose - first, axis=-1).sum() / shape[1]
                sums.setdefault(name, []).append(np.array([bent, varied, moved]))
        base += len(clip.slots)
    table = {name: np.sum(some, axis=0) / max(video.rows, 1) for name, some in sums.items()}
    keys = ("shaking_mm", "bones_mm", "moved_mm")
    return [{"name": n, **{k: round(float(x), 2) for k, x in zip(keys, v)}} for n, v in table.items()]


def _outcome(result: HarvestArrays, rows: slice) -> str:
    if rows.stop - rows.start == 1:
        return "one frame: lifted alone"
    if not (np.asarray(result.outcome[rows]) == Outcome.FOUND).any():
        return "nobody sure: every joint follows from guesses"
    if np.asarray(result.extra["method"][rows]).any():
        return "smoothed plainly in part: low rank moved sure joints too far"
    return "completed"


def _findings(video: Video, result: HarvestArrays, followed: Followed) -> list[str]:
    findings = []
    people = len({c.person for c in video.clips})
    if people > 1:
        findings.append(
            f"{people} clips: people come and go, or who is who could not be told; each is harvested on its own"
        )
    for frame in followed.crossings[:5]:
        findings.append(f"two people cross in frame {frame}: their clips are cut there")
    if followed.left_out:
        findings.append(f"{followed.left_out} clips are too short and left out")
    if video.fps > 120:
        findings.append(f"{video.fps:g} frames a second: taken as slow motion of real time; check the frame rate")
    findings += _stuck(video)
    base = 0
    for clip in video.clips:
        name = _outcome(result, slice(base, base + len(clip.slots)))
        if name != "completed":
            findings.append(f"clip {clip.person + 1} from frame {clip.first}: {name}")
        gone = int((clip.slots < 0).sum())
        if gone:
            findings.append(
                f"clip {clip.person + 1}: nobody is seen in {gone} frames, which were filled from their neighbours"
            )
        base += len(clip.slots)
    return findings[:60]


def _stuck(video: Video) -> list[str]:
    """Joints whose detection stays where it is while the person moves."""
    if video.people is None:
        return []
    findings, least = [], max(3, round(STILL_S * video.fps))
    for clip in video.clips:
        if len(clip.slots) < least:
            continue
        rows = np.arange(0, len(clip.slots), max(1, len(clip.slots) // 3000))
        some = np.asarray(video.people[clip.first + rows, np.maximum(clip.slots[rows], 0)], dtype=np.float64)
        there = (some[..., 2] > 0) & (clip.slots[rows] >= 0)[:, None]
        spread = np.array(
            [
                np.ptp(some[there[:, j], j, :2], axis=0).max() if there[:, j].any() else np.inf
                for j in range(some.shape[1])
            ]
        )
        known = spread[np.isfinite(spread)]
        if not len(known) or np.median(known) < 4 * STILL_PX:
            continue  # everything stands still
        for j in np.flatnonzero(spread < STILL_PX):
            findings.append(
                f"clip {clip.person + 1}: the detections of {video.skeleton.keypoints[j]} never move; they look stuck"
            )
    return findings
