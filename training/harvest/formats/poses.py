"""3D poses in the files that other tools read: TRC, C3D, npz, COCO with 3D.

World in mm. TRC is Y up and in metres as Pose2Sim and OpenSim have it, (X, Y, Z)_trc = (Y, Z, X)_world for a world with Z up, frames from
1; markers that are missing are empty. C3D is in mm as calibrated, residual -1 where missing. Only found joints are written.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import c3d
import numpy as np
from numpy.typing import NDArray

from labeling.skeletons import Skeleton
from training.harvest.arrays import HarvestArrays, Outcome
from training.harvest.harvester import FILES, Harvested
from training.multiview.triangulation import reprojected
from training.poses.cameras import Camera

Array = NDArray[np.float64]
METRE = 1000.0
AT_ONCE = 4096  # frames


def write(
    path: Path,
    kind: str,
    result: HarvestArrays,
    skeleton: Skeleton,
    cameras: Sequence[Camera],
    fps: float,
    *,
    between: Callable[[], None] = lambda: None,
) -> None:
    """One of FILES; whole or not at all. Arrays are read some thousand frames at a time; `between` is called after each part, and may raise."""
    makers = {"trc": _trc, "c3d": _c3d, "npz": _npz, "coco": _coco}
    if kind not in makers:
        raise ValueError(f"unknown format {kind}: use {', '.join(FILES)}")
    part = path.with_name(path.name + ".part")
    with part.open("wb") as out:
        makers[kind](out, _Pieces(result, between), skeleton, cameras, fps)
    part.replace(path)


def write_all(folder: Path, result: Harvested, *, between: Callable[[], None] = lambda: None) -> None:
    """Every format, under its name in FILES."""
    for kind, name in FILES.items():
        write(
            folder / name,
            kind,
            result.arrays,
            result.skeleton,
            tuple(result.cameras),
            result.fps,
            between=between,
        )


@dataclass(frozen=True)
class _Pieces:
    result: HarvestArrays
    between: Callable[[], None]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """First and last-but-one frames of each part."""
        for first in range(0, len(self.result.position), AT_ONCE):
            yield first, min(first + AT_ONCE, len(self.result.position))
            self.between()

    def there(self, first: int, last: int) -> NDArray[np.bool_]:
        return np.asarray(self.result.outcome[first:last] == Outcome.FOUND)

    def position(self, first: int, last: int) -> Array:
        return np.asarray(self.result.position[first:last])


def _trc(out: IO[bytes], parts: _Pieces, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> None:
    names, frames = skeleton.keypoints, len(parts.result.position)
    head = [
        "PathFileType\t4\t(X/Y/Z)\tnearer.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{fps:g}\t{fps:g}\t{frames}\t{len(names)}\tm\t{fps:g}\t1\t{frames}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"X{n}\tY{n}\tZ{n}" for n in range(1, len(names) + 1)),
    ]
    out.write(("\n".join(head) + "\n").encode())
    for first, last in parts:
        there, place = parts.there(first, last), parts.position(first, last)[..., [1, 2, 0]] / METRE
        rows = []
        for f, (known, joints) in enumerate(zip(there.tolist(), place.tolist()), start=first):
            cells = [f"{v!r}" if k else "" for k, joint in zip(known, joints) for v in joint]
            rows.append("\t".join([str(f + 1), f"{f / fps:.6f}", *cells]) + "\n")
        out.write("".join(rows).encode())


def _c3d(out: IO[bytes], parts: _Pieces, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> None:
    writer = c3d.Writer(point_rate=fps, analog_rate=0.0, point_scale=-1.0, point_units="mm  ")
    writer.set_point_labels([name[:32] for name in skeleton.keypoints])
    nothing = np.zeros((0, 0), dtype=np.float32)
    for first, last in parts:
        there = parts.there(first, last)
        points = np.zeros((*there.shape, 5), dtype=np.float32)
        points[..., :3] = np.where(there[..., None], parts.position(first, last), 0.0)
        points[..., 3] = np.where(there, 0.0, -1.0)
        writer.add_frames([(frame, nothing) for frame in points])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the library warns of files without analog channels
        writer.write(out)


def _npz(out: IO[bytes], parts: _Pieces, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> None:
    result = parts.result
    arrays: dict[str, NDArray[Any]] = {
        "position_mm": result.position,
        "covariance_mm2": result.covariance,
        "uncertainty": result.uncertainty,
        "outcome": result.outcome,
        "kept": result.kept,
        "seen": result.seen,
        "error_px": result.error_px,
        "joint_names": np.array(skeleton.keypoints),
        "camera_names": np.array([c.name for c in cameras]),
        "fps": np.array(fps),
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, values in arrays.items():
            about = zipfile.ZipInfo(f"{name}.npy")  # its date is fixed: the same harvest makes the same file
            about.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(about, "w", force_zip64=True) as stream:
                header = np.lib.format.header_data_from_array_1_0(
                    np.ascontiguousarray(values[:1]) if values.ndim else values
                )
                np.lib.format.write_array_header_1_0(stream, header | {"shape": values.shape})
                for first in range(0, len(values) if values.ndim else 1, AT_ONCE):
                    some = values[first : first + AT_ONCE] if values.ndim else values
                    stream.write(np.ascontiguousarray(some).tobytes())
                    parts.between()


def _coco(out: IO[bytes], parts: _Pieces, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> None:
    """An image per frame and camera; keypoints are the reprojected kept joints, `keypoints_3d` x, y, z mm in the camera's frame."""
    frames = len(parts.result.position)
    out.write(b'{"images": [')
    for v, camera in enumerate(cameras):
        wide, high = camera.size
        for first, last in parts:
            some = [
                {
                    "id": v * frames + f + 1,
                    "file_name": f"{camera.name}/{f:06d}.jpg",
                    "width": wide,
                    "height": high,
                    "frame": f,
                }
                for f in range(first, last)
            ]
            _listed(out, some, begun=bool(v or first))
    out.write(b'], "annotations": [')
    count = 0
    for v, camera in enumerate(cameras):
        for first, last in parts:
            people = list(_people(parts.result, camera, v * frames, first, last, count))
            _listed(out, people, begun=count > 0)
            count += len(people)
    bones = [[skeleton.index(a) + 1, skeleton.index(b) + 1] for a, b in skeleton.bones]
    category = {"id": 1, "name": "person", "keypoints": list(skeleton.keypoints), "skeleton": bones}
    out.write(f'], "categories": [{json.dumps(category)}], "info": {json.dumps({"fps": fps})}}}'.encode())


def _listed(out: IO[bytes], some: list[dict[str, Any]], *, begun: bool) -> None:
    if some:
        out.write(((", " if begun else "") + json.dumps(some)[1:-1]).encode())


def _people(
    result: HarvestArrays, camera: Camera, before: int, first: int, last: int, count: int
) -> Iterator[dict[str, Any]]:
    position = np.asarray(result.position[first:last])
    pixels, seen = reprojected([camera], position)[:, 0] + 0.5, camera.see(position)
    every = np.asarray(result.kept[first:last]) & np.isfinite(pixels).all(axis=-1)
    for f in np.flatnonzero(every.any(axis=1)).tolist():
        kept, place = every[f], pixels[f]
        flat = np.concatenate([np.where(kept[:, None], place, 0.0).round(3), np.where(kept, 2, 0)[:, None]], axis=1)
        low, high = place[kept].min(axis=0), place[kept].max(axis=0)
        box = [*low.round(3).tolist(), *(high - low).round(3).tolist()]
        count += 1
        yield {
            "id": count,
            "image_id": before + first + f + 1,
            "category_id": 1,
            "keypoints": flat.ravel().tolist(),
            "num_keypoints": int(kept.sum()),
            "keypoints_3d": np.where(kept[:, None], seen[f], 0.0).round(3).ravel().tolist(),
            "bbox": box,
            "area": round(box[2] * box[3], 3),
            "iscrowd": 0,
        }
