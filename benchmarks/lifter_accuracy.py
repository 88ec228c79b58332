"""How accurate lifters from simulated ordinal labels are, beside the supervised run of the same budget.

`python -m benchmarks.lifter_accuracy --poses poses.npz --parts bars ladder sideways one-pair fine-tune --seeds 3 [--json]`.
Data: mocap sequences (npz), seen by virtual cameras (docs/methods/lifter.md, 'Virtual views'); the split is that of the
file, by sequence. Labels are simulated: 5 pairs per pose, right with the authors' accuracy line, drawn once per pair.
Every row is a mean over seeds with its spread (population sd); last epoch, nothing chosen on test poses. Each run takes
one thread; as many run side by side as there are processors. Exits non-zero when a bar of a part does not hold.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from labeling.skeletons import H36M_17
from training.lifter import experiments
from training.lifter import fit as fitting
from training.lifter.config import changed
from training.poses.mocap import read_sequences
from training.poses.views import Studio, project
from training.simulation.annotators import label

MEASURES = ("coded_scale_mm", "n_mpjpe_mm", "pa_mpjpe_mm", "mpjpe_mm", "true_error")
SUPERVISED_PA, PA_RATIO, SCALE_RATIO, ORDER, FINE_TUNE = 34.0, 1.40, 1.45, 0.095, 0.30
KNOWN_ACTIONS = {"walking", "running"}
_views: dict[str, Any] = {}


def _prepare(path: str) -> None:
    import torch

    torch.set_num_threads(1)
    names, clips = read_sequences(Path(path))
    if tuple(names) != H36M_17.keypoints:
        raise SystemExit(f"{path}: joints are not those of h36m-17")
    _views["all"] = project(clips, H36M_17, Studio(), 0)


def _one(task: tuple[str, str, int, int]) -> tuple[str, str, int, dict[str, Any]]:
    part, name, seed, epochs = task
    started = time.perf_counter()
    changes = {"epochs": epochs} if epochs else {}
    if part == "fine-tune":
        run = _fine_tune(seed, changes)
    else:
        run, _ = experiments.run(PARTS[part][name], _views["all"], seed, **changes)
    run["seconds"] = round(time.perf_counter() - started, 1)
    return part, name, seed, run


def _fine_tune(seed: int, changes: dict[str, int]) -> dict[str, Any]:
    """Walking and running first; then ordinal labels only, on all other actions; measured on those."""
    from tempfile import TemporaryDirectory

    from training.lifter import evaluate, export
    from training.lifter.data import subset

    views = _views["all"]
    known, new = experiments.only(views, KNOWN_ACTIONS), experiments.only(views, KNOWN_ACTIONS, others=True)
    _, first = experiments.run(experiments.OURS, known, seed, **changes)
    test = subset(new, new.split == "test")
    before = evaluate.measure(first.predict(test), test)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "first.safetensors"
        export.save(first, path)
        train = label(subset(new, new.split == "train"), experiments.ANNOTATED.model_copy(update={"seed": seed}))
        config = changed(experiments.OURS.config, seed=seed, **changes)
        after_fit = fitting.fit(train, config, weights=path, curves=False)
    after = evaluate.measure(after_fit.predict(test), test)
    return {**{f"before_{k}": before[k] for k in MEASURES}, **{k: after[k] for k in MEASURES}}


PARTS: dict[str, dict[str, experiments.Experiment]] = {
    "bars": {
        "supervised": experiments.SUPERVISED,
        "supervised, plain": experiments.SUPERVISED_PLAIN,
        "nearer": experiments.OURS,
    },
    "ladder": experiments.LADDER,
    "sideways": experiments.SIDEWAYS,
    "one-pair": experiments.ONE_PAIR,
    "fine-tune": {"walking and running, then the others": experiments.OURS},
}


def main() -> int:
    parser = harness.options(__doc__, needs=["poses"], seeds=3, parts=list(PARTS), usual=["bars"])
    parser.add_argument("--epochs", type=int, default=0, help="instead of each configuration's own (60)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--svg", type=Path, help="draw the curve of Fig. 4d (part one-pair) here")
    options = parser.parse_args()
    tasks = [(p, n, s, options.epochs) for p in options.parts for n in PARTS[p] for s in range(options.seeds)]
    results: dict[str, dict[str, list[dict[str, Any]]]] = {p: {n: [] for n in PARTS[p]} for p in options.parts}
    with ProcessPoolExecutor(options.processes, initializer=_prepare, initargs=(str(options.poses),)) as pool:
        for part, name, seed, values in pool.map(_one, tasks):
            results[part][name].append(values)
            print(f"  {part}: {name}, seed {seed}: {_line([values])}", file=sys.stderr, flush=True)
    for part, rows in results.items():
        print(f"\n{part}: mean ± sd of {options.seeds} seeds, mm; order: pairs wrongly ordered")
        for name, values in rows.items():
            print(f"{name:48s} {_line(values)}")
    if options.svg and "one-pair" in results:
        options.svg.write_text(_curve(results["one-pair"]))
    return harness.conclude(options, results, _bars(results))


def _curve(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Fig. 4d as SVG: PA-MPJPE over the share of flipped labels, mean and spread; simulated annotators as a dashed line."""
    flipped = [(float(name.split()[0]), v) for name, v in rows.items() if name.endswith("flipped")]
    top = 1.1 * max(_mean(v, "pa_mpjpe_mm") + _sd(v, "pa_mpjpe_mm") for _, v in flipped)

    def x(percent: float) -> float:
        return 70 + 4.6 * percent

    def y(mm: float) -> float:
        return 280 - 240 * mm / top

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 560 340" font-family="sans-serif" font-size="13">',
        '<rect width="560" height="340" fill="#fff"/>',
        '<text x="280" y="22" text-anchor="middle" font-weight="bold">One labelled pair per pose: PA-MPJPE (mm)</text>',
        '<text x="300" y="328" text-anchor="middle">labels flipped (%)</text>',
    ]
    for tick in range(0, int(top) + 1, 20):
        parts.append(
            f'<path d="M70 {y(tick):.1f}H530" stroke="#ddd"/><text x="62" y="{y(tick) + 4:.1f}" text-anchor="end">{tick}</text>'
        )
    line = " ".join(f"{x(p):.1f},{y(_mean(v, 'pa_mpjpe_mm')):.1f}" for p, v in flipped)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0b57c2" stroke-width="2"/>')
    for percent, values in flipped:
        mean, spread = _mean(values, "pa_mpjpe_mm"), _sd(values, "pa_mpjpe_mm")
        parts.append(f'<path d="M{x(percent):.1f} {y(mean - spread):.1f}V{y(mean + spread):.1f}" stroke="#0b57c2"/>')
        parts.append(f'<circle cx="{x(percent):.1f}" cy="{y(mean):.1f}" r="4" fill="#0b57c2"/>')
        parts.append(f'<text x="{x(percent):.1f}" y="{y(mean) - 10:.1f}" text-anchor="middle">{mean:.1f}</text>')
        parts.append(f'<text x="{x(percent):.1f}" y="300" text-anchor="middle">{percent:.0f}</text>')
    noisy = _mean(rows["simulated annotators"], "pa_mpjpe_mm")
    parts.append(f'<path d="M70 {y(noisy):.1f}H530" stroke="#d9480f" stroke-dasharray="6 4"/>')
    parts.append(
        f'<text x="526" y="{y(noisy) + 16:.1f}" text-anchor="end" fill="#a33a08">simulated annotators {noisy:.1f}</text>'
    )
    return "\n".join([*parts, "</svg>\n"])


def _line(values: list[dict[str, Any]]) -> str:
    text = []
    for key, title in (("coded_scale_mm", "scale as coded"), ("n_mpjpe_mm", "best scale"), ("pa_mpjpe_mm", "PA")):
        text.append(f"{title} {_mean(values, key):6.2f} ± {_sd(values, key):4.2f}")
    text.append(f"order {100 * _mean(values, 'true_error'):5.2f} ± {100 * _sd(values, 'true_error'):4.2f} %")
    if "before_true_error" in values[0]:
        text.append(
            f"before {100 * _mean(values, 'before_true_error'):5.2f} %, PA {_mean(values, 'before_pa_mpjpe_mm'):.2f}"
        )
    return "  ".join(text)


def _mean(values: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([v[key] for v in values]))


def _sd(values: list[dict[str, Any]], key: str) -> float:
    return float(np.std([v[key] for v in values]))


def _bars(results: dict[str, Any]) -> dict[str, bool]:
    bars = []
    if "bars" in results:
        supervised, ours = results["bars"]["supervised"], results["bars"]["nearer"]
        pa = _mean(ours, "pa_mpjpe_mm") / _mean(supervised, "pa_mpjpe_mm")
        scale = _mean(ours, "coded_scale_mm") / _mean(supervised, "coded_scale_mm")
        bars = [
            ("supervised PA-MPJPE (mm)", _mean(supervised, "pa_mpjpe_mm"), SUPERVISED_PA),
            ("nearer / supervised, PA-MPJPE", pa, PA_RATIO),
            ("nearer / supervised, scale-aligned as coded", scale, SCALE_RATIO),
            ("nearer, order error", _mean(ours, "true_error"), ORDER),
        ]
    if "fine-tune" in results:
        (values,) = results["fine-tune"].values()
        left = _mean(values, "true_error") / _mean(values, "before_true_error")
        bars.append(("order error left after fine-tuning", left, 1 - FINE_TUNE))
    return {f"{name} {value:.4f}, at most {bar}": value <= bar for name, value, bar in bars}


if __name__ == "__main__":
    sys.exit(main())
