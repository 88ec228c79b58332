"""Expect of everybody in a data set the depths of similar poses: our authored ones, or motion of yours."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from labeling.models import Dataset
from training.poses import neighbours, sources
from training.poses.mocap import BadMotion
from training.priors import depth_priors
from webapp.errors import Invalid


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dataset", type=UUID, help="uuid of a data set")
        parser.add_argument(
            "--poses", type=Path, help="motion, in any layout that train_lifter reads; default: authored poses"
        )
        parser.add_argument("--name", default="")
        parser.add_argument("--seed", type=int, default=0)

    def handle(self, **options: Any) -> None:
        dataset = Dataset.objects.select_related("skeleton").filter(uuid=options["dataset"]).first()
        if dataset is None:
            raise CommandError("dataset: there is no such data set")
        try:
            library = _library(options["poses"], options["seed"])
            with transaction.atomic():
                prior = depth_priors.from_poses(None, dataset, library, name=options["name"], seed=options["seed"])
        except (BadMotion, neighbours.PoorLibrary, Invalid) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{prior.uuid}: {prior.name}; errors of {prior.evidence['error_mm']} mm expected")


def _library(motion: Path | None, seed: int) -> neighbours.Library:
    if motion is None:
        return neighbours.Library.authored()
    poses = sources.read_views(motion, seed)
    names = list(poses.skeleton.keypoints)
    return neighbours.Library(tuple(names), poses.truth_mm)
