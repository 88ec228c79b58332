"""Lifting tracks with stored lifters: every model on the picture and on its mirror, so that they can disagree. numpy alone.

Detections come in one skeleton, models have another: joints go by name, and where a model's joint lies between detected ones, between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.crowd.anatomy import BETWEEN
from labeling.releasing.reading import unlabelled
from labeling.skeletons import ALIASES, Skeleton, twin_of
from training.lifter import bones, predict
from webapp.errors import InputError

Array = NDArray[np.float64]
LEAST_JOINTS = 2  # a frame with fewer detections is not lifted


class BadLifter(InputError):
    """Models that cannot lift these detections."""


@dataclass(frozen=True)
class View:
    """The camera as far as it is known: focal lengths and principal point (px), NaN where unknown."""

    focal_px: tuple[float, float] = (np.nan, np.nan)
    principal_px: tuple[float, float] = (np.nan, np.nan)

    @classmethod
    def of(cls, focal_px: float, size: tuple[int, int]) -> View:
        """One focal length, its axis through the picture's middle; unknown for 0."""
        return cls((focal_px, focal_px), ((size[0] - 1) / 2, (size[1] - 1) / 2)) if focal_px else cls()


def in_skeleton(people: Float[np.ndarray, "*S J 3"], source: Skeleton, target: Skeleton) -> Float[np.ndarray, "*S K 3"]:
    """Detections ... x J x 3 (px, px, score) in the wanted skeleton's joints; those that nothing says are 0.

    A joint between others has the lowest of their scores. Raises BadLifter where fewer than six joints are found.
    """
    if source.keypoints == target.keypoints:
        return people
    place = {ALIASES.get(n, n): j for j, n in enumerate(source.keypoints)}
    out = np.zeros((*people.shape[:-2], len(target.keypoints), 3), dtype=people.dtype)
    mapped_count = 0
    for j, name in enumerate(target.keypoints):
        parts = {name: 1.0} if name in place else BETWEEN.get(name, {})
        if not parts or not set(parts) <= set(place):
            continue
        mapped_count += 1
        some = people[..., [place[p] for p in parts], :]
        weight = np.array(list(parts.values()))[:, None]
        there = np.asarray((some[..., 2] > 0).all(axis=-1))
        out[..., j, :2] = np.where(there[..., None], (some[..., :2] * weight).sum(axis=-2), 0.0)
        out[..., j, 2] = np.where(there, some[..., 2].min(axis=-1), 0.0)
    if mapped_count < 6:
        raise BadLifter(f"only {mapped_count} joints of {target.name} can be had from {source.name}")
    return out


UNKNOWN = View()


@dataclass(frozen=True)
class Ensemble:
    """Models of one skeleton. Raises BadLifter for none, or of several skeletons."""

    models: Sequence[predict.Model]

    def __post_init__(self) -> None:
        if not self.models:
            raise BadLifter("no model to lift with")
        if len({m.skeleton.keypoints for m in self.models}) > 1:
            raise BadLifter("models of different skeletons cannot lift together")

    @property
    def skeleton(self) -> Skeleton:
        return self.models[0].skeleton

    def lift(
        self, pixels: Float[np.ndarray, "F J 2"], view: View
    ) -> tuple[Float[np.ndarray, "E F J 3"], Float[np.ndarray, "E F J 3"]]:
        """Poses E x F x J x 3 (mm, root at the origin, camera frame) of pictures F x J x 2 (NaN: absent), and of their mirrors.

        Frames with fewer than two joints have NaN poses.
        """
        skeleton = self.skeleton
        twins = [skeleton.index(twin_of(n, skeleton.keypoints)) for n in skeleton.keypoints]
        centre = view.principal_px[0] if np.isfinite(view.principal_px[0]) else 0.0
        mirrored = pixels[:, twins] * [-1.0, 1.0] + [2 * centre, 0.0]
        back = np.array([-1.0, 1.0, 1.0])
        plain = np.stack([self._lift(m, pixels, view) for m in self.models])
        turned = np.stack([self._lift(m, mirrored, view) for m in self.models])
        return plain, turned[:, :, twins] * back

    def _lift(self, model: predict.Model, pixels: Array, view: View) -> Array:
        count = len(pixels)
        poses_mm = np.full((*pixels.shape[:2], 3), np.nan)
        some = np.isfinite(pixels).all(axis=-1).sum(axis=1) >= LEAST_JOINTS
        if some.any():
            few = int(some.sum())
            focal, principal = (
                np.tile(np.array(v, dtype=np.float64), (few, 1)) for v in (view.focal_px, view.principal_px)
            )
            poses = unlabelled(model.skeleton, [""] * few, pixels[some], focal, principal)
            lifted = predict.predict(model, poses).astype(np.float64)
            root = model.skeleton.index(model.skeleton.root)
            poses_mm[some] = (lifted - lifted[:, root : root + 1]) * self._unit(model, lifted)
        return poses_mm.reshape(count, -1, 3)

    @staticmethod
    def _unit(model: predict.Model, lifted: Array) -> float:
        """mm per unit: networks of free depth learn coordinates up to scale, and get the size of a typical adult."""
        if model.config.depth == "bones" or model.config.objective == "supervised":
            return 1.0
        tree = list(model.skeleton.tree)
        dummy = unlabelled(model.skeleton, ["", ""], lifted[:2, :, :2].repeat(2, axis=0)[:2])
        typical = bones.assumed_mm(dummy, tree, generic=False)
        parent, child = np.array(tree).T
        seen = np.linalg.norm(lifted[:, child] - lifted[:, parent], axis=-1)
        return float(np.median(typical / np.maximum(np.median(seen, axis=0), 1e-9)))
