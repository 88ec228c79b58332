"""Render the sample campaign's pictures anew: `pip install nearer[render]`, then `manage.py render_sample`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from labeling.skeletons import LSP_14


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--count", type=int, default=200)
        parser.add_argument("--seed", type=int, default=2018)
        parser.add_argument("--out", type=Path, default=settings.BASE_DIR / "labeling" / "sample")

    def handle(self, **options: Any) -> None:
        from training.simulation.render import shoot

        out: Path = options["out"]
        (out / "images").mkdir(parents=True, exist_ok=True)
        images = []
        for number in range(options["count"]):
            shot = shoot(options["seed"], number)
            name = f"sample{number + 1:04d}.jpg"
            (out / "images" / name).write_bytes(shot.jpeg)
            images.append(
                {
                    "file": name,
                    "split": "test" if number % 5 == 4 else "train",
                    "source": f"rendered: {shot.pose}",
                    "people": [
                        {
                            "bbox": shot.bbox,
                            "keypoints": dict(zip(LSP_14.keypoints, shot.keypoints, strict=True)),
                            "truth_mm": dict(zip(LSP_14.keypoints, shot.truth_mm, strict=True)),
                        }
                    ],
                }
            )
            if number % 20 == 19:
                self.stdout.write(f"{number + 1} pictures")
        rows = ",\n".join(json.dumps(image) for image in images)
        (out / "people.json").write_text('{"skeleton": "lsp-14", "images": [\n' + rows + "\n]}\n")
