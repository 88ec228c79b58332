"""Pictures of posed bodies with true joint depths, ray-cast on CPU or GPU by NVIDIA Warp (no OpenGL, no display).

Everything in a picture is made here from a seed: clothes, skin, hair, floor, sky, light, camera, noise.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image

from labeling.skeletons import LSP_14
from training.simulation import body as bodies
from training.simulation.body import Body, rotation
from training.simulation.keyposes import draw

Array = NDArray[np.float64]
SIZE = 512
OVERSAMPLE = 2
SKINS = ((241, 205, 178), (224, 172, 136), (198, 142, 101), (156, 105, 70), (112, 74, 50), (78, 52, 38))
HAIRS = ((30, 24, 20), (66, 42, 26), (110, 78, 44), (170, 134, 84), (120, 52, 28), (140, 138, 136))
CLOTHES = (
    (176, 44, 44),
    (38, 82, 150),
    (44, 110, 70),
    (222, 178, 60),
    (236, 236, 232),
    (44, 46, 52),
    (120, 74, 140),
    (210, 112, 60),
    (92, 150, 170),
    (150, 150, 156),
    (196, 96, 130),
)
FLOORS = ((150, 144, 132), (96, 128, 76), (176, 158, 122), (110, 116, 126), (168, 120, 84), (120, 130, 140))


@dataclass(frozen=True)
class Shot:
    """A rendered picture: JPEG bytes, LSP-14 keypoints (x px, y px, visibility 1 or 2), camera-frame joints (mm), pose name."""

    jpeg: bytes
    keypoints: list[list[float]]
    truth_mm: list[list[float]]
    bbox: list[float]
    pose: str


@dataclass(frozen=True)
class Camera:
    """Position (m), rotation world -> camera (x right, y down, z away), focal length (px) at SIZE."""

    place: Float[np.ndarray, " 3"]
    turn: Float[np.ndarray, "3 3"]
    focal: float

    def see(self, points: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
        """World points to camera frame (m)."""
        return (points - self.place) @ self.turn.T

    def project(self, points: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 2"]:
        c = self.see(points)
        return c[:, :2] / c[:, 2:] * self.focal + SIZE / 2


def shoot(seed: int, number: int, attempts: int = 200) -> Shot:
    """Draw pose, body, clothes and camera from (seed, number) until no limb crosses another, and render."""
    rng = np.random.default_rng([seed, number])
    for _ in range(attempts):
        pose = draw(rng, number)
        shape = {
            "gender": rng.uniform(0, 1),
            "age": rng.uniform(0.5, 0.75),
            "muscle": rng.uniform(0.3, 0.8),
            "weight": rng.uniform(0.3, 0.7),
            "height": rng.uniform(0.35, 0.7),
            "proportions": rng.uniform(0.4, 0.9),
        }
        body = bodies.pose_body(pose, shape)
        if bodies.crossing(body):
            continue
        camera = _camera(rng, body)
        points = camera.project(body.vertices)
        if points.min() > 12 and points.max() < SIZE - 12:
            return _shot(rng, body, camera, pose.name)
    raise RuntimeError(f"picture {number}: no pose without crossing limbs in {attempts} attempts")


def _camera(rng: np.random.Generator, body: Body) -> Camera:
    middle = (body.vertices.max(0) + body.vertices.min(0)) / 2
    extent = float(np.ptp(body.vertices, axis=0).max())
    focal = float(rng.uniform(650, 1100))
    far = focal * extent / (SIZE * rng.uniform(0.62, 0.86))
    yaw, pitch = rng.uniform(0, 360), rng.uniform(-3, 24)
    back = rotation("z", yaw) @ rotation("x", -pitch) @ np.array([0.0, -1.0, 0.0])
    place = middle + far * back
    place[2] = max(place[2], 0.35)
    z = middle - place
    z /= np.linalg.norm(z)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    roll = np.radians(rng.normal(0, 1.5))
    y = np.cross(z, x)
    x, y = np.cos(roll) * x + np.sin(roll) * y, -np.sin(roll) * x + np.cos(roll) * y
    return Camera(place, np.stack([x, y, z]), focal)


def _part(label: str) -> str:
    name = label.partition(".")[0]
    for part, starts in {
        "head": ("head", "eye", "neck02", "neck03", "neck01"),
        "hand": ("wrist", "finger", "metacarpal"),
        "forearm": ("lowerarm",),
        "upperarm": ("upperarm",),
        "foot": ("foot", "toe"),
        "shin": ("lowerleg",),
        "thigh": ("upperleg", "pelvis"),
        "hips": ("root", "spine05"),
    }.items():
        if name.startswith(starts):
            return part
    return "trunk"


_SEEN_AS = {  # a joint counts as visible when the first surface on its ray belongs to one of these
    "hip": ("thigh", "hips"),
    "knee": ("thigh", "shin"),
    "ankle": ("shin", "foot"),
    "shoulder": ("upperarm", "trunk"),
    "elbow": ("upperarm", "forearm"),
    "wrist": ("forearm", "hand"),
    "neck": ("head", "trunk"),
    "head": ("head",),
}


def _shot(rng: np.random.Generator, body: Body, camera: Camera, name: str) -> Shot:
    parts = [_part(b) for b in body.bone_of_vertex]
    vertices, colours = _dressed(rng, body, parts)
    scene = _scene(vertices, body.faces)
    picture = _picture(rng, scene, vertices, body.faces, colours, camera)
    joints = np.stack([body.joints[n] for n in LSP_14.keypoints])
    hits = _first_hits(scene, camera, joints)
    keypoints = []
    for joint, (x, y), (face, gap) in zip(LSP_14.keypoints, camera.project(joints), hits):
        side, _, kind = joint.rpartition("_")
        orientation = _SEEN_AS[kind]
        seen = face < 0
        if face >= 0:
            label = body.bone_of_vertex[body.faces[face][0]]
            other_side = bool(side) and "." in label and not label.endswith("." + side[0].upper())
            seen = _part(label) in orientation and not other_side and gap < 0.22
        keypoints.append([round(float(x), 2), round(float(y), 2), 2 if seen else 1])
    points = camera.project(vertices)
    low, high = points.min(0), points.max(0)
    bbox = [round(float(v), 2) for v in (*low, *(high - low))]
    truth = [[round(float(v) * 1000, 2) for v in p] for p in camera.see(joints)]
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=82, optimize=True)
    return Shot(stream.getvalue(), keypoints, truth, bbox, name)


def _normals(vertices: Array, faces: NDArray[np.int32]) -> Array:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(total, faces[:, i], face)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _dressed(rng: np.random.Generator, body: Body, parts: list[str]) -> tuple[Array, Array]:
    """Vertices with the thickness of clothes, and a colour (0..1) per vertex."""
    rest, part = body.rest_vertices, np.array(parts)
    skin = np.array(SKINS[rng.integers(len(SKINS))]) / 255 * rng.uniform(0.94, 1.04)
    apart = [c for c in np.array(CLOTHES) / 255 if np.abs(c - skin).sum() > 0.45]  # clothes must not look like skin
    shirt, trousers, shoes = (apart[i] for i in rng.choice(len(apart), 3, replace=False))
    hair = np.array(HAIRS[rng.integers(len(HAIRS))]) / 255
    colours = np.tile(skin, (len(rest), 1))
    thick = np.zeros(len(rest))
    waist = np.quantile(rest[part == "hips", 2], 0.5) if (part == "hips").any() else 0.0
    top = (part == "trunk") | ((part == "hips") & (rest[:, 2] > waist)) | (part == "upperarm")
    sleeve = rng.choice(3)  # none, short, long
    arm = np.abs(rest[:, 0])
    elbow = np.quantile(arm[part == "upperarm"], 0.9)
    if sleeve == 0:
        top &= part != "upperarm"
    elif sleeve == 1:
        top &= ~((part == "upperarm") & (arm > 0.86 * elbow))
    else:
        top |= part == "forearm"
    low = (part == "thigh") | ((part == "hips") & (rest[:, 2] <= waist))
    if rng.random() < 0.65:
        low |= part == "shin"
    neck = rest[:, 2] > np.quantile(rest[part == "trunk", 2], 0.985)
    top &= ~neck
    foot = part == "foot"
    skull = rest[part == "head"]
    crown, face = skull[:, 2].max(), skull[:, 1].min()
    depth = np.ptp(skull[:, 1])
    line = crown - rng.uniform(0.055, 0.075)
    cap = (part == "head") & (
        (rest[:, 2] > line) | ((rest[:, 1] > face + 0.52 * depth) & (rest[:, 2] > crown - rng.uniform(0.14, 0.22)))
    )
    for mask, colour, width in ((top, shirt, 0.008), (low, trousers, 0.008), (foot, shoes, 0.006), (cap, hair, 0.014)):
        colours[mask], thick[mask] = colour, width
    return body.vertices + thick[:, None] * _normals(body.vertices, body.faces), colours


@cache
def _kernels() -> Any:
    import warp as wp

    wp.config.quiet = True

    @wp.kernel
    def cast(  # type: ignore[no-untyped-def]
        mesh: wp.uint64,
        origins: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
        rays: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
        far: wp.array(dtype=float),  # type: ignore[valid-type]
        face: wp.array(dtype=int),  # type: ignore[valid-type]
        where: wp.array(dtype=wp.vec3),  # type: ignore[valid-type]
    ):
        i = wp.tid()
        q = wp.mesh_query_ray(mesh, origins[i], rays[i], far[i])
        if q.result:
            face[i] = q.face
            where[i] = wp.vec3(q.t, q.u, q.v)
        else:
            face[i] = -1

    return wp, cast


def _scene(vertices: Array, faces: NDArray[np.int32]) -> Any:
    wp, _ = _kernels()
    return wp.Mesh(
        points=wp.array(vertices.astype(np.float32), dtype=wp.vec3, device="cpu"),
        indices=wp.array(faces.reshape(-1).astype(np.int32), dtype=int, device="cpu"),
    )


def _cast(scene: Any, origins: Array, rays: Array, far: float | Array) -> tuple[NDArray[np.int32], Array]:
    wp, kernel = _kernels()
    count = len(rays)
    face = wp.zeros(count, dtype=int, device="cpu")
    where = wp.zeros(count, dtype=wp.vec3, device="cpu")
    limit = np.broadcast_to(np.asarray(far, dtype=np.float32), (count,)).copy()
    wp.launch(
        kernel,
        dim=count,
        device="cpu",
        inputs=[
            scene.id,
            wp.array(origins.astype(np.float32), dtype=wp.vec3, device="cpu"),
            wp.array(rays.astype(np.float32), dtype=wp.vec3, device="cpu"),
            wp.array(limit, dtype=float, device="cpu"),
            face,
            where,
        ],
    )
    return face.numpy(), where.numpy().astype(np.float64)


def _first_hits(scene: Any, camera: Camera, joints: Array) -> list[tuple[int, float]]:
    """For each joint: the first face on its ray before it (-1 for none) and how far (m) before the joint it lies."""
    rays = joints - camera.place
    far = np.linalg.norm(rays, axis=1)
    rays = rays / far[:, None]
    face, where = _cast(scene, np.broadcast_to(camera.place, rays.shape), rays, far + 0.002)
    return [(int(f), float(d - w[0])) for f, w, d in zip(face, where, far)]


def _picture(
    rng: np.random.Generator, scene: Any, vertices: Array, faces: NDArray[np.int32], colours: Array, camera: Camera
) -> Image.Image:
    size = SIZE * OVERSAMPLE
    u, v = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    local = np.stack(
        [(u - size / 2) / (camera.focal * OVERSAMPLE), (v - size / 2) / (camera.focal * OVERSAMPLE), np.ones_like(u)],
        -1,
    )
    rays = local.reshape(-1, 3) @ camera.turn
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    origin = np.broadcast_to(camera.place, rays.shape)
    face, where = _cast(scene, origin, rays, 100.0)
    azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(35, 70))
    sun = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    bright, ambient = rng.uniform(0.55, 0.8), rng.uniform(0.42, 0.55)
    picture = _sky(rng, rays)
    floor = (face < 0) & (rays[:, 2] < -1e-4)
    t = np.where(floor, -camera.place[2] / np.where(floor, rays[:, 2], -1.0), 0.0)
    floor &= t < 60
    ground = origin + t[:, None] * rays
    shade = _lit(rng, scene, ground[floor] + 1e-3 * sun, sun)
    haze = np.clip(t[floor] / 40, 0, 1)[:, None] ** 1.5
    surface = _floor(rng, ground[floor]) * (ambient + 0.12 + bright * sun[2] * shade)[:, None]
    picture[floor] = (1 - haze) * surface + haze * picture[floor]
    hit = face >= 0
    picture[hit] = _skinned(
        rng, scene, vertices, faces, colours, face[hit], where[hit], origin[hit], rays[hit], sun, bright, ambient
    )
    image = picture.reshape(SIZE, OVERSAMPLE, SIZE, OVERSAMPLE, 3).mean((1, 3))
    image += rng.normal(0, rng.uniform(0.004, 0.012), image.shape)
    return Image.fromarray((np.clip(image, 0, 1) ** (1 / 1.12) * 255).astype(np.uint8))


def _skinned(
    rng: np.random.Generator,
    scene: Any,
    vertices: Array,
    faces: NDArray[np.int32],
    colours: Array,
    face: NDArray[np.int32],
    where: Array,
    origin: Array,
    rays: Array,
    sun: Array,
    bright: float,
    ambient: float,
) -> Array:
    corner = faces[face]
    u, v = where[:, 1:2], where[:, 2:3]
    weight = np.stack([u, v, 1 - u - v], 1)
    normals = (_normals(vertices, faces)[corner] * weight).sum(1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    base = colours[corner[:, 0]]
    point = origin + where[:, :1] * rays
    lit = _lit(rng, scene, point + 4e-3 * normals, sun)
    direct = np.clip(normals @ sun, 0, 1) * lit
    sky = 0.75 + 0.25 * normals[:, 2]
    rim = 0.08 * (1 - np.abs((normals * rays).sum(1))) ** 3
    return base * (ambient * sky + bright * direct)[:, None] + rim[:, None]


def _lit(rng: np.random.Generator, scene: Any, points: Array, sun: Array, samples: int = 3) -> Array:
    """Share (0..1) of a slightly wide sun that each point sees."""
    total = np.zeros(len(points))
    for _ in range(samples):
        ray = sun + rng.normal(0, 0.03, points.shape)
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        total += _cast(scene, points, ray, 20.0)[0] < 0
    return total / samples


def _sky(rng: np.random.Generator, rays: Array) -> Array:
    low = np.array([rng.uniform(0.72, 0.92)] * 3) + rng.uniform(-0.05, 0.05, 3)
    high = low * np.array([rng.uniform(0.5, 0.95), rng.uniform(0.65, 0.95), rng.uniform(0.85, 1.08)])
    up = np.clip(rays[:, 2:3] * 2.2, 0, 1)
    return np.clip(low * (1 - up) + high * up, 0, 1)


def _floor(rng: np.random.Generator, points: Array) -> Array:
    base = np.array(FLOORS[rng.integers(len(FLOORS))]) / 255
    kind, size = rng.integers(3), rng.uniform(0.5, 1.2)
    x, y = points[:, 0] / size, points[:, 1] / size
    if kind == 0:
        tone = 1 - 0.16 * ((np.floor(x) + np.floor(y)) % 2)
    elif kind == 1:
        tone = 1 - 0.14 * (np.floor(x * 4) % 2) * 0.6 - 0.08 * ((np.floor(x * 4) * 0.37 + y * 0.5) % 1 < 0.03)
    else:
        tone = 1 - 0.06 * (np.sin(x * 7.1 + np.sin(y * 5.3)) + np.sin(y * 9.7 + np.sin(x * 3.9)))
    return np.clip(base * tone[:, None], 0, 1)
