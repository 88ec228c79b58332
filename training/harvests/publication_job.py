"""What a worker does for a data set of what reviewers accepted."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray
from scipy.special import ndtr

from labeling.importing import storing
from training.harvests import frames
from training.harvests.frames import cameras_of, skeleton_of
from training.harvests.publication import PublishJob
from training.models import Harvest, PseudoLabel
from training.poses.cameras import Camera
from webapp import audit
from webapp.errors import Invalid
from webapp.jobs.run import JobContext


def run_publication(context: JobContext, config: PublishJob) -> dict[str, Any]:
    """Job: a data set of the views of frames with accepted pseudo-labels: their reprojections as keypoints, camera-frame depths of
    accepted joints, and ordinal pairs with P(second closer) from the covariances."""
    row = Harvest.objects.get(uuid=config.harvest)
    skeleton = skeleton_of(row)
    aside = context.folder / "pictures"
    shutil.rmtree(aside, ignore_errors=True)
    images = _images(context, row, config, aside)
    if not images:
        raise Invalid(
            "No frame with a picture has enough accepted joints.", field="least_joints", fix="accept more, or lower it"
        )
    annotations = context.folder / "ordinal.json"
    annotations.write_text(
        json.dumps({"joint_names": list(skeleton.keypoints), "skeleton": skeleton.as_dict(), "images": images})
    )
    plan = storing.ImportConfig(
        dataset=config.dataset,
        format="ordinal",
        annotations=str(annotations),
        pictures=str(aside),
        description=f"Pseudo-labels of the harvest {row.name} ({row.uuid}), accepted by reviewers.",
    )
    result = storing.store(context.actor, plan, context.progress, context)
    audit.record(context.actor, "harvest.publish", row, dataset=config.dataset, images=len(images))
    shutil.rmtree(aside, ignore_errors=True)
    return {"dataset": config.dataset, "people": len(images), **{k: v for k, v in result.items() if k != "notes"}}


def _images(context: JobContext, row: Harvest, config: PublishJob, aside: Path) -> list[dict[str, Any]]:
    """What the data set says of each picture, in the views of frames with enough accepted joints; the pictures are copied `aside`.

    The last fifth of the recording is for testing: neighbours in time are too alike to be split at random.
    """
    cameras, joints = cameras_of(row), len(skeleton_of(row).keypoints)
    views = Path(settings.MEDIA_ROOT) / row.folder / "views"
    accepted: dict[int, dict[int, PseudoLabel]] = {}
    for label in PseudoLabel.objects.filter(harvest=row, verdict="accepted").order_by("frame", "joint").iterator():
        accepted.setdefault(label.frame, {})[label.joint] = label
    shown = [f for f in (row.report or {}).get("shown", []) if len(accepted.get(f, {})) >= config.least_joints]
    rng = np.random.default_rng(config.seed)
    images = []
    shots = sorted({frames.picture_of(row, frame) for frame in shown})
    tested = set(shots[math.ceil(0.8 * len(shots)) :])
    for number, frame in enumerate(shown):
        context.progress(number, len(shown), "frames")
        shot = frames.picture_of(row, frame)
        split = "test" if shot in tested else "train"
        for v, camera in enumerate(cameras):
            picture = views / str(v) / f"{shot:06d}.jpg"
            if not picture.exists():
                continue
            name = f"{camera.name}/{shot:06d}.jpg"  # of everybody in it
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            if not (aside / name).exists():
                shutil.copyfile(picture, aside / name)
            image = _image(name, camera, accepted[frame], joints, config.pairs_per_person, rng)
            if image:
                images.append(image | {"split": split, "source": f"harvest {row.uuid}, {camera.name}, frame {shot}"})
    return images


def _image(
    name: str, camera: Camera, labels: dict[int, PseudoLabel], joints: int, pairs: int, rng: np.random.Generator
) -> dict[str, Any] | None:
    known = sorted(labels)
    world = np.array([[labels[j].x_mm, labels[j].y_mm, labels[j].z_mm] for j in known])
    place, seen = camera.project(world), camera.see(world)
    inside = np.isfinite(place).all(axis=1) & (place >= 0).all(axis=1) & (place < np.array(camera.size) - 1).all(axis=1)
    if inside.sum() < 2:
        return None
    flat, absent = np.zeros((joints, 2)), np.ones(joints, dtype=int)
    for n, j in enumerate(known):
        if inside[n]:
            flat[j], absent[j] = place[n] + 0.5, 0  # the corner of the first pixel is (0, 0) there
    image: dict[str, Any] = {
        "im_file": name,
        "keypoints": flat.round(3).ravel().tolist(),
        "absent": absent.tolist(),
        "anns": _pairs(camera, labels, [j for n, j in enumerate(known) if inside[n]], pairs, rng),
    }
    truth: list[list[float] | None] = [None] * joints
    for n, j in enumerate(known):
        truth[j] = seen[n].round(2).tolist()
    image["truth_mm"] = truth
    return image


def _pairs(
    camera: Camera, labels: dict[int, PseudoLabel], known: list[int], most: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Ordinal pseudo-pairs: P(second closer) = Phi((z_a - z_b) / sd), sd from both joints' covariances along the camera's axis."""
    every = [(a, b) for n, a in enumerate(known) for b in known[n + 1 :]]
    if len(every) > most:
        every = [every[n] for n in np.sort(rng.choice(len(every), most, replace=False))]
    ahead = camera.rotation[2]
    pairs = []
    for a, b in every:
        gap, variance = 0.0, 0.0
        for sign, j in ((1, a), (-1, b)):
            label = labels[j]
            gap += sign * float(ahead @ [label.x_mm, label.y_mm, label.z_mm])
            variance += float(ahead @ _full(label.covariance) @ ahead)
        p = float(ndtr(gap / np.sqrt(max(variance, 1.0))))
        pairs.append(
            {
                "kp0": a,
                "kp1": b,
                "prob": round(p, 6),
                "risk": round(min(p, 1 - p), 6),
                "label": int(p > 0.5),
                "votes": 0,
            }
        )
    return pairs


def _full(six: Sequence[float]) -> NDArray[np.float64]:
    xx, xy, xz, yy, yz, zz = six
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
