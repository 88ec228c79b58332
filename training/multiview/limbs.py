"""Lengths of limbs (mm) from the recording itself, where nobody measured them."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from labeling.skeletons import Skeleton
from training.multiview.triangulation import Points
from webapp.errors import InputError

Array = NDArray[np.float64]
SURE_VIEWS, LEAST_FRAMES = 3, 5


class NoLengths(InputError):
    """A limb that no frame shows with both ends."""


def lengths(
    position: Float[np.ndarray, "F J 3"], sure: Bool[np.ndarray, "F J"], skeleton: Skeleton, *, assume: bool = False
) -> Float[np.ndarray, " T"]:
    """Median length of each limb of the tree over frames whose both ends are `sure` (F x J), left and right alike.

    `assume`: a limb that too few frames show is half as long as the others are in the median. That is rough, and enough: its joint
    was not detected, so that nothing of it is kept. Raises NoLengths.
    """
    tree, twins = skeleton.tree, skeleton.groups(skeleton.tree)
    pooled: dict[int, list[Array]] = {}
    for (parent, child), group in zip(tree, twins):
        both = sure[:, parent] & sure[:, child]
        pooled.setdefault(group, []).append(np.linalg.norm(position[both, parent] - position[both, child], axis=-1))
    lengths_mm = {}
    for group, parts in pooled.items():
        every = np.concatenate(parts)
        if len(every) < min(LEAST_FRAMES, max(len(position), 1)):
            if assume:
                continue
            edge = tree[twins.index(group)]
            names = " to ".join(skeleton.keypoints[j] for j in edge)
            raise NoLengths(f"{names} is seen whole in {len(every)} frames; give the limb lengths or better detections")
        lengths_mm[group] = float(np.median(every))
    if not lengths_mm:
        raise NoLengths("no limb is seen whole in enough frames; give the limb lengths or better detections")
    usual = float(np.median(list(lengths_mm.values())))
    return np.array([lengths_mm.get(group, 0.5 * usual) for group in twins])


def from_points(points: Points, skeleton: Skeleton) -> Float[np.ndarray, " T"]:
    """Lengths of triangulated joints: those that three views agree on, or two where a limb has too few of them."""
    votes = points.used.sum(axis=1)
    try:
        return lengths(points.position, points.known & (votes >= SURE_VIEWS), skeleton)
    except NoLengths:
        sure = points.known & (votes >= 2)
    try:
        return lengths(points.position, sure, skeleton)
    except NoLengths:
        return lengths(points.position, sure, skeleton, assume=True)


def cube_centre(points: Points) -> Float[np.ndarray, "F 3"]:
    """Middle of the triangulated joints of each frame (F x 3 mm), robust to one that is far off; NaN where there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # frames without any joint
        middle = np.nanmedian(points.position, axis=1)
        away = np.linalg.norm(points.position - middle[:, None], axis=-1)
        near = np.where((away < 1500.0)[..., None], points.position, np.nan)
        return np.asarray((np.nanmin(near, axis=1) + np.nanmax(near, axis=1)) / 2)
