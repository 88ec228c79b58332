"""Two processes over gloo train the lifter that one process trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labeling.releasing import reading
from labeling.skeletons import LSP_14
from training.lifter.predict import load, predict

ROOT = Path(__file__).resolve().parents[3]


def write_release(path: Path, people: int = 48) -> Path:
    rng = np.random.default_rng(0)
    images = []
    for n in range(people):
        truth = rng.normal(0, 250, (14, 3))
        pairs = [(int(a), int(b)) for a, b in (rng.choice(14, 2, replace=False) for _ in range(3))]
        anns = [{"kp0": a, "kp1": b, "label": int(truth[b, 2] < truth[a, 2])} for a, b in pairs]
        images.append(
            {
                "im_file": f"{n}.jpg",
                "is_train": True,
                "keypoints": (truth[:, :2] * 0.3 + 300).ravel().tolist(),
                "anns": anns,
            }
        )
    path.write_text(json.dumps({"joint_names": list(LSP_14.keypoints), "images": images}))
    return path


@pytest.mark.parametrize("depth", ["bones", "free"])
def test_two_processes_make_the_model_of_one(tmp_path: Path, depth: str) -> None:
    release = write_release(tmp_path / "ordinal.json")
    options = ["--set", "epochs=6", "batch=16", "hidden=64", "dropout=0", "precision=float32", f"depth={depth}"]
    for processes in (1, 2):
        model = tmp_path / f"{processes}.safetensors"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command += ["-m", "training.lifter.together", str(release), str(model), *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    # Poses, not weights: a bias before batch norm has no gradient but rounding, which Adam makes as large as any.
    poses = reading.read(release)
    one, two = (predict(load(tmp_path / f"{n}.safetensors"), poses) for n in (1, 2))
    # Free depth: the paper divides by the mean gap of a batch, which each process takes over its own part.
    tolerance = 0.01 if depth == "bones" else 0.1
    assert np.abs(one - two).mean() / np.abs(one).mean() < tolerance
