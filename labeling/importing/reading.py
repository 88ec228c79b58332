"""Read and check everything of an import before anything is written. Django-free: it also runs in a sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from labeling.importing.archive import Pictures, open_pictures
from labeling.importing.images import Picture, check
from labeling.importing.parts import BadInput, Entry, Limits, Parsed, Report, settle_keypoints

Progress = Callable[[int, int, str], None]


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
            or entry.name[0] == "/"
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
    for position, entry in enumerate(parsed.entries):
        progress(position, total, "pictures")
        name = pictures.find(entry.name)
        if name is None:
            report.row(entry.row, "pictures", f"there is no picture {entry.name!r}")
            continue
        try:
            picture = check(pictures.read(name), name, limits)
        except BadInput as error:
            report.row(entry.row, "pictures", f"{name}: {error.detail}")
            continue
        settle_keypoints(entry, picture.width, picture.height, parsed.skeleton.keypoints, report)
        yield entry, picture


def inspect(target: str, annotations: Path, pictures_at: Path, limits: Limits) -> Report:
    """Everything that an import checks, without writing. Raises BadInput."""
    report = Report()
    pictures = open_pictures(pictures_at, limits)
    try:
        parsed = parse(target, annotations, pictures, limits, report)
        for _ in checked_pictures(parsed, pictures, limits, report, lambda *_: None):
            pass
    finally:
        pictures.close()
    return report
