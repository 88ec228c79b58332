"""The guarded edge, part two: is this really a picture, of sane size, whole?"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from labeling.importing.parsed import BadInput, Limits

Image.MAX_IMAGE_PIXELS = None  # our own limit is checked below, before anything is decoded
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"RIFF": "WEBP"}


@dataclass(frozen=True)
class Picture:
    """A checked picture: its stored pixels (no EXIF rotation is applied) are what keypoints refer to."""

    data: bytes
    sha256: str
    suffix: str
    width: int
    height: int
    bytes: int


def check(data: bytes, name: str, limits: Limits) -> Picture:
    """Decode the picture completely. Raises BadInput for anything but a whole JPEG, PNG or WebP of sane size."""
    kind = next((k for magic, k in MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        raise BadInput("not a JPEG, PNG or WebP picture, whatever its name says", field="pictures", value=name)
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            width, height = image.size
            if width * height > limits.image_pixels or max(width, height) > 32_768:
                raise BadInput(
                    f"{width}x{height} px are too many",
                    field="pictures",
                    value=name,
                    fix=f"at most {limits.image_pixels // 1_000_000} megapixels",
                )
            if min(width, height) < 8:
                raise BadInput(f"{width}x{height} px are too few", field="pictures", value=name, fix="at least 8x8")
            if getattr(image, "n_frames", 1) > 1:
                raise BadInput("an animation, not a picture", field="pictures", value=name)
            image.load()
    except BadInput:
        raise
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
        MemoryError,
        EOFError,
        TypeError,
        IndexError,
        OverflowError,
    ) as error:
        raise BadInput(f"a damaged picture ({error})", field="pictures", value=name, fix="save it again") from None
    return Picture(data, hashlib.sha256(data).hexdigest(), SUFFIXES[kind], width, height, len(data))
