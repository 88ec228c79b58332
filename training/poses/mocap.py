"""Recorded human motion, from the files people have, as clips of one joint set."""

from __future__ import annotations

import re
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


# What files call the joints of h36m-17, as `_plain` writes it; the first name that a file has is taken. Behind l or left, r or right.
_LIMBS = {
    "hip": ("hipjoint", "upleg", "thigh", "upperleg", "hip"),
    "knee": ("femur", "leg", "shin", "calf", "lowleg", "lowerleg", "knee"),
    "ankle": ("tibia", "foot", "ankle"),
    "shoulder": ("clavicle", "arm", "uparm", "upperarm", "shoulder"),  # beside an arm, a shoulder is a collar bone
    "elbow": ("humerus", "forearm", "lowarm", "lowerarm", "elbow"),
    "wrist": ("radius", "hand", "wrist"),
}
_MIDDLE: dict[str, tuple[str, ...]] = {
    "mid_spine": ("lowerback", "spine", "spine1", "chest", "midspine"),
    "neck": ("thorax", "neck", "neck1"),
    "chin": ("upperneck", "chin", "head"),
    "head": ("headend", "headtopend", "headtop", "headnub", "head"),
}
LEAST_MM, MOST_MM = 500.0, 2600.0  # from foot to head: smaller or larger ones are in another unit


def _plain(name: str) -> str:
    """A joint's name without namespace (mixamorig:), without Biped's prefix, its side first: 'thigh.L' is 'lthigh'."""
    name = re.sub(r"^bip\s*\d*[\s_]+", "", name.rpartition(":")[2].strip().lower())
    side = re.fullmatch(r"(.*)[._ -]([lr]|left|right)", name)
    return re.sub(r"[^a-z0-9]", "", side[2] + side[1] if side else name)


def height_mm(poses_mm: Float[np.ndarray, "F J 3"]) -> float:
    """How far apart a person's joints lie at most (median over frames, of the largest extent along an axis)."""
    return float(np.median(np.ptp(poses_mm, axis=1).max(axis=1)))


def as_h36m17(motion: Motion, name: str, *, split: str = "train", action: str = "") -> Clip:
    """The 17 joints of Human3.6M, found by the names that CMU, Mixamo and similar files use; mid_hip between the hips.

    Raises BadMotion naming the joint that is missing.
    """
    place = {_plain(j): n for n, j in reversed(list(enumerate(motion.joints)))}

    def place_of(joint: str) -> int:
        side, _, limb = joint.partition("_")
        if limb in _LIMBS:
            names = [s + n for n in _LIMBS[limb] for s in (side[0], side)]
        else:
            names = [n for n in _MIDDLE[joint] if place.get(n) not in taken]  # one joint is not both chin and head
        number = next((place[n] for n in names if n in place), None)
        if number is None:
            raise BadMotion(f"{name}: no joint for {joint}; looked for {', '.join(names[:6])}")
        taken.add(number)
        return number

    taken: set[int] = set()

    def one(joint: str) -> NDArray[np.float32]:
        return motion.positions_mm[:, place_of(joint)]

    poses = [
        (one("left_hip") + one("right_hip")) / 2 if joint == "mid_hip" else one(joint) for joint in H36M_17.keypoints
    ]
    whole = np.stack(poses, axis=1)
    if not LEAST_MM <= (size := height_mm(whole)) <= MOST_MM:
        raise BadMotion(f"{name}: a person of {size:.3g} mm, so its unit is not the one that was taken", field="unit")
    return Clip(name, whole, motion.fps, split, action)


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
