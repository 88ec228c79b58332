"""Prediction by numpy alone from a model file: no torch, so a web process could do it too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from labeling import skeletons
from labeling.releasing.reading import Poses
from labeling.skeletons import Skeleton
from training.lifter.config import LifterConfig
from training.lifter.data import Frame, centred

BATCH_NORM_EPS = 1e-5


class BadModel(ValueError):
    """A file that is not a lifter of ours."""


@dataclass(frozen=True)
class Model:
    """Weights by name, how input is prepared, and the skeleton it was trained on."""

    weights: dict[str, NDArray[np.float32]]
    frame: Frame
    config: LifterConfig
    skeleton: Skeleton


def load(path: Path) -> Model:
    """Read a model file. Raises BadModel."""
    try:
        with safe_open(path, "numpy") as file:
            meta = file.metadata() or {}
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        if meta.get("format") != "nearer-lifter-1":
            raise BadModel("not a lifter written by Nearer")
        return Model(
            {k[8:]: v for k, v in tensors.items() if k.startswith("network.")},
            Frame(tensors["input.mean"], tensors["input.std"]),
            LifterConfig.model_validate_json(meta["config"]),
            skeletons.from_dict(json.loads(meta["skeleton"])),
        )
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise BadModel(f"not a readable lifter: {error}") from None


def predict(model: Model, poses: Poses) -> NDArray[np.float32]:
    """3D poses N x J x 3 in the network's units (camera frame: x right, y down, z away), root near the origin."""
    w = model.weights
    points, present, _ = centred(poses, model.config)
    x = model.frame.standardise(points.reshape(len(points), -1)) * np.repeat(present, 2, axis=1)
    x = _layer(w, "enter", 0, x)
    for stage in range(model.config.stages):
        name = f"stages.{stage}.layers"
        x = x + _layer(w, name, 4, _layer(w, name, 0, x))
    flat = (x @ w["pose.weight"].T + w["pose.bias"]) * w["unnorm"]
    return flat.reshape(len(points), -1, 3)


def _layer(w: dict[str, NDArray[np.float32]], name: str, at: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear, batch norm with running statistics, ReLU."""
    x = x @ w[f"{name}.{at}.weight"].T + w[f"{name}.{at}.bias"]
    norm = f"{name}.{at + 1}"
    x = (x - w[f"{norm}.running_mean"]) / np.sqrt(w[f"{norm}.running_var"] + BATCH_NORM_EPS)
    return np.maximum(x * w[f"{norm}.weight"] + w[f"{norm}.bias"], 0.0)
