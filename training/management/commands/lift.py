"""Lift 2D keypoints to 3D poses with a stored model or a safetensors file; JSON, JSON lines, CSV or npz by the names' ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from training.lifter import keypoints
from training.lifter.predict import BadModel, load
from training.models import Model
from training.runs import lifts


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", help="uuid of a model, or a safetensors file")
        parser.add_argument("source", type=Path, help="2D keypoints: .json, .jsonl, .csv or .npz")
        parser.add_argument("target", type=Path, help="3D poses: .json, .jsonl, .csv or .npz")

    def handle(self, **options: Any) -> None:
        path = Path(options["model"])
        try:
            if path.suffix == ".safetensors":
                weights = load(path)
            else:
                model = Model.objects.filter(uuid=options["model"]).first() if len(options["model"]) == 36 else None
                if model is None:
                    raise CommandError("model: neither a safetensors file nor the uuid of a model")
                weights = lifts.weights_of(model)
            people = lifts.lift_file(weights, options["source"], options["target"])
        except (BadModel, keypoints.BadKeypoints) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{people} people lifted to {options['target']}")
