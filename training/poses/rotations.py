"""Rotations in space, all of them here: about an axis, from and to Rodrigues vectors, the least one between two directions.

Matrices act from the left on columns, right-handed; angles in radians. numpy alone: pages of the site read calibrations, and they load no scipy.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Matrix = Float[np.ndarray, "3 3"]
Vector = Float[np.ndarray, " 3"]
TINY = 1e-8  # rad: below it a rotation is its series


def about(axis: int, angle: Float[np.ndarray, "*N"] | float) -> Float[np.ndarray, "*N 3 3"]:
    """... x 3 x 3, about one axis (0 x, 1 y, 2 z) by angles (...)."""
    angle = np.asarray(angle, dtype=np.float64)
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.zeros((*angle.shape, 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation[..., axis, axis] = 1
    rotation[..., i, i], rotation[..., j, j], rotation[..., i, j], rotation[..., j, i] = c, c, -s, s
    return rotation


def of_vector(vector: Vector) -> Matrix:
    """Rodrigues: axis times angle (3) -> rotation matrix."""
    angle = float(np.linalg.norm(vector))
    cross = _cross(vector)
    if angle < TINY:
        return np.eye(3) + cross + cross @ cross / 2
    return np.asarray(np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross)


def to_vector(rotation: Matrix) -> Vector:
    """The inverse of `of_vector`, exact to rounding at every angle up to pi (through the quaternion)."""
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


def between(start: Vector, end: Vector) -> Matrix:
    """The least rotation that takes direction `start` (3) to direction `end` (3); about some axis where they are opposite."""
    a, b = start / np.linalg.norm(start), end / np.linalg.norm(end)
    cosine = float(a @ b)
    if cosine < -0.9999:
        axis = np.cross(a, [1.0, 0.0, 0.0])
        axis /= np.linalg.norm(axis)
        return np.asarray(2 * np.outer(axis, axis) - np.eye(3))
    cross = _cross(np.cross(a, b))
    return np.asarray(np.eye(3) + cross + cross @ cross / (1 + cosine))


def ahead_to(direction: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3 3"]:
    """N x 3 x 3: the least rotations from the z axis to unit directions N x 3 before the camera (z > 0: never half a turn)."""
    x, y, z = direction.T
    return np.stack(
        [
            np.stack([1 - x * x / (1 + z), -x * y / (1 + z), x], -1),
            np.stack([-x * y / (1 + z), 1 - y * y / (1 + z), y], -1),
            np.stack([-x, -y, z], -1),
        ],
        -2,
    )


def _cross(v: Vector) -> Matrix:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]], dtype=np.float64)
