"""Calibrated cameras that see one scene: projection, distortion and its inverse.

World and camera frames in millimetres; camera frame x right, y down, z away. Pixels: the centre of the top left pixel is (0, 0), as
in OpenCV. A camera is x_cam = R X + t; its centre is C = -R^T t. Distortion is Brown and Conrady's (k1, k2, p1, p2, k3), OpenCV's
first five. V views, any leading axes (...) of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from webapp.errors import InputError

Array = NDArray[np.float64]
UNDISTORT_STEPS, UNDISTORTED_PX = 30, 1e-9


class BadCamera(InputError):
    """Numbers that are no camera. `field` names the one that is wrong."""

    usual_field = "calibration"


@dataclass(frozen=True, eq=False)
class Camera:
    """`size` width and height (px); `matrix` K 3 x 3 (px); `distortion` k1, k2, p1, p2, k3; `rotation` R; `translation` t (mm)."""

    name: str
    size: tuple[int, int]
    matrix: Array
    distortion: Array
    rotation: Array
    translation: Array

    def __post_init__(self) -> None:
        shapes = {"matrix": (3, 3), "distortion": (5,), "rotation": (3, 3), "translation": (3,)}
        for name, shape in shapes.items():
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != shape:
                raise BadCamera(f"camera {self.name}: {name} must be {shape}, not {value.shape}", field=name)
            if not np.isfinite(value).all():
                raise BadCamera(f"camera {self.name}: {name} holds NaN or infinity", field=name)
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        if not self.name or len(self.name) > 80 or not self.name.isprintable():
            raise BadCamera("a camera's name has 1 to 80 printable characters", field="name")
        if min(self.size) < 16 or max(self.size) > 32768:
            raise BadCamera(f"camera {self.name}: a picture of {self.size[0]} x {self.size[1]} px", field="size")
        if self.matrix[0, 0] <= 0 or self.matrix[1, 1] <= 0 or not np.array_equal(self.matrix[2], [0, 0, 1]):
            raise BadCamera(f"camera {self.name}: focal lengths must be positive, the last row 0 0 1", field="matrix")
        if abs(self.matrix[1, 0]) > 1e-9:
            raise BadCamera(f"camera {self.name}: the matrix must be upper triangular", field="matrix")
        off = np.abs(self.rotation @ self.rotation.T - np.eye(3)).max()
        if off > 1e-3 or np.linalg.det(self.rotation) < 0:
            raise BadCamera(f"camera {self.name}: the rotation is none (off by {off:.2g})", field="rotation")

    @cached_property
    def centre(self) -> Array:
        """Where the camera stands, mm in the world."""
        return np.asarray(-self.rotation.T @ self.translation)

    def see(self, world_mm: Array) -> Array:
        """World points (... x 3) in the camera's frame."""
        return np.asarray(world_mm @ self.rotation.T + self.translation)

    def project(self, world_mm: Array) -> Array:
        """Pixels (... x 2) of world points (... x 3); NaN behind the camera."""
        seen = self.see(world_mm)
        with np.errstate(divide="ignore", invalid="ignore"):
            flat = seen[..., :2] / np.where(seen[..., 2:] > 0, seen[..., 2:], np.nan)
        return self.pixels(distorted(flat, self.distortion))

    def pixels(self, flat: Array) -> Array:
        """Pixels of points on the plane at distance 1 (after distortion)."""
        k = self.matrix
        x = k[0, 0] * flat[..., 0] + k[0, 1] * flat[..., 1] + k[0, 2]
        return np.stack([x, k[1, 1] * flat[..., 1] + k[1, 2]], axis=-1)

    def rays(self, pixels: Array) -> Array:
        """Undistorted points (... x 2) on the plane at distance 1 that are seen at these pixels; NaN where there is none."""
        k = self.matrix
        y = (pixels[..., 1] - k[1, 2]) / k[1, 1]
        x = (pixels[..., 0] - k[0, 2] - k[0, 1] * y) / k[0, 0]
        return undistorted(np.stack([x, y], axis=-1), self.distortion, 1 / max(k[0, 0], k[1, 1]))

    @property
    def projection(self) -> Array:
        """[R | t], 3 x 4: of undistorted points on the plane at distance 1."""
        return np.concatenate([self.rotation, self.translation[:, None]], axis=1)


def distorted(flat: Array, distortion: Array) -> Array:
    """Where a lens puts points (... x 2) of the plane at distance 1."""
    k1, k2, p1, p2, k3 = distortion
    x, y = flat[..., 0], flat[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([u, v], axis=-1)


def undistorted(flat: Array, distortion: Array, px: float) -> Array:
    """The inverse, by damped Newton steps from the point itself; NaN where they do not meet within UNDISTORTED_PX pixels.

    A lens model folds back at some radius: points beyond it have no inverse, and saying so is better than any number.
    """
    if not distortion.any():
        return flat
    k1, k2, p1, p2, k3 = distortion
    point = flat.copy()
    for _ in range(UNDISTORT_STEPS):
        off = distorted(point, distortion) - flat
        if not (np.abs(off) > UNDISTORTED_PX * px).any():
            break
        x, y = point[..., 0], point[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
        a = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
        d = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x
        b = slope * x * y + 2 * p1 * x + 2 * p2 * y
        det = a * d - b * b
        with np.errstate(divide="ignore", invalid="ignore"):
            step = (
                np.stack([d * off[..., 0] - b * off[..., 1], a * off[..., 1] - b * off[..., 0]], axis=-1)
                / det[..., None]
            )
        size = np.linalg.norm(step, axis=-1, keepdims=True)
        point = point - step * np.minimum(1.0, 0.3 / np.maximum(size, 1e-300))
    off = np.abs(distorted(point, distortion) - flat).max(axis=-1)
    folded = (_turns(point, distortion) <= 0) | ~(off <= 1e-6 * px)
    return np.where(folded[..., None], np.nan, point)


def _turns(flat: Array, distortion: Array) -> Array:
    """d(r_distorted)/dr of the radial part: not positive beyond the fold."""
    k1, k2, _, _, k3 = distortion
    r2 = (flat**2).sum(axis=-1)
    return np.asarray(1 + r2 * (3 * k1 + r2 * (5 * k2 + r2 * 7 * k3)))


def rotation_of(vector: Array) -> Array:
    """Rodrigues: axis times angle (radians) -> rotation matrix."""
    angle = float(np.linalg.norm(vector))
    cross = _cross(vector)
    if angle < 1e-8:
        return np.eye(3) + cross + cross @ cross / 2
    return np.asarray(np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross)


def vector_of(rotation: Array) -> Array:
    """The inverse of `rotation_of`, exact to rounding at every angle up to pi (through the quaternion)."""
    m = rotation
    four = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], 0, 0, 0],
            [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0, 0],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], 0],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    values, vectors = np.linalg.eigh(four, UPLO="L")
    q = vectors[:, values.argmax()]
    q = -q if q[3] < 0 else q
    sine = float(np.linalg.norm(q[:3]))
    if sine < 1e-12:
        return np.asarray(2 * q[:3])
    return np.asarray(2 * np.arctan2(sine, q[3]) / sine * q[:3])


def _cross(v: Array) -> Array:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]], dtype=np.float64)


def checked(cameras: Sequence[Camera]) -> tuple[Camera, ...]:
    """The rig: names differ, no two cameras stand in one place. Raises BadCamera."""
    if not cameras:
        raise BadCamera("the calibration names no camera")
    names = [camera.name for camera in cameras]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise BadCamera(f"two cameras are called {twice}", field="name")
    for n, camera in enumerate(cameras):
        for other in cameras[:n]:
            if np.linalg.norm(camera.centre - other.centre) < 1.0:
                raise BadCamera(f"{other.name} and {camera.name} stand in one place", field="translation")
    return tuple(cameras)
