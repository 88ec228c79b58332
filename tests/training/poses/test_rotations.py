"""Rotations against what they are by definition, and against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from training.poses import rotations

seeds = st.integers(0, 10_000)


@given(seed=seeds)
def test_about_an_axis_is_scipys(seed: int) -> None:
    angles = np.random.default_rng(seed).uniform(-7, 7, (2, 5))
    for axis, letter in enumerate("xyz"):
        right = Rotation.from_euler(letter, angles.reshape(-1, 1)).as_matrix().reshape(2, 5, 3, 3)
        np.testing.assert_allclose(rotations.about(axis, angles), right, atol=1e-14)
    assert rotations.about(1, 0.3).shape == (3, 3)


@given(seed=seeds, angle=st.one_of(st.floats(0, 1e-6), st.floats(0, np.pi - 1e-9)))
def test_vectors_are_scipys_and_come_back(seed: int, angle: float) -> None:
    axis = np.random.default_rng(seed).normal(size=3)
    vector = axis / np.linalg.norm(axis) * angle
    rotation = rotations.of_vector(vector)
    np.testing.assert_allclose(rotation, Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(rotations.to_vector(rotation), vector, atol=1e-9)


@given(seed=seeds)
def test_the_least_rotation_between_two_directions_turns_by_their_angle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start, end = rng.normal(size=(2, 3)) * [[3.0], [0.5]]
    rotation = rotations.between(start, end)
    a, b = start / np.linalg.norm(start), end / np.linalg.norm(end)
    np.testing.assert_allclose(rotation @ a, b, atol=1e-9)
    assert np.linalg.norm(rotations.to_vector(rotation)) == pytest.approx(np.arccos(np.clip(a @ b, -1, 1)), abs=1e-6)


def test_opposite_directions_have_a_rotation_too() -> None:
    rotation = rotations.between(np.array([0, 2.0, 0]), np.array([0, -1.0, 0]))
    np.testing.assert_allclose(rotation @ [0, 1, 0], [0, -1, 0], atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


@given(seed=seeds)
def test_ahead_to_is_the_least_rotation_from_the_z_axis(seed: int) -> None:
    directions = np.random.default_rng(seed).normal(size=(7, 3)) * [1, 1, 0.2] + [0, 0, 1.5]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for direction, rotation in zip(directions, rotations.ahead_to(directions)):
        np.testing.assert_allclose(rotation, rotations.between(np.array([0, 0, 1.0]), direction), atol=1e-12)
