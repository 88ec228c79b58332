"""Skeletons: keypoint names, bones, left/right twins and root. Plain data, addressed by name.

Left and right are the person's own. Orders are those of the published files of each data set, because arrays built
from a skeleton follow its order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from webapp.errors import InputError


class BadSkeleton(InputError):
    """A skeleton that contradicts itself."""


@dataclass(frozen=True)
class Skeleton:
    """`bones` are pairs of names; `twins` pair each left keypoint with its right one; `root` is a keypoint's name."""

    name: str
    keypoints: tuple[str, ...]
    bones: tuple[tuple[str, str], ...]
    root: str

    def __post_init__(self) -> None:
        known = set(self.keypoints)
        if not 2 <= len(self.keypoints) <= 200 or len(known) != len(self.keypoints):
            raise BadSkeleton(f"{self.name}: keypoints must be 2 to 200 different names")
        if any(not n or len(n) > 40 or not n.isprintable() for n in self.keypoints):
            raise BadSkeleton(f"{self.name}: keypoint names have 1 to 40 printable characters")
        if self.root not in known:
            raise BadSkeleton(f"{self.name}: root {self.root!r} is not one of the keypoints")
        for bone in self.bones:
            if len(bone) != 2 or bone[0] == bone[1] or not set(bone) <= known:
                raise BadSkeleton(f"{self.name}: bone {bone!r} does not join two keypoints")

    @property
    def twins(self) -> tuple[tuple[str, str], ...]:
        """(left, right) names, found by their prefix."""
        pairs = ((n, "right" + n[4:]) for n in self.keypoints if n.startswith("left"))
        return tuple((left, right) for left, right in pairs if right in self.keypoints)

    def index(self, keypoint: str) -> int:
        return self.keypoints.index(keypoint)

    @property
    def tree(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) indices of a spanning tree of the bones, parents first, from the root.

        Keypoints that no bone reaches hang on the root.
        """
        near: dict[int, list[int]] = {j: [] for j in range(len(self.keypoints))}
        for a, b in self.bones:
            near[self.index(a)].append(self.index(b))
            near[self.index(b)].append(self.index(a))
        root = self.index(self.root)
        seen, queue, order = {root}, [root], []
        while queue:
            parent = queue.pop(0)
            for child in near[parent]:
                if child not in seen:
                    seen.add(child)
                    queue.append(child)
                    order.append((parent, child))
        return tuple(order + [(root, j) for j in near if j not in seen])

    def by_edge(self, values: Sequence[float]) -> dict[str, float]:
        """One value per edge of the tree, by the names of its ends."""
        return {
            f"{self.keypoints[a]} to {self.keypoints[b]}": value
            for (a, b), value in zip(self.tree, values, strict=True)
        }

    def groups(self, bones: Sequence[tuple[int, int]]) -> list[int]:
        """A number per bone (index pairs), the same for a left bone and its right twin."""
        twin = dict(self.twins) | {right: left for left, right in self.twins}
        numbers: dict[frozenset[frozenset[str]], int] = {}
        groups = []
        for bone in bones:
            a, b = (self.keypoints[j] for j in bone)
            key = frozenset({frozenset({a, b}), frozenset({twin.get(a, a), twin.get(b, b)})})
            groups.append(numbers.setdefault(key, len(numbers)))
        return groups

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "keypoints": list(self.keypoints),
            "bones": [list(b) for b in self.bones],
            "root": self.root,
        }


def from_dict(data: dict) -> Skeleton:
    """Read a skeleton written by `as_dict`. Raises BadSkeleton."""
    try:
        return Skeleton(
            name=str(data["name"]),
            keypoints=tuple(str(k) for k in data["keypoints"]),
            bones=tuple((str(a), str(b)) for a, b in data.get("bones", [])),
            root=str(data.get("root") or data["keypoints"][0]),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, BadSkeleton):
            raise
        raise BadSkeleton(f"a skeleton needs name, keypoints, bones and root ({error})") from None


MOST_LETTERS = 20_000


def described(text: str) -> Skeleton:
    """A skeleton written by hand, 'neck, left_hip, right_hip; neck-left_hip, neck-right_hip': keypoints in their order, then bones, the
    first keypoint being the root; or what `as_dict` gives, as JSON. Raises BadSkeleton."""
    if len(text) > MOST_LETTERS:
        raise BadSkeleton(f"a skeleton's text has at most {MOST_LETTERS} letters")
    if text.lstrip().startswith("{"):
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadSkeleton(f"the skeleton is no JSON: {error}") from None
        return from_dict({**data, "name": "custom"})
    listed, _, joined = text.partition(";")
    names = tuple(name.strip() for name in listed.replace("\n", ",").split(",") if name.strip())
    known, bones = set(names), []
    for bone in (part.strip() for part in joined.replace("\n", ",").split(",") if part.strip()):
        cuts = (n for n, letter in enumerate(bone) if letter == "-")  # names may hold one, too
        ends = next(((bone[:n], bone[n + 1 :]) for n in cuts if {bone[:n], bone[n + 1 :]} <= known), None)
        if ends is None:
            raise BadSkeleton(f"the bone {bone[:80]!r} joins no two of the keypoints")
        bones.append(ends)
    if not bones:
        raise BadSkeleton("a skeleton needs bones: 'neck, left_hip; neck-left_hip'")
    return Skeleton("custom", names, tuple(bones), names[0])


def _chain(text: str) -> tuple[tuple[str, str], ...]:
    """'a-b-c d-e' -> (a,b) (b,c) (d,e)"""
    bones = []
    for part in text.split():
        names = part.split("-")
        bones += list(zip(names, names[1:]))
    return tuple(bones)


LSP_14 = Skeleton(
    "lsp-14",
    tuple(
        [
            "right_ankle",
            "right_knee",
            "right_hip",
            "left_hip",
            "left_knee",
            "left_ankle",
            "right_wrist",
            "right_elbow",
            "right_shoulder",
            "left_shoulder",
            "left_elbow",
            "left_wrist",
            "neck",
            "head",
        ]
    ),
    _chain(
        "right_knee-right_hip right_ankle-right_knee left_hip-left_knee left_knee-left_ankle right_hip-left_hip "
        "left_shoulder-left_elbow left_elbow-left_wrist right_elbow-right_shoulder right_wrist-right_elbow "
        "left_shoulder-neck right_shoulder-neck left_hip-left_shoulder right_hip-right_shoulder neck-head"
    ),
    "neck",
)
MPII_16 = Skeleton(
    "mpii-16",
    tuple(
        [
            "right_ankle",
            "right_knee",
            "right_hip",
            "left_hip",
            "left_knee",
            "left_ankle",
            "pelvis",
            "thorax",
            "upper_neck",
            "head_top",
            "right_wrist",
            "right_elbow",
            "right_shoulder",
            "left_shoulder",
            "left_elbow",
            "left_wrist",
        ]
    ),
    _chain(
        "pelvis-right_hip-right_knee-right_ankle pelvis-left_hip-left_knee-left_ankle pelvis-thorax-upper_neck-head_top "
        "thorax-right_shoulder-right_elbow-right_wrist thorax-left_shoulder-left_elbow-left_wrist"
    ),
    "pelvis",
)
COCO_17 = Skeleton(
    "coco-17",
    tuple(
        [
            "nose",
            "left_eye",
            "right_eye",
            "left_ear",
            "right_ear",
            "left_shoulder",
            "right_shoulder",
            "left_elbow",
            "right_elbow",
            "left_wrist",
            "right_wrist",
            "left_hip",
            "right_hip",
            "left_knee",
            "right_knee",
            "left_ankle",
            "right_ankle",
        ]
    ),
    _chain(
        "nose-left_eye-left_ear nose-right_eye-right_ear left_shoulder-right_shoulder left_hip-right_hip "
        "left_shoulder-left_elbow-left_wrist right_shoulder-right_elbow-right_wrist left_shoulder-left_hip "
        "right_shoulder-right_hip left_hip-left_knee-left_ankle right_hip-right_knee-right_ankle nose-left_shoulder "
        "nose-right_shoulder"
    ),
    "nose",
)
H36M_17 = Skeleton(
    "h36m-17",
    tuple(
        [
            "mid_hip",
            "right_hip",
            "right_knee",
            "right_ankle",
            "left_hip",
            "left_knee",
            "left_ankle",
            "mid_spine",
            "neck",
            "chin",
            "head",
            "left_shoulder",
            "left_elbow",
            "left_wrist",
            "right_shoulder",
            "right_elbow",
            "right_wrist",
        ]
    ),
    _chain(
        "mid_hip-right_hip-right_knee-right_ankle mid_hip-left_hip-left_knee-left_ankle mid_hip-mid_spine-neck-chin-head "
        "neck-left_shoulder-left_elbow-left_wrist neck-right_shoulder-right_elbow-right_wrist"
    ),
    "mid_hip",
)
_FEET_AND_LIMBS = (
    "neck-right_shoulder-right_elbow-right_wrist neck-left_shoulder-left_elbow-left_wrist "
    "right_hip-right_knee-right_ankle-right_big_toe-right_small_toe right_ankle-right_heel "
    "left_hip-left_knee-left_ankle-left_big_toe-left_small_toe left_ankle-left_heel "
    "neck-nose-left_eye-left_ear nose-right_eye-right_ear "
)
BODY_25 = Skeleton(
    "body-25",
    tuple(
        [
            "nose",
            "neck",
            "right_shoulder",
            "right_elbow",
            "right_wrist",
            "left_shoulder",
            "left_elbow",
            "left_wrist",
            "mid_hip",
            "right_hip",
            "right_knee",
            "right_ankle",
            "left_hip",
            "left_knee",
            "left_ankle",
            "right_eye",
            "left_eye",
            "right_ear",
            "left_ear",
            "left_big_toe",
            "left_small_toe",
            "left_heel",
            "right_big_toe",
            "right_small_toe",
            "right_heel",
        ]
    ),
    _chain(_FEET_AND_LIMBS + "neck-mid_hip mid_hip-right_hip mid_hip-left_hip"),
    "neck",
)
BODY_25B = Skeleton(
    "body-25b",
    tuple(
        [
            "nose",
            "left_eye",
            "right_eye",
            "left_ear",
            "right_ear",
            "left_shoulder",
            "right_shoulder",
            "left_elbow",
            "right_elbow",
            "left_wrist",
            "right_wrist",
            "left_hip",
            "right_hip",
            "left_knee",
            "right_knee",
            "left_ankle",
            "right_ankle",
            "neck",
            "head",
            "left_big_toe",
            "left_small_toe",
            "left_heel",
            "right_big_toe",
            "right_small_toe",
            "right_heel",
        ]
    ),
    _chain(_FEET_AND_LIMBS + "neck-head right_shoulder-right_hip left_shoulder-left_hip right_hip-left_hip"),
    "neck",
)
COCO_18 = Skeleton(
    "coco-18",  # OpenPose's: COCO's keypoints in another order, and the neck
    (
        *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
        *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
        *("right_eye", "left_eye", "right_ear", "left_ear"),
    ),
    _chain(
        "neck-right_shoulder-right_elbow-right_wrist neck-left_shoulder-left_elbow-left_wrist neck-nose "
        "neck-right_hip-right_knee-right_ankle neck-left_hip-left_knee-left_ankle "
        "nose-left_eye-left_ear nose-right_eye-right_ear"
    ),
    "neck",
)
HALPE_26 = Skeleton(
    "halpe-26",  # AlphaPose, Pose2Sim and RTMPose with feet
    (
        *COCO_17.keypoints,
        *("head", "neck", "mid_hip", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe"),
        *("left_heel", "right_heel"),
    ),
    _chain(_FEET_AND_LIMBS + "neck-head neck-mid_hip mid_hip-right_hip mid_hip-left_hip"),
    "neck",
)
BUILT_IN = {s.name: s for s in (LSP_14, MPII_16, COCO_17, H36M_17, BODY_25, BODY_25B, COCO_18, HALPE_26)}

# What else the published files call the same keypoint.
ALIASES = {"nose/head": "head", "head_top": "head"}


def by_names(names: list[str]) -> Skeleton | None:
    """The built-in skeleton with exactly these keypoints in this order, if there is one."""
    return next((s for s in BUILT_IN.values() if s.keypoints == tuple(names)), None)


def twin_of(keypoint: str, keypoints: Sequence[str]) -> str:
    """The name on the other side of the body; the same name where there is none."""
    for side, other in (("left", "right"), ("right", "left")):
        if keypoint.startswith(side) and other + keypoint[len(side) :] in keypoints:
            return other + keypoint[len(side) :]
    return keypoint


def words(keypoint: str) -> str:
    """'left_wrist' -> 'left wrist', for people."""
    return keypoint.replace("_", " ")
