"""The guarded edge, part two: is this really a picture, of sane size, whole?"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass, field

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from labeling.importing.parsed import BadInput, Limits

Image.MAX_IMAGE_PIXELS = None  # our own limit is checked below, before anything is decoded
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
OTHERS = {
    **{b"II*\0": "TIFF", b"MM\0*": "TIFF", b"BM": "BMP", b"GIF8": "GIF"},
    **dict.fromkeys((b"ftypheic", b"ftypheix", b"ftypheif", b"ftypmif1", b"ftypmsf1", b"ftyphevc"), "HEIC"),
    **dict.fromkeys((b"ftypavif", b"ftypavis"), "AVIF"),
}
DAMAGED = (
    *(UnidentifiedImageError, OSError, ValueError, SyntaxError, MemoryError, EOFError, TypeError, IndexError),
    *(OverflowError, KeyError, struct.error),
)
MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"RIFF": "WEBP"}


@dataclass(frozen=True)
class Picture:
    """A checked picture, upright: `data` are 8 bit pixels as people see them, whatever its file said about turning it.

    `orientation`: EXIF's, how the file's own pixels lay. `notes`: what was changed.
    """

    data: bytes
    sha256: str
    suffix: str
    width: int
    height: int
    bytes: int
    orientation: int = 1
    notes: tuple[str, ...] = field(default=())


def check(data: bytes, name: str, limits: Limits) -> Picture:
    """Decode the picture completely. Raises BadInput for anything but a whole JPEG, PNG or WebP of sane size."""
    kind = next((k for magic, k in MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        raise BadInput(_other_kind(data), field="pictures", value=name, fix="give JPEG, PNG or WebP")
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            _sane(image, name, limits)
            image.load()
            orientation = _orientation(image)
            notes = []
            if image.format == "MPO" and getattr(image, "n_frames", 1) > 1:
                notes.append("pictures with further ones inside, of which the first was taken")
            if orientation != 1 or image.mode.startswith(("I", "F")):
                if orientation != 1:
                    notes.append("pictures turned upright, as their files say")
                if image.mode.startswith(("I", "F")):
                    notes.append("pictures of more than 8 bit, brought to 8")
                data, (width, height) = _upright(image, kind)
            else:
                width, height = image.size
    except BadInput:
        raise
    except DAMAGED as error:
        raise BadInput(f"a damaged picture ({error})", field="pictures", value=name, fix="save it again") from None
    return Picture(
        *(data, hashlib.sha256(data).hexdigest(), SUFFIXES[kind], width, height, len(data)),
        orientation=orientation,
        notes=tuple(notes),
    )


def _other_kind(data: bytes) -> str:
    kind = next((k for magic, k in OTHERS.items() if data.startswith(magic) or data[4:12] == magic), None)
    return f"is {kind}; give JPEG, PNG or WebP" if kind else "not a JPEG, PNG or WebP picture, whatever its name says"


def _sane(image: Image.Image, name: str, limits: Limits) -> None:
    """Refuse what should not be decoded. A camera's JPEG may hold a second view or a larger copy behind its first picture."""
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
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise BadInput("an animation, not a picture", field="pictures", value=name)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where it is not said or the EXIF is broken."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGED:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image.Image, kind: str) -> tuple[bytes, tuple[int, int]]:
    """The same picture in 8 bit pixels that need no turning, as a file of the same kind."""
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(upright, dtype=np.float64)).clip(0, None)
        bits = max(8, int(values.max(initial=0)).bit_length())  # a camera of 12 bit leaves the highest ones empty
        upright = Image.fromarray((values / 2 ** (bits - 8)).astype(np.uint8))
    stream = io.BytesIO()
    upright.save(stream, kind, exif=b"", quality=95, lossless=kind == "WEBP")  # each kind takes what it knows
    return stream.getvalue(), upright.size


def turned(x: float, y: float, orientation: int, width: int, height: int) -> tuple[float, float]:
    """Where a point (px) of a file's own pixels lies once the picture is upright; `width` and `height` are the upright ones."""
    return {5: (y, x), 6: (width - y, x), 7: (width - y, height - x), 8: (y, height - x)}[orientation]
