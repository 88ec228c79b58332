"""Poses with known depth from whatever motion somebody has: one call for every layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from labeling.releasing.reading import Poses
from labeling.skeletons import H36M_17
from training.poses import human36m
from training.poses.acclaim import read_acclaim
from training.poses.bvh import read_bvh
from training.poses.mocap import BadMotion, Clip, as_h36m17, read_sequences
from training.poses.views import Studio, project

SEEN_MM = 300.0  # from the middle: who goes further leaves the pictures at some of the places that the studio draws
EVERY_TEST = 4  # of loose motion files, every fourth is for testing


def read_views(path: Path, seed: int = 0, every: int = 1) -> Poses:
    """17-joint poses in camera frames with 2D keypoints and true depth. Raises BadMotion.

    A folder with `cameras.h5`: Human3.6M as Martinez has it, seen by its own cameras (every n-th frame). Everything else
    is seen by virtual cameras (views.Studio), drawn from `seed`: `data_3d_h36m.npz` of VideoPose3D; an npz of sequences; a folder of .bvh or
    of .asf with .amc files (the skeleton of subject 02 is 02.asf beside 02_01.amc), every fourth for testing, each brought to the middle.
    """
    if path.is_dir() and (path / "cameras.h5").exists():
        clips, cameras = human36m.read_martinez(path)
        return human36m.project(clips, cameras, every)
    if path.is_dir():
        return project(_loose(path), H36M_17, Studio(), seed)
    if path.name.startswith("data_3d"):
        return project(human36m.read_videopose3d(path), H36M_17, Studio(), seed)
    names, clips = read_sequences(path)
    if tuple(names) != H36M_17.keypoints:
        raise BadMotion(f"{path.name}: its joints are not those of h36m-17, in that order")
    return project(clips, H36M_17, Studio(), seed)


def _starts(stem: str) -> list[str]:
    """'rad_02_01' begins with 'rad_02' and with 'rad'."""
    parts = stem.split("_")
    return ["_".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)] or [stem]


def _loose(folder: Path) -> list[Clip]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".bvh", ".amc") and not p.name.startswith("._"))
    if not files:
        raise BadMotion(f"{folder.name}: holds no cameras.h5, .bvh or .amc files")
    clips = []
    for number, file in enumerate(files):
        split = "test" if number % EVERY_TEST == EVERY_TEST - 1 else "train"
        if file.suffix.lower() == ".bvh":
            motion = read_bvh(file)
        else:
            skeletons = {p.name.lower(): p for p in file.parent.iterdir() if p.suffix.lower() == ".asf"}
            looked_for = [f"{file.stem}.asf", *(f"{part}.asf" for part in _starts(file.stem))]
            skeleton = next((skeletons[w.lower()] for w in looked_for if w.lower() in skeletons), None)
            if skeleton is None:
                raise BadMotion(f"{file.name}: there is no {looked_for[-1]} beside it")
            motion = read_acclaim(skeleton, file)
        name = str(file.relative_to(folder).with_suffix(""))
        clips.append(centred(as_h36m17(motion, name, split=split, action=file.stem.rstrip("0123456789_ "))))
    return clips


def centred(clip: Clip) -> Clip:
    """The clip around the middle of the studio. Whoever walks further than its cameras see walks on the spot: a lifter learns poses, not paths."""
    poses, root = clip.poses_mm.copy(), H36M_17.index(H36M_17.root)
    path = poses[:, root, [0, 2]]
    middle = (path.min(axis=0) + path.max(axis=0)) / 2
    far = np.abs(path - middle).max() > SEEN_MM
    poses[..., [0, 2]] -= path[:, None] if far else middle
    return replace(clip, poses_mm=poses)
