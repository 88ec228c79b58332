"""3D poses in the files that other tools read: TRC, C3D, npz, COCO with 3D.

World in mm. TRC is Y up and in metres as Pose2Sim and OpenSim have it, (X, Y, Z)_trc = (Y, Z, X)_world for a world with Z up, frames from
1; markers that are missing are empty. C3D is in mm as calibrated, residual -1 where missing. Only found joints are written.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import c3d
import numpy as np
from numpy.typing import NDArray

from labeling.skeletons import Skeleton
from training.multiview.cameras import Camera
from training.multiview.harvest import Harvest, Outcome
from training.multiview.triangulation import reprojected

Array = NDArray[np.float64]
METRE = 1000.0
KINDS = ("trc", "c3d", "npz", "coco")


def write(path: Path, kind: str, found: Harvest, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> None:
    """One of KINDS; whole or not at all."""
    makers = {"trc": _trc, "c3d": _c3d, "npz": _npz, "coco": _coco}
    if kind not in makers:
        raise ValueError(f"unknown format {kind}: use {', '.join(KINDS)}")
    part = path.with_name(path.name + ".part")
    part.write_bytes(makers[kind](found, skeleton, cameras, fps))
    part.replace(path)


def _there(found: Harvest) -> NDArray[np.bool_]:
    return np.asarray(found.outcome == Outcome.FOUND)


def _trc(found: Harvest, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> bytes:
    names, frames = skeleton.keypoints, len(found.position)
    head = [
        "PathFileType\t4\t(X/Y/Z)\tnearer.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{fps:g}\t{fps:g}\t{frames}\t{len(names)}\tm\t{fps:g}\t1\t{frames}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"X{n}\tY{n}\tZ{n}" for n in range(1, len(names) + 1)),
    ]
    there, place = _there(found), found.position[..., [1, 2, 0]] / METRE
    rows = []
    for f in range(frames):
        cells = [f"{v!r}" if there[f, j] else "" for j in range(len(names)) for v in place[f, j].tolist()]
        rows.append("\t".join([str(f + 1), f"{f / fps:.6f}", *cells]))
    return ("\n".join(head + rows) + "\n").encode()


def _c3d(found: Harvest, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> bytes:
    writer = c3d.Writer(point_rate=fps, analog_rate=0.0, point_scale=-1.0, point_units="mm  ")
    writer.set_point_labels([name[:32] for name in skeleton.keypoints])
    there = _there(found)
    for f in range(len(found.position)):
        points = np.zeros((len(skeleton.keypoints), 5), dtype=np.float32)
        points[:, :3] = np.where(there[f, :, None], found.position[f], 0.0)
        points[:, 3] = np.where(there[f], 0.0, -1.0)
        writer.add_frames([(points, np.zeros((0, 0), dtype=np.float32))])
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the library finds a file without analog channels remarkable
        writer.write(out)
    return out.getvalue()


def _npz(found: Harvest, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(
        out,
        position_mm=found.position,
        covariance_mm2=found.covariance,
        uncertainty=found.uncertainty,
        outcome=found.outcome,
        kept=found.kept,
        seen=found.seen,
        error_px=found.error_px,
        joint_names=np.array(skeleton.keypoints),
        camera_names=np.array([c.name for c in cameras]),
        fps=np.array(fps),
    )
    return out.getvalue()


def _coco(found: Harvest, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> bytes:
    """An image per frame and camera; keypoints are the reprojected kept joints, `keypoints_3d` x, y, z mm in the camera's frame."""
    pixels = reprojected(cameras, found.position) + 0.5
    images: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for v, camera in enumerate(cameras):
        seen = camera.see(found.position)
        for f in range(len(found.position)):
            number = v * len(found.position) + f + 1
            name = f"{camera.name}/{f:06d}.jpg"
            images.append(
                {"id": number, "file_name": name, "width": camera.size[0], "height": camera.size[1], "frame": f}
            )
            kept = found.kept[f] & np.isfinite(pixels[f, v]).all(axis=-1)
            if not kept.any():
                continue
            flat = np.concatenate(
                [np.where(kept[:, None], pixels[f, v], 0.0).round(3), np.where(kept, 2, 0)[:, None]], axis=1
            )
            low, high = pixels[f, v][kept].min(axis=0), pixels[f, v][kept].max(axis=0)
            box = [*low.round(3).tolist(), *(high - low).round(3).tolist()]
            people.append(
                {
                    "id": len(people) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "keypoints": flat.ravel().tolist(),
                    "num_keypoints": int(kept.sum()),
                    "keypoints_3d": np.where(kept[:, None], seen[f], 0.0).round(3).ravel().tolist(),
                    "bbox": box,
                    "area": round(box[2] * box[3], 3),
                    "iscrowd": 0,
                }
            )
    bones = [[skeleton.index(a) + 1, skeleton.index(b) + 1] for a, b in skeleton.bones]
    category = {"id": 1, "name": "person", "keypoints": list(skeleton.keypoints), "skeleton": bones}
    return json.dumps(
        {"images": images, "annotations": people, "categories": [category], "info": {"fps": fps}}
    ).encode()
