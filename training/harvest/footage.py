"""Pictures of a recording for people to look at: video files or folders of pictures, one per camera."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
from PIL import Image, ImageOps, UnidentifiedImageError

from labeling.importing.archive import is_litter
from training.harvest import timeline
from webapp.progress import Progress, silent

VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v"}
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
QUALITY = 88


class NoVideo(Exception):
    """A file that holds sound only."""


@dataclass
class Shown:
    """What could be extracted: `frames` by camera, and what went wrong, in words."""

    frames: list[set[int]]
    notes: list[str] = field(default_factory=list)


def sources(folder: Path, cameras: Sequence[str]) -> list[Path | None]:
    """A video or a folder of pictures for each camera: by its name, else in the order of names. None where there is none."""
    every = [p for p in folder.rglob("*") if not is_litter(str(p.relative_to(folder)))]
    files = sorted((p for p in every if p.suffix.lower() in VIDEOS), key=lambda p: timeline.in_order(p.name))
    if not files:
        folders = {p.parent for p in every if p.suffix.lower() in PICTURES}
        files = sorted(folders, key=lambda p: timeline.in_order(str(p)))
    plain = {_plain(p.stem if p.is_file() else p.name): p for p in files}
    if all(_plain(name) in plain for name in cameras):
        return [plain[_plain(name)] for name in cameras]
    return [files[n] if n < len(files) else None for n in range(len(cameras))]


def upright_size(path: Path) -> tuple[int, int] | None:
    """Width and height (px) of a video as people see it: phones store it on its side, with a matrix that turns it."""
    with av.open(str(path)) as container:
        if not container.streams.video:
            return None
        stream = container.streams.video[0]
        size = (int(stream.codec_context.width), int(stream.codec_context.height))
        turn = next((_rotation(frame) for frame in container.decode(stream)), 0)
    if not all(size):
        return None
    return size if turn % 180 == 0 else (size[1], size[0])


def _rotation(frame: av.VideoFrame) -> int:
    """Degrees against the clock, in quarters of a circle, by which a frame is turned to be upright."""
    return round(int(getattr(frame, "rotation", 0)) / 90) * 90 % 360


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def extract(
    folder: Path,
    cameras: Sequence[str],
    frames_shown: Sequence[int],
    target: Path,
    *,
    most_pixels: int = 64_000_000,
    progress: Progress = silent,
) -> Shown:
    """Write the wanted frames as `target/CAMERA INDEX/FRAME.jpg`. A video that ends early or breaks is a note, not an error."""
    shown = Shown([set() for _ in cameras])
    places = sources(folder, cameras)
    for number, (name, place) in enumerate(zip(cameras, places)):
        if place is None:
            shown.notes.append(f"{name} has no video and no pictures")
            continue
        out = target / str(number)
        out.mkdir(parents=True, exist_ok=True)
        left = set(frames_shown)
        try:
            for index, image in _pictures(place, left, most_pixels):
                image.convert("RGB").save(out / f"{index:06d}.jpg", "JPEG", quality=QUALITY)
                shown.frames[number].add(index)
                progress(len(shown.frames[number]), len(left), "pictures")
        except NoVideo:
            shown.notes.append(f"{place.name} holds sound, but no video")
            continue
        except (
            av.FFmpegError,
            OSError,
            UnidentifiedImageError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:
            shown.notes.append(
                f"{place.name} breaks off after {len(shown.frames[number])} frames ({type(error).__name__})"
            )
            continue
        missing = sorted(left - shown.frames[number])
        if missing:
            shown.notes.append(f"{place.name} ends early: {len(missing)} frames from {missing[0]} on are not in it")
    return shown


def _pictures(place: Path, frames_shown: set[int], most_pixels: int) -> Iterator[tuple[int, Image.Image]]:
    last = max(frames_shown, default=-1)
    if place.is_dir():
        listed = [p for p in place.iterdir() if p.suffix.lower() in PICTURES and not is_litter(p.name)]
        files = dict(zip(timeline.of([place.name], [[p.stem for p in listed]]).places[0], listed))
        for index in sorted(frames_shown & set(files)):
            with Image.open(io.BytesIO(files[index].read_bytes())) as image:
                if image.width * image.height > most_pixels:
                    raise ValueError("a picture that is too large")
                yield index, ImageOps.exif_transpose(image)
        return
    with av.open(str(place)) as container:
        if not container.streams.video:
            raise NoVideo
        stream = container.streams.video[0]
        if stream.codec_context.width * stream.codec_context.height > most_pixels:
            raise ValueError("a picture that is too large")
        stream.thread_type = "AUTO"
        for index, frame in enumerate(container.decode(stream)):
            if index in frames_shown:
                picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
                turn = _rotation(frame)
                yield index, picture.rotate(turn, expand=True) if turn else picture
            if index >= last:
                break
