"""Poses with known depth from whatever motion somebody has: one call for every layout."""

from __future__ import annotations

from pathlib import Path

from labeling.releasing.reading import Poses
from labeling.skeletons import H36M_17
from training.poses import human36m
from training.poses.acclaim import read_acclaim
from training.poses.bvh import read_bvh
from training.poses.mocap import BadMotion, Clip, as_h36m17, read_sequences
from training.poses.views import Studio, project

EVERY_TEST = 4  # of loose motion files, every fourth is for testing


def read_views(path: Path, seed: int = 0, every: int = 1) -> Poses:
    """17-joint poses in camera frames with 2D keypoints and true depth. Raises BadMotion.

    A folder with `cameras.h5`: Human3.6M as Martinez has it, seen by its own cameras (every n-th frame). Everything else
    is seen by virtual cameras (views.Studio), drawn from `seed`: `data_3d_h36m.npz` of VideoPose3D; an npz of sequences; a folder of .bvh or
    of .asf with .amc files (the skeleton of subject 02 is 02.asf beside 02_01.amc), every fourth for testing.
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


def _loose(folder: Path) -> list[Clip]:
    files = sorted([*folder.rglob("*.bvh"), *folder.rglob("*.amc")])
    if not files:
        raise BadMotion(f"{folder.name}: holds no cameras.h5, .bvh or .amc files")
    clips = []
    for number, file in enumerate(files):
        split = "test" if number % EVERY_TEST == EVERY_TEST - 1 else "train"
        if file.suffix == ".bvh":
            motion = read_bvh(file)
        else:
            skeletons = [file.with_suffix(".asf"), file.with_name(f"{file.stem.split('_')[0]}.asf")]
            skeleton = next((s for s in skeletons if s.exists()), None)
            if skeleton is None:
                raise BadMotion(f"{file.name}: there is no {skeletons[1].name} beside it")
            motion = read_acclaim(skeleton, file)
        name = str(file.relative_to(folder).with_suffix(""))
        clips.append(as_h36m17(motion, name, split=split, action=file.stem.rstrip("0123456789_ ")))
    return clips
