"""Calibrated cameras that see one scene: projection, distortion and its inverse.

World and camera frames in millimetres; camera frame x right, y down, z away. Pixels: the centre of the top left pixel is (0, 0), as
in OpenCV. A camera is x_cam = R X + t; its centre is C = -R^T t. Distortion is Brown and Conrady's (k1, k2, p1, p2, k3), OpenCV's
first five. V views, any leading axes (...) of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from webapp.errors import InputError

Points = Float[np.ndarray, "*N 3"]
Flat = Float[np.ndarray, "*N 2"]
Vector = Float[np.ndarray, " 3"]
Distortion = Float[np.ndarray, " 5"]
UNDISTORT_STEPS, UNDISTORTED_PX = 30, 1e-9


class BadCamera(InputError):
    """Numbers that are no camera. `field` names the one that is wrong."""

    usual_field = "calibration"


@dataclass(frozen=True, eq=False)
class Camera:
    """`size` width and height (px); `matrix` K 3 x 3 (px); `distortion` k1, k2, p1, p2, k3; `rotation` R; `translation` t (mm)."""

    name: str
    size: tuple[int, int]
    matrix: Float[np.ndarray, "3 3"]
    distortion: Distortion
    rotation: Float[np.ndarray, "3 3"]
    translation: Vector

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
    def centre(self) -> Vector:
        """Where the camera stands, mm in the world."""
        return np.asarray(-self.rotation.T @ self.translation)

    def see(self, world_mm: Points) -> Points:
        """World points (... x 3) in the camera's frame."""
        return np.asarray(world_mm @ self.rotation.T + self.translation)

    def project(self, world_mm: Points) -> Flat:
        """Pixels (... x 2) of world points (... x 3); NaN behind the camera."""
        seen = self.see(world_mm)
        with np.errstate(divide="ignore", invalid="ignore"):
            flat = seen[..., :2] / np.where(seen[..., 2:] > 0, seen[..., 2:], np.nan)
        return self.pixels(self.bend(flat))

    def bend(self, flat: Flat) -> Flat:
        """Where the lens puts points (... x 2) of the plane at distance 1."""
        return distorted(flat, self.distortion)

    def pixels(self, flat: Flat) -> Flat:
        """Pixels of points on the plane at distance 1 (after distortion)."""
        k = self.matrix
        x = k[0, 0] * flat[..., 0] + k[0, 1] * flat[..., 1] + k[0, 2]
        return np.stack([x, k[1, 1] * flat[..., 1] + k[1, 2]], axis=-1)

    def rays(self, pixels: Flat) -> Flat:
        """Undistorted points (... x 2) on the plane at distance 1 that are seen at these pixels; NaN where there is none."""
        k = self.matrix
        y = (pixels[..., 1] - k[1, 2]) / k[1, 1]
        x = (pixels[..., 0] - k[0, 2] - k[0, 1] * y) / k[0, 0]
        return undistorted(np.stack([x, y], axis=-1), self.distortion, 1 / max(k[0, 0], k[1, 1]))

    @property
    def projection(self) -> Float[np.ndarray, "3 4"]:
        """[R | t], 3 x 4: of undistorted points on the plane at distance 1."""
        return np.concatenate([self.rotation, self.translation[:, None]], axis=1)


def brown(x: Any, y: Any, distortion: Any) -> tuple[Any, Any]:
    """Where a lens of Brown and Conrady's model puts points of the plane at distance 1; numpy's arrays or torch's tensors."""
    k1, k2, p1, p2, k3 = distortion
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y


def distorted(flat: Flat, distortion: Distortion) -> Flat:
    """Where a lens puts points (... x 2) of the plane at distance 1."""
    return np.stack(brown(flat[..., 0], flat[..., 1], distortion), axis=-1)


def undistorted(flat: Flat, distortion: Distortion, px: float) -> Flat:
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


def _turns(flat: Flat, distortion: Distortion) -> Float[np.ndarray, "*N"]:
    """d(r_distorted)/dr of the radial part: not positive beyond the fold."""
    k1, k2, _, _, k3 = distortion
    r2 = (flat**2).sum(axis=-1)
    return np.asarray(1 + r2 * (3 * k1 + r2 * (5 * k2 + r2 * 7 * k3)))


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
