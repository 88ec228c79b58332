"""Read and check everything of an import before anything is written. Django-free: it also runs in a sandbox."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

from labeling.importing.archive import Pictures, open_pictures
from labeling.importing.images import Picture, check
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
    """Every entry with its picture, decoded and with keypoints settled; bad ones go into the report."""
    total = len(parsed.entries)
    with ThreadPoolExecutor(THREADS) as pool:  # decoding leaves the interpreter's lock alone
        for start in range(0, total, AT_ONCE):
            progress(start, total, "pictures")
            entries = parsed.entries[start : start + AT_ONCE]
            with warnings.catch_warnings():  # around the threads: it is not safe in them
                warnings.simplefilter("ignore", UserWarning)
                checked = list(pool.map(lambda entry: _picture(entry, pictures, limits), entries))
            for entry, picture in zip(entries, checked, strict=True):
                if isinstance(picture, str):
                    report.row(entry.row, "pictures", picture)
                    continue
                settle_keypoints(entry, picture.width, picture.height, parsed.skeleton.keypoints, report)
                yield entry, picture


def _picture(entry: Entry, pictures: Pictures, limits: Limits) -> Picture | str:
    """The entry's picture, or what is wrong with it."""
    name = pictures.find(entry.name)
    if name is None:
        return f"there is no picture {entry.name!r}"
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
