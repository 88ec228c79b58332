"""Cameras from the files that people have, and back into them.

| layout | files | frame and units |
|---|---|---|
| toml | Pose2Sim, anipose: a table per camera (name, size, matrix, distortions, rotation, translation) | x_cam = R X + t; rotation is a Rodrigues vector; unit must be said (Pose2Sim: m, anipose: that of its board) |
| qca | Qualisys .qca.txt (XML) | mm; camera to world, by column; camera y and z flipped; intrinsics in 1/64 px from the sensor's corner |
| opencv-yaml | FileStorage: names, K_NAME, dist_NAME, Rot_NAME (matrix) or R_NAME (vector), T_NAME, size_NAME | x_cam = R X + t; unit must be said |
| opencv-npz | arrays names, size, K, dist, R, t | x_cam = R X + t; unit must be said |
| h36m | npz: names, size, f, c, k, p, R, C | x_cam = R (X - C): C, not t, which would be ambiguous; mm |

What we write says its unit (mm) itself. Everything is checked here, at the edge.
"""

from __future__ import annotations

import io
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
import tomli_w
import yaml
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from training.harvest.archives import bounded
from training.poses import rotations
from training.poses.cameras import BadCamera, Camera, checked

Array = NDArray[np.float64]
MOST_BYTES, MOST_CAMERAS = 4 << 20, 200
UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
LAYOUTS = ("toml", "qca", "opencv-yaml", "opencv-npz", "h36m")
FLIP = np.diag([1.0, -1.0, -1.0])
SUBPIXELS = 64.0


def read(path: Path, *, unit: str = "") -> tuple[Camera, ...]:
    """Cameras of a file in any of the layouts, told by its name and content. `unit` of lengths: mm, cm or m.

    Raises BadCamera, naming the camera, the field and what would be right.
    """
    if unit and unit not in UNITS_MM:
        raise BadCamera(f"unknown unit {unit}: use mm, cm or m", field="unit")
    if path.stat().st_size > MOST_BYTES:
        raise BadCamera(f"{path.name} is larger than any calibration ({MOST_BYTES >> 20} MiB)")
    data = path.read_bytes()
    if path.suffix == ".npz":
        return checked(_npz(data, unit))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadCamera(f"{path.name} is no text") from None
    if path.name.endswith((".qca.txt", ".xml")) or text.lstrip().startswith("<"):
        return checked(_qca(text))
    if path.suffix == ".toml":
        return checked(_toml(text, unit))
    if path.suffix in (".yaml", ".yml"):
        return checked(_yaml(text, unit))
    raise BadCamera(f"{path.name}: bring .toml, .qca.txt, .yaml, .yml or .npz")


def write(cameras: Sequence[Camera], path: Path, layout: str) -> None:
    """The same cameras in one of LAYOUTS; reading them back gives the same numbers to rounding."""
    makers = {"toml": _to_toml, "qca": _to_qca, "opencv-yaml": _to_yaml, "opencv-npz": _to_npz, "h36m": _to_h36m}
    if layout not in makers:
        raise BadCamera(f"unknown layout {layout}: use {', '.join(LAYOUTS)}", field="layout")
    path.write_bytes(makers[layout](checked(cameras)))


def _scale(unit: str, text: object, where: str) -> float:
    """Millimetres per unit; files may say it, callers may, but somebody has to."""
    unit_name = str(text) if text else unit
    if unit_name not in UNITS_MM:
        raise BadCamera(f"{where} does not say the unit of its lengths: give mm, cm or m", field="unit")
    if unit and text and unit != text:
        raise BadCamera(f"{where} says {text}, you say {unit}", field="unit")
    return UNITS_MM[unit_name]


def _numbers(value: Any, camera: str, name: str) -> Array:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadCamera(f"camera {camera}: {name} must be numbers", field=name) from None


def _five(value: Any, camera: str) -> Array:
    """k1 k2 p1 p2 k3 of four, five or more coefficients; more must be zero: rational and thin prism lenses are not known here."""
    values = _numbers(value, camera, "distortion").ravel()
    if len(values) < 4 or len(values) > 14 or values[5:].any():
        raise BadCamera(f"camera {camera}: distortion is k1, k2, p1, p2 and maybe k3", field="distortion")
    return np.concatenate([values, np.zeros(5)])[:5]


def _size(value: Any, camera: str) -> tuple[int, int]:
    size = _numbers(value, camera, "size").ravel()
    if size.shape != (2,) or not np.isfinite(size).all() or (size != size.round()).any():
        raise BadCamera(f"camera {camera}: size is width and height in whole pixels", field="size")
    return int(size[0]), int(size[1])


def _rotation(value: Any, camera: str) -> Array:
    values = _numbers(value, camera, "rotation")
    if values.size == 9:
        return values.reshape(3, 3)
    if values.size != 3 or not np.isfinite(values).all():
        raise BadCamera(f"camera {camera}: rotation is a matrix or a Rodrigues vector", field="rotation")
    return rotations.of_vector(values.ravel())


def _named(table: Mapping[str, Any], camera: str, name: str) -> Any:
    if name not in table:
        raise BadCamera(f"camera {camera}: {name} is missing", field=name)
    return table[name]


def _toml(text: str, unit: str) -> list[Camera]:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadCamera(f"not TOML: {error}") from None
    about = data.pop("metadata", {})
    scale = _scale(unit, about.get("units") if isinstance(about, dict) else None, "the TOML file")
    cameras = []
    for key, table in data.items():
        if not isinstance(table, dict):
            raise BadCamera(f"{key} is no table of a camera")
        name = str(table.get("name", key))
        if table.get("fisheye"):
            raise BadCamera(f"camera {name} is a fisheye; only lenses of Brown and Conrady are known", field="fisheye")
        cameras.append(
            Camera(
                name,
                _size(_named(table, name, "size"), name),
                _numbers(_named(table, name, "matrix"), name, "matrix"),
                _five(table.get("distortions", table.get("distortion", np.zeros(5))), name),
                _rotation(_named(table, name, "rotation"), name),
                scale * _numbers(_named(table, name, "translation"), name, "translation").ravel(),
            )
        )
    return _few(cameras)


def _to_toml(cameras: Sequence[Camera]) -> bytes:
    data: dict[str, Any] = {}
    for camera in cameras:
        data[camera.name] = {
            "name": camera.name,
            "size": [float(s) for s in camera.size],
            "matrix": camera.matrix.tolist(),
            "distortions": camera.distortion.tolist(),
            "rotation": rotations.to_vector(camera.rotation).tolist(),
            "translation": camera.translation.tolist(),
            "fisheye": False,
        }
    return tomli_w.dumps(data | {"metadata": {"units": "mm"}}).encode()


def marker_cameras(path: Path) -> list[str]:
    """Names of the cameras of a Qualisys file that see markers only, which `read` leaves out beside cameras that film."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    if not text.lstrip().startswith("<"):
        return []
    try:
        listed = list(fromstring(text, forbid_dtd=True).iter("camera"))
    except (DefusedXmlException, SyntaxError):
        return []
    blind = [(n, camera) for n, camera in enumerate(listed, start=1) if camera.find("fov_video") is None]
    return [camera.get("serial") or f"camera {n}" for n, camera in blind] if len(blind) < len(listed) else []


def _qca(text: str) -> list[Camera]:
    try:
        root = fromstring(text, forbid_dtd=True)
    except (DefusedXmlException, SyntaxError) as error:
        raise BadCamera(f"not XML that is safe to read: {type(error).__name__}") from None
    cameras = []
    listed = list(root.iter("camera"))
    filming = [camera for camera in listed if camera.find("fov_video") is not None]  # others see markers only
    for number, camera in enumerate(filming or listed):
        name = camera.get("serial") or f"camera {number + 1}"
        window, place, lens = (camera.find(tag) for tag in ("fov_video", "transform", "intrinsic"))
        if window is None:
            window = camera.find("fov_marker")
        if window is None or place is None or lens is None:
            raise BadCamera(f"camera {name}: fov_video, transform and intrinsic are needed")

        def number_of(part: Element, key: str, camera: str = name) -> float:
            value = _numbers(part.get(key, "nan"), camera, key)
            if not np.isfinite(value):
                raise BadCamera(f"camera {camera}: {key} is missing or no number", field=key)
            return float(value)

        left, right, top, bottom = (number_of(window, key) for key in ("left", "right", "top", "bottom"))
        to_world = np.array([[number_of(place, f"r{i}{j}") for j in (1, 2, 3)] for i in (1, 2, 3)])
        rotation = FLIP @ to_world
        centre = np.array([number_of(place, axis) for axis in "xyz"])
        matrix = np.eye(3)
        matrix[0, 0] = number_of(lens, "focalLengthU") / SUBPIXELS
        matrix[1, 1] = number_of(lens, "focalLengthV") / SUBPIXELS
        matrix[0, 2] = number_of(lens, "centerPointU") / SUBPIXELS - left
        matrix[1, 2] = number_of(lens, "centerPointV") / SUBPIXELS - top
        matrix[0, 1] = number_of(lens, "skew") / SUBPIXELS if lens.get("skew") else 0.0
        bent = (
            "radialDistortion1",
            "radialDistortion2",
            "tangentalDistortion1",
            "tangentalDistortion2",
            "radialDistortion3",
        )
        distortion = np.array([number_of(lens, key) / SUBPIXELS if lens.get(key) else 0.0 for key in bent])
        size = _size([right - left + 1, bottom - top + 1], name)
        cameras.append(Camera(name, size, matrix, distortion, rotation, -rotation @ centre))
    return _few(cameras)


def _to_qca(cameras: Sequence[Camera]) -> bytes:
    root = Element("calibration", {"type": "regular", "source": "nearer"})
    every = SubElement(root, "cameras")
    for camera in cameras:
        one = SubElement(every, "camera", {"active": "1", "serial": camera.name, "viewrotation": "0"})
        window = {"left": "0", "top": "0", "right": str(camera.size[0] - 1), "bottom": str(camera.size[1] - 1)}
        SubElement(one, "fov_video", window)
        to_world = FLIP @ camera.rotation
        turn = {f"r{i}{j}": repr(float(to_world[i - 1, j - 1])) for i in (1, 2, 3) for j in (1, 2, 3)}
        SubElement(one, "transform", turn | {a: repr(float(c)) for a, c in zip("xyz", camera.centre)})
        k1, k2, p1, p2, k3 = (repr(float(SUBPIXELS * d)) for d in camera.distortion)
        k = SUBPIXELS * camera.matrix
        lens = {
            "focalLengthU": k[0, 0],
            "focalLengthV": k[1, 1],
            "centerPointU": k[0, 2],
            "centerPointV": k[1, 2],
            "skew": k[0, 1],
        }
        bent = {"radialDistortion1": k1, "radialDistortion2": k2, "radialDistortion3": k3}
        bent |= {"tangentalDistortion1": p1, "tangentalDistortion2": p2}
        SubElement(one, "intrinsic", {key: repr(float(v)) for key, v in lens.items()} | bent)
    indent(root)
    return b"<?xml version='1.0' encoding='UTF-8'?>\n" + tostring(root)


class _OpenCV(yaml.SafeLoader):
    """FileStorage's YAML: numbers, texts, lists and matrices, nothing else; no aliases, which could unfold without end."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def _matrix(loader: _OpenCV, node: yaml.Node) -> Array:
    table = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    return np.array(table["data"], dtype=np.float64).reshape(int(table["rows"]), int(table["cols"]))


_OpenCV.add_constructor("tag:yaml.org,2002:opencv-matrix", _matrix)


def _yaml(text: str, unit: str) -> list[Camera]:
    lines = text.splitlines()
    if lines and lines[0].startswith("%YAML"):
        lines = lines[1:]  # OpenCV writes '%YAML:1.0', which is no YAML
    try:
        data = yaml.load("\n".join(lines), Loader=_OpenCV)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise BadCamera(
            f"not a FileStorage of OpenCV: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from None
    if not isinstance(data, dict) or not isinstance(data.get("names"), list):
        raise BadCamera("a list 'names' is missing: bring names, K_NAME, dist_NAME, Rot_NAME and T_NAME", field="names")
    scale = _scale(unit, data.get("unit"), "the YAML file")
    cameras = []
    for name in map(str, data["names"]):
        size = data.get(f"size_{name}", data.get("image_size"))
        if size is None:
            raise BadCamera(f"camera {name}: size_{name} or image_size is missing", field="size")
        cameras.append(
            Camera(
                name,
                _size(size, name),
                _numbers(_named(data, name, f"K_{name}"), name, "K"),
                _five(data.get(f"dist_{name}", np.zeros(5)), name),
                _rotation(data[f"Rot_{name}"] if f"Rot_{name}" in data else _named(data, name, f"R_{name}"), name),
                scale * _numbers(_named(data, name, f"T_{name}"), name, "T").ravel(),
            )
        )
    return _few(cameras)


def _to_yaml(cameras: Sequence[Camera]) -> bytes:
    def matrix(value: Array) -> str:
        rows = np.atleast_2d(value)
        listed = ", ".join(repr(float(x)) for x in rows.ravel())
        return f"!!opencv-matrix\n  rows: {rows.shape[0]}\n  cols: {rows.shape[1]}\n  dt: d\n  data: [ {listed} ]"

    lines = ["%YAML:1.0", "---", "unit: mm", "names:"] + [f'  - "{c.name}"' for c in cameras]
    for c in cameras:
        parts = {"K": c.matrix, "dist": c.distortion, "Rot": c.rotation, "T": c.translation[:, None]}
        lines += [f'"{key}_{c.name}": {matrix(value)}' for key, value in parts.items()]
        lines.append(f'"size_{c.name}": [ {c.size[0]}, {c.size[1]} ]')
    return ("\n".join(lines) + "\n").encode()


def _npz(data: bytes, unit: str) -> list[Camera]:
    try:
        bounded(io.BytesIO(data), 16 * MOST_BYTES)
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            tables = {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise BadCamera(f"not an npz of plain arrays: {error}") from None
    if "C" in tables and "t" in tables:
        raise BadCamera("both C and t: say either where cameras stand (C) or x_cam = R X + t", field="t")
    centred = "C" in tables
    needed = ("names", "size", "R", "C", "f", "c") if centred else ("names", "size", "K", "R", "t")
    for key in needed:
        if key not in tables:
            raise BadCamera(f"the array {key} is missing", field=key)
    names = [str(n) for n in np.atleast_1d(tables["names"])]
    for key, value in tables.items():
        if key != "unit" and (value.ndim < 1 or len(value) != len(names)):
            raise BadCamera(f"{key} must have one row per camera ({len(names)})", field=key)
    scale = _scale(
        "mm" if centred and not unit else unit, str(tables["unit"]) if "unit" in tables else None, "the npz file"
    )
    cameras = []
    for n, name in enumerate(names):
        row = {key: value[n] for key, value in tables.items() if key != "unit"}
        rotation = _rotation(row["R"], name)
        if centred:
            f, c = (np.broadcast_to(_numbers(row[key], name, key).ravel(), (2,)) for key in ("f", "c"))
            matrix = np.array([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1.0]])
            k, p = (_numbers(row[key], name, key).ravel() if key in row else np.zeros(3) for key in ("k", "p"))
            if len(k) != 3 or len(p) < 2:
                raise BadCamera(f"camera {name}: k has three numbers, p two", field="k")
            distortion = np.array([k[0], k[1], p[0], p[1], k[2]])
            translation = -rotation @ (scale * _numbers(row["C"], name, "C").ravel())
        else:
            matrix, distortion = _numbers(row["K"], name, "K"), _five(row.get("dist", np.zeros(5)), name)
            translation = scale * _numbers(row["t"], name, "t").ravel()
        cameras.append(Camera(name, _size(row["size"], name), matrix, distortion, rotation, translation))
    return _few(cameras)


def _to_npz(cameras: Sequence[Camera]) -> bytes:
    return _packed(
        cameras,
        K=[c.matrix for c in cameras],
        dist=[c.distortion for c in cameras],
        t=[c.translation for c in cameras],
    )


def _to_h36m(cameras: Sequence[Camera]) -> bytes:
    skewed = next((c for c in cameras if c.matrix[0, 1]), None)
    if skewed is not None:
        raise BadCamera(f"camera {skewed.name} has skew, which this layout cannot say", field="layout")
    return _packed(
        cameras,
        f=[[c.matrix[0, 0], c.matrix[1, 1]] for c in cameras],
        c=[c.matrix[:2, 2] for c in cameras],
        k=[c.distortion[[0, 1, 4]] for c in cameras],
        p=[c.distortion[2:4] for c in cameras],
        C=[c.centre for c in cameras],
    )


def _packed(cameras: Sequence[Camera], **tables: Any) -> bytes:
    out = io.BytesIO()
    about = {
        "names": np.array([c.name for c in cameras]),
        "size": np.array([c.size for c in cameras]),
        "unit": np.array("mm"),
    }
    arrays: dict[str, Any] = {"R": np.array([c.rotation for c in cameras]), **about}
    arrays |= {key: np.array(value) for key, value in tables.items()}
    np.savez(out, **arrays)
    return out.getvalue()


def _few(cameras: list[Camera]) -> list[Camera]:
    if len(cameras) > MOST_CAMERAS:
        raise BadCamera(f"{len(cameras)} cameras; at most {MOST_CAMERAS}")
    return cameras
