"""Reliability of a release on disk: are its probabilities as often right as they say? Needs people whose depths are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.crowd import measures
from labeling.models import Release
from labeling.releasing import reading


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "release", help="uuid of a release, the name of a campaign (its latest), or a release's folder"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, **options: Any) -> None:
        try:
            poses = reading.read(self._folder(options["release"]))
        except (reading.BadRelease, OSError) as error:
            raise CommandError(f"release: {error}") from None
        z = poses.truth_mm[..., 2]
        gap = z[poses.pose, poses.first] - z[poses.pose, poses.second]
        known = np.isfinite(gap)
        if not known.any():
            raise CommandError("release: nobody in it has known depths, so there is nothing to compare with")
        p, second = poses.p_second[known], gap[known] > 0
        table = measures.reliability(p, second, bins=10)
        data: dict[str, Any] = {
            "labels": int(known.sum()),
            "accuracy": measures.accuracy(p, second),
            "ece": measures.ece(p, second),
            "nll": measures.nll(p, second),
            "bins": [
                {"labels": n, "said": round(c, 4), "right": round(r, 4)}
                for n, c, r in zip(table.count.tolist(), table.confidence.tolist(), table.right.tolist())
                if n
            ],
        }
        if options["json"]:
            self.stdout.write(json.dumps(data))
            return
        self.stdout.write(f"{data['labels']} labels on people with known depths")
        self.stdout.write(f"accuracy {data['accuracy']:.4f}  ECE {data['ece']:.4f}  log-loss {data['nll']:.4f}")
        self.stdout.write("  said   right  labels")
        for row in data["bins"]:
            bar = "#" * round(40 * (row["right"] - 0.5) * 2) if row["right"] > 0.5 else ""
            self.stdout.write(f"  {row['said']:.3f}  {row['right']:.3f}  {row['labels']:7d}  {bar}")

    def _folder(self, name: str) -> Path:
        if Path(name).is_dir():
            return Path(name)
        releases = Release.objects.order_by("-created_at")
        release = releases.filter(campaign__name=name).first()
        if release is None and len(name) == 36:
            release = releases.filter(uuid=name).first()
        if release is None:
            raise CommandError(f"release: there is no {name!r}")
        return Path(settings.MEDIA_ROOT) / release.folder
