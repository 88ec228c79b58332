"""Prediction by numpy alone from a model file: no torch, so a web process can do it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from labeling import skeletons
from labeling.releasing.reading import Poses
from labeling.skeletons import Skeleton
from training.lifter import foreshortening
from training.lifter.config import LifterConfig
from training.lifter.data import InputStatistics, LifterInput, lifter_input, subset
from training.lifter.foreshortening import BATCH_NORM_EPS, USUAL_SCALE
from webapp.errors import InputError

AT_ONCE = 4096
FORMAT = "nearer-lifter-2"
Array = NDArray[np.float32]


class BadModel(InputError):
    """A file that is not a lifter of ours."""


@dataclass(frozen=True)
class Model:
    """Weights by name, how input is prepared, and the skeleton it was trained on."""

    weights: dict[str, np.ndarray]
    statistics: InputStatistics
    config: LifterConfig
    skeleton: Skeleton


def load(path: Path) -> Model:
    """Read a model file. Raises BadModel."""
    try:
        with safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("nearer", "{}"))
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        if metadata.get("format") != FORMAT:
            raise BadModel(f"not a lifter written by this version of Nearer (wanted {FORMAT})")
        return Model(
            {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")},
            InputStatistics(*(tensors[f"input.{name}"] for name in ("mean", "std", "middle_mean", "middle_cov"))),
            LifterConfig.model_validate(metadata["config"]),
            skeletons.from_dict(metadata["skeleton"]),
        )
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        if isinstance(error, BadModel):
            raise
        raise BadModel(f"not a readable lifter: {error}") from None


def predict(model: Model, poses: Poses) -> Float[np.ndarray, "N J 3"]:
    """3D poses N x J x 3 in the camera frame (x right, y down, z away), root at or near the origin.

    mm where the model knows bone lengths (depth 'bones', or supervised), else the network's units.
    """
    poses_mm = np.zeros((len(poses.names), len(poses.skeleton.keypoints), 3), dtype=np.float32)
    for start in range(0, len(poses_mm), AT_ONCE):
        few = np.arange(start, min(start + AT_ONCE, len(poses_mm)))
        poses_mm[few] = _predict(model, subset(poses, few) if len(few) < len(poses_mm) else poses)
    return poses_mm


def _predict(model: Model, poses: Poses) -> Array:
    w = model.weights
    view = lifter_input(poses, model.config, model.statistics)
    x = _layer(w, "enter", 0, model.statistics.standardise(view.points.reshape(len(view.points), -1)))
    for stage in range(model.config.stages):
        name = f"stages.{stage}.layers"
        x = x + _layer(w, name, 4, _layer(w, name, 0, x))
    head = x @ w["pose.weight"].T + w["pose.bias"]
    if model.config.depth == "free":
        pose = (head * w["unnorm"] + w["offset"]).reshape(len(x), -1, 3)
    else:
        pose = _assembled(model, view, head, USUAL_SCALE * np.exp(x @ w["scale.weight"][0] + w["scale.bias"][0]))
    return np.asarray(pose @ view.to_camera.transpose(0, 2, 1), dtype=np.float32)


def bone_lengths(model: Model) -> Float[np.ndarray, " T"]:
    """mm per bone; learned ones keep the total length (as network.Lifter.bone_lengths)."""
    lengths = model.weights["lengths"]
    if model.config.lengths != "learned":
        return lengths
    longer = lengths * np.exp(model.weights["log_ratio"])[model.weights["group"]]
    return np.asarray(longer * (lengths.sum() / longer.sum()))


def _assembled(
    model: Model, view: LifterInput, signs: Float[np.ndarray, "N T"], scale: Float[np.ndarray, " N"]
) -> Float[np.ndarray, "N J 3"]:
    """The pose from signed bones: network.Lifter's log_sines, steps and assemble."""
    w, lengths, points = model.weights, bone_lengths(model), view.points
    nearness = np.ones(points.shape[:2], dtype=np.float32)
    z = np.zeros_like(nearness)
    for _ in range(2):
        corrected = points * nearness[..., None]
        squared = ((corrected[:, w["child"]] - corrected[:, w["parent"]]) ** 2).sum(-1)
        log_sine = 0.5 * np.log(squared + 1e-6) - np.log(scale)[:, None] - np.log(lengths)
        z = (lengths * foreshortening.at(w["tables"][0], log_sine) * np.tanh(signs)) @ w["path"].T
        nearness = np.clip(1 + z * (scale * view.inverse_focal)[:, None], 0.5, 2.0)
    return np.concatenate([points * (nearness / scale[:, None])[..., None], z[..., None]], -1)


def _layer(w: dict[str, np.ndarray], name: str, at: int, x: Array) -> Array:
    """Linear, batch norm with running statistics, ReLU."""
    norm = f"{name}.{at + 1}"
    factor = w[f"{norm}.weight"] / np.sqrt(w[f"{norm}.running_var"] + BATCH_NORM_EPS)
    x = x @ w[f"{name}.{at}.weight"].T
    x += w[f"{name}.{at}.bias"] - w[f"{norm}.running_mean"]
    x *= factor
    x += w[f"{norm}.bias"]
    return np.maximum(x, 0.0, out=x)
