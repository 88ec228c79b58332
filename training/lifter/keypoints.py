"""2D keypoints from files, 3D poses to files: JSON, JSON lines, CSV and npz, a few thousand people at a time.

JSON   {"people": [{"name": "a", "keypoints": [[x, y] or null, ...]}], "focal_px": [fx, fy], "principal_px": [cx, cy]}
       keypoints in the model's order, or an object by keypoint name; the camera may be left out
JSONL  one such person a line (with "focal_px" and "principal_px" per person where known)
CSV    columns name, <keypoint>_x, <keypoint>_y, an empty cell where a keypoint is absent
npz    keypoints_px N x J x 2 (NaN: absent), optionally names N, focal_px and principal_px (2 or N x 2)
"""

from __future__ import annotations

import csv
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from labeling.releasing.reading import Poses, unlabelled
from labeling.skeletons import Skeleton
from webapp.errors import InputError

FORMATS = ("json", "jsonl", "csv", "npz")
AT_ONCE = 4096
LARGEST_JSON = 256 * 2**20


class BadKeypoints(InputError):
    """Keypoints that cannot be read; `field` says where, down to the person and the point."""

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}"


def from_people(people: list[Any], skeleton: Skeleton, whole: dict[str, Any], first: int = 0) -> Poses:
    """People as JSON gives them. `whole` may hold the camera of all. Raises BadKeypoints, naming people[n].keypoints."""
    joints = skeleton.keypoints
    points = np.full((len(people), len(joints), 2), np.nan)
    camera = np.full((len(people), 2, 2), np.nan)
    names = []
    for n, person in enumerate(people):
        field = f"people[{first + n}]"
        if not isinstance(person, dict):
            raise BadKeypoints("is not an object with keypoints", field=field)
        names.append(str(person.get("name", first + n))[:200])
        keypoints = person.get("keypoints")
        if isinstance(keypoints, dict):
            if unknown := set(keypoints) - set(joints):
                raise BadKeypoints(
                    f"{sorted(unknown)[0]!r} is not a keypoint of {skeleton.name}", field=f"{field}.keypoints"
                )
            keypoints = [keypoints.get(j) for j in joints]
        if not isinstance(keypoints, list) or len(keypoints) != len(joints):
            raise BadKeypoints(f"must be {len(joints)} points [x, y]: {', '.join(joints)}", field=f"{field}.keypoints")
        for j, point in enumerate(keypoints):
            if point is not None:
                points[n, j] = _pair(point, f"{field}.keypoints[{j}]")
        if np.isfinite(points[n]).all(-1).sum() < 2:
            raise BadKeypoints("at least two must be there", field=f"{field}.keypoints")
        for k, key in enumerate(("focal_px", "principal_px")):
            value = person.get(key, whole.get(key))
            if value is not None:
                camera[n, k] = _pair(value, f"{field}.{key}" if key in person else key)
        if not (np.isnan(camera[n, 0]).all() or (camera[n, 0] > 0).all()):
            raise BadKeypoints("must be two numbers above 0", field="focal_px")
    return unlabelled(skeleton, names, points, camera[:, 0], camera[:, 1])


def _pair(value: Any, field: str) -> tuple[float, float]:
    numbers = value if isinstance(value, list | tuple) else []
    if len(numbers) != 2 or not all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and abs(v) < 1e7 for v in numbers
    ):
        raise BadKeypoints("must be two finite numbers [x, y], or null where absent", field=field)
    return float(numbers[0]), float(numbers[1])


def read(path: Path, skeleton: Skeleton) -> Iterator[Poses]:
    """People of a file, at most 4,096 at a time. Raises BadKeypoints."""
    suffix = path.suffix.lower().lstrip(".")
    readers = {"json": _read_json, "jsonl": _read_lines, "csv": _read_csv, "npz": _read_npz}
    if suffix not in readers:
        raise BadKeypoints(f"ends in .{suffix}; can read {', '.join(FORMATS)}", field="file")
    try:
        yield from readers[suffix](path, skeleton)
    except BadKeypoints:
        raise
    except (OSError, ValueError, csv.Error, zipfile.BadZipFile) as error:
        raise BadKeypoints(f"cannot be read as {suffix}: {str(error).partition('.')[0]}", field=path.name) from None


def _read_json(path: Path, skeleton: Skeleton) -> Iterator[Poses]:
    if path.stat().st_size > LARGEST_JSON:
        raise BadKeypoints("is larger than 256 MiB; use jsonl, csv or npz", field=path.name)
    data = json.loads(path.read_text(encoding="utf-8-sig"))
    whole = data if isinstance(data, dict) else {}
    people = whole.get("people") if whole else data
    if not isinstance(people, list):
        raise BadKeypoints("must be a list", field="people")
    for start in range(0, len(people), AT_ONCE):
        yield from_people(people[start : start + AT_ONCE], skeleton, whole, start)


def _read_lines(path: Path, skeleton: Skeleton) -> Iterator[Poses]:
    with path.open(encoding="utf-8-sig") as file:
        people: list[Any] = []
        start = 0
        for line in file:
            if line.strip():
                people.append(json.loads(line))
            if len(people) == AT_ONCE:
                yield from_people(people, skeleton, {}, start)
                start += len(people)
                people = []
        if people:
            yield from_people(people, skeleton, {}, start)


def _read_csv(path: Path, skeleton: Skeleton) -> Iterator[Poses]:
    needed = [f"{j}_{axis}" for j in skeleton.keypoints for axis in "xy"]
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        if missing := [c for c in needed if c not in header]:
            raise BadKeypoints(f"column {missing[0]!r} is missing", field="header")
        columns = [header.index(c) for c in needed]
        name = header.index("name") if "name" in header else None
        names: list[str] = []
        numbers: list[list[float]] = []
        for line, row in enumerate(rows, start=2):
            if not row:
                continue
            try:
                values = [float(row[c]) if row[c].strip() else math.nan for c in columns]
            except (ValueError, IndexError) as error:
                raise BadKeypoints(str(error), field=f"line {line}") from None
            if any(math.isinf(v) or abs(v) > 1e7 for v in values) or sum(v == v for v in values) < 4:
                raise BadKeypoints("needs at least two keypoints, all of them finite", field=f"line {line}")
            names.append(row[name] if name is not None else str(line - 2))
            numbers.append(values)
            if len(names) == AT_ONCE:
                yield unlabelled(skeleton, names, np.array(numbers).reshape(len(names), -1, 2))
                names, numbers = [], []
        if names:
            yield unlabelled(skeleton, names, np.array(numbers).reshape(len(names), -1, 2))


def _read_npz(path: Path, skeleton: Skeleton) -> Iterator[Poses]:
    joints = len(skeleton.keypoints)
    with np.load(path, allow_pickle=False) as small:
        if "keypoints_px" not in small:
            raise BadKeypoints(f"is missing; the file holds {', '.join(small.files)}", field="keypoints_px")
        camera = {k: small[k].astype(np.float64) for k in ("focal_px", "principal_px") if k in small}
        names = [str(n) for n in small["names"]] if "names" in small else None
    with zipfile.ZipFile(path) as archive, archive.open("keypoints_px.npy") as file:
        version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)  # type: ignore[arg-type]
        if len(shape) != 3 or shape[1:] != (joints, 2) or fortran or dtype.kind != "f":
            raise BadKeypoints(f"must be float N x {joints} x 2 in C order, is {dtype} {shape}", field="keypoints_px")
        for key, value in camera.items():
            if value.shape not in ((2,), (shape[0], 2)):
                raise BadKeypoints(f"must have 2 or {shape[0]} x 2 numbers", field=key)
        for start in range(0, shape[0], AT_ONCE):
            rows = min(AT_ONCE, shape[0] - start)
            raw = file.read(rows * joints * 2 * dtype.itemsize)
            few = np.frombuffer(raw, dtype).reshape(rows, joints, 2).astype(np.float64)
            if (np.isfinite(few).all(-1).sum(1) < 2).any() or np.isinf(few).any():
                raise BadKeypoints(
                    f"somebody in rows {start} to {start + rows} has fewer than two keypoints", field="keypoints_px"
                )
            part = {k: np.broadcast_to(v, (shape[0], 2))[start : start + rows] for k, v in camera.items()}
            few_names = names[start : start + rows] if names else [str(n) for n in range(start, start + rows)]
            yield unlabelled(skeleton, few_names, few, part.get("focal_px"), part.get("principal_px"))


@runtime_checkable
class Writer(Protocol):
    """Takes poses as they come; `end` closes what was begun."""

    def add(self, names: list[str], poses: NDArray[np.float32]) -> None: ...

    def end(self) -> None: ...


@contextmanager
def writing(path: Path, skeleton: Skeleton, people: int) -> Iterator[Writer]:
    """A writer for the format that `path` ends in; the file appears whole or not at all. `people`: how many will come."""
    writers: dict[str, Callable[[IO[bytes], Skeleton, int], Writer]] = {
        "json": _Json,
        "jsonl": _Lines,
        "csv": _Csv,
        "npz": _Npz,
    }
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in writers:
        raise BadKeypoints(f"ends in .{suffix}; can write {', '.join(FORMATS)}", field="output")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            writer = writers[suffix](file, skeleton, people)
            yield writer
            writer.end()
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


class _Json:
    def __init__(self, file: IO[bytes], skeleton: Skeleton, people: int) -> None:
        self.file, self.comma = file, b""
        file.write(b'{"unit": "mm", "joints": ' + json.dumps(list(skeleton.keypoints)).encode() + b', "people": [\n')

    def add(self, names: list[str], poses: NDArray[np.float32]) -> None:
        for name, pose in zip(names, poses):
            self.file.write(self.comma + _person(name, pose))
            self.comma = b",\n"

    def end(self) -> None:
        self.file.write(b"\n]}\n")


class _Lines(_Json):
    def __init__(self, file: IO[bytes], skeleton: Skeleton, people: int) -> None:
        self.file = file

    def add(self, names: list[str], poses: NDArray[np.float32]) -> None:
        for name, pose in zip(names, poses):
            self.file.write(_person(name, pose) + b"\n")

    def end(self) -> None:
        pass


class _Csv(_Lines):
    def __init__(self, file: IO[bytes], skeleton: Skeleton, people: int) -> None:
        self.file = file
        self._row(["name", *(f"{j}_{axis}_mm" for j in skeleton.keypoints for axis in "xyz")])

    def _row(self, cells: list[str]) -> None:
        quoted = ['"' + c.replace('"', '""') + '"' if set(c) & set(',"\n\r') else c for c in cells]
        self.file.write((",".join(quoted) + "\n").encode())

    def add(self, names: list[str], poses: NDArray[np.float32]) -> None:
        for name, pose in zip(names, poses):
            self._row([name, *(f"{v:.2f}" for v in pose.ravel())])


class _Npz:
    def __init__(self, file: IO[bytes], skeleton: Skeleton, people: int) -> None:
        self.archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self.names: list[str] = []
        with self.archive.open("joints.npy", "w") as entry:
            np.lib.format.write_array(entry, np.array(skeleton.keypoints))  # type: ignore[arg-type]
        self.entry = self.archive.open("poses_mm.npy", "w", force_zip64=True)
        header = {"descr": "<f4", "fortran_order": False, "shape": (people, len(skeleton.keypoints), 3)}
        np.lib.format.write_array_header_2_0(self.entry, header)  # type: ignore[arg-type]

    def add(self, names: list[str], poses: NDArray[np.float32]) -> None:
        self.names += names
        self.entry.write(np.ascontiguousarray(poses, dtype="<f4").tobytes())

    def end(self) -> None:
        self.entry.close()
        with self.archive.open("names.npy", "w") as entry:
            np.lib.format.write_array(entry, np.array(self.names))  # type: ignore[arg-type]
        self.archive.close()


def _person(name: str, pose: NDArray[np.float32]) -> bytes:
    return json.dumps({"name": name, "pose_mm": np.round(pose.astype(np.float64), 2).tolist()}).encode()


def count(path: Path, skeleton: Skeleton) -> int:
    """How many people a file holds, after all of them were read and found good. Raises BadKeypoints."""
    return sum(len(poses.names) for poses in read(path, skeleton))
