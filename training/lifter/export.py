"""A trained lifter as one safetensors file: weights, input statistics, and a JSON description in its metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from training.lifter.fit import Fitted


def save(fitted: Fitted, path: Path) -> None:
    """Written aside and renamed. Read back by `training.lifter.predict` (numpy) and for fine-tuning."""
    tensors = {f"network.{k}": v.contiguous() for k, v in fitted.network.state_dict().items()}
    tensors["input.mean"] = torch.from_numpy(fitted.frame.mean)
    tensors["input.std"] = torch.from_numpy(fitted.frame.std)
    meta = {
        "format": "nearer-lifter-1",
        "config": fitted.config.model_dump_json(),
        "skeleton": json.dumps(fitted.poses.skeleton.as_dict()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    save_file(tensors, aside, metadata=meta)
    os.replace(aside, path)
