"""What the review page shows of a harvest's frames: positions, projections, uncertainty, outcome per joint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.db.models import Count, Q
from numpy.typing import NDArray

from labeling.skeletons import Skeleton, from_dict
from training.harvest.arrays import Outcome
from training.models import Harvest, PseudoLabel, Review
from training.poses.cameras import Camera
from webapp.errors import Invalid

MOST_AT_ONCE = 120  # frames of one answer


def cameras_of(harvest: Harvest) -> tuple[Camera, ...]:
    parts = ("matrix", "distortion", "rotation", "translation")
    return tuple(
        Camera(c["name"], (c["size"][0], c["size"][1]), *(np.array(c[part]) for part in parts)) for c in harvest.cameras
    )


def as_dict(camera: Camera) -> dict[str, Any]:
    """As it is stored: `cameras_of` reads it."""
    return {
        "name": camera.name,
        "size": list(camera.size),
        "matrix": camera.matrix.tolist(),
        "distortion": camera.distortion.tolist(),
        "rotation": camera.rotation.tolist(),
        "translation": camera.translation.tolist(),
    }


def skeleton_of(harvest: Harvest) -> Skeleton:
    return from_dict(harvest.skeleton or {})


# what the review page shows


def clip_of(harvest: Harvest, frame: int) -> dict[str, Any] | None:
    """The person's stretch, or the video's clip, that a row is of; None where rows are the recording's frames."""
    clips = (harvest.report or {}).get("clips", [])
    return next((clip for clip in clips if clip["row"] <= frame < clip["row"] + clip["rows"]), None)


def picture_of(harvest: Harvest, frame: int) -> int:
    """Which picture shows a frame: rows of a clip name frames of the recording."""
    clip = clip_of(harvest, frame)
    return int(clip["first_frame"] + frame - clip["row"]) if clip else frame


def place_of(harvest: Harvest, frame: int) -> dict[str, Any]:
    """Where a row is: `person` from 1 on as the findings number them, or None, and `picture`."""
    clip = clip_of(harvest, frame)
    return {"person": clip["person"] + 1 if clip else None, "picture": picture_of(harvest, frame)}


def frame_of(harvest: Harvest, frame: int) -> dict[str, Any]:
    """One frame: joints with verdicts, and for each view detections' residuals, reprojections and 2D covariances (px).

    Raises Invalid for a frame that is not there.
    """
    return stretch_of(harvest, frame, 1)[0]


def stretch_of(harvest: Harvest, first: int, count: int, step: int = 1) -> list[dict[str, Any]]:
    """`count` frames, every `step`-th from `first` on, as `frame_of`: what playing shows. Three queries. Raises Invalid."""
    if not 0 <= first < harvest.frames or harvest.report is None:
        raise Invalid("There is no such frame.", field="frame", value=first, fix=f"0 to {harvest.frames - 1}")
    if not (1 <= count <= MOST_AT_ONCE and 1 <= step <= 1000):
        raise Invalid("Ask for fewer frames.", field="count", value=count, fix=f"1 to {MOST_AT_ONCE}, step to 1000")
    frames = list(range(first, min(first + count * step, harvest.frames), step))
    folder = Path(settings.MEDIA_ROOT) / harvest.folder
    names = ["position", "covariance", "outcome", "seen", "offset_px", "kept"]
    names += ["before"] if (folder / "before.npy").exists() else []
    arrays = corrected(harvest, frames, names)
    labels: dict[int, dict[int, PseudoLabel]] = {}
    within = {"frame__gte": frames[0], "frame__lte": frames[-1]}
    for label in PseudoLabel.objects.filter(harvest=harvest, **within).defer("covariance"):
        labels.setdefault(label.frame, {})[label.joint] = label
    about = _About(folder, skeleton_of(harvest).keypoints, cameras_of(harvest), harvest.report["outcome_names"])
    return [
        {"frame": f, "frames": harvest.frames, **place_of(harvest, f)}
        | about.frame({name: values[n] for name, values in arrays.items()}, labels.get(f, {}), picture_of(harvest, f))
        for n, f in enumerate(frames)
    ]


def corrected(harvest: Harvest, rows: Sequence[int], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays of a harvest by their names, of some rows, as reviewers corrected them: people exchanged, joints put elsewhere. Two queries."""
    source = np.array(rows, dtype=np.int64)
    exchanged = Review.objects.filter(harvest=harvest, undone_at=None, rule__has_key="exchange").order_by("-pk")
    for first, other, count in (rule["rows"] for rule in exchanged.values_list("rule", flat=True)):
        mine, theirs = (source >= first) & (source < first + count), (source >= other) & (source < other + count)
        source = source + np.where(mine, other - first, 0) - np.where(theirs, other - first, 0)
    folder = Path(settings.MEDIA_ROOT) / harvest.folder
    arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False)[source] for n in names}
    at = {row: n for n, row in enumerate(rows)}
    by_hand = PseudoLabel.objects.filter(harvest=harvest, placed__isnull=False)
    within = by_hand.filter(frame__gte=min(rows, default=0), frame__lte=max(rows, default=0))
    cameras = cameras_of(harvest) if "offset_px" in names else ()
    for label in within:
        if label.frame in at:
            _put(label, cameras, {name: values[at[label.frame]] for name, values in arrays.items()})
    return arrays


def _put(label: PseudoLabel, cameras: Sequence[Camera], arrays: dict[str, NDArray[Any]]) -> None:
    """Write a joint that somebody placed into the arrays of its row; detections stay where they are."""
    joint, place = label.joint, np.array([label.x_mm, label.y_mm, label.z_mm])
    xx, xy, xz, yy, yz, zz = label.covariance
    for v, camera in enumerate(cameras):
        before, now = camera.project(np.stack([arrays["position"][joint], place]))
        chosen = (label.placed or {}).get(str(v))
        detection = np.array(chosen) if chosen else before + arrays["offset_px"][v, joint]
        there = bool(chosen) or bool(arrays["seen"][v, joint])
        off = detection - now
        arrays["seen"][v, joint] = there and bool(np.isfinite(off).all())
        arrays["offset_px"][v, joint] = off if arrays["seen"][v, joint] else 0.0
    new = {"position": place, "outcome": Outcome.FOUND, "kept": True}
    new["covariance"] = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    for name in new.keys() & arrays.keys():
        arrays[name][joint] = new[name]


@dataclass(frozen=True)
class _About:
    folder: Path
    names: tuple[str, ...]
    cameras: tuple[Camera, ...]
    outcomes: list[str]

    def frame(self, arrays: dict[str, Any], labels: dict[int, PseudoLabel], picture: int) -> dict[str, Any]:
        there = np.isin(arrays["outcome"], (Outcome.FOUND, Outcome.INFERRED))
        joints = [
            {
                "name": name,
                "outcome": self.outcomes[int(arrays["outcome"][j])],
                "position_mm": np.round(arrays["position"][j], 1).tolist(),
                "before_mm": np.round(arrays["before"][j].astype(float), 1).tolist() if "before" in arrays else None,
                "spread_mm": round(float(np.sqrt(np.trace(arrays["covariance"][j]) / 3)), 1),
                "there": bool(there[j]),
                "kept": bool(arrays["kept"][j]),
                "verdict": labels[j].verdict if j in labels else None,
                "error_px": round(labels[j].error_px, 1) if j in labels else None,
            }
            for j, name in enumerate(self.names)
        ]
        return {"joints": joints, "views": [self.view(v, arrays, there, picture) for v in range(len(self.cameras))]}

    def view(self, number: int, arrays: dict[str, Any], there: Any, picture: int) -> dict[str, Any]:
        camera = self.cameras[number]
        place = camera.project(arrays["position"])
        shape = projected_covariance(camera, arrays["position"], arrays["covariance"].astype(np.float64))
        known = there & np.isfinite(place).all(axis=-1) & np.isfinite(shape).all(axis=(1, 2))
        seen = [
            None
            if not known[j]
            else {
                "at": np.round(place[j], 1).tolist(),
                "covariance": np.round(shape[j], 2).tolist(),
                "detected": np.round(place[j] + arrays["offset_px"][number, j], 1).tolist()
                if arrays["seen"][number, j]
                else None,
            }
            for j in range(len(self.names))
        ]
        return {
            "camera": camera.name,
            "size": list(camera.size),
            "picture": (self.folder / "views" / str(number) / f"{picture:06d}.jpg").exists(),
            "joints": seen,
        }


def projected_covariance(camera: Camera, position: Any, covariance: Any) -> Any:
    """Covariances (J x 2 x 2, px^2) of reprojected points: J S J^T with the pinhole's Jacobian; distortion is left out of it."""
    seen = camera.see(position)
    z = np.where(seen[:, 2] > 1, seen[:, 2], np.nan)
    k = camera.matrix
    jacobian = np.zeros((len(position), 2, 3))
    jacobian[:, 0, 0], jacobian[:, 0, 1] = k[0, 0] / z, k[0, 1] / z
    jacobian[:, 0, 2] = -(k[0, 0] * seen[:, 0] + k[0, 1] * seen[:, 1]) / z**2
    jacobian[:, 1, 1], jacobian[:, 1, 2] = k[1, 1] / z, -k[1, 1] * seen[:, 1] / z**2
    turned = jacobian @ camera.rotation
    return turned @ covariance @ turned.transpose(0, 2, 1)


def strip(harvest: Harvest) -> list[list[int]]:
    """Per frame that has pseudo-labels: frame, waiting, accepted, rejected. One query."""
    waiting, accepted, rejected = (Count("pk", filter=Q(verdict=v)) for v in ("waiting", "accepted", "rejected"))
    per_frame = PseudoLabel.objects.filter(harvest=harvest).values("frame").order_by("frame")
    per_frame = per_frame.annotate(waiting=waiting, accepted=accepted, rejected=rejected)
    return [[r["frame"], r["waiting"], r["accepted"], r["rejected"]] for r in per_frame]


MOST_POINTS = 2000
CURVES = ("error_px", "expected_mm", "shaking_before_mm", "shaking_after_mm")


def timeline(harvest: Harvest, points: int = 600) -> dict[str, Any]:
    """Curves over all frames in at most `points` bins (means), and the clips. Empty curves for a recording of several cameras.

    Raises Invalid.
    """
    if not 1 <= points <= MOST_POINTS:
        raise Invalid("Ask for fewer points.", field="points", value=points, fix=f"1 to {MOST_POINTS}")
    report = harvest.report or {}
    path = Path(settings.MEDIA_ROOT) / harvest.folder / "timeline.npy"
    series: dict[str, Any] = {
        "frames": harvest.frames,
        "fps": harvest.fps,
        "clips": report.get("clips", []),
        "at": [],
        "curves": {},
    }
    if not path.exists():
        return series
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    edges = np.unique(np.linspace(0, len(values), min(points, len(values)) + 1).round().astype(int))
    means = np.add.reduceat(np.asarray(values, dtype=np.float64), edges[:-1], axis=0) / np.diff(edges)[:, None]
    series["at"] = edges[:-1].tolist()
    series["curves"] = {name: np.round(means[:, n], 2).tolist() for n, name in enumerate(CURVES)}
    return series
