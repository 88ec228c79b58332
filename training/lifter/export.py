"""A trained lifter as files: safetensors with a JSON description in its metadata, and ONNX."""

from __future__ import annotations

import json
import logging
import os
import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from training.lifter.fit import Fitted
from training.lifter.predict import FORMAT

ONNX_TOLERANCE = 1e-4


class BadExport(RuntimeError):
    """An exported file does not compute what the network computes."""


def save(fitted: Fitted, path: Path) -> None:
    """Written aside and renamed. Read back by `training.lifter.predict` (numpy) and for fine-tuning."""
    tensors = {f"network.{k}": v.contiguous().cpu() for k, v in fitted.network.state_dict().items()}
    for field in fields(fitted.statistics):
        tensors[f"input.{field.name}"] = torch.from_numpy(np.ascontiguousarray(getattr(fitted.statistics, field.name)))
    # One entry: safetensors writes several in random order, and the same model should have the same checksum.
    metadata = {"format": FORMAT, "config": fitted.config.model_dump(), "skeleton": fitted.poses.skeleton.as_dict()}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    save_file(tensors, aside, metadata={"nearer": json.dumps(metadata)})
    os.replace(aside, path)


def save_onnx(fitted: Fitted, path: Path) -> float:
    """Write the network as ONNX and compare it with torch; returns the largest relative difference.

    Inputs: `x` B x 2J (standardised), `points` B x J x 2, `per_focal` B; output `pose` B x J x 3 (data.LifterInput says how they
    are made). Raises BadExport when the two differ by more than 1e-4 of the pose's size.
    """
    import onnxruntime

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which we do not use
    network = fitted.network.eval().cpu()
    joints = network.joints
    generator = torch.Generator().manual_seed(0)
    example = (
        torch.randn(7, 2 * joints, generator=generator),
        100 * torch.randn(7, joints, 2, generator=generator),
        torch.full((7,), 1e-3),
    )
    names = ["x", "points", "per_focal"]
    aside = path.with_suffix(f".{os.getpid()}.onnx")
    rows = torch.export.Dim("people", min=1, max=2**20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own: deprecated calls inside torch
        torch.onnx.export(
            network,
            example,
            aside,
            input_names=names,
            output_names=["pose"],
            dynamic_shapes=[{0: rows}, {0: rows}, {0: rows}],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(aside, providers=["CPUExecutionProvider"])
    asked = {i.name for i in session.get_inputs()}
    with torch.no_grad():
        ours = network(*example).numpy()
    theirs = session.run(None, {n: a.numpy() for n, a in zip(names, example) if n in asked})[0]
    off = float(np.abs(ours - theirs).max() / np.abs(ours).max())
    if off > ONNX_TOLERANCE:
        aside.unlink()
        raise BadExport(f"the ONNX file differs from torch by {off:.2g} of the pose's size")
    os.replace(aside, path)
    return off
