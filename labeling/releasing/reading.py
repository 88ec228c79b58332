"""A release on disk -> arrays. What learning reads, and what a stranger reads: no Django here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from labeling import skeletons
from labeling.skeletons import Skeleton
from webapp.errors import InputError


class BadRelease(InputError):
    """A release that is incomplete, altered or not one."""


@dataclass(frozen=True)
class Poses:
    """N people with J keypoints and P labelled pairs.

    `keypoints_px` N x J x 2 float64; `state` N x J int8, 0 absent, 1 occluded, 2 visible; `split` N of train, val, test;
    `pose`, `first`, `second` P indices; `p_second` P, P(second keypoint is closer); `truth_mm` N x J x 3, camera frame
    (z away from the camera), NaN where unknown; `action`, `focal_px` and `principal_px` (N x 2) where the source has them.
    """

    skeleton: Skeleton
    names: list[str]
    split: Shaped[np.ndarray, " N"]
    keypoints_px: Float[np.ndarray, "N J 2"]
    state: Int[np.ndarray, "N J"]
    pose: Int[np.ndarray, " P"]
    first: Int[np.ndarray, " P"]
    second: Int[np.ndarray, " P"]
    p_second: Float[np.ndarray, " P"]
    truth_mm: Float[np.ndarray, "N J 3"]
    action: Shaped[np.ndarray, " N"] | None = None
    focal_px: Float[np.ndarray, "N 2"] | None = None
    principal_px: Float[np.ndarray, "N 2"] | None = None


def unlabelled(
    skeleton: Skeleton,
    names: list[str],
    keypoints_px: Float[np.ndarray, "N J 2"],
    focal_px: Float[np.ndarray, "N 2"] | None = None,
    principal_px: Float[np.ndarray, "N 2"] | None = None,
) -> Poses:
    """People to predict: keypoints N x J x 2, NaN where absent; focal length and principal point N x 2, NaN where unknown."""
    there = np.asarray(np.isfinite(keypoints_px).all(axis=-1))
    nothing = np.zeros(0, dtype=np.int64)
    return Poses(
        skeleton,
        names,
        np.full(len(names), "test"),
        np.where(there[..., None], keypoints_px, 0.0),
        np.where(there, 2, 0).astype(np.int8),
        nothing,
        nothing,
        nothing,
        np.zeros(0),
        np.full((*there.shape, 3), np.nan),
        focal_px=focal_px,
        principal_px=principal_px,
    )


def verify(folder: Path) -> dict[str, object]:
    """The manifest, after every file's checksum was found to be right. Raises BadRelease."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        for name, entry in manifest["files"].items():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    raise BadRelease(f"{name} was altered after the release")
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, BadRelease):
            raise
        raise BadRelease(f"not a complete release: {error}") from None
    return dict(manifest)


def read(path: Path) -> Poses:
    """Read `ordinal.json`, or the folder that holds it. Raises BadRelease."""
    if path.is_dir():
        verify(path)
        path = path / "ordinal.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    joints = data["joint_names"]
    images = data["images"]
    if not images:
        raise BadRelease("there is nobody in this release")
    skeleton = (
        skeletons.from_dict(data["skeleton"])
        if "skeleton" in data
        else skeletons.by_names([skeletons.ALIASES.get(n, n) for n in joints])
    )
    if skeleton is None:
        raise BadRelease("the release has no skeleton and its joint names are not a built-in one")
    nothing = [0] * len(joints)
    occluded = np.array([i.get("occluded", nothing) for i in images], dtype=bool)
    absent = np.array([i.get("absent", nothing) for i in images], dtype=bool)
    nowhere = [np.nan] * 3
    unknown = [nowhere] * len(joints)
    anns = [(n, a["kp0"], a["kp1"], a.get("prob", a["label"])) for n, i in enumerate(images) for a in i["anns"]]
    table = np.array(anns, dtype=np.float64).reshape(-1, 4)
    return Poses(
        skeleton=skeleton,
        names=[i["im_file"] for i in images],
        split=np.array([i.get("split") or ("train" if i.get("is_train") else "test") for i in images]),
        keypoints_px=np.array([i["keypoints"] for i in images], dtype=np.float64).reshape(len(images), len(joints), 2),
        state=np.where(absent, 0, np.where(occluded, 1, 2)).astype(np.int8),
        pose=table[:, 0].astype(np.int64),
        first=table[:, 1].astype(np.int64),
        second=table[:, 2].astype(np.int64),
        p_second=table[:, 3],
        truth_mm=np.array([[p or nowhere for p in i.get("truth_mm", unknown)] for i in images], dtype=np.float64),
    )
