"""2D detections of several views from the files that people have: OpenPose JSON, COCO keypoints, npz.

Everything becomes F x V x P x J x 3 (x px, y px, score; 0: missing), P people in no order. OpenPose and npz take pixels as they are;
COCO's lie half a pixel further (its pixel centres are at .5), which is taken off.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.skeletons import BODY_25, BUILT_IN, COCO_17, Skeleton, by_names
from training.harvest.archives import bounded
from training.harvest.harvester import BadRecording

Floats = NDArray[np.float32]
MOST_FRAMES, MOST_PEOPLE, MOST_FILE_BYTES, MOST_UNPACKED = 1_000_000, 50, 512 << 20, 4 << 30
CAMEL = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class Detected:
    """`people` F x V x P x J x 3; `cameras` their names where the files say them; `fps` 0 where they do not."""

    people: Float[np.ndarray, "F V P J 3"]
    skeleton: Skeleton
    cameras: tuple[str, ...] = ()
    fps: float = 0.0
    size: tuple[int, int] | None = None


def read(path: Path, *, skeleton: Skeleton | None = None) -> Detected:
    """A folder with a folder of OpenPose JSON files per camera, a folder with a COCO JSON per camera, or an npz. Raises BadRecording."""
    if path.is_file() and path.suffix == ".npz":
        return read_npz(path, skeleton)
    if not path.is_dir():
        raise BadRecording(
            f"{path.name}: bring an npz, or a folder with one folder or JSON file per camera", field="detections"
        )
    folders = sorted(p for p in path.iterdir() if p.is_dir() and any(p.glob("*.json")))
    if folders:
        return read_openpose(folders, skeleton or BODY_25)
    files = sorted(path.glob("*.json"))
    if not files:
        raise BadRecording(f"{path.name} holds no JSON files", field="detections", fix="one folder or file per camera")
    return read_coco(files, skeleton or COCO_17)


def read_single(
    path: Path, *, skeleton: Skeleton | None = None, between: Callable[[], object] = lambda: None
) -> Detected:
    """One camera's detections: an npz (`people` F x P x J x 3 or `keypoints` F x J x 3), a COCO JSON, or a folder that holds the JSON of
    each frame (OpenPose) or one COCO JSON. `between` is called for every file, and may raise. Raises BadRecording."""
    if path.is_file() and path.suffix == ".npz":
        return read_npz(path, skeleton, single=True)
    if path.is_file():
        return read_coco([path], skeleton or COCO_17)
    files = sorted(path.rglob("*.json"))
    if not files:
        raise BadRecording(
            f"{path.name} holds no JSON files", field="detections", fix="one JSON a frame, or a COCO file"
        )
    first = _json(files[0])
    if isinstance(first, dict) and "annotations" in first:
        return read_coco(files[:1], skeleton or COCO_17)
    return read_openpose([files[0].parent], skeleton or BODY_25, between=between)


def extent(people: Float[np.ndarray, "... 3"]) -> tuple[int, int]:
    """Width and height (px) that hold all detections ... x J x 3: the picture's size, where nothing says it."""
    there = people[..., 2] > 0
    far = people[..., :2][there].max(axis=0) if there.any() else np.array([999.0, 999.0])
    return int(np.ceil(max(far[0], 1))) + 1, int(np.ceil(max(far[1], 1))) + 1


def _json(path: Path) -> Any:
    if path.stat().st_size > MOST_FILE_BYTES:
        raise BadRecording(f"{path.name} is larger than {MOST_FILE_BYTES >> 20} MiB", field="detections")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadRecording(f"{path.name} is no JSON: {error}", field="detections") from None


def _joints(flat: Any, where: str, joints: int) -> Floats:
    try:
        values = np.array(flat, dtype=np.float32)
    except (TypeError, ValueError):
        raise BadRecording(f"{where}: keypoints must be numbers", field="detections") from None
    if values.shape != (3 * joints,):
        fix = "name the skeleton of the detector"
        raise BadRecording(f"{where}: {values.size} numbers instead of {3 * joints}", field="skeleton", fix=fix)
    return _clean(values.reshape(joints, 3))


def _clean(values: Floats) -> Floats:
    """Missing and unreadable joints are 0; scores within 0..1."""
    known = np.isfinite(values).all(axis=-1) & (values[..., 2] > 0)
    bounded = np.concatenate([values[..., :2], np.minimum(values[..., 2:], 1.0)], axis=-1)
    return np.where(known[..., None], bounded, np.float32(0.0)).astype(np.float32)


def _stacked(views: list[list[list[Floats]]], joints: int) -> Floats:
    """Lists by camera, frame and person in one array; cameras that stop early see nobody afterwards."""
    frames = max((len(view) for view in views), default=0)
    most = max((len(people) for view in views for people in view), default=0)
    if not frames or not most:
        raise BadRecording("Nobody is detected in any frame.", field="detections")
    if frames > MOST_FRAMES or most > MOST_PEOPLE:
        raise BadRecording(
            f"{frames} frames of up to {most} people; at most {MOST_FRAMES} and {MOST_PEOPLE}", field="detections"
        )
    stacked = np.zeros((frames, len(views), most, joints, 3), dtype=np.float32)
    for v, view in enumerate(views):
        for f, people in enumerate(view):
            for p, person in enumerate(people):
                stacked[f, v, p] = person
    return stacked


def read_openpose(
    folders: Sequence[Path], skeleton: Skeleton, *, between: Callable[[], object] = lambda: None
) -> Detected:
    """One JSON a frame with people[].pose_keypoints_2d, frames in the order of their names."""
    joints = len(skeleton.keypoints)
    views = []
    for folder in folders:
        frames = []
        for file in sorted(folder.glob("*.json")):
            between()
            data = _json(file)
            people = data.get("people") if isinstance(data, dict) else None
            if not isinstance(people, list):
                raise BadRecording(f"{folder.name}/{file.name}: a list 'people' is missing", field="detections")
            where = f"{folder.name}/{file.name}"
            frames.append(
                [
                    _joints(p.get("pose_keypoints_2d") if isinstance(p, dict) else None, where, joints)
                    for p in people[:MOST_PEOPLE]
                ]
            )
        views.append(frames)
    return Detected(_stacked(views, joints), skeleton, tuple(folder.name for folder in folders))


def read_coco(files: Sequence[Path], skeleton: Skeleton) -> Detected:
    """One COCO keypoints file per camera; frames are its images in the order of their file names. v of 0, 1, 2 counts as score 0, .6, 1."""
    joints = len(skeleton.keypoints)
    views, size = [], None
    for file in files:
        data = _json(file)
        if not isinstance(data, dict) or not all(isinstance(data.get(k), list) for k in ("images", "annotations")):
            raise BadRecording(f"{file.name}: the lists 'images' and 'annotations' are missing", field="detections")
        try:
            images = sorted(data["images"], key=lambda image: str(image["file_name"]))
            place = {image["id"]: n for n, image in enumerate(images)}
            frames: list[list[Floats]] = [[] for _ in images]
            if images and "width" in images[0]:
                size = (int(images[0]["width"]), int(images[0]["height"]))
            for person in data["annotations"]:
                values = _joints(person["keypoints"], file.name, joints).astype(np.float64)
                seen = np.array(person["keypoints"], dtype=np.float64).reshape(-1, 3)[:, 2]
                if set(np.unique(seen)) <= {0.0, 1.0, 2.0}:
                    values[:, 2] = np.array([0.0, 0.6, 1.0])[seen.astype(int)] * float(person.get("score", 1.0))
                values[:, :2] -= 0.5
                frames[place[person["image_id"]]].append(_clean(values.astype(np.float32)))
        except (KeyError, TypeError, ValueError) as error:
            raise BadRecording(
                f"{file.name}: not COCO keypoints ({type(error).__name__}: {error})", field="detections"
            ) from None
        views.append(frames)
    return Detected(_stacked(views, joints), skeleton, tuple(file.stem for file in files), size=size)


def read_npz(path: Path, skeleton: Skeleton | None, *, single: bool = False) -> Detected:
    """Arrays: `people` F x V x P x J x 3 or `keypoints` F x V x J x 3, joint_names, and maybe camera_names, fps, image_size; without V
    where they are a `single` camera's."""
    try:
        bounded(path, MOST_UNPACKED)
        with np.load(path, allow_pickle=False) as file:
            key = "people" if "people" in file.files else "keypoints"
            values = np.asarray(file[key])
            names = [str(n) for n in file["joint_names"]] if "joint_names" in file.files else []
            cameras = tuple(str(n) for n in file["camera_names"]) if "camera_names" in file.files else ()
            fps = float(file["fps"]) if "fps" in file.files else 0.0
            size = tuple(int(x) for x in file["image_size"]) if "image_size" in file.files else None
    except (KeyError, ValueError, OSError, EOFError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        raise BadRecording(f"{path.name}: no npz of detections ({error})", field="detections") from None
    if single and values.ndim == (3 if key == "keypoints" else 4):
        values = values[:, None]
    if values.ndim == 4:
        values = values[:, :, None]
    if (
        values.ndim != 5
        or (single and values.shape[1] != 1)
        or values.shape[-1] != 3
        or not values.size
        or values.dtype.kind not in "fiu"
    ):
        raise BadRecording(
            f"{path.name}: {key} is {values.shape}, not frames x {'' if single else 'views x '}people x joints x 3",
            field="detections",
        )
    target = skeleton or named(names)
    if target is None:
        listed = ", ".join(BUILT_IN)
        raise BadRecording(f"{path.name}: its joints are none of {listed}", field="skeleton", fix="name the skeleton")
    if values.shape[3] != len(target.keypoints):
        raise BadRecording(f"{values.shape[3]} joints, {len(target.keypoints)} in {target.name}", field="skeleton")
    return Detected(
        _clean(values.astype(np.float32)), target, cameras, fps, size if size is None or len(size) == 2 else None
    )


@dataclass(frozen=True)
class Lifted:
    """3D predictions of somebody else's: `poses_mm` F x P x J x 3 (camera frame; NaN: missing), `score` F x P x J in 0..1."""

    poses_mm: Float[np.ndarray, "F P J 3"]
    score: Float[np.ndarray, "F P J"]
    skeleton: Skeleton
    fps: float = 0.0


def holds_poses(path: Path) -> bool:
    """Does this npz bring 3D predictions (`poses_mm`) rather than detections? False for what is no archive."""
    try:
        with zipfile.ZipFile(path) as file:
            return "poses_mm.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_poses(path: Path, skeleton: Skeleton | None) -> Lifted:
    """Arrays `poses_mm` F x J x 3 or F x P x J x 3, joint_names, and maybe `score` (F x J or F x P x J; else 1) and fps.

    Raises BadRecording.
    """
    try:
        bounded(path, MOST_UNPACKED)
        with np.load(path, allow_pickle=False) as file:
            values = np.asarray(file["poses_mm"])
            names = [str(n) for n in file["joint_names"]] if "joint_names" in file.files else []
            fps = float(file["fps"]) if "fps" in file.files else 0.0
            score = np.asarray(file["score"]) if "score" in file.files else np.ones(values.shape[:-1])
    except (KeyError, ValueError, OSError, EOFError, TypeError, MemoryError, zipfile.BadZipFile) as error:
        raise BadRecording(f"{path.name}: no npz of poses ({error})", field="detections") from None
    if values.ndim == 3:
        values, score = values[:, None], score[:, None]
    if values.ndim != 4 or values.shape[-1] != 3 or not values.size or values.dtype.kind not in "fiu":
        raise BadRecording(
            f"{path.name}: poses_mm is {values.shape}, not frames x people x joints x 3", field="detections"
        )
    if score.shape != values.shape[:3] or score.dtype.kind not in "fiu":
        raise BadRecording(f"{path.name}: score is {score.shape}, not {values.shape[:3]}", field="detections")
    if len(values) > MOST_FRAMES or values.shape[1] > MOST_PEOPLE:
        raise BadRecording(f"{len(values)} frames of {values.shape[1]} people are too many", field="detections")
    target = skeleton or named(names)
    if target is None or len(target.keypoints) != values.shape[2]:
        raise BadRecording(
            f"{path.name}: {values.shape[2]} joints are those of no known skeleton",
            field="skeleton",
            fix="name the skeleton",
        )
    known = np.isfinite(values).all(axis=-1) & np.isfinite(score) & (score > 0)
    if not known.any():
        raise BadRecording("No pose has a score above 0.", field="detections")
    return Lifted(
        values.astype(np.float32), np.where(known, np.minimum(score, 1.0), 0.0).astype(np.float32), target, fps
    )


def named(names: Sequence[str]) -> Skeleton | None:
    """The built-in skeleton of these joints, also where they are written as OpenPose does (LBigToe)."""
    return by_names(list(names)) or by_names([_words(name) for name in names])


def _words(name: str) -> str:
    side = CAMEL.get(name[:1]) if name[1:2].isupper() else None
    rest = name[1:] if side else name
    parts = "".join(f"_{c.lower()}" if c.isupper() else c for c in rest).strip("_")
    return f"{side}_{parts}" if side else parts
