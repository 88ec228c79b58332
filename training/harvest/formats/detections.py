"""2D detections of several views from the files that people have: OpenPose JSON, COCO keypoints, npz.

Everything becomes F x V x P x J x 3 (x px, y px, score; 0: missing), P people in no order. OpenPose and npz take pixels as they are;
COCO's lie half a pixel further (its pixel centres are at .5), which is taken off.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from labeling.importing import coco
from labeling.importing.archive import is_litter
from labeling.importing.parsed import BadInput
from labeling.skeletons import BUILT_IN, COCO_17, Skeleton
from training.harvest import timeline
from training.harvest.archives import bounded
from training.harvest.formats import joints, tracked
from training.harvest.formats.joints import Floats
from training.harvest.harvester import BadRecording

MOST_CAMERAS = 64
MOST_FRAMES, MOST_PEOPLE, MOST_FILE_BYTES, MOST_UNPACKED = 1_000_000, 50, 512 << 20, 4 << 30


@dataclass(frozen=True)
class Detected:
    """`people` F x V x P x J x 3; `cameras` their names where the files say them; `fps` 0 where they do not."""

    people: Float[np.ndarray, "F V P J 3"]
    skeleton: Skeleton
    cameras: tuple[str, ...] = ()
    fps: float = 0.0
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


def read(path: Path, *, skeleton: Skeleton | None = None) -> Detected:
    """A folder with a folder of OpenPose JSON files per camera, a folder with a COCO JSON per camera, or an npz. Raises BadRecording."""
    if path.is_file() and path.suffix == ".npz":
        return read_npz(path, skeleton)
    if not path.is_dir():
        raise BadRecording(
            f"{path.name}: bring an npz, or a folder with one folder or JSON file per camera", field="detections"
        )
    path = _inside(path)
    folders = sorted(
        (p for p in path.iterdir() if p.is_dir() and not is_litter(p.name) and any(p.glob("*.json"))),
        key=lambda p: timeline.in_order(p.name),
    )
    if folders:
        return read_openpose(folders, skeleton)
    if files := _json_files(path.glob("*.json")):
        return read_coco(files, skeleton)
    if tables := _tables(path):
        return read_tracked(tables, skeleton)
    raise BadRecording(
        f"{path.name} holds no JSON, CSV or HDF5 files", field="detections", fix="one folder or file per camera"
    )


POSE_FOLDERS = ("pose-sync", "pose", "pose-associated")  # of a whole trial of Pose2Sim, the best first


def _inside(path: Path) -> Path:
    """Where in a trial's folder the detections lie."""
    return next((folder for name in POSE_FOLDERS if (folder := path / name).is_dir()), path)


def _tables(path: Path) -> list[Path]:
    """Files of DeepLabCut or SLEAP, one a camera; of two of one camera (its .csv beside its .h5) the one with names."""
    every = [p for p in path.rglob("*") if p.suffix.lower() in tracked.ENDINGS and not is_litter(str(p))]
    plain = {p.with_suffix(""): p for p in sorted(every, key=lambda p: p.suffix.lower() == ".csv")}
    return sorted(plain.values(), key=lambda f: timeline.in_order(str(f)))


def read_tracked(files: Sequence[Path], skeleton: Skeleton | None) -> Detected:
    """Files of DeepLabCut or SLEAP, one a camera, which is named by the file, or by its folder where each has its own. Raises BadRecording."""
    if len(files) > MOST_CAMERAS:
        raise BadRecording(f"{len(files)} files, of a camera each; at most {MOST_CAMERAS}", field="detections")
    some = [tracked.read(file) for file in files]
    own_folders = len({file.parent for file in files}) == len(files) > 1
    cameras = tuple(file.parent.name if own_folders else file.name.partition("DLC")[0].strip("_- ") for file in files)
    cameras = tuple(name.partition(".")[0] for name in cameras)
    of = tracked.skeleton_of(some[0].names, some[0].bones, skeleton, files[0].name)
    views = [tracked.fitting(view, of, file.name) for view, file in zip(some, files)]
    frames, most = max(len(view) for view in views), max(view.shape[1] for view in views)
    people = np.zeros((frames, len(views), most, len(of.keypoints), 3), dtype=np.float32)
    for v, view in enumerate(views):
        people[: len(view), v, : view.shape[1]] = view
    if not (people[..., 2] > 0).any():
        raise BadRecording("Nobody is detected in any frame.", field="detections")
    uneven = {len(view) for view in views}
    notes = (f"the cameras have {', '.join(str(len(view)) for view in views)} frames",) if len(uneven) > 1 else ()
    return Detected(people, of, cameras, notes=notes)


def read_single(
    path: Path, *, skeleton: Skeleton | None = None, between: Callable[[], object] = lambda: None
) -> Detected:
    """One camera's detections: an npz (`people` F x P x J x 3 or `keypoints` F x J x 3), a JSON of all frames (COCO, AlphaPose,
    MMPose), or a folder that holds the JSON of each frame (OpenPose) or one of all. `between` is called for every file, and may
    raise. Raises BadRecording."""
    if path.is_file() and path.suffix == ".npz":
        return read_npz(path, skeleton, single=True)
    if path.is_file() and path.suffix.lower() in tracked.ENDINGS:
        return read_tracked([path], skeleton)
    if path.is_file():
        return _read_whole(path, _json(path), skeleton)
    files = _json_files(path.rglob("*.json"))
    if not files and len(tables := _tables(path)) == 1:
        return read_tracked(tables, skeleton)
    if not files:
        raise BadRecording(
            f"{path.name} holds no JSON files", field="detections", fix="one JSON a frame, or a COCO file"
        )
    first = _json(files[0])
    if not isinstance(first, dict) or "people" not in first:
        return _read_whole(files[0], first, skeleton)
    return read_openpose([files[0].parent], skeleton, between=between)


def _read_whole(path: Path, data: Any, skeleton: Skeleton | None) -> Detected:
    """A JSON of all frames of one camera, in whichever layout."""
    if isinstance(data, list) and data and isinstance(data[0], dict) and "image_id" in data[0]:
        return read_alphapose(path, data, skeleton)
    if isinstance(data, dict) and isinstance(data.get("instance_info"), list):
        return read_mmpose(path, data, skeleton)
    if not isinstance(data, dict) or not {"images", "annotations"} & set(data):
        raise BadRecording(
            f"{path.name} is no file of OpenPose ('people'), COCO ('images', 'annotations'), AlphaPose or MMPose",
            field="detections",
            fix="see docs/admins.md, 'Videos'",
        )
    return read_coco([path], skeleton)


def read_alphapose(path: Path, data: list[Any], skeleton: Skeleton | None) -> Detected:
    """AlphaPose's results: a list of people with image_id ("12.jpg"), keypoints x, y, score. Raises BadRecording."""
    try:
        stems = sorted({str(person["image_id"]) for person in data}, key=timeline.in_order)
        flat = [(str(person["image_id"]), joints.flat(person["keypoints"], path.name)) for person in data]
    except (KeyError, TypeError) as error:
        raise BadRecording(f"{path.name}: not AlphaPose's results ({error})", field="detections") from None
    times = timeline.of([path.stem], [[stem.rpartition(".")[0] or stem for stem in stems]])
    place = dict(zip(stems, times.places[0]))
    return _single(path, [(place[stem], values) for stem, values in flat if values is not None], times, skeleton)


def read_mmpose(path: Path, data: dict[str, Any], skeleton: Skeleton | None) -> Detected:
    """MMPose's predictions: instance_info[].frame_id, instances[].keypoints [[x, y]] and keypoint_scores. Raises BadRecording."""
    try:
        frames = data["instance_info"]
        times = timeline.of([path.stem], [[str(int(frame["frame_id"])) for frame in frames]])
        people = [
            (place, np.column_stack([person["keypoints"], person["keypoint_scores"]]).astype(np.float32))
            for frame, place in zip(frames, times.places[0])
            for person in frame["instances"]
        ]
        names = (data.get("meta_info") or {}).get("keypoint_id2name") or {}
        listed = [str(names[key]) for key in sorted(names, key=int)]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadRecording(f"{path.name}: not MMPose's predictions ({error})", field="detections") from None
    if any(values.ndim != 2 or values.shape[1] != 3 for _, values in people):
        raise BadRecording(f"{path.name}: keypoints are not x and y of each joint", field="detections")
    return _single(path, people, times, skeleton or joints.named(listed))


def _single(
    path: Path, people: list[tuple[int, Floats]], times: timeline.Timeline, skeleton: Skeleton | None
) -> Detected:
    """One camera's people, as (frame, joints)."""
    if not people:
        raise BadRecording("Nobody is detected in any frame.", field="detections")
    _few(times.frames)
    of = skeleton or joints.told_apart([values for _, values in people], path.name)
    frames: list[list[Floats]] = [[] for _ in range(times.frames)]
    for place, values in people:
        frames[place].append(joints.clean(joints.fitting(values, of, path.name)))
    notes = (
        times.notes if skeleton else (*times.notes, f"the detector's {len(people[0][1])} joints are read as {of.name}")
    )
    return Detected(_stacked([frames], len(of.keypoints)), of, (path.stem,), notes=notes)


def _json_files(files: Iterable[Path]) -> list[Path]:
    return sorted((f for f in files if not is_litter(str(f))), key=lambda f: timeline.in_order(str(f)))


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


BODY_KEYS = ("pose_keypoints_2d", "pose_keypoints")  # of today's OpenPose and of that before 2018


def read_openpose(
    folders: Sequence[Path], skeleton: Skeleton | None = None, *, between: Callable[[], object] = lambda: None
) -> Detected:
    """One JSON a frame with people[].pose_keypoints_2d, frames by the numbers in their names; a missing file is an empty frame.

    Without a `skeleton` the joints are told by their number and their bones. Raises BadRecording.
    """
    cameras = tuple(folder.name for folder in folders)
    files = [_json_files(folder.glob("*.json")) for folder in folders]
    times = timeline.of(cameras, [[f.stem for f in view] for view in files])
    _few(times.frames)
    keys: set[str] = set()
    raw: list[list[list[Floats]]] = [[[] for _ in range(times.frames)] for _ in folders]
    for v, (folder, view) in enumerate(zip(folders, files)):
        for file, place in zip(view, times.places[v]):
            between()
            raw[v][place] = _people(_json(file), f"{folder.name}/{file.name}", keys)
    old = f", '{BODY_KEYS[1]}' of an OpenPose before 2018" if BODY_KEYS[1] in keys else ""
    everybody = [person for view in raw for frame in view for person in frame]
    if not everybody:
        raise BadRecording("Nobody is detected in any frame.", field="detections")
    of = skeleton or joints.told_apart(everybody, cameras[0])
    views = [
        [[joints.clean(joints.fitting(p, of, cameras[v] + old)) for p in frame] for frame in view]
        for v, view in enumerate(raw)
    ]
    notes = (
        times.notes if skeleton else (*times.notes, f"the detector's {len(everybody[0])} joints are read as {of.name}")
    )
    return Detected(_stacked(views, len(of.keypoints)), of, cameras, notes=notes)


def _people(data: Any, where: str, keys: set[str]) -> list[Floats]:
    """The people of a frame; `keys`: where their joints stood is added to it."""
    people = data.get("people") if isinstance(data, dict) else None
    if not isinstance(people, list):
        raise BadRecording(f"{where}: a list 'people' is missing", field="detections")
    read = []
    for person in people[:MOST_PEOPLE]:
        key = next((k for k in BODY_KEYS if isinstance(person, dict) and k in person), None)
        if person == {}:
            continue  # how Pose2Sim's pose-associated says that nobody is there
        if key is None:
            raise BadRecording(f"{where}: a person has no {BODY_KEYS[0]}", field="detections")
        if (values := joints.flat(person[key], where)) is not None:
            read.append(values)
            keys.add(key)
    return read


def _few(frames: int) -> None:
    if frames > MOST_FRAMES:
        raise BadRecording(f"{frames} frames; at most {MOST_FRAMES}", field="detections")


def read_coco(files: Sequence[Path], skeleton: Skeleton | None = None) -> Detected:
    """One COCO keypoints file per camera; frames are its images by the numbers in their file names. v of 0, 1, 2 counts as score 0, .6, 1.

    The joints are those that the file's category of people names, COCO's where it names none. Raises BadRecording.
    """
    size, loaded = None, []
    for file in files:
        data = _json(file)
        if not isinstance(data, dict) or not all(isinstance(data.get(k), list) for k in ("images", "annotations")):
            raise BadRecording(f"{file.name}: the lists 'images' and 'annotations' are missing", field="detections")
        loaded.append(data)
    cameras = tuple(file.stem for file in files)
    try:
        of = skeleton or _of_category(loaded[0], cameras[0])
        stems = [[str(image["file_name"]).rpartition(".")[0] for image in data["images"]] for data in loaded]
        times = timeline.of(cameras, stems)
        _few(times.frames)
        views: list[list[list[Floats]]] = []
        for data, places, name in zip(loaded, times.places, cameras):
            place = {image["id"]: n for image, n in zip(data["images"], places)}
            frames: list[list[Floats]] = [[] for _ in range(times.frames)]
            if data["images"] and "width" in data["images"][0]:
                size = (int(data["images"][0]["width"]), int(data["images"][0]["height"]))
            for person in data["annotations"]:
                flat = joints.flat(person["keypoints"], name) if _is_person(person, data) else None
                if flat is not None:
                    frames[place[person["image_id"]]].append(_scored(joints.fitting(flat, of, name), person))
            views.append(frames)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadRecording(
            f"{cameras[0]}: not COCO keypoints ({type(error).__name__}: {error})", field="detections"
        ) from None
    return Detected(_stacked(views, len(of.keypoints)), of, cameras, size=size, notes=times.notes)


def _scored(values: Floats, person: dict[str, Any]) -> Floats:
    """Joints of one person, whose pixels have their centres at .5 in COCO."""
    places = values.astype(np.float64)
    if set(np.unique(places[:, 2])) <= {0.0, 1.0, 2.0}:
        places[:, 2] = np.array([0.0, 0.6, 1.0])[places[:, 2].astype(int)] * float(person.get("score", 1.0))
    places[:, :2] -= 0.5
    return joints.clean(places.astype(np.float32))


def _person_categories(data: dict[str, Any]) -> list[dict[str, Any]]:
    listed = data.get("categories")
    named_ones = [c for c in listed if isinstance(c, dict) and c.get("keypoints")] if isinstance(listed, list) else []
    return [c for c in named_ones if str(c.get("name", "")).lower() == "person"] or named_ones[:1]


def _is_person(annotation: dict[str, Any], data: dict[str, Any]) -> bool:
    people = {c.get("id") for c in _person_categories(data)}
    others = {c.get("id") for c in data.get("categories") or [] if isinstance(c, dict)} - people
    return annotation.get("category_id") not in others


def _of_category(data: dict[str, Any], where: str) -> Skeleton:
    people = _person_categories(data)
    if not people:
        return COCO_17
    names = [str(name) for name in people[0]["keypoints"]]
    if known := joints.named(names):
        return known
    try:
        bones = coco.skeleton_of(people[0]).bones
    except BadInput as error:
        raise BadRecording(f"{where}: {error.detail}", field="detections", fix=error.fix) from None
    return tracked.skeleton_of(tuple(names), bones, None, where)


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
    target = skeleton or joints.named(names)
    if target is None:
        listed = ", ".join(BUILT_IN)
        raise BadRecording(
            f"{path.name}: its joints are none of {listed}", field="skeleton", fix="name or describe the skeleton"
        )
    if names and list(target.keypoints) != names and set(target.keypoints) <= set(names):
        values = values[:, :, :, [names.index(name) for name in target.keypoints]]
    if values.shape[3] != len(target.keypoints):
        raise BadRecording(f"{values.shape[3]} joints, {len(target.keypoints)} in {target.name}", field="skeleton")
    return Detected(
        joints.clean(values.astype(np.float32)), target, cameras, fps, size if size is None or len(size) == 2 else None
    )
