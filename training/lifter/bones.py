"""Reference bone lengths: proportions of a generic person, by the names of the bone's ends.

Only ratios matter (Ronchi et al. 2018, eq. 6 and text below it). The table is the authors' generic skeleton for
Human3.6M-17 (docs/methods/lifter.md); bones without an entry are left out of the loss.
"""

from __future__ import annotations

import math

from labeling.skeletons import Skeleton

_HIP, _THIGH, _SHIN, _SHOULDER, _UPPER_ARM, _FOREARM = 7.0, 19.0, 20.0, 9.0, 15.0, 14.0
_TORSO = 24.0


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
_MASKED = {frozenset({"hip", "shoulder"})}  # the trunk's sides bend; the authors leave them out too


def reference(skeleton: Skeleton) -> tuple[list[tuple[int, int]], list[float], int]:
    """Bones (index pairs) with a reference, their lengths, and which of them is the unit limb (a shin, else the first)."""
    bones: list[tuple[int, int]] = []
    lengths: list[float] = []
    unit = 0
    for a, b in skeleton.bones:
        key = _key(a, b)
        if key not in _LENGTHS or key in _MASKED:
            continue
        if key == frozenset({"knee", "ankle"}) and "right" in a + b:
            unit = len(bones)
        bones.append((skeleton.index(a), skeleton.index(b)))
        lengths.append(_LENGTHS[key])
    return bones, lengths, unit
