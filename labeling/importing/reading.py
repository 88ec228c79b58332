"""Read and check everything of an import before anything is written. Django-free: it also runs in a sandbox."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

from labeling.importing.archive import Pictures, open_pictures, plain_name
from labeling.importing.images import SIDEWAYS, Picture, check, turned
from labeling.importing.parsed import BadInput, Entry, Limits, Parsed, Report, settle_keypoints
from webapp.progress import Progress

THREADS = min(4, os.cpu_count() or 1)
AT_ONCE = 16  # pictures in memory


def parse(target: str, annotations: Path, pictures: Pictures, limits: Limits, report: Report) -> Parsed:
    """Run one format's reader and check what all formats share. Raises BadInput."""
    module, _, function = target.partition(":")
    parsed: Parsed = getattr(import_module(module), function)(annotations, pictures, limits, report)
    if not parsed.entries and not report.bad:
        raise BadInput("there is nobody in this file", fix="give a file with at least one annotated person")
    if sum(len(e.people) for e in parsed.entries) > limits.people:
        raise BadInput(f"more than {limits.people} people")
    seen: set[str] = set()
    for entry in parsed.entries:
        entry.name = plain_name(entry.name)
        if entry.name in seen:
            report.row(entry.row, "file", f"{entry.name!r} occurs twice")
        seen.add(entry.name)
        if (
            len(entry.name) > 255
            or not entry.name.isprintable()
            or ".." in entry.name.split("/")
            or not entry.name
            or entry.name.startswith("/")
        ):
            report.row(entry.row, "file", "is not a plain relative file name of at most 255 characters")
        if entry.split not in ("train", "val", "test"):
            report.row(entry.row, "split", f"{entry.split!r} is not train, val or test")
    return parsed


def checked_pictures(
    parsed: Parsed, pictures: Pictures, limits: Limits, report: Report, progress: Progress
) -> Iterator[tuple[Entry, Picture]]:
    """Every good entry with its picture, decoded and with keypoints settled; bad ones go into the report."""
    good = [entry for entry in parsed.entries if entry.row not in report.bad_rows]
    total = len(good)
    whose = pictures.whose([entry.name for entry in good])
    with ThreadPoolExecutor(THREADS) as pool:  # decoding leaves the interpreter's lock alone
        for start in range(0, total, AT_ONCE):
            progress(start, total, "pictures")
            entries = good[start : start + AT_ONCE]
            with warnings.catch_warnings():  # around the threads: it is not safe in them
                warnings.simplefilter("ignore", UserWarning)
                checked = list(pool.map(lambda entry: _picture(entry, whose[entry.name], pictures, limits), entries))
            for entry, picture in zip(entries, checked, strict=True):
                if isinstance(picture, str):
                    report.row(entry.row, "pictures", picture)
                    continue
                for note in picture.notes:
                    report.note(note)
                bad = report.bad
                _fit_to(entry, picture, report)
                settle_keypoints(entry, picture.width, picture.height, parsed.skeleton.keypoints, report)
                if report.bad == bad:
                    yield entry, picture


def _fit_to(entry: Entry, picture: Picture, report: Report) -> None:
    """Bring keypoints to the picture's own pixels where the file tells another size: turned on its side, or another scale."""
    size = (picture.width, picture.height)
    if entry.size is None or entry.size == size:
        return
    width, height = entry.size
    if picture.orientation in SIDEWAYS and (height, width) == size:
        report.note("pictures whose keypoints were given for the picture as it was stored, on its side")
        _move(entry, lambda x, y: turned(x, y, picture.orientation, *size))
        return
    across, down = size[0] / width, size[1] / height
    if min(abs(height * across - size[1]), abs(width * down - size[0])) > 1.0:
        was, has = f"{width:g}x{height:g}", f"{size[0]}x{size[1]}"
        report.row(entry.row, "size", f"the file says {was} px, the picture {entry.name!r} has {has}")
        return
    report.note("pictures of another size than the file says, keypoints scaled")
    _move(entry, lambda x, y: (x * across, y * down))


def _move(entry: Entry, to: Callable[[float, float], tuple[float, float]]) -> None:
    for person in entry.people:
        for keypoint in person.keypoints:
            keypoint[:2] = to(*keypoint[:2])
        if person.bbox is not None:
            x, y, width, height = person.bbox
            (left, top), (right, bottom) = to(x, y), to(x + width, y + height)
            person.bbox = [min(left, right), min(top, bottom), abs(right - left), abs(bottom - top)]


def _picture(entry: Entry, name: str | None, pictures: Pictures, limits: Limits) -> Picture | str:
    """The entry's picture, or what is wrong with it."""
    if name is None:
        other = pictures.find(entry.name)
        why = f"; {other!r} may be another one, as several names of the file end like it" if other else ""
        return f"there is no picture {entry.name!r}{why}"
    try:
        return check(pictures.read(name), name, limits)
    except BadInput as error:
        return f"{name}: {error.detail}"


def inspect(target: str, annotations: Path, pictures_at: Path, limits: Limits, *, decode: bool = True) -> Report:
    """Everything that an import checks, without writing; `decode`: the pictures themselves too. Raises BadInput."""
    report = Report()
    pictures = open_pictures(pictures_at, limits)
    try:
        parsed = parse(target, annotations, pictures, limits, report)
        if decode:
            for _ in checked_pictures(parsed, pictures, limits, report, lambda *_: None):
                pass
    finally:
        pictures.close()
    return report
