"""One lifter trained by several processes, each on its part of every batch: several GPUs, or CPUs over gloo.

    torchrun --nproc-per-node 2 -m training.lifter.together RELEASE MODEL.safetensors --preset nearer-large [--set epochs=20]

Batch statistics and gradients are those of the whole batch, so the result is that of one process but for dropout (drawn
by each process) and rounding. RELEASE: the folder or ordinal.json of a release.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch

from labeling.releasing import reading
from training.lifter import export
from training.lifter.config import PRESETS, changed
from training.lifter.fit import fit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--preset", choices=list(PRESETS), default="nearer-large")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="OPTION=VALUE", help="options that differ from the preset"
    )
    parser.add_argument("--checkpoint", type=Path, help="saved every ten epochs, and continued from")
    options = parser.parse_args()
    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    config = changed(PRESETS[options.preset], **dict(text.split("=", 1) for text in options.set))
    if processes > 1:
        torch.distributed.init_process_group("nccl" if device != "cpu" else "gloo")
    fitted = fit(
        reading.read(options.release),
        config,
        checkpoint=options.checkpoint,
        device=device,
        curves=False,
        share=(rank, processes),
        on_epoch=lambda epoch, values: print(json.dumps({"epoch": epoch, **values}), flush=True) if rank == 0 else None,
    )
    if rank == 0:
        export.save(fitted, options.model)
    if processes > 1:
        torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
