"""3D poses in the files that other tools read: TRC, C3D, npz, COCO with 3D.

World in mm. TRC is Y up and in metres as Pose2Sim and OpenSim have it, (X, Y, Z)_trc = (Y, Z, X)_world for a world with Z up, frames from
1; markers that are missing are empty. C3D is in mm as calibrated, residual -1 where missing. Only found joints are written.
People who are there at once have markers of their own in TRC and C3D, P1:nose, P2:nose, by the numbers that the findings give (T1, T2 where a
video's clips follow each other in one column); COCO has an annotation of each of them (`track_id`), npz a row (`person`, `frame`).
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import c3d
import numpy as np
from numpy.typing import NDArray

from labeling.skeletons import Skeleton
from training.harvest.arrays import HarvestArrays, Outcome, Stretch, frame_of_row, lanes
from training.harvest.harvester import FILES, Harvested
from training.multiview.triangulation import reprojected
from training.poses.cameras import Camera

Array = NDArray[np.float64]
METRE = 1000.0
MOST_LABELS = 255  # in one parameter of C3D
AT_ONCE = 4096  # frames


def write(
    path: Path,
    kind: str,
    result: HarvestArrays,
    skeleton: Skeleton,
    cameras: Sequence[Camera],
    fps: float,
    *,
    stretches: Sequence[Stretch] = (),
    between: Callable[[], None] = lambda: None,
) -> None:
    """One of FILES; whole or not at all. Arrays are read some thousand frames at a time; `between` is called after each part, and may raise."""
    makers = {"trc": _trc, "c3d": _c3d, "npz": _npz, "coco": _coco}
    if kind not in makers:
        raise ValueError(f"unknown format {kind}: use {', '.join(FILES)}")
    part = path.with_name(path.name + ".part")
    with part.open("wb") as out:
        makers[kind](out, _Pieces(result, between, tuple(stretches)), skeleton, cameras, fps)
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
            stretches=result.stretches,
            between=between,
        )


@dataclass(frozen=True)
class _Pieces:
    result: HarvestArrays
    between: Callable[[], None]
    stretches: tuple[Stretch, ...] = ()

    @cached_property
    def lanes(self) -> list[list[Stretch]]:
        return lanes(self.stretches or [Stretch(0, 0, len(self.result.position), 0)])

    @cached_property
    def frames(self) -> int:
        """Of the recording, as far as somebody is in it."""
        return max((lane[-1].first_frame + lane[-1].rows for lane in self.lanes), default=0)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The first frame of each part and the one after its last."""
        for first in range(0, self.frames, AT_ONCE):
            yield first, min(first + AT_ONCE, self.frames)
            self.between()

    def rows(self, first: int, last: int) -> Iterator[tuple[int, Stretch, int, int]]:
        """Of the frames from `first` to before `last`: lane, stretch, its own first row there and the one after its last."""
        for number, lane in enumerate(self.lanes):
            for stretch in lane:
                begin, end = max(first, stretch.first_frame), min(last, stretch.first_frame + stretch.rows)
                if begin < end:
                    away = stretch.row - stretch.first_frame
                    yield number, stretch, begin + away, end + away

    def markers(self, first: int, last: int) -> tuple[NDArray[np.bool_], Array]:
        """Which joints of which lanes are found (F x L J), and where (F x L J x 3 mm)."""
        joints = self.result.position.shape[1]
        there = np.zeros((last - first, len(self.lanes), joints), dtype=bool)
        place = np.zeros((*there.shape, 3))
        for lane, stretch, begin, end in self.rows(first, last):
            at = slice(
                begin - stretch.row + stretch.first_frame - first, end - stretch.row + stretch.first_frame - first
            )
            there[at, lane] = np.asarray(self.result.outcome[begin:end]) == Outcome.FOUND
            place[at, lane] = self.result.position[begin:end]
        return there.reshape(len(there), -1), place.reshape(len(there), -1, 3)

    def names(self, skeleton: Skeleton) -> list[str]:
        """Of the markers: the keypoints', with the lane before them where there are several."""
        if len(self.lanes) == 1:
            return list(skeleton.keypoints)
        if all(len(lane) == 1 for lane in self.lanes):  # one person each, by the number that findings give
            marks = [f"P{lane[0].person + 1}" for lane in self.lanes]
        else:  # one clip after the other
            marks = [f"T{n}" for n in range(1, len(self.lanes) + 1)]
        return [f"{mark}:{name}" for mark in marks for name in skeleton.keypoints]


def _trc(out: IO[bytes], parts: _Pieces, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> None:
    names, frames = parts.names(skeleton), parts.frames
    head = [
        "PathFileType\t4\t(X/Y/Z)\tnearer.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{fps:g}\t{fps:g}\t{frames}\t{len(names)}\tm\t{fps:g}\t1\t{frames}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"X{n}\tY{n}\tZ{n}" for n in range(1, len(names) + 1)),
    ]
    out.write(("\n".join(head) + "\n").encode())
    for first, last in parts:
        there, place = parts.markers(first, last)
        place = place[..., [1, 2, 0]] / METRE
        rows = []
        for f, (known, joints) in enumerate(zip(there.tolist(), place.tolist()), start=first):
            cells = [f"{v!r}" if k else "" for k, joint in zip(known, joints) for v in joint]
            rows.append("\t".join([str(f + 1), f"{f / fps:.6f}", *cells]) + "\n")
        out.write("".join(rows).encode())


def _c3d(out: IO[bytes], parts: _Pieces, skeleton: Skeleton, cameras: Sequence[Camera], fps: float) -> None:
    writer = c3d.Writer(point_rate=fps, analog_rate=0.0, point_scale=-1.0, point_units="mm  ")
    labels = [name[:32] for name in parts.names(skeleton)]
    writer.set_point_labels(labels[:MOST_LABELS])
    described = min(len(labels), MOST_LABELS)  # the library would describe every marker in one list
    writer.point_group.add_str("DESCRIPTIONS", "Channel descriptions.", " " * described, 1, described)
    for n, start in enumerate(range(MOST_LABELS, len(labels), MOST_LABELS), start=2):  # how the format goes on
        some = labels[start : start + MOST_LABELS]
        writer.point_group.add_str(f"LABELS{n}", "Point labels.", *c3d.Writer.pack_labels(some), len(some))
    nothing = np.zeros((0, 0), dtype=np.float32)
    for first, last in parts:
        there, place = parts.markers(first, last)
        points = np.zeros((*there.shape, 5), dtype=np.float32)
        points[..., :3] = np.where(there[..., None], place, 0.0)
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
    if parts.stretches:
        arrays["frame"] = frame_of_row(parts.stretches, len(result.position))
        arrays["person"] = np.concatenate([np.full(s.rows, s.person + 1) for s in parts.stretches])
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
    frames = parts.frames
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
            for _, stretch, begin, end in parts.rows(first, last):
                before = v * frames + stretch.first_frame - stretch.row
                people = list(_people(parts.result, camera, before, begin, end, count))
                if parts.stretches:
                    people = [person | {"track_id": stretch.person + 1} for person in people]
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
