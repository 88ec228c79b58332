"""Fine-tune a 2D heatmap network to what a harvest selected, and write its heatmaps of the recording for the next harvest."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from numpy.typing import NDArray
from PIL import Image

from labeling.skeletons import BUILT_IN, Skeleton
from training.harvest import arrays, footage
from training.heatmaps.config import HeatmapConfig
from training.multiview import calibration, heatmaps
from training.poses.cameras import BadCamera, Camera
from webapp.errors import Refusal
from webapp.forms import add_options, options_given
from webapp.typed import read

AT_ONCE = 100
SCRATCH = (
    (30, 1e-3, 2.0),
    (30, 5e-4, 1.0),
)  # epochs, learning rate, spread of targets; without a network to start from


def _one_person(report: Path) -> None:
    """Rows have to be the recording's frames: pictures are cut by them. Raises CommandError."""
    clips = json.loads(report.read_text()).get("clips", []) if report.exists() else []
    if any(clip["row"] or clip["first_frame"] for clip in clips):
        raise CommandError(
            "harvest: it holds several people; harvest one with --people, who is there from the first frame on"
        )


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("calibration", type=Path, help="of the recording, as for `harvest`")
        parser.add_argument("harvest", type=Path, help="folder that `harvest` wrote")
        parser.add_argument("views", type=Path, help="folder with a video or a folder of pictures per camera")
        parser.add_argument("target", type=Path, help="folder for network.safetensors and heatmaps/*.npz")
        parser.add_argument("--network", type=Path, help="start from this network (.safetensors); else from scratch")
        parser.add_argument("--unit", default="", choices=["", "mm", "cm", "m"], help="of the calibration's lengths")
        parser.add_argument("--skeleton", default="h36m-17", choices=list(BUILT_IN), help="of the harvest")
        parser.add_argument("--size", type=int, default=64, help="edge of the pictures, px (multiple of 16)")
        add_options(parser, HeatmapConfig)

    def handle(self, **options: Any) -> None:
        from training.heatmaps import files

        skeleton = BUILT_IN[options["skeleton"]]
        try:
            config = read(HeatmapConfig, options_given(HeatmapConfig, options))
            cameras = calibration.read(options["calibration"], unit=options["unit"])
            result = arrays.read(options["harvest"])
            _one_person(Path(options["harvest"]) / "report.json")
            size = options["size"]
            network = None
            if options["network"]:
                network, size = files.load(options["network"], skeleton.keypoints)
        except (BadCamera, arrays.BadArrays) as error:
            raise CommandError(f"{error.field}: {error}") from None
        except Refusal as error:
            raise CommandError(str(error)) from None
        except files.BadNetwork as error:
            raise CommandError(f"network: {error}") from None
        except (OSError, ValueError) as error:
            raise CommandError(f"harvest: {error}") from None
        if result.kept.shape[1] != len(skeleton.keypoints) or result.seen.shape[1] != len(cameras):
            raise CommandError(
                f"harvest: {result.kept.shape[1]} joints in {result.seen.shape[1]} views, but {skeleton.name} has "
                f"{len(skeleton.keypoints)} and the calibration {len(cameras)} cameras"
            )
        if size % 16 or not 32 <= size <= files.LARGEST_SIDE:
            raise CommandError(f"size: {size} is not a multiple of 16 from 32 to {files.LARGEST_SIDE}")
        with TemporaryDirectory() as folder:
            shown = footage.extract(
                options["views"],
                [c.name for c in cameras],
                list(range(len(result.kept))),
                Path(folder),
                most_pixels=settings.MAX_IMAGE_PIXELS,
            )
            for note in shown.notes:
                self.stdout.write(note)
            cut = _Cut.of(Path(folder), shown, result, cameras, size)
        if not cut.selected.any():
            raise CommandError("views: no picture of a frame with selected joints")
        self._learn(network, skeleton, cut, config, size, options["target"])

    def _learn(self, network: Any, skeleton: Skeleton, cut: _Cut, config: Any, size: int, target: Path) -> None:
        import torch

        from training.heatmaps import files
        from training.heatmaps.fit import fit, predict
        from training.heatmaps.network import HeatmapNetwork

        twins = [(skeleton.index(a), skeleton.index(b)) for a, b in skeleton.twins]
        there = np.flatnonzero(cut.there.ravel())
        pictures = cut.pictures.reshape(-1, *cut.pictures.shape[2:])[there].astype(np.float32) / np.float32(255)
        points = cut.points.reshape(-1, *cut.points.shape[2:])[there]
        mask = cut.selected.reshape(-1, cut.selected.shape[-1])[there]
        self.stdout.write(f"{len(there)} pictures, {int(mask.sum())} selected joints")
        if network is None:
            torch.manual_seed(config.seed)
            network = HeatmapNetwork(len(skeleton.keypoints))
            for epochs, rate, sigma in SCRATCH:
                lesson = {"epochs": epochs, "learning_rate": rate, "sigma_px": sigma, "batch": 16}
                fit(network, pictures, points, mask, twins, config.model_copy(update=lesson))
        losses = fit(network, pictures, points, mask, twins, config)
        self.stdout.write("loss by epoch: " + ", ".join(f"{loss:.5f}" for loss in losses))
        (target / "heatmaps").mkdir(parents=True, exist_ok=True)
        files.save(network, skeleton.keypoints, size, target / "network.safetensors")
        heat = np.zeros((*cut.there.shape, len(skeleton.keypoints), size // 2, size // 2), np.float16)
        heat.reshape(-1, *heat.shape[2:])[there] = predict(network, pictures)
        best = heat.max(axis=(0, 1, 3, 4)).astype(np.float32)
        for start in range(0, len(heat), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            name = target / "heatmaps" / f"{start:06d}.npz"
            files.write_heatmaps(heat[part].astype(np.float32), cut.to_map[part], best, name)
        self.stdout.write(f"network.safetensors and heatmaps of {len(heat)} frames in {target}")


class _Cut:
    """Pictures F x V x 3 x S x S (0..255), keypoints and selected joints in them, where there is one, and how they lie in their frames."""

    def __init__(self, frames: int, views: int, joints: int, size: int) -> None:
        self.pictures = np.zeros((frames, views, 3, size, size), np.uint8)
        self.points = np.zeros((frames, views, joints, 2))
        self.selected = np.zeros((frames, views, joints), dtype=bool)
        self.there = np.zeros((frames, views), dtype=bool)
        self.to_map: NDArray[np.float64] = np.tile([1.0, 1.0, 0.0, 0.0], (frames, views, 1))

    @classmethod
    def of(cls, folder: Path, shown: footage.Shown, result: Any, cameras: tuple[Camera, ...], size: int) -> _Cut:
        """Cut each frame in each view where the harvest found somebody; boxes as the harvester's own."""
        from training.heatmaps import files

        frames, views, joints = result.seen.shape
        cut = cls(frames, views, joints, size)
        known = np.asarray(result.outcome) == 0
        for v, camera in enumerate(cameras):
            place = camera.project(np.asarray(result.position))
            known_here = known & np.isfinite(place).all(axis=-1)
            box = heatmaps.boxes(place[:, None], known_here[:, None].astype(float))[:, 0]
            for frame in sorted(shown.frames[v]):
                if box[frame, 2] <= 0:
                    continue
                to_map = files.to_square(box[frame], size)
                with Image.open(folder / str(v) / f"{frame:06d}.jpg") as image:
                    cut.pictures[frame, v] = np.round(255 * files.cut_out(image, to_map, size)).astype(np.uint8)
                cut.points[frame, v] = np.nan_to_num(place[frame]) * to_map[:2] + to_map[2:]
                cut.selected[frame, v] = np.asarray(result.kept[frame]) & known_here[frame]
                cut.there[frame, v], cut.to_map[frame, v] = True, to_map
        return cut
