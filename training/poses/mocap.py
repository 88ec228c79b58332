"""Recorded human motion, from the files people have, as clips of one joint set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class BadMotion(ValueError):
    """A motion file that cannot be read; says which part and why."""


@dataclass(frozen=True)
class Clip:
    """F poses of J joints: poses_mm F x J x 3 (world: y up, right-handed, mm), at `fps`."""

    name: str
    poses_mm: NDArray[np.float32]
    fps: float
    split: str = "train"
    action: str = ""


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
