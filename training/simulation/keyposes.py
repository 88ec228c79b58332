"""Our own authored poses, as limb directions, and how they are mixed, perturbed and mirrored.

Directions are (forward, left, up) in the frame of the pelvis for thighs and of the chest for arms. Knees bend by an
angle about the thigh's own hinge, so that no mixture bends them the wrong way. Angles in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]
DOWN: Vector = (0.05, 0.12, -1.0)


@dataclass(frozen=True)
class Pose:
    """`lean`: whole body forward, to its left; `spine`: bend forward, to the left, twist to the left; `head`: nod, turn.

    `lift_m` raises the lowest point off the floor (jumps). `flat` feet stand on the floor, else they point
    by `toes` (left, right; None = flat on the floor).
    """

    name: str
    arm: tuple[Vector, Vector] = (DOWN, (0.05, -0.12, -1.0))  # left, right upper arm
    forearm: tuple[Vector, Vector] = ((0.3, 0.05, -1.0), (0.3, -0.05, -1.0))
    thigh: tuple[Vector, Vector] = ((0.0, 0.08, -1.0), (0.0, -0.08, -1.0))
    knee: tuple[float, float] = (5.0, 5.0)
    lean: tuple[float, float] = (0.0, 0.0)
    spine: tuple[float, float, float] = (0.0, 0.0, 0.0)
    head: tuple[float, float] = (0.0, 0.0)
    lift_m: float = 0.0
    flat: bool = True
    toes: tuple[float | None, float | None] = (6.0, 6.0)


KEY_POSES = (
    Pose("standing"),
    Pose(
        "hands on hips",
        arm=((-0.3, 0.75, -0.8), (-0.3, -0.75, -0.8)),
        forearm=((0.45, -0.75, -0.5), (0.45, 0.75, -0.5)),
    ),
    Pose("waving", arm=((0.1, 0.9, 0.35), (0.05, -0.12, -1)), forearm=((0.25, 0.25, 1), (0.3, -0.05, -1))),
    Pose(
        "walking",
        arm=((0.45, 0.15, -0.9), (-0.45, -0.15, -0.9)),
        forearm=((0.85, 0.0, -0.5), (0.1, -0.05, -1)),
        thigh=((-0.35, 0.05, -1), (0.45, -0.05, -1)),
        knee=(15, 12),
        spine=(4, 0, -6),
    ),
    Pose(
        "running",
        arm=((0.55, 0.2, -0.75), (-0.75, -0.25, -0.6)),
        forearm=((0.7, -0.2, 0.7), (0.75, 0.1, -0.5)),
        thigh=((-0.55, 0.05, -0.9), (0.95, -0.05, -0.45)),
        knee=(75, 85),
        lean=(12, 0),
        spine=(6, 0, -10),
        flat=False,
        lift_m=0.06,
    ),
    Pose(
        "sprint stride",
        arm=((0.8, 0.15, -0.45), (-0.8, -0.3, -0.3)),
        forearm=((0.4, -0.3, 0.9), (0.3, 0.1, -0.95)),
        thigh=((-0.8, 0.05, -0.65), (0.9, -0.05, -0.55)),
        knee=(35, 55),
        lean=(20, 0),
        flat=False,
        lift_m=0.12,
    ),
    Pose(
        "star jump",
        arm=((0.05, 0.8, 0.7), (0.05, -0.8, 0.7)),
        forearm=((0.1, 0.6, 0.85), (0.1, -0.6, 0.85)),
        thigh=((0.05, 0.55, -0.9), (0.05, -0.55, -0.9)),
        knee=(12, 12),
        flat=False,
        lift_m=0.3,
    ),
    Pose(
        "tuck jump",
        arm=((0.75, 0.35, -0.45), (0.75, -0.35, -0.45)),
        forearm=((0.7, -0.1, -0.5), (0.7, 0.1, -0.5)),
        thigh=((0.95, 0.12, 0.05), (0.95, -0.12, 0.05)),
        knee=(105, 105),
        spine=(12, 0, 0),
        flat=False,
        lift_m=0.4,
    ),
    Pose(
        "squatting",
        arm=((0.85, 0.2, -0.3), (0.85, -0.2, -0.3)),
        forearm=((0.95, -0.15, 0.1), (0.95, 0.15, 0.1)),
        thigh=((0.9, 0.3, -0.25), (0.9, -0.3, -0.25)),
        knee=(100, 100),
        lean=(8, 0),
        spine=(15, 0, 0),
    ),
    Pose(
        "sitting on the floor",
        arm=((-0.45, 0.3, -0.85), (-0.45, -0.3, -0.85)),
        forearm=((-0.25, 0.15, -1), (-0.25, -0.15, -1)),
        thigh=((0.97, 0.15, -0.2), (0.97, -0.15, -0.2)),
        knee=(10, 10),
        lean=(-14, 0),
        flat=False,
    ),
    Pose(
        "sitting, one knee up",
        arm=((-0.5, 0.35, -0.8), (0.7, -0.1, -0.55)),
        forearm=((-0.2, 0.2, -1), (0.85, 0.15, -0.25)),
        thigh=((0.97, 0.2, -0.17), (0.86, -0.1, 0.4)),
        knee=(8, 104),
        lean=(-12, 0),
        flat=False,
    ),
    Pose(
        "kneeling",
        thigh=((0.05, 0.12, -1), (0.05, -0.12, -1)),
        knee=(92, 92),
        forearm=((0.8, -0.1, -0.4), (0.8, 0.1, -0.4)),
        flat=False,
        toes=(72, 72),
    ),
    Pose(
        "kneeling on one knee",
        thigh=((0.97, 0.12, -0.1), (-0.05, -0.1, -1)),
        knee=(88, 88),
        arm=((0.55, 0.1, -0.8), (0.1, -0.2, -1)),
        forearm=((0.8, -0.3, -0.2), (0.35, -0.05, -0.9)),
        flat=False,
        toes=(None, 72),
    ),
    Pose(
        "forward lunge",
        thigh=((0.85, 0.08, -0.5), (-0.6, -0.08, -0.8)),
        knee=(75, 25),
        arm=((0.1, 0.5, -0.8), (0.1, -0.5, -0.8)),
        spine=(8, 0, 0),
        flat=False,
        toes=(None, -20),
    ),
    Pose(
        "side lunge",
        thigh=((0.25, 0.75, -0.6), (0.0, -0.6, -0.8)),
        knee=(62, 4),
        spine=(14, 6, 0),
        arm=((0.6, 0.3, -0.5), (0.3, -0.7, -0.5)),
        flat=False,
        toes=(None, None),
    ),
    Pose(
        "throwing overarm",
        arm=((0.75, 0.5, 0.2), (-0.5, -0.8, 0.25)),
        forearm=((0.95, 0.1, 0.25), (-0.35, -0.35, 0.9)),
        thigh=((0.5, 0.1, -0.85), (-0.35, -0.12, -0.95)),
        knee=(22, 22),
        spine=(-6, 8, -30),
        flat=False,
        toes=(None, None),
    ),
    Pose(
        "throwing, release",
        arm=((-0.1, 0.4, -0.85), (0.8, -0.35, 0.5)),
        forearm=((-0.2, 0.3, -0.8), (0.95, -0.1, 0.3)),
        thigh=((0.45, 0.1, -0.9), (-0.5, -0.12, -0.85)),
        knee=(35, 30),
        spine=(18, 0, 28),
        flat=False,
        toes=(None, 10),
    ),
    Pose(
        "kicking",
        thigh=((-0.15, 0.1, -1), (0.9, -0.1, -0.3)),
        knee=(14, 12),
        arm=((0.5, 0.7, -0.2), (-0.5, -0.7, -0.3)),
        lean=(-10, 0),
        spine=(8, 0, 10),
        flat=False,
        toes=(None, 15),
    ),
    Pose(
        "high side kick",
        thigh=((0.0, -0.02, -1), (0.25, -0.95, 0.15)),
        knee=(8, 10),
        lean=(0, 20),
        arm=((0.3, 0.5, -0.6), (0.5, -0.5, -0.3)),
        forearm=((0.7, -0.2, 0.6), (0.8, 0.2, 0.5)),
        flat=False,
    ),
    Pose(
        "bowling",
        thigh=((0.7, 0.05, -0.7), (-0.6, 0.12, -0.75)),
        knee=(58, 40),
        arm=((0.2, 0.85, -0.3), (-0.35, -0.12, -0.9)),
        lean=(14, 0),
        spine=(20, 0, 8),
        flat=False,
    ),
    Pose(
        "climbing",
        arm=((0.45, 0.3, 0.85), (0.55, -0.45, 0.15)),
        forearm=((0.3, -0.05, 0.95), (0.45, -0.05, 0.85)),
        thigh=((0.1, 0.15, -1), (0.75, -0.45, -0.15)),
        knee=(14, 92),
        head=(-18, 0),
        flat=False,
    ),
    Pose(
        "handstand",
        arm=((0.05, 0.12, 1), (0.05, -0.12, 1)),
        forearm=((0.02, 0.05, 1), (0.02, -0.05, 1)),
        thigh=((0.05, 0.08, -1), (-0.05, -0.08, -1)),
        knee=(6, 12),
        lean=(178, 0),
        head=(-20, 0),
        flat=False,
    ),
    Pose(
        "handstand, split legs",
        arm=((0.05, 0.15, 1), (0.05, -0.15, 1)),
        forearm=((0.02, 0.05, 1), (0.02, -0.05, 1)),
        thigh=((0.7, 0.1, -0.7), (-0.55, -0.1, -0.8)),
        knee=(15, 25),
        lean=(176, 0),
        head=(-20, 0),
        flat=False,
    ),
    Pose(
        "arabesque",
        thigh=((0.53, 0.04, -0.85), (-0.9, -0.1, -0.45)),
        knee=(4, 12),
        lean=(32, 0),
        spine=(-12, 0, 0),
        arm=((0.8, 0.35, 0.4), (-0.1, -0.95, 0.1)),
        forearm=((0.9, 0.2, 0.35), (-0.1, -1, 0.05)),
        flat=False,
        toes=(None, 30),
    ),
    Pose(
        "dancing",
        thigh=((0.1, 0.2, -1), (0.5, -0.55, -0.65)),
        knee=(10, 65),
        arm=((0.2, 0.7, 0.7), (0.4, -0.7, -0.3)),
        forearm=((0.1, -0.2, 1), (0.5, 0.6, 0.3)),
        spine=(0, 8, 14),
        flat=False,
        toes=(None, 25),
    ),
    Pose(
        "reaching up",
        arm=((0.15, 0.2, 0.95), (0.15, -0.2, 0.95)),
        forearm=((0.15, 0.05, 1), (0.15, -0.05, 1)),
        head=(-15, 0),
        spine=(-5, 0, 0),
    ),
    Pose(
        "reaching forward",
        arm=((0.95, 0.15, 0.05), (0.95, -0.1, -0.1)),
        forearm=((1, 0.0, 0.05), (1, 0.0, 0.05)),
        spine=(8, 0, 0),
        thigh=((0.1, 0.1, -1), (-0.25, -0.1, -1)),
    ),
    Pose(
        "bending down",
        thigh=((0.79, 0.12, -0.62), (0.79, -0.12, -0.62)),
        knee=(14, 14),
        lean=(52, 0),
        spine=(36, 0, 0),
        arm=((0.75, 0.15, -0.4), (0.75, -0.15, -0.4)),
        forearm=((0.8, 0.05, -0.3), (0.8, -0.05, -0.3)),
        flat=True,
    ),
    Pose(
        "side bend",
        spine=(0, 28, 0),
        arm=((0.05, 0.2, -1), (0.05, -0.25, 1)),
        forearm=((0.1, 0.05, -1), (0.05, 0.4, 0.95)),
        thigh=((0, 0.3, -1), (0, -0.3, -1)),
    ),
    Pose(
        "lying on the back",
        lean=(-88, 0),
        arm=((0.1, 0.5, -0.8), (0.15, -0.7, 0.5)),
        forearm=((0.1, 0.4, -0.9), (0.1, -0.1, 0.95)),
        thigh=((0.15, 0.12, -1), (0.65, -0.12, -0.75)),
        knee=(8, 85),
        flat=False,
    ),
    Pose(
        "push-up",
        lean=(70, 0),
        arm=((0.94, 0.2, -0.3), (0.94, -0.2, -0.3)),
        forearm=((0.95, 0, -0.3), (0.95, 0, -0.3)),
        thigh=((0.02, 0.06, -1), (0.02, -0.06, -1)),
        knee=(4, 4),
        head=(-25, 0),
        flat=False,
        toes=(-50, -50),
    ),
    Pose(
        "crossed arms", arm=((0.35, 0.25, -0.9), (0.35, -0.25, -0.9)), forearm=((0.65, -0.75, 0.15), (0.75, 0.7, 0.0))
    ),
    Pose(
        "guard",
        arm=((0.45, 0.25, -0.75), (0.3, -0.35, -0.8)),
        forearm=((0.7, -0.1, 0.75), (0.6, 0.2, 0.85)),
        thigh=((0.35, 0.15, -0.95), (-0.25, -0.2, -0.95)),
        knee=(22, 22),
        spine=(6, 0, -18),
        flat=False,
        toes=(None, -12),
    ),
)


def _mix(a: NDArray[np.float64], b: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    mixed = (1 - share) * a / np.linalg.norm(a, axis=-1, keepdims=True) + share * b / np.linalg.norm(
        b, axis=-1, keepdims=True
    )
    return mixed


def _vectors(values: NDArray[np.float64]) -> tuple[Vector, Vector]:
    left, right = (tuple(float(x) for x in v) for v in values)
    return left, right  # type: ignore[return-value]


def draw(rng: np.random.Generator, number: int) -> Pose:
    """The `number`-th key pose in turn, with a share of another of its kind, perturbed, mirrored half of the time."""
    base = KEY_POSES[number % len(KEY_POSES)]
    upright = [p for p in KEY_POSES if abs(p.lean[0] - base.lean[0]) < 15 and p.flat == base.flat]
    other = upright[rng.integers(len(upright))]
    share = float(rng.uniform(0, 0.3))
    limbs: dict[str, Any] = {}
    for limb in ("arm", "forearm", "thigh"):
        mixed = _mix(np.array(getattr(base, limb)), np.array(getattr(other, limb)), share)
        limbs[limb] = _vectors(mixed + rng.normal(0, 0.1 if limb != "thigh" else 0.06, mixed.shape))
    knees = (1 - share) * np.array(base.knee) + share * np.array(other.knee) + rng.normal(0, 5, 2)
    limbs["knee"] = tuple(np.clip(knees, 2, 140).tolist())
    limbs["spine"] = tuple((np.array(base.spine) + rng.normal(0, 4, 3)).tolist())
    limbs["head"] = tuple((np.array(base.head) + rng.normal(0, 9, 2)).tolist())
    pose = replace(
        base,
        **limbs,
        lean=(base.lean[0] + float(rng.normal(0, 2)), base.lean[1] + float(rng.normal(0, 2))),
    )
    return mirrored(pose) if rng.random() < 0.5 else pose


def mirrored(pose: Pose) -> Pose:
    """Left and right swapped."""

    def swap(pair: tuple[Vector, Vector]) -> tuple[Vector, Vector]:
        (lf, ll, lu), (rf, rl, ru) = pair
        return (rf, -rl, ru), (lf, -ll, lu)

    return replace(
        pose,
        arm=swap(pose.arm),
        forearm=swap(pose.forearm),
        thigh=swap(pose.thigh),
        knee=pose.knee[::-1],
        toes=pose.toes[::-1],
        lean=(pose.lean[0], -pose.lean[1]),
        spine=(pose.spine[0], -pose.spine[1], -pose.spine[2]),
        head=(pose.head[0], -pose.head[1]),
    )
