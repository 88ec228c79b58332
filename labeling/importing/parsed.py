"""What every import format is read into, and how a bad row is reported. No Django here: it also runs in a sandbox."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from labeling.skeletons import Skeleton
from webapp.errors import InputError

ABSENT, OCCLUDED, VISIBLE = 0, 1, 2
MOST_ROWS = 200


class BadInput(InputError):
    """A file that cannot be read at all: names the upload's field, what is wrong and the fix."""

    usual_field = "annotations"


@dataclass(frozen=True)
class Limits:
    """Upper bounds for everything that comes from outside."""

    archive_bytes: int = 20 * 2**30
    archive_files: int = 500_000
    image_pixels: int = 64_000_000
    image_bytes: int = 64 * 2**20
    annotation_bytes: int = 2 * 2**30
    people: int = 2_000_000


@dataclass
class Report:
    """Bad rows (the first 200 whole, and how many; `bad_rows` are the rows of all), and notes that do not stop the import."""

    rows: list[dict[str, str]] = field(default_factory=list)
    bad: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    bad_rows: set[str] = field(default_factory=set)

    def row(self, row: str, field: str, reason: str) -> None:
        self.bad += 1
        self.bad_rows.add(row)
        if len(self.rows) < MOST_ROWS:
            self.rows.append({"row": str(row)[:120], "field": field, "reason": reason})

    def note(self, text: str, times: int = 1) -> None:
        self.notes[text] = self.notes.get(text, 0) + times


@dataclass
class ParsedPerson:
    """Keypoints as [x px, y px, visibility] in skeleton order; `bbox` x, y, width, height in px or None;
    `truth_mm` [x, y, z] of each keypoint in the camera frame, None where it is unknown."""

    keypoints: list[list[float]]
    bbox: list[float] | None = None
    truth_mm: list[list[float] | None] | None = None


@dataclass(slots=True)
class ParsedQuestion:
    """A pair asked of one person (index within the image), with its label if the file has one."""

    person: int
    first: int
    second: int
    p_second_closer: float | None = None
    risk: float | None = None
    votes: int = 0


@dataclass
class Entry:
    """One picture of the annotation file. `outside` says what a keypoint outside the picture means in this format, `size`
    which width and height (px) the file gives for the picture, if it does."""

    row: str
    name: str
    people: list[ParsedPerson]
    split: str = "train"
    source: str = ""
    licence: str = ""
    attribution: str = ""
    outside: str = "absent"
    size: tuple[float, float] | None = None
    questions: list[ParsedQuestion] = field(default_factory=list)


@dataclass
class Parsed:
    """A whole annotation file."""

    skeleton: Skeleton
    entries: list[Entry]


def number(value: object) -> float | None:
    """A finite float, or None for anything else (booleans are not numbers here)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) and abs(as_float) < 1e9 else None


def settle_keypoints(entry: Entry, width: int, height: int, names: tuple[str, ...], report: Report) -> None:
    """Apply the picture's size: keypoints outside become absent, or are reported, as the format says."""
    for index, person in enumerate(entry.people):
        for keypoint, name in zip(person.keypoints, names, strict=True):
            if keypoint[2] == ABSENT:
                keypoint[:2] = [0.0, 0.0]
            elif not (0 <= keypoint[0] <= width and 0 <= keypoint[1] <= height):
                if entry.outside == "error":
                    report.row(f"{entry.row}, person {index}", name, f"lies outside the picture of {width}x{height} px")
                else:
                    report.note("keypoints outside their picture, taken as absent")
                    keypoint[:] = [0.0, 0.0, ABSENT]
        if person.bbox is None:
            person.bbox = box_around(person.keypoints, width, height)


def box_around(keypoints: list[list[float]], width: int, height: int) -> list[float]:
    """The box of the present keypoints, 10 % wider on each side, clipped to the picture; all of it if there are none."""
    xs = [k[0] for k in keypoints if k[2] != ABSENT]
    ys = [k[1] for k in keypoints if k[2] != ABSENT]
    if not xs:
        return [0.0, 0.0, float(width), float(height)]
    pad = 0.1 * max(max(xs) - min(xs), max(ys) - min(ys), 20.0)
    left, top = max(0.0, min(xs) - pad), max(0.0, min(ys) - pad)
    right, bottom = min(float(width), max(xs) + pad), min(float(height), max(ys) + pad)
    return [round(v, 2) for v in (left, top, right - left, bottom - top)]
