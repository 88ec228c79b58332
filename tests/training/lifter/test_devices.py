"""The same answers on every device and in every precision: processor and CUDA, float32 and bfloat16.

CUDA rows are skipped where there is none. Tolerances: float32 differs by the order of sums alone; bfloat16 has 8 bits of mantissa;
convolutions on CUDA take TF32, which has 10.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labeling.releasing.reading import Poses
from labeling.skeletons import H36M_17
from training.heatmaps import fit as heatmap_fitting
from training.heatmaps.config import HeatmapConfig
from training.heatmaps.network import HeatmapNetwork
from training.lifter.config import LifterConfig
from training.lifter.fit import _Run
from training.multiview import harvest, pictorial
from training.multiview.config import HarvestConfig
from training.multiview.recording import Recording
from training.simulation import annotators, recordings

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
OTHERS = [
    pytest.param("cpu", "bf16", id="cpu-bf16"),
    pytest.param("cuda", "float32", id="cuda-float32", marks=needs_cuda),
    pytest.param("cuda", "bf16", id="cuda-bf16", marks=needs_cuda),
]
LENGTHS_MM = [float(x) for x in (130, 440, 450, 130, 440, 450, 230, 250, 120, 110, 150, 280, 250, 150, 280, 250)]


def poses(count: int = 96) -> Poses:
    rng = np.random.default_rng(5)
    truth = rng.normal(0, 220, (count, 17, 3)) + [0, 0, 4000]
    none = np.zeros(0, dtype=np.int64)
    return annotators.label(
        Poses(
            H36M_17,
            [f"{n}.jpg" for n in range(count)],
            np.full(count, "train"),
            1100.0 * truth[..., :2] / truth[..., 2:] + 500,
            np.full((count, 17), 2, dtype=np.int8),
            *(none, none, none, np.zeros(0)),
            truth,
            focal_px=np.full((count, 2), 1100.0),
            principal_px=np.full((count, 2), 500.0),
        ),
        annotators.LabelConfig(pairs=3),
    )


def still(depth: str, precision: str) -> LifterConfig:
    """Nothing drawn by chance on the device: whole batches, no copies, no dropout."""
    return LifterConfig.model_validate(
        {"depth": depth, "precision": precision, "hidden": 96, "epochs": 30, "batch": 96, "dropout": 0.0}
        | {"mirror": False, "rotate_deg": 0.0, "lengths": "average"}
    )


def first_step(depth: str, device: str, precision: str) -> tuple[float, np.ndarray]:
    """Loss and gradient of the first batch, the weights being drawn on the processor."""
    run = _Run(poses(), still(depth, precision), device)
    run.network.train()
    parts, _, _ = run._step(torch.arange(96, device=device), torch.Generator(device).manual_seed(0))
    return float(parts["loss"]), np.concatenate([p.grad.float().cpu().numpy().ravel() for p in run.learned])


@pytest.mark.parametrize("depth", ["bones", "free"])
@pytest.mark.parametrize(("device", "precision"), OTHERS)
def test_the_first_step_of_training_is_the_same_everywhere(depth: str, device: str, precision: str) -> None:
    loss, gradient = first_step(depth, "cpu", "float32")
    other_loss, other_gradient = first_step(depth, device, precision)
    assert other_loss == pytest.approx(loss, rel=1e-5 if precision == "float32" else 0.02)
    away = np.linalg.norm(other_gradient - gradient) / np.linalg.norm(gradient)
    assert away < (1e-3 if precision == "float32" else 0.1)


@pytest.mark.parametrize("depth", ["bones", "free"])
@pytest.mark.parametrize(("device", "precision"), OTHERS)
def test_thirty_epochs_end_at_the_same_loss_everywhere(depth: str, device: str, precision: str) -> None:
    def last(device: str, precision: str) -> tuple[float, float]:
        run = _Run(poses(), still(depth, precision), device)
        losses = [run.epoch(n)["loss"] for n in range(30)]
        return losses[0], losses[-1]

    begun, loss = last("cpu", "float32")
    assert loss < 0.9 * begun
    assert last(device, precision)[1] == pytest.approx(loss, rel=0.01 if precision == "float32" else 0.05)


@needs_cuda
def test_heatmaps_are_learned_alike_on_cuda() -> None:
    rng = np.random.default_rng(1)
    pictures = rng.random((12, 3, 32, 32), dtype=np.float32)
    points = rng.uniform(4, 28, (12, 5, 2))
    config = HeatmapConfig(epochs=3, batch=4)

    def learned(device: str) -> list[float]:
        torch.manual_seed(0)
        network = HeatmapNetwork(5).to(device)
        return heatmap_fitting.fit(network, pictures, points, np.ones((12, 5), dtype=bool), [(1, 2)], config)

    np.testing.assert_allclose(learned("cuda"), learned("cpu"), rtol=0.03)


@needs_cuda
@pytest.mark.parametrize(("precision", "bar"), [(torch.float64, 1e-12), (torch.float32, 4e-6)])
def test_pictorial_structures_are_the_same_on_cuda(precision: torch.dtype, bar: float) -> None:
    unary = torch.tensor(np.log(np.random.default_rng(1).random((3, 17, 12, 12, 12))))
    grid = pictorial.Grid(torch.zeros(3, 3, dtype=torch.float64), 2000.0, 12)
    right = pictorial.beliefs(unary, grid, H36M_17.tree, LENGTHS_MM)
    other = pictorial.beliefs(unary.to("cuda", precision), grid, H36M_17.tree, LENGTHS_MM)
    assert float((other.double().cpu() - right).abs().max()) < bar


@needs_cuda
def test_a_harvest_on_cuda_gives_the_same_joints() -> None:
    rng = np.random.default_rng(0)
    cameras = recordings.studio(rng)
    pose = 900.0 * rng.random((6, 17, 3)) - [450.0, 450.0, -450.0]
    views = recordings.SimulatedViews(recordings.detect(pose, cameras, H36M_17, recordings.HARD, rng))
    recorded = Recording(cameras, H36M_17, views)
    chunk = views.read(list(range(6)))
    config = HarvestConfig(grid=32)
    here, there = (harvest.solve(recorded, chunk, config, LENGTHS_MM, device=d) for d in ("cpu", "cuda"))
    assert (here["outcome"] == there["outcome"]).all()
    assert np.abs(here["position"] - there["position"]).max() < 0.05  # mm
    assert np.abs(here["uncertainty"] - there["uncertainty"]).max() < 0.05
