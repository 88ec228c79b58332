"""Pictures as annotators see them: the person with some context, at sensible size, cached on disk."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from PIL import Image as Pillow

from labeling.models import Image, Person
from labeling.models.dataset import ABSENT

LONGEST_PX = 960
SMALLEST_SHARE = 0.25  # a crop is never smaller than this share of the picture: context tells depth
MARGIN = 0.35
VERSION = "1"


@dataclass(frozen=True)
class Crop:
    """A box of the picture (left, top, right, bottom in px) and the size (width, height in px) it is shown at."""

    box: tuple[int, int, int, int]
    size: tuple[int, int]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A point of the picture as fractions 0..1 of the crop's width and height."""
        left, top, right, bottom = self.box
        return round((x - left) / (right - left), 5), round((y - top) / (bottom - top), 5)


def crop_of(person: Person) -> Crop:
    """The box around a person and the keypoints, widened for context and clipped to the picture."""
    image, (left, top, width, height) = person.image, person.bbox
    xs = [left, left + width] + [k[0] for k in person.keypoints if k[2] != ABSENT]
    ys = [top, top + height] + [k[1] for k in person.keypoints if k[2] != ABSENT]
    wide, high = max(xs) - min(xs), max(ys) - min(ys)
    pad = MARGIN * max(wide, high, 40.0)
    half_w = max(wide / 2 + pad, SMALLEST_SHARE * image.width / 2)
    half_h = max(high / 2 + pad, SMALLEST_SHARE * image.height / 2)
    x, y = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    box = (
        max(0, int(x - half_w)),
        max(0, int(y - half_h)),
        min(image.width, int(x + half_w) + 1),
        min(image.height, int(y + half_h) + 1),
    )
    scale = min(1.0, LONGEST_PX / max(box[2] - box[0], box[3] - box[1]))
    return Crop(box, (max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale))))


def file_of(person: Person, *, mirrored: bool = False) -> Path:
    """The crop as a JPEG file, made at the first call; `mirrored`: left and right changed over."""
    key = str(person.uuid) + ("-mirrored" if mirrored else "")
    path = Path(settings.MEDIA_ROOT) / "crops" / key[:2] / f"{key}.v{VERSION}.jpg"
    if not path.exists():
        crop = crop_of(person)
        path.parent.mkdir(parents=True, exist_ok=True)
        with Pillow.open(Path(settings.MEDIA_ROOT) / person.image.path) as picture:
            shown = picture.convert("RGB").crop(crop.box)
            if shown.size != crop.size:
                shown = shown.resize(crop.size, Pillow.Resampling.LANCZOS)
            if mirrored:
                shown = shown.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
        aside = path.with_suffix(f".{uuid.uuid4().hex}.part")
        shown.save(aside, "JPEG", quality=88)
        os.replace(aside, path)
    return path


def thumbnail_of(image: Image, longest: int = 240) -> Path:
    """A small JPEG of the whole picture for lists."""
    path = Path(settings.MEDIA_ROOT) / "thumbnails" / image.sha256[:2] / f"{image.sha256}.{longest}.jpg"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with Pillow.open(Path(settings.MEDIA_ROOT) / image.path) as picture:
            small = picture.convert("RGB")
            small.thumbnail((longest, longest))
        aside = path.with_suffix(f".{uuid.uuid4().hex}.part")
        small.save(aside, "JPEG", quality=80)
        os.replace(aside, path)
    return path
