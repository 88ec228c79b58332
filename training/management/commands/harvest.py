"""Harvest a multi-view recording from files: 3D joints, pseudo-labels, a report. Goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.skeletons import BUILT_IN
from training.harvest.formats import detections
from training.harvest.harvester import BadRecording
from training.multiview import association, calibration
from training.multiview.config import HarvestConfig
from training.multiview.recording import Detections, HeatmapFiles, Recording
from training.poses.cameras import BadCamera, Camera
from webapp.errors import Refusal
from webapp.forms import add_options, options_given
from webapp.typed import read


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("calibration", type=Path, help=".toml, .qca.txt, .yaml or .npz")
        parser.add_argument(
            "detections",
            type=Path,
            help=".npz, a folder with a folder (OpenPose) or JSON (COCO) per camera, or a folder of heatmaps (.npz)",
        )
        parser.add_argument(
            "target", type=Path, help="folder for arrays, poses.trc, .c3d, .npz, .coco.json and report.json"
        )
        parser.add_argument("--unit", default="", choices=["", "mm", "cm", "m"], help="of the calibration's lengths")
        parser.add_argument("--skeleton", default="", choices=["", *BUILT_IN], help="of the detections")
        parser.add_argument("--fps", type=float, default=0.0)
        add_options(parser, HarvestConfig)
        parser.add_argument("--threads", type=int, default=1, help="frames at a time on a processor")

    def handle(self, **options: Any) -> None:
        from training.harvest.formats import poses
        from training.multiview import harvest, report

        try:
            config = read(HarvestConfig, options_given(HarvestConfig, options))
            cameras = calibration.read(options["calibration"], unit=options["unit"])
            recorded = _recorded(cameras, options, config)
            target: Path = options["target"]
            result = harvest.harvest(recorded, config, target, progress=self._progress, threads=options["threads"])
        except (BadCamera, BadRecording) as error:
            raise CommandError(
                f"{error.field}: {error}{'; ' + error.fix if getattr(error, 'fix', '') else ''}"
            ) from None
        except Refusal as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(str(error)) from None
        quality = report.report(recorded, result, inlier_px=config.inlier_px, undistort=config.undistort)
        (target / "report.json").write_text(json.dumps(quality, indent=1))
        for kind, name in zip(poses.KINDS, ("poses.trc", "poses.c3d", "poses.npz", "poses.coco.json")):
            poses.write(target / name, kind, result, recorded.skeleton, cameras, recorded.fps)
        for finding in quality["findings"]:
            self.stdout.write(finding)
        self.stdout.write(f"{quality['kept']} of {quality['found']} found joints kept in {options['target']}")

    def _progress(self, done: int, total: int, unit: str) -> None:
        if done % 50 == 0 or done == total:
            self.stdout.write(f"{done} of {total} {unit}")


def _recorded(cameras: tuple[Camera, ...], options: dict[str, Any], config: HarvestConfig) -> Recording:
    path, skeleton = options["detections"], BUILT_IN.get(options["skeleton"])
    if path.is_dir() and any(path.glob("*.npz")):
        if skeleton is None:
            raise CommandError("skeleton: heatmaps do not say theirs; give --skeleton")
        source = HeatmapFiles(path, len(cameras), len(skeleton.keypoints))
        return Recording(cameras, skeleton, source, options["fps"] or 30.0)
    several = detections.read(path, skeleton=skeleton)
    if several.people.shape[1] != len(cameras):
        raise CommandError(f"detections: {several.people.shape[1]} views, but {len(cameras)} cameras")
    subject = association.subject_of(
        cameras, several.people, inlier_px=config.inlier_px, least_score=config.least_score
    )
    return Recording(cameras, several.skeleton, Detections(subject), options["fps"] or several.fps or 30.0)
