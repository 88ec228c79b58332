"""A body in a pose: anny's rest shape (Apache-2.0, assets CC0), posed by our own directions, skinned linearly.

World frame: metres, x to the body's left, y backwards (the rest body faces -y), z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from training.poses import rotations
from training.simulation.keyposes import Pose, Vector

Array = NDArray[np.float64]
SIDES = ("L", "R")
SEGMENTS = {  # joint -> bone whose head it is
    "hip": "upperleg01",
    "knee": "lowerleg01",
    "ankle": "foot",
    "shoulder": "upperarm01",
    "elbow": "lowerarm01",
    "wrist": "wrist",
}
FLESH_M = 0.035


@dataclass(frozen=True)
class Body:
    """V vertices (m), F triangles, the dominant bone of each vertex, and the 14 LSP keypoints (m) by name."""

    vertices: Float[np.ndarray, "V 3"]
    faces: Int[np.ndarray, "T 3"]
    bone_of_vertex: list[str]
    rest_vertices: Float[np.ndarray, "V 3"]
    joints: dict[str, Array]


@cache
def _anny() -> Any:
    import anny
    import warp

    warp.config.quiet = True
    return anny.Anny()


@lru_cache(maxsize=8)
def _rest(shape: tuple[tuple[str, float], ...]) -> tuple[Array, Array]:
    """Vertices and bone heads of one shape at rest; kept, because making them takes many seconds."""
    rest = _anny()(phenotype_kwargs={k: float(v) for k, v in shape})
    return rest["rest_vertices"][0].double().numpy(), rest["rest_bone_heads"][0].double().numpy()


def rotation(axis: str, degrees: float) -> Float[np.ndarray, "3 3"]:
    return rotations.about("xyz".index(axis), np.radians(degrees))


def _world(v: Vector) -> Array:
    forward, left, up = v
    return np.array([left, -forward, up])


def pose_body(pose: Pose, shape: dict[str, float]) -> Body:
    """Skin the body of one shape (anny's phenotypes, 0..1) in one pose, standing on the floor z = 0."""
    model = _anny()
    vertices, heads = _rest(tuple(shape.items()))
    labels, parents = list(model.bone_labels), [int(p) for p in model.bone_parents]
    turns = _turns(pose, labels, parents, heads)
    places = np.zeros_like(heads)
    for bone, parent in enumerate(parents):
        places[bone] = heads[bone] if parent < 0 else places[parent] + turns[parent] @ (heads[bone] - heads[parent])
    weights, which = model.vertex_bone_weights.double().numpy(), model.vertex_bone_indices.numpy()
    posed = np.zeros_like(vertices)
    for slot in range(weights.shape[1]):
        bone = which[:, slot]
        moved = np.einsum("vij,vj->vi", turns[bone], vertices - heads[bone]) + places[bone]
        posed += weights[:, slot, None] * moved
    main = [labels[b] for b in which[np.arange(len(which)), weights.argmax(1)]]
    drop = np.array([0.0, 0.0, posed[:, 2].min() - pose.lift_m])
    top = max((i for i, b in enumerate(main) if b == "head"), key=lambda i: vertices[i, 2])
    joints = {
        f"{side_name}_{joint}": places[labels.index(f"{bone}.{side}")] - drop
        for joint, bone in SEGMENTS.items()
        for side, side_name in zip(SIDES, ("left", "right"))
    }
    joints["neck"] = places[labels.index("neck01")] - drop
    joints["head"] = posed[top] - drop
    faces = model.get_triangular_faces().numpy().astype(np.int32)
    return Body(posed - drop, faces, main, vertices, joints)


def _turns(pose: Pose, labels: list[str], parents: list[int], heads: Array) -> Array:
    """World rotation of every bone relative to its rest orientation."""
    at = labels.index
    turns = np.tile(np.eye(3), (len(labels), 1, 1))
    lean = rotation("x", pose.lean[0]) @ rotation("y", pose.lean[1])
    third = [s / 4 for s in pose.spine]
    bend = rotation("x", third[0]) @ rotation("y", third[1]) @ rotation("z", third[2])
    nod = rotation("x", pose.head[0] / 2) @ rotation("z", pose.head[1] / 2)
    chest: Array = np.eye(3)
    for bone, (label, parent) in enumerate(zip(labels, parents)):
        base = turns[parent] if parent >= 0 else np.eye(3)
        name, _, side = label.partition(".")
        index = SIDES.index(side) if side in SIDES else 0
        if parent < 0:
            turns[bone] = lean
        elif label in ("spine04", "spine03", "spine02", "spine01"):
            turns[bone] = base @ bend
            chest = turns[bone]
        elif label in ("neck02", "head"):
            turns[bone] = base @ nod
        elif name in ("shoulder01",):
            # The shoulder blade follows a raised arm by a third.
            rest = heads[at(f"lowerarm01.{side}")] - heads[at(f"upperarm01.{side}")]
            part = rotations.between(rest, 2 * rest / np.linalg.norm(rest) + _unit(_world(pose.arm[index])))
            turns[bone] = base @ (part if pose.arm[index][2] > 0.1 else np.eye(3))
        elif name == "upperarm01":
            turns[bone] = _towards(heads, at, "upperarm01", "lowerarm01", side, chest, pose.arm[index])
        elif name == "lowerarm01":
            turns[bone] = _hinged(base, heads[at(f"wrist.{side}")] - heads[bone], chest @ _world(pose.forearm[index]))
        elif name == "upperleg01":
            turns[bone] = _towards(heads, at, "upperleg01", "lowerleg01", side, lean, pose.thigh[index])
        elif name == "lowerleg01":
            turns[bone] = base @ rotation("x", pose.knee[index])
        elif name == "foot":
            toes = pose.toes[index]
            standing = pose.flat or toes is None
            turns[bone] = np.eye(3) if standing else base @ rotation("x", 22.0 if pose.lift_m else float(toes or 0.0))
        else:
            turns[bone] = base
    return turns


def _unit(v: Array) -> Array:
    return v / np.linalg.norm(v)


def _towards(heads: Array, at: Any, bone: str, child: str, side: str, frame: Array, target: Vector) -> Array:
    rest = heads[at(f"{child}.{side}")] - heads[at(f"{bone}.{side}")]
    return frame @ rotations.between(rest, _world(target))


def _hinged(parent: Array, rest: Array, target: Array) -> Array:
    return rotations.between(parent @ rest, target) @ parent


def crossing(body: Body) -> bool:
    """Whether limbs run through the trunk, the head or each other: capsules around the bones come too close."""
    j = body.joints
    mid = (j["left_hip"] + j["right_hip"]) / 2
    trunk, skull = (mid, j["neck"], 0.10), (j["neck"] + 0.35 * (j["head"] - j["neck"]), j["head"], 0.085)
    thighs = [(j[f"{s}_hip"], j[f"{s}_knee"], 0.06) for s in ("left", "right")]
    shins = [(j[f"{s}_knee"], j[f"{s}_ankle"], 0.05) for s in ("left", "right")]
    arms = [
        (j[f"{s}_elbow"], j[f"{s}_wrist"] + 0.5 * (j[f"{s}_wrist"] - j[f"{s}_elbow"]), FLESH_M)
        for s in ("left", "right")
    ]
    pairs = [(a, b) for a in arms for b in (trunk, skull, *thighs, *shins)] + [(arms[0], arms[1]), (shins[0], shins[1])]
    pairs += [(s, b) for s in shins for b in (trunk, skull)] + [(thighs[0], shins[1]), (thighs[1], shins[0])]
    return any(_distance(a[0], a[1], b[0], b[1]) < a[2] + b[2] for a, b in pairs)


def _distance(a0: Array, a1: Array, b0: Array, b1: Array, steps: int = 12) -> float:
    t = np.linspace(0, 1, steps)[:, None]
    a, b = a0 + t * (a1 - a0), b0 + t * (b1 - b0)
    return float(np.linalg.norm(a[:, None] - b[None], axis=-1).min())
