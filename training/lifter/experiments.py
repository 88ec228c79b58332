"""Experiments on poses with known depth: labels are simulated, a lifter is trained on them, errors are measured.

The paper's rows by name (Ronchi et al. 2018: Tables 1 and 2, Figures 1d, 4c, 4d), with the figures it prints, and our own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from labeling.releasing.reading import Poses
from training.lifter import evaluate
from training.lifter import fit as fitting
from training.lifter.config import PAPER, PRESETS, LifterConfig, changed
from training.lifter.data import subset
from training.simulation import annotators
from training.simulation.annotators import LabelConfig

CLEAN_PAIR = LabelConfig(pairs=1, noise="none")


@dataclass(frozen=True)
class Experiment:
    """One row: a configuration, how labels are simulated, and what the paper printed for it (mm on Human3.6M)."""

    title: str
    config: LifterConfig
    labels: LabelConfig = CLEAN_PAIR
    share: float = 1.0
    test_pixel_sd: float = 0.0
    published: dict[str, float] | None = None


def _printed(scale: float, procrustes: float) -> dict[str, float]:
    return {"coded_scale_mm": scale, "pa_mpjpe_mm": procrustes}


_ON_H36 = {"epochs": 25, "lengths": "average"}
_H36 = changed(PAPER, **_ON_H36)
_SUPERVISED = changed(_H36, objective="supervised")

EXPERIMENTS: dict[str, Experiment] = {
    "paper-table1-1": Experiment("3D supervised", _SUPERVISED, published=_printed(49.62, 36.54)),
    "paper-table1-2": Experiment("relative, 1 pair", _H36, published=_printed(64.58, 48.97)),
    "paper-table1-3": Experiment(
        "known focal length", changed(PRESETS["paper-table1-3"], **_ON_H36), published=_printed(65.22, 48.54)
    ),
    "paper-table1-4": Experiment(
        "generic skeleton", changed(PRESETS["paper-table1-4"], epochs=25), published=_printed(73.26, 55.27)
    ),
    "paper-table1-5": Experiment(
        "no skeleton loss", changed(PRESETS["paper-table1-5"], **_ON_H36), published=_printed(118.34, 89.81)
    ),
    "paper-table1-6": Experiment(
        "all pairs, one drawn per step", _H36, LabelConfig(pairs="all", noise="none"), published=_printed(63.96, 48.90)
    ),
    "paper-table1-7": Experiment(
        "ties up to 100 mm",
        _H36,
        LabelConfig(pairs=1, noise="none", tie_below_mm=100.0),
        published=_printed(63.45, 47.54),
    ),
    "paper-table2-supervised": Experiment("3D supervised, by action", _SUPERVISED, published={"pa_mpjpe_mm": 37.5}),
    "paper-table2-relative": Experiment("relative, by action", _H36, published={"pa_mpjpe_mm": 50.3}),
    "paper-table2-noise": Experiment(
        "relative, simulated annotators, by action", _H36, LabelConfig(pairs=1), published={"pa_mpjpe_mm": 57.1}
    ),
    **{
        f"paper-fig1d-{percent}": Experiment(f"{percent} % of the training poses", _H36, share=percent / 100)
        for percent in (1, 5, 10, 25, 50, 100)
    },
    **{
        f"paper-fig4c-{who}-train{train}-test{test}": Experiment(
            f"{who}, 2D noise of variance {train} px² in training and {test} px² in the test",
            config,
            replace_labels,
            test_pixel_sd=float(np.sqrt(test)),
        )
        for who, config in (("relative", _H36), ("supervised", _SUPERVISED))
        for train, replace_labels in (
            (v, LabelConfig(pairs=1, noise="none", pixel_sd=float(np.sqrt(v)))) for v in (0, 10, 20)
        )
        for test in (0, 10, 20)
    },
    **{
        f"paper-fig4d-flip{percent}": Experiment(
            f"{percent} % of the labels flipped", _H36, LabelConfig(pairs=1, noise="none", flipped=percent / 100)
        )
        for percent in (0, 10, 25, 50, 75, 100)
    },
    "paper-fig4d-annotators": Experiment("simulated annotators", _H36, LabelConfig(pairs=1)),
}


def only(poses: Poses, actions: set[str], *, others: bool = False) -> Poses:
    """The people of these actions, or of all others."""
    assert poses.action is not None  # noqa: S101
    return subset(poses, np.isin(poses.action, sorted(actions)) != others)


def run(
    experiment: Experiment, views: Poses, seed: int, *, device: str = "cpu", **changes: object
) -> tuple[dict[str, Any], fitting.Fitted]:
    """Train on simulated labels of the train split, last epoch, and measure on the whole test split with true poses."""
    config = changed(experiment.config, seed=seed, **changes)
    train = views
    if experiment.share < 1:
        rng = np.random.default_rng(seed)
        train = subset(views, (views.split != "train") | (rng.random(len(views.names)) < experiment.share))
    test = subset(views, views.split == "test")
    train = subset(train, train.split == "train")
    fitted = fitting.fit(
        annotators.label(train, experiment.labels.model_copy(update={"seed": seed})),
        config,
        device=device,
        curves=False,
    )
    if experiment.test_pixel_sd:
        noise = experiment.test_pixel_sd * np.random.default_rng(seed + 1).standard_normal(test.keypoints_px.shape)
        test = replace(test, keypoints_px=test.keypoints_px + noise)
    predicted = fitted.predict(test)
    return evaluate.measure(predicted, test) | evaluate.by_action(predicted, test), fitted


# Ours: 5 pairs per pose, labelled by simulated annotators; each row of the ladder keeps what the rows above it changed.
ANNOTATED = LabelConfig(pairs=5)
_LARGE = PRESETS["nearer-large"]
_BARE = changed(
    _LARGE,
    depth="free",
    dropout=0.5,
    average=0.0,
    mirror=False,
    rotate_deg=0.0,
    camera="orthographic",
    input_scale="pixels",
    sureness_weight=0.0,
)
LADDER: dict[str, Experiment] = {
    "paper's losses, all pairs, soft labels": Experiment("", _BARE, ANNOTATED),
    "+ poses brought to one size": Experiment("", changed(_BARE, input_scale="person"), ANNOTATED),
}
_step = changed(_BARE, input_scale="person")
_climb: dict[str, dict[str, Any]] = {
    "+ signs of bones with expected depth steps": {"depth": "bones"},
    "+ known camera, turned to the root": {"camera": "known"},
    "+ mirrored copies": {"mirror": True},
    "+ copies turned by up to 10 degrees": {"rotate_deg": 10.0},
    "+ averaged weights": {"average": 0.999},
    "+ dropout 0.25": {"dropout": 0.25},
    "+ a cost of sureness 0.003 (nearer-large)": {"sureness_weight": 0.003},
}
for _title, _changes in _climb.items():
    _step = changed(_step, **_changes)
    LADDER[_title] = Experiment("", _step, ANNOTATED)
_aside: dict[str, dict[str, Any]] = {
    "dropout 0.1": {"dropout": 0.1},
    "two stages": {"stages": 2},
    "hidden 1024": {"hidden": 1024},
    "generic bone lengths": {"lengths": "generic"},
    "bone lengths learned": {"lengths": "learned"},
    "each person's true bone lengths": {"lengths": "given"},
    "camera unknown": {"camera": "orthographic"},
}
SIDEWAYS = {title: Experiment("", changed(_LARGE, **changes), ANNOTATED) for title, changes in _aside.items()}
SIDEWAYS["all 136 pairs, simulated annotators"] = Experiment("", _LARGE, LabelConfig(pairs="all"))
SIDEWAYS["all 136 pairs, true order"] = Experiment("", _LARGE, LabelConfig(pairs="all", noise="none"))
SUPERVISED = Experiment("supervised", PRESETS["supervised"])
SUPERVISED_PLAIN = Experiment(
    "supervised as the authors', our budget",
    changed(
        PRESETS["supervised"],
        **{k: getattr(_BARE, k) for k in ("dropout", "average", "mirror", "rotate_deg", "camera")},
    ),
)
OURS = Experiment("nearer-large", _LARGE, ANNOTATED)
ONE_PAIR = {
    **{
        f"{p} % flipped": Experiment("", _LARGE, LabelConfig(pairs=1, noise="none", flipped=p / 100))
        for p in (0, 10, 25, 50, 75, 100)
    },
    "simulated annotators": Experiment("", _LARGE, LabelConfig(pairs=1)),
}
