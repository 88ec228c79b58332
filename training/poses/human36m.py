"""Human3.6M in the two layouts that people have: one npz of all subjects (VideoPose3D), or a folder of h5 files (Martinez).

The data set itself is not ours to give: its licence is at vision.imar.ro/human3.6m. World of the files: z up.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from labeling.releasing.reading import Poses, unlabelled
from labeling.skeletons import H36M_17
from training.poses.cameras import Camera, Flat
from training.poses.mocap import LEAST_MM, MOST_MM, BadMotion, Clip, height_mm

JOINTS_17 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
TRAIN, TEST = (1, 5, 6, 7, 8), (9, 11)
FPS = 50.0
SIZE = (1000, 1000)  # px, near enough: the file does not say it, and two of the four have two rows more
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Human36mCamera(Camera):
    """A camera of Human3.6M, whose lens counts the tangential part half: u = x (radial + p1 y + p2 x) + p2 r^2, v alike."""

    subject: int = 0

    def bend(self, flat: Flat) -> Flat:
        k1, k2, p1, p2, k3 = self.distortion
        half = np.array([p2, p1])
        squared = (flat**2).sum(-1, keepdims=True)
        radial = 1 + k1 * squared + k2 * squared**2 + k3 * squared**3
        return np.asarray(flat * (radial + (half[::-1] * flat[..., ::-1]).sum(-1, keepdims=True)) + half * squared)


class _ArraysOnly(pickle.Unpickler):
    """Builds dictionaries, text, numbers and numpy arrays; every other class in the file is refused unbuilt."""

    def find_class(self, module: str, name: str) -> Any:
        core = module.removeprefix("numpy.").removeprefix("_core.").removeprefix("core.")
        if module.startswith("numpy") and (core, name) in {
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numeric", "_frombuffer"),
        }:
            return super().find_class(module, name)
        raise BadMotion(f"the file wants to build {module}.{name}, which is no array")


def read_videopose3d(path: Path) -> list[Clip]:
    """All subjects and actions of `data_3d_h36m.npz` (metres, 32 joints) as clips, y up. Raises BadMotion."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("positions_3d.npy") as file:
            raw = io.BytesIO(file.read())
        version = np.lib.format.read_magic(raw)  # type: ignore[arg-type]
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        header(raw)  # type: ignore[arg-type]
        subjects = _ArraysOnly(raw).load().item()
        return [
            _clip(f"{subject}/{action}", _in_mm(np.asarray(world, dtype=np.float64)))
            for subject, actions in subjects.items()
            for action, world in actions.items()
        ]
    except BadMotion as error:
        raise BadMotion(f"{path.name}: {error}") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise BadMotion(f"{path.name}: not VideoPose3D's 3D positions ({type(error).__name__}: {error})") from None


def _in_mm(world: Array) -> Array:
    """The published file is in metres; what others made of it may be in mm. A person's size tells."""
    if world.ndim != 3 or not world.size or LEAST_MM <= height_mm(world) <= MOST_MM:
        return world
    return world * 1000.0


def _clip(name: str, world: Array) -> Clip:
    if world.ndim != 3 or world.shape[1] not in (17, 32) or world.shape[2] != 3 or not np.isfinite(world).all():
        raise BadMotion(f"{name}: {world.shape} is not frames x 32 (or 17) joints x 3, all finite")
    joints = world[:, JOINTS_17] if world.shape[1] == 32 else world
    subject = int("".join(c for c in name.split("/")[0] if c.isdigit()) or 0)
    level = np.stack([joints[..., 0], joints[..., 2], -joints[..., 1]], -1)
    action = name.split("/")[-1].rstrip("0123456789 .").split(".")[0].strip()
    return Clip(name, level.astype(np.float32), FPS, "test" if subject in TEST else "train", action)


def read_martinez(folder: Path) -> tuple[list[Clip], list[Human36mCamera]]:
    """Clips (y up) and cameras of `S*/MyPoses/3D_positions/*.h5` and `cameras.h5` (mm). Raises BadMotion."""
    files = sorted(folder.glob("S*/MyPoses/3D_positions/*.h5"))
    if not files or not (folder / "cameras.h5").is_file():
        raise BadMotion(f"{folder.name}: no S*/MyPoses/3D_positions/*.h5 and cameras.h5 below it")
    try:
        clips = []
        for path in files:
            with h5py.File(path) as file:
                flat = np.asarray(file["3D_positions"], dtype=np.float64)
            flat = flat.T if flat.shape[0] == 96 else flat
            clips.append(_clip(f"{path.parts[-4]}/{path.stem}", flat.reshape(len(flat), -1, 3)))
        return clips, _cameras(folder / "cameras.h5")
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, BadMotion):
            raise
        raise BadMotion(f"{folder.name}: {error}") from None


def _cameras(path: Path) -> list[Human36mCamera]:
    cameras = []
    with h5py.File(path) as file:
        for subject in (s for s in file if s.startswith("subject")):
            for camera in file[subject]:
                at = {k: np.asarray(file[f"{subject}/{camera}/{k}"], dtype=np.float64) for k in "RTfckp"}
                place, focal, centre, radial, tangential = (at[k].ravel() for k in "Tfckp")
                name, rotation = f"{subject}/{camera}", at["R"].T
                cameras.append(_camera(name, rotation, place, focal, centre, radial, tangential))
    return cameras


def _camera(
    name: str, rotation: Array, place: Array, focal: Array, centre: Array, radial: Array, tangential: Array
) -> Human36mCamera:
    """As the file has it: X_camera = R (X_world - place), mm; radial (3) and tangential (2)."""
    matrix = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1.0]])
    bent = np.array([radial[0], radial[1], *tangential, radial[2]])
    subject = int("".join(c for c in name.split("/")[0] if c.isdigit()) or 0)
    return Human36mCamera(name, SIZE, matrix, bent, rotation, -rotation @ place, subject)


def project(clips: list[Clip], cameras: list[Human36mCamera], every: int = 1) -> Poses:
    """Every clip by the cameras of its subject: camera-frame truth (mm), pixels, focal length, principal point, action."""
    truths, pixels, names, splits, actions, optics = [], [], [], [], [], []
    for clip in clips:
        level = clip.poses_mm[::every].astype(np.float64)
        world = np.stack([level[..., 0], -level[..., 2], level[..., 1]], -1)
        subject = int("".join(c for c in clip.name.split("/")[0] if c.isdigit()) or 0)
        for camera in (c for c in cameras if c.subject == subject):
            truths.append(camera.see(world))
            pixels.append(camera.project(world))
            names += [f"{clip.name}/{camera.name}/{n * every:05d}" for n in range(len(world))]
            splits += [clip.split] * len(world)
            actions += [clip.action] * len(world)
            optic = np.stack([np.diag(camera.matrix)[:2], camera.matrix[:2, 2]])
            optics.append(np.broadcast_to(optic, (len(world), 2, 2)))
    if not names:
        raise BadMotion("no clip has a camera of its subject")
    every_optic = np.concatenate(optics)
    poses = unlabelled(H36M_17, names, np.concatenate(pixels), every_optic[:, 0], every_optic[:, 1])
    return replace(poses, split=np.array(splits), truth_mm=np.concatenate(truths), action=np.array(actions))
