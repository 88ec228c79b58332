"""Tracked keypoints as DeepLabCut and SLEAP write them, a file a camera: CSV, HDF5. They name joints of the user's own.

DeepLabCut: rows `scorer`, maybe `individuals`, `bodyparts`, `coords` above one row a frame. Its HDF5 keeps these names as pickles where pandas wrote
a 'table': pickles are never loaded, so the names have to come with the plan. SLEAP: the analysis file (`tracks`, `point_scores`, `node_names`).
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.skeletons import BadSkeleton, Skeleton
from training.harvest import timeline
from training.harvest.formats import joints
from training.harvest.formats.joints import Floats
from training.harvest.harvester import BadRecording

ENDINGS = (".csv", ".h5", ".hdf5")
MOST_BYTES = 512 << 20
MOST_VALUES = 60_000_000
MOST_DATA, MOST_NAMES = 256 << 20, 1 << 20  # bytes of one dataset of HDF5: numbers, names
MOST_JOINTS, MOST_PEOPLE = 200, 50
HEADERS = ("scorer", "individuals", "bodyparts", "coords")
MOST_ROWS, MOST_PX = 1_000_000, 1e9


@dataclass(frozen=True)
class Tracked:
    """Of one camera: `people` F x P x J x 3 (px, px, score; 0: missing), names of the joints (none where the file hides them), bones as
    pairs of names where the file has them."""

    people: Float[np.ndarray, "F P J 3"]
    names: tuple[str, ...]
    bones: tuple[tuple[str, str], ...] = ()


def read(path: Path) -> Tracked:
    """A file of either tool. Raises BadRecording."""
    if path.stat().st_size > MOST_BYTES:
        raise BadRecording(f"{path.name} is larger than {MOST_BYTES >> 20} MiB", field="detections")
    if path.suffix.lower() == ".csv":
        return _deeplabcut_csv(path)
    import h5py  # of no use to the web processes but here

    try:
        with h5py.File(path, "r") as file:
            return _sleap(path, file) if "tracks" in file else _deeplabcut_h5(path, file)
    except BadRecording:
        raise
    except Exception as error:  # the library's own are of every kind, and the file is somebody else's
        raise BadRecording(
            f"{path.name}: no HDF5 of DeepLabCut or SLEAP ({type(error).__name__}: {str(error)[:120]})",
            field="detections",
            fix="bring DeepLabCut's .csv or SLEAP's analysis .h5",
        ) from None


def _dataset(group: Any, name: str, where: str, most: int = MOST_DATA) -> Any:
    """A dataset that lies in the file itself and is small enough to be read: HDF5 can point to any other file of the server, and claim any
    size. Raises BadRecording, KeyError."""
    import h5py

    link = group.get(name, getlink=True)
    if link is None:
        raise KeyError(f"{name} is missing")
    data = group[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise BadRecording(f"{where}: '{name}' does not lie in the file itself", field="detections")
    if math.prod(data.shape) * data.dtype.itemsize > most:
        raise BadRecording(f"{where}: '{name}' is larger than {most >> 20} MiB", field="detections")
    return data


def skeleton_of(
    names: tuple[str, ...], bones: tuple[tuple[str, str], ...], asked: Skeleton | None, where: str
) -> Skeleton:
    """The skeleton that was asked for, a built-in one of these names, or one of the file's own bones. Raises BadRecording."""
    if asked is not None:
        return asked
    if known := joints.named(names):
        return known
    if names and bones:
        try:
            return Skeleton("custom", names, bones, names[0])
        except BadSkeleton as error:
            raise BadRecording(f"{where}: {error.detail}", field="detections") from None
    about = f"its joints ({', '.join(names[:4])}, ...)" if names else "its joints, which have no names,"
    raise BadRecording(
        f"{where}: {about} are those of no skeleton known here",
        field="own_skeleton",
        fix="name joints and bones in 'Own skeleton'",
    )


def fitting(some: Tracked, skeleton: Skeleton, where: str) -> Floats:
    """The people's joints in the skeleton's order, by name where the file has names. Raises BadRecording."""
    if len(skeleton.keypoints) == some.people.shape[2] and not set(some.names) & set(skeleton.keypoints):
        return joints.clean(some.people)  # other names, or none: in order
    missing = [name for name in skeleton.keypoints if name not in some.names]
    if missing:
        raise BadRecording(
            f"{where}: there is no joint '{missing[0]}' among {', '.join(some.names[:8]) or 'unnamed joints'}",
            field="own_skeleton",
            fix="use the file's own names",
        )
    return joints.clean(some.people[:, :, [some.names.index(name) for name in skeleton.keypoints]])


def _deeplabcut_csv(path: Path) -> Tracked:
    """One row at a time: a long file has millions of numbers."""
    heads: dict[str, list[str]] = {}
    frames: list[str] = []
    cells, first = array("d"), 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line in csv.reader(file, strict=True):
                if not any(cell.strip() for cell in line):
                    continue
                word = line[0].strip().lower()
                if not frames and word in HEADERS:
                    heads[word] = line
                    continue
                if not frames:
                    first = _first_number(heads, path.name)
                if len(line) != len(heads["coords"]):
                    raise BadRecording(
                        f"{path.name}: row {len(frames) + 1} has {len(line)} columns, not {len(heads['coords'])}",
                        field="detections",
                    )
                # A frame's number, or its picture's name, in one column or in parts in several.
                frames.append(Path("/".join(line[:first])).stem)
                cells.extend(float(cell) if cell.strip() else float("nan") for cell in line[first:])
                if len(frames) > MOST_ROWS:
                    raise BadRecording(f"more than {MOST_ROWS} frames", field="detections")
    except BadRecording:
        raise
    except (csv.Error, UnicodeDecodeError, ValueError, OSError) as error:
        raise BadRecording(f"{path.name}: no CSV of numbers ({str(error)[:120]})", field="detections") from None
    if not frames:
        raise BadRecording(f"{path.name} has no rows", field="detections")
    who = heads.get("individuals", [""] * len(heads["coords"]))
    columns = list(zip(who[first:], heads["bodyparts"][first:], heads["coords"][first:]))
    times = timeline.of([path.stem], [frames])
    values = np.frombuffer(cells, dtype=np.float64).reshape(len(frames), -1)
    return _arranged(values, columns, np.array(times.places[0]), times.frames, path.name)


def _first_number(heads: dict[str, list[str]], where: str) -> int:
    """The first column that holds a coordinate. Raises BadRecording."""
    if not {"bodyparts", "coords"} <= set(heads) or len({len(line) for line in heads.values()}) > 1:
        raise BadRecording(
            f"{where} is no CSV of DeepLabCut: it begins with the rows scorer, bodyparts and coords", field="detections"
        )
    if len(heads["coords"]) > 3 * MOST_JOINTS * MOST_PEOPLE + 3:
        raise BadRecording(f"{where}: {len(heads['coords'])} columns are too many", field="detections")
    first = next((n for n, word in enumerate(heads["coords"]) if word.strip() == "x"), None)
    if first is None:
        raise BadRecording(f"{where}: no column is an x", field="detections")
    return first


def _arranged(
    cells: NDArray[np.float64],
    columns: Sequence[tuple[str, str, str]],
    place: NDArray[np.int64],
    frames: int,
    where: str,
) -> Tracked:
    """Columns of (individual, joint, coordinate) as people. A missing score is 1 where both coordinates are there."""
    plain = [(who.strip(), part.strip(), coord.strip()) for who, part, coord in columns]
    people = list(dict.fromkeys(who for who, _, _ in plain if who.lower() != "single")) or ["single"]
    names = list(dict.fromkeys(part for who, part, _ in plain if who in people))
    if len(people) > MOST_PEOPLE or len(names) > MOST_JOINTS:
        raise BadRecording(
            f"{where}: {len(people)} x {len(names)} joints; at most {MOST_PEOPLE} people of {MOST_JOINTS}",
            field="detections",
        )
    if frames > MOST_ROWS or frames * len(people) * len(names) * 3 > MOST_VALUES:
        raise BadRecording(f"{where}: {frames} frames of {len(people)} x {len(names)} joints", field="detections")
    cells = np.where(np.abs(cells) < MOST_PX, cells, np.nan)
    values = np.full((frames, len(people), len(names), 3), np.nan, dtype=np.float32)
    kinds = {"x": 0, "y": 1, "likelihood": 2}
    if len(set(plain)) < len(plain) or any(coord not in kinds for _, _, coord in plain):
        raise BadRecording(f"{where}: columns are x, y and likelihood of each joint, once", field="detections")
    person, joint = ({name: n for n, name in enumerate(some)} for some in (people, names))
    for n, (who, part, coord) in enumerate(plain):
        if who in person:
            values[place, person[who], joint[part], kinds[coord]] = cells[:, n]
    scored = any(coord == "likelihood" for _, _, coord in plain)
    there = np.isfinite(values[..., :2]).all(axis=-1)
    score = values[..., 2] if scored else np.ones(there.shape, dtype=np.float32)
    values[..., 2] = np.where(there & np.isfinite(score), score, 0.0)
    return Tracked(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), tuple(names))


def _deeplabcut_h5(path: Path, file: Any) -> Tracked:
    """pandas' 'fixed' layout names its columns in plain arrays, 'table' as pickles: those files give joints without names."""
    import h5py

    group = next((file[k] for k in file if isinstance(file.get(k, getlink=True), h5py.HardLink)), None)
    if not isinstance(group, h5py.Group):
        raise KeyError("no table")
    if "table" in group:
        table = _dataset(group, "table", path.name)[()]
        cells = np.asarray(table["values_block_0"], dtype=np.float64)
        if cells.ndim != 2 or cells.shape[1] % 3 or cells.shape[1] > 3 * MOST_JOINTS:
            raise BadRecording(
                f"{path.name}: its columns are not x, y and likelihood of at most {MOST_JOINTS} joints",
                field="detections",
            )
        joint = [("", str(n // 3), ("x", "y", "likelihood")[n % 3]) for n in range(cells.shape[1])]
        some = _arranged(cells, joint, *_places(table["index"], len(cells), path))
        return Tracked(some.people, ())
    levels = sorted(name for name in group if name.startswith("axis0_level"))
    labels = [np.asarray(_dataset(group, n.replace("level", "label"), path.name, MOST_NAMES), int) for n in levels]
    words = [[_text(x) for x in _dataset(group, name, path.name, MOST_NAMES)[()]] for name in levels]
    cells = np.asarray(_dataset(group, "block0_values", path.name), dtype=np.float64)
    inside = all((label >= 0).all() and (label < len(word)).all() for label, word in zip(labels, words))
    if len(levels) not in (3, 4) or cells.ndim != 2 or {len(n) for n in labels} != {cells.shape[1]} or not inside:
        raise BadRecording(f"{path.name}: its columns have not three or four names each", field="detections")
    columns = [tuple(words[k][label[n]] for k, label in enumerate(labels)) for n in range(cells.shape[1])]
    three = [(column[1] if len(column) == 4 else "", column[-2], column[-1]) for column in columns]
    frames = _dataset(group, "axis1", path.name)[()] if "axis1" in group else np.arange(len(cells))
    return _arranged(cells, three, *_places(frames, len(cells), path))


def _places(index: Any, count: int, path: Path) -> tuple[NDArray[np.int64], int, str]:
    """Frames of the rows by their index, in their order where that is no number."""
    frames = np.asarray(index)
    if frames.dtype.kind not in "iu" or frames.shape != (count,):
        frames = np.arange(count)
    times = timeline.of([path.stem], [[str(int(frame)) for frame in frames]])
    return np.array(times.places[0]), times.frames, path.name


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _sleap(path: Path, file: Any) -> Tracked:
    """`tracks` people x 2 x joints x frames, `point_scores` people x joints x frames, names and edges."""
    tracks = np.asarray(_dataset(file, "tracks", path.name), dtype=np.float64)
    if tracks.ndim != 4 or tracks.shape[1] != 2 or tracks.shape[3] > MOST_ROWS:
        raise BadRecording(
            f"{path.name}: tracks are {tracks.shape}, not people x 2 x joints x frames", field="detections"
        )
    if tracks.shape[0] > MOST_PEOPLE or tracks.shape[2] > MOST_JOINTS:
        raise BadRecording(
            f"{path.name}: {tracks.shape[0]} x {tracks.shape[2]} joints are too many", field="detections"
        )
    names = tuple(_text(name) for name in _dataset(file, "node_names", path.name, MOST_NAMES)[()])
    if len(names) != tracks.shape[2]:
        raise BadRecording(f"{path.name}: {len(names)} names for {tracks.shape[2]} joints", field="detections")
    place = tracks.transpose(3, 0, 2, 1)
    there = np.asarray((np.abs(place) < MOST_PX).all(axis=-1))
    score = np.ones(there.shape)
    if "point_scores" in file:
        scores = np.asarray(_dataset(file, "point_scores", path.name), dtype=np.float64)
        if scores.shape == (tracks.shape[0], *tracks.shape[2:]):
            score = np.nan_to_num(scores.transpose(2, 0, 1), nan=0.0)
    edges = np.zeros((0, 2), dtype=int)
    if "edge_inds" in file:
        edges = np.asarray(_dataset(file, "edge_inds", path.name, MOST_NAMES)[()])
    inside = edges.ndim == 2 and edges.shape[1:] == (2,) and ((edges >= 0) & (edges < len(names))).all()
    bones = tuple((names[int(a)], names[int(b)]) for a, b in edges) if inside else ()
    values = np.concatenate([np.where(there[..., None], place, 0.0), np.where(there, score, 0.0)[..., None]], axis=-1)
    return Tracked(values.astype(np.float32), names, bones)
