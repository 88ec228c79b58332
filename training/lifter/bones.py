"""Bone lengths: of a generic person, by the names of the bone's ends, and as found in the training poses.

The paper's skeleton loss needs ratios only (Ronchi et al. 2018, eq. 6 and text below it); the table is the authors'
generic skeleton for Human3.6M-17 (docs/methods/lifter.md). Bones without an entry are left out of that loss.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.releasing.reading import Poses
from labeling.skeletons import Skeleton
from training.lifter.config import LifterConfig, changed
from webapp.errors import InputError

MM_PER_UNIT = 445.58 / 20.0  # the authors' Human3.6M average of the shin (mm) over its entry here

_HIP, _THIGH, _SHIN, _SHOULDER, _UPPER_ARM, _FOREARM = 7.0, 19.0, 20.0, 9.0, 15.0, 14.0
_TORSO = 24.0


class NoLengths(InputError):
    """Bone lengths were asked for that the data does not have."""


def _key(a: str, b: str) -> frozenset[str]:
    return frozenset(n.removeprefix("left_").removeprefix("right_") if n[:4] in ("left", "righ") else n for n in (a, b))


_LENGTHS = {
    frozenset({"hip", "knee"}): _THIGH,
    frozenset({"knee", "ankle"}): _SHIN,
    frozenset({"mid_hip", "hip"}): _HIP,
    frozenset({"pelvis", "hip"}): _HIP,
    frozenset({"hip"}): 2 * _HIP,
    frozenset({"shoulder", "elbow"}): _UPPER_ARM,
    frozenset({"elbow", "wrist"}): _FOREARM,
    frozenset({"neck", "shoulder"}): _SHOULDER,
    frozenset({"thorax", "shoulder"}): _SHOULDER,
    frozenset({"shoulder"}): 2 * _SHOULDER,
    frozenset({"mid_hip", "mid_spine"}): 11.5,
    frozenset({"mid_spine", "neck"}): 12.5,
    frozenset({"neck", "chin"}): 3.5,
    frozenset({"chin", "head"}): 3.5,
    frozenset({"neck", "head"}): 7.0,
    frozenset({"pelvis", "thorax"}): _TORSO,
    frozenset({"thorax", "upper_neck"}): 3.5,
    frozenset({"upper_neck", "head_top"}): 7.0,
    frozenset({"hip", "shoulder"}): math.hypot(_TORSO, _SHOULDER - _HIP),
}
# mm, of an adult: limbs and spine of Human3.6M's subjects (their published skeletons); head and face are rough.
_TYPICAL_MM = {
    frozenset({"hip", "knee"}): 443.0,
    frozenset({"knee", "ankle"}): 454.0,
    frozenset({"mid_hip", "hip"}): 133.0,
    frozenset({"pelvis", "hip"}): 133.0,
    frozenset({"hip"}): 266.0,
    frozenset({"shoulder", "elbow"}): 279.0,
    frozenset({"elbow", "wrist"}): 252.0,
    frozenset({"neck", "shoulder"}): 151.0,
    frozenset({"thorax", "shoulder"}): 151.0,
    frozenset({"shoulder"}): 302.0,
    frozenset({"mid_hip", "mid_spine"}): 233.0,
    frozenset({"mid_spine", "neck"}): 257.0,
    frozenset({"neck", "chin"}): 121.0,
    frozenset({"chin", "head"}): 115.0,
    frozenset({"neck", "head"}): 250.0,
    frozenset({"pelvis", "thorax"}): 490.0,
    frozenset({"thorax", "upper_neck"}): 60.0,
    frozenset({"upper_neck", "head_top"}): 210.0,
    frozenset({"hip", "shoulder"}): 490.0,
    frozenset({"nose", "eye"}): 45.0,
    frozenset({"eye", "ear"}): 95.0,
    frozenset({"nose", "shoulder"}): 270.0,
}
_MASKED = {frozenset({"hip", "shoulder"})}  # the trunk's sides bend; the authors leave them out too


def compared(skeleton: Skeleton) -> list[tuple[int, int]]:
    """Bones (index pairs) that the skeleton loss compares: all but the trunk's sides and those the table lacks."""
    keys = [(_key(a, b), skeleton.index(a), skeleton.index(b)) for a, b in skeleton.bones]
    return [(i, j) for key, i, j in keys if key in _LENGTHS and key not in _MASKED]


def assumed_mm(poses: Poses, bones: list[tuple[int, int]], *, generic: bool) -> Float[np.ndarray, " T"]:
    """Lengths of bones (index pairs; mm) of a typical adult, or of the authors' `generic` skeleton.

    A bone that the table lacks is as long as its 95th percentile in the picture, at the scale that the known bones have
    (every person brought to one size).
    """
    names = poses.skeleton.keypoints
    table = {k: v * MM_PER_UNIT for k, v in _LENGTHS.items()} if generic else _TYPICAL_MM
    known = np.array([table.get(_key(*(names[j] for j in bone)), np.nan) for bone in bones])
    parent, child = np.array(bones).T
    present = (poses.state[:, child] > 0) & (poses.state[:, parent] > 0)
    seen = np.linalg.norm(poses.keypoints_px[:, child] - poses.keypoints_px[:, parent], axis=-1)
    seen = np.where(present, seen, 0.0)
    seen = np.where(present, seen / np.maximum(seen.sum(1) / np.maximum(present.sum(1), 1), 1e-6)[:, None], np.nan)
    wide = np.array([np.nanpercentile(c, 95) if np.isfinite(c).any() else np.nan for c in seen.T])
    ratio = np.nanmedian(known / wide) if np.isfinite(known * wide).any() else 200.0
    return np.where(np.isfinite(known), known, np.nan_to_num(wide * ratio, nan=200.0))


def true_mm(poses: Poses, bones: list[tuple[int, int]]) -> Float[np.ndarray, "N T"]:
    """True lengths N x bones (mm); NaN where truth is unknown."""
    first, second = np.array(bones).T
    return np.asarray(np.linalg.norm(poses.truth_mm[:, second] - poses.truth_mm[:, first], axis=-1))


def resolved(poses: Poses, config: LifterConfig) -> LifterConfig:
    """The configuration with lengths 'auto' decided: 'average' where true training poses are known, else 'learned'.

    The paper's skeleton loss gets 'typical' ones instead, as its authors did on LSP.
    """
    if config.lengths != "auto":
        return config
    known = np.isfinite(poses.truth_mm).all(axis=(1, 2)).any()
    return changed(config, lengths="average" if known else "learned" if config.depth == "bones" else "typical")


def targets(
    poses: Poses, config: LifterConfig
) -> tuple[list[tuple[int, int]], NDArray[np.float64], NDArray[np.float64] | None]:
    """Bones that the depth model or the skeleton loss needs, their lengths (mm), and each person's own where 'given'.

    `config` is resolved. Raises NoLengths.
    """
    bones = list(poses.skeleton.tree) if config.depth == "bones" else compared(poses.skeleton)
    if not bones:
        return bones, np.zeros(0), None
    true = true_mm(poses, bones)
    known = np.isfinite(true).all(1)
    if config.lengths in ("typical", "generic", "learned"):
        return bones, assumed_mm(poses, bones, generic=config.lengths == "generic"), None
    if not known.any() or (config.lengths == "given" and not known.all()):
        raise NoLengths(
            f"lengths '{config.lengths}' need true poses, and the training pictures have none; use 'learned'."
        )
    return bones, true[known].mean(0), true if config.lengths == "given" else None
