"""Repeat experiments of the paper (Ronchi et al. 2018) on motion you have, and print our figures beside the paper's.

Names: a row (paper-table1-2), or the start of several (paper-table1, paper-fig4d). Labels are simulated from true depth.
Motion: data_3d_h36m.npz, a Martinez folder with cameras.h5, an npz of sequences, or a folder of BVH or ASF/AMC files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from training.lifter.experiments import EXPERIMENTS, run
from training.poses.mocap import BadMotion
from training.poses.sources import read_views


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", help="none: list them all")
        parser.add_argument("--motion", type=Path, help="file or folder")
        parser.add_argument("--seeds", type=int, default=1)
        parser.add_argument("--epochs", type=int, help="instead of the paper's 25")
        parser.add_argument("--every", type=int, default=1, help="take every n-th frame of Human3.6M's own cameras")
        parser.add_argument("--json", type=Path, help="write all measures here")

    def handle(self, **options: Any) -> None:
        chosen = {k: e for k, e in EXPERIMENTS.items() if any(k.startswith(n) for n in options["names"])}
        if not chosen:
            for name, experiment in EXPERIMENTS.items():
                self.stdout.write(f"{name:36s} {experiment.title}")
            if options["names"]:
                raise CommandError("names: nothing starts so; the list is above")
            return
        if options["motion"] is None:
            raise CommandError("--motion: say which file or folder holds the motion")
        try:
            views = read_views(options["motion"], every=options["every"])
        except BadMotion as error:
            raise CommandError(f"--motion: {error}") from None
        if settings.TORCH_THREADS:
            torch.set_num_threads(settings.TORCH_THREADS)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        changes = {"epochs": options["epochs"]} if options["epochs"] else {}
        results: dict[str, list[dict[str, Any]]] = {}
        self.stdout.write(f"{len(views.names)} views; mm; the paper's figures are on Human3.6M")
        self.stdout.write(f"{'experiment':60s} {'scale':>7s} {'PA':>7s} {'order':>7s}   paper: scale, PA")
        for name, experiment in chosen.items():
            results[name] = [
                run(experiment, views, seed, device=device, **changes)[0] for seed in range(options["seeds"])
            ]
            scale, aligned, order = (
                sum(f[k] for f in results[name]) / len(results[name])
                for k in ("coded_scale_mm", "pa_mpjpe_mm", "true_error")
            )
            published = experiment.published or {}
            paper = ", ".join(str(published.get(k, "–")) for k in ("coded_scale_mm", "pa_mpjpe_mm"))
            self.stdout.write(
                f"{name + ': ' + experiment.title:60.60s} {scale:7.2f} {aligned:7.2f} {order:7.2%}   {paper}"
            )
            self._actions(results[name])
            if options["json"]:
                options["json"].write_text(json.dumps(results, indent=1))

    def _actions(self, runs: list[dict[str, Any]]) -> None:
        """Where the motion says what people do: means over actions, which the paper's Table 2 has, and each action."""
        if "over_actions" not in runs[0]:
            return
        rows = {"mean over actions": [run["over_actions"] for run in runs]}
        rows |= {action: [run["by_action"][action] for run in runs] for action in runs[0]["by_action"]}
        for title, values in rows.items():
            scale, aligned = (sum(v[k] for v in values) / len(values) for k in ("coded_scale_mm", "pa_mpjpe_mm"))
            self.stdout.write(f"{'    ' + title:60.60s} {scale:7.2f} {aligned:7.2f}")
