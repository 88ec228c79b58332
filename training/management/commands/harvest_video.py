"""Harvest one camera's video from files: people followed, tracks cleaned and lifted again, 3D joints with uncertainty, a report.
Goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.skeletons import BUILT_IN
from training.harvest.formats import detections
from training.harvest.harvester import BadRecording
from training.video.config import VideoConfig
from webapp.errors import Refusal
from webapp.forms import add_options, options_given
from webapp.typed import read


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("detections", type=Path, help=".npz, .json (COCO) or a folder of OpenPose JSON files")
        parser.add_argument("target", type=Path, help="folder for arrays, poses.* and report.json")
        parser.add_argument("--models", type=Path, nargs="*", default=[], help="safetensors files of trained lifters")
        parser.add_argument("--skeleton", default="", choices=["", *BUILT_IN], help="of the detections")
        parser.add_argument("--fps", type=float, default=0.0)
        parser.add_argument("--focal-px", type=float, default=0.0)
        parser.add_argument("--size", type=int, nargs=2, default=[0, 0], metavar=("WIDTH", "HEIGHT"))
        add_options(parser, VideoConfig)

    def handle(self, **options: Any) -> None:
        from training.harvest.formats import poses
        from training.lifter.predict import BadModel, load
        from training.video import harvest, report
        from training.video.clips import alone, follow
        from training.video.lifting import BadLifter, Ensemble, View, in_skeleton

        asked_skeleton, path = BUILT_IN.get(options["skeleton"]), options["detections"]
        try:
            config = read(VideoConfig, options_given(VideoConfig, options))
            models = Ensemble([load(p) for p in options["models"]]) if options["models"] else None
            size, focal = tuple(options["size"]), options["focal_px"]
            if path.suffix == ".npz" and detections.holds_poses(path):
                lifted = detections.read_poses(path, asked_skeleton)
                fps, skeleton = options["fps"] or lifted.fps or 30.0, lifted.skeleton
                followed = alone(lifted.score)
                inputs: dict[str, Any] = {"poses_mm": lifted.poses_mm, "score": lifted.score}
            else:
                if models is None:
                    raise BadRecording("2D keypoints need a lifter", field="--models", fix="name trained models' files")
                single = detections.read_single(path, skeleton=asked_skeleton)
                fps, skeleton = options["fps"] or single.fps or 30.0, models.skeleton
                people = in_skeleton(single.people[:, 0], single.skeleton, skeleton)
                followed = follow(people, fps, config.clips)
                size = size if all(size) else single.size or detections.extent(people)
                inputs = {"people": people}
            size = size if all(size) else (1000, 1000)
            view = View.of(focal, (size[0], size[1]))
            video = harvest.Video(skeleton, followed.clips, fps, (int(size[0]), int(size[1])), view=view, **inputs)
            target: Path = options["target"]
            lift = models.lift if models else None
            made_of = " ".join(hashlib.sha256(p.read_bytes()).hexdigest() for p in options["models"])
            result = harvest.harvest(video, lift, config, target, models=made_of, progress=self._progress)
        except BadRecording as error:
            raise CommandError(f"{error.field}: {error}{f'; {error.fix}' if error.fix else ''}") from None
        except (BadLifter, BadModel) as error:
            raise CommandError(f"--models: {error}") from None
        except Refusal as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(str(error)) from None
        quality = report.report(video, result, followed, [])
        (target / "report.json").write_text(json.dumps(quality, indent=1))
        for kind, name in zip(poses.KINDS, ("poses.trc", "poses.c3d", "poses.npz", "poses.coco.json")):
            poses.write(target / name, kind, result, skeleton, (video.camera,), fps)
        for finding in quality["findings"]:
            self.stdout.write(finding)
        self.stdout.write(f"{quality['kept']} of {quality['found']} found joints kept in {target}")

    def _progress(self, done: int, total: int, unit: str) -> None:
        self.stdout.write(f"{done} of {total} {unit}")
