"""Recorded human motion, from the files people have, as clips of one joint set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.skeletons import H36M_17
from webapp.errors import InputError


class BadMotion(InputError):
    """A motion file that cannot be read; says which part and why."""


@dataclass(frozen=True)
class Clip:
    """F poses of J joints: poses_mm F x J x 3 (world: y up, right-handed, mm), at `fps`."""

    name: str
    poses_mm: Float[np.ndarray, "F J 3"]
    fps: float
    split: str = "train"
    action: str = ""


@dataclass(frozen=True)
class Motion:
    """A file's own joints over time: positions_mm F x J x 3 (world: y up), at `fps`."""

    joints: list[str]
    positions_mm: Float[np.ndarray, "F J 3"]
    fps: float


# What files call the joints of h36m-17; the first name that a file has is taken. A tuple is a midpoint. Sides by {}.
_SIDES = {"left": ("l", "Left", "left_", "L_"), "right": ("r", "Right", "right_", "R_")}
_LIMBS = {
    "hip": ("{}hipjoint", "{}UpLeg", "{}Thigh", "{}Hip", "{}hip"),
    "knee": ("{}femur", "{}Leg", "{}Shin", "{}LowLeg", "{}Knee", "{}knee"),
    "ankle": ("{}tibia", "{}Foot", "{}Ankle", "{}ankle"),
    "shoulder": ("{}clavicle", "{}Arm", "{}UpArm", "{}shoulder"),
    "elbow": ("{}humerus", "{}ForeArm", "{}LowArm", "{}Elbow", "{}elbow"),
    "wrist": ("{}radius", "{}Hand", "{}Wrist", "{}wrist"),
}
_MIDDLE: dict[str, tuple[str, ...]] = {
    "mid_spine": ("lowerback", "Spine", "Spine1", "Chest", "mid_spine"),
    "neck": ("thorax", "Neck", "Neck1", "neck"),
    "chin": ("upperneck", "Head", "chin"),
    "head": ("head", "Head_end", "HeadEnd", "Head_End", "Site"),
}


def as_h36m17(motion: Motion, name: str, *, split: str = "train", action: str = "") -> Clip:
    """The 17 joints of Human3.6M, found by the names that CMU, Mixamo and similar files use; mid_hip between the hips.

    Raises BadMotion naming the joint that is missing.
    """
    place = {j: n for n, j in enumerate(motion.joints)}

    def one(joint: str) -> NDArray[np.float32]:
        side, _, limb = joint.partition("_")
        names = [n.format(s) for n in _LIMBS[limb] for s in _SIDES[side]] if limb in _LIMBS else list(_MIDDLE[joint])
        place_of = next((place[n] for n in names if n in place), None)
        if place_of is None:
            raise BadMotion(f"{name}: no joint for {joint}; looked for {', '.join(names[:6])}")
        return motion.positions_mm[:, place_of]

    poses = [
        (one("left_hip") + one("right_hip")) / 2 if joint == "mid_hip" else one(joint) for joint in H36M_17.keypoints
    ]
    return Clip(name, np.stack(poses, axis=1), motion.fps, split, action)


def read_sequences(path: Path) -> tuple[list[str], list[Clip]]:
    """Joint names and clips of an npz of sequences: poses, seq_id, seq_names, split, joint_names, fps.

    World axes y up, mm. The last folder but one of a sequence's name is its action. Raises BadMotion.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {k: file[k] for k in ("poses", "seq_id", "seq_names", "split", "joint_names", "fps")}
    except (OSError, KeyError, ValueError) as error:
        raise BadMotion(f"{path.name}: {error}") from None
    poses, names = data["poses"], [str(n) for n in data["joint_names"]]
    if poses.ndim != 3 or poses.shape[1:] != (len(names), 3) or len(data["seq_id"]) != len(poses):
        raise BadMotion(
            f"{path.name}: poses {poses.shape} do not fit {len(names)} joints and {len(data['seq_id'])} ids"
        )
    if not np.isfinite(poses).all():
        raise BadMotion(f"{path.name}: poses hold numbers that are not finite")
    return names, [
        Clip(
            str(name),
            poses[data["seq_id"] == number],
            float(data["fps"]),
            str(data["split"][number]),
            str(name).split("/")[-2] if str(name).startswith("exp") else str(name).split("_")[0],
        )
        for number, name in enumerate(data["seq_names"])
    ]
