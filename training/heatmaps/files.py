"""A heatmap network as a file, pictures of people cut out of frames, and heatmaps written for the next harvest. Nothing pickled is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from training.heatmaps.network import STRIDE, HeatmapNetwork
from webapp.errors import InputError

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
FORMAT = "nearer-heatmaps-1"
LARGEST_SIDE = 512


class BadNetwork(InputError):
    """A file that is no heatmap network of ours, or one of another skeleton."""


def save(network: HeatmapNetwork, keypoints: tuple[str, ...], size: int, path: Path) -> None:
    """Written aside and renamed; `size` is the edge (px) of the pictures it was trained on."""
    width = network.head.in_channels
    metadata = {"format": FORMAT, "keypoints": list(keypoints), "width": width, "size": size}
    aside = path.with_suffix(f".{os.getpid()}")
    tensors = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    save_file(tensors, aside, metadata={"nearer": json.dumps(metadata)})
    os.replace(aside, path)


def load(path: Path, keypoints: tuple[str, ...]) -> tuple[HeatmapNetwork, int]:
    """The network and the edge of its pictures. Raises BadNetwork."""
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {}).get("nearer", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != FORMAT:
            raise BadNetwork(f"{path.name} is not a heatmap network written by this version of Nearer ({FORMAT})")
        if tuple(metadata["keypoints"]) != keypoints:
            raise BadNetwork(f"{path.name} knows other keypoints: {', '.join(metadata['keypoints'][:4])} ...")
        width, size = int(metadata["width"]), int(metadata["size"])
        if not (16 <= width <= 512 and 16 <= size <= LARGEST_SIDE):
            raise BadNetwork(f"{path.name}: width {width} or size {size} is out of bounds")
        network = HeatmapNetwork(len(keypoints), width)
        network.load_state_dict(tensors)
        if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
            raise BadNetwork(f"{path.name} holds weights that are not finite")
    except BadNetwork:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
        raise BadNetwork(f"{path.name} is not a readable heatmap network: {error}") from None
    return network, size


def to_square(box: Float[np.ndarray, "... 4"], size: int) -> Float[np.ndarray, "... 4"]:
    """`to_map` (scale x, y, offset x, y) from px of the frame to px of a size x size picture of box (left, top, width, height px)."""
    scale = (size - 1) / box[2:]
    return np.concatenate([scale, -scale * box[:2]])


def cut_out(frame: Image.Image, to_map: Float[np.ndarray, " 4"], size: int) -> Float[np.ndarray, "3 S S"]:
    """3 x size x size in 0..1; what lies outside of the frame is black. Pixel centres are at whole numbers on both sides."""
    reduce = max(int(min(1 / to_map[0], 1 / to_map[1])), 1)  # else fine detail aliases
    smaller = frame.convert("RGB").reduce(reduce) if reduce > 1 else frame.convert("RGB")
    step = 1 / to_map[:2]
    corner = (-0.5 - to_map[2:]) * step + 0.5  # of the frame's pixels, first corner at 0
    a, c = step / reduce, corner / reduce
    cut = smaller.transform(
        (size, size), Image.Transform.AFFINE, (a[0], 0, c[0], 0, a[1], c[1]), Image.Resampling.BILINEAR
    )
    return np.asarray(np.asarray(cut, dtype=np.float32).transpose(2, 0, 1) / 255.0)


def write_heatmaps(
    heat: Float[np.ndarray, "F V J h w"], to_map: Float[np.ndarray, "F V 4"], best: Float[np.ndarray, " J"], path: Path
) -> None:
    """Heatmaps F x V x J x h x w as the harvester reads them; `best` J counts as 1, `to_map` F x V x 4 is of the pictures they were made of."""
    scaled = np.clip(heat / np.maximum(best, 1e-3)[None, None, :, None, None], 0, 1)
    cells = (to_map + [0, 0, 0.5, 0.5]) / STRIDE - [0, 0, 0.5, 0.5]
    aside = path.with_suffix(".part.npz")
    np.savez_compressed(aside, heatmaps=np.round(255 * scaled).astype(np.uint8), to_map=cells)
    os.replace(aside, path)
