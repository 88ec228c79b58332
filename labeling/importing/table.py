"""Our own plain formats: CSV with one keypoint a line, JSON with one picture an object (docs/admins.md shows both)."""

from __future__ import annotations

import csv
import difflib
from pathlib import Path
from typing import Any

from labeling import skeletons
from labeling.importing.archive import Pictures
from labeling.importing.jsonfile import load, questions_of
from labeling.importing.parsed import (
    ABSENT,
    OCCLUDED,
    VISIBLE,
    BadInput,
    Entry,
    Limits,
    Parsed,
    ParsedPerson,
    Report,
    number,
)
from labeling.skeletons import BadSkeleton, Skeleton

SPLITS = ("train", "val", "test")


def read_csv(path: Path, pictures: Pictures, limits: Limits, report: Report) -> Parsed:
    """Columns image, person, keypoint, x, y, visibility; optional x_mm, y_mm, z_mm, split."""
    rows = _csv_rows(path, limits)
    names = list(dict.fromkeys(line["keypoint"] for _, line in rows))
    skeleton = next((s for s in skeletons.BUILT_IN.values() if set(names) <= set(s.keypoints)), None)
    if skeleton is None:
        skeleton = _custom(
            {"name": f"custom-{len(names)}", "keypoints": names, "bones": [], "root": (names or [""])[0]}
        )
        report.note(f"skeleton of the file's own {len(names)} keypoints: {_unknown_names(names)}")
    entries: dict[str, Entry] = {}
    people: dict[tuple[str, str], ParsedPerson] = {}
    seen: set[tuple[str, str, str]] = set()
    for number_of_line, line in rows:
        _csv_line(f"line {number_of_line}", line, skeleton, entries, people, seen, report)
    return Parsed(skeleton, list(entries.values()))


NEEDED = ("image", "person", "keypoint", "x", "y", "visibility")
SEPARATORS = (",", ";", "\t", "|")


def _csv_rows(path: Path, limits: Limits) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by column of every line that is not blank, whatever separator and decimal mark the file has."""
    if path.stat().st_size > limits.annotation_bytes:
        raise BadInput("the file is too large")
    with path.open("rb") as binary:
        wide = binary.read(2) in (b"\xff\xfe", b"\xfe\xff")
    try:
        with path.open(newline="", encoding="utf-16" if wide else "utf-8-sig") as file:
            header = file.readline(10_000)
            separator = max(SEPARATORS, key=lambda mark: len(set(NEEDED) & set(_columns(header, mark))))
            columns = _columns(header, separator)
            missing = [name for name in NEEDED if name not in columns]
            if missing:
                raise BadInput(
                    f"the column {missing[0]!r} is missing from the first line; read with {separator!r} between columns",
                    fix="see the example in docs/admins.md",
                )
            lines = csv.reader(file, delimiter=separator, skipinitialspace=True, strict=True)
            rows = []
            for cells in lines:
                cells = [cell.strip() for cell in cells]
                if not any(cells):
                    continue
                if len(cells) > len(columns) and any(cells[len(columns) :]):
                    raise BadInput(
                        f"line {lines.line_num + 1} has {len(cells)} cells, the first line {len(columns)}",
                        fix="put text that holds the separator into quotes",
                    )
                row = dict.fromkeys(columns, "") | dict(zip(columns, cells))
                if separator != ",":
                    row |= {key: row[key].replace(",", ".") for key in NUMBERS if key in row}
                rows.append((lines.line_num + 1, row))
    except (csv.Error, UnicodeError) as error:
        raise BadInput(f"not a CSV file in UTF-8: {error}", fix="save it as 'CSV UTF-8'") from None
    return rows


NUMBERS = ("x", "y", "visibility", "x_mm", "y_mm", "z_mm")


def _columns(header: str, separator: str) -> list[str]:
    return [name.strip().lower() for name in next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])]


def _unknown_names(names: list[str]) -> str:
    """Which names no built-in skeleton has, and what may have been meant."""
    known = sorted({k for s in skeletons.BUILT_IN.values() for k in s.keypoints})
    words = []
    for name in [n for n in names if n not in known][:5]:
        near = difflib.get_close_matches(name, known, n=1)
        words.append(f"{name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    return f"no built-in one has {', '.join(words)}" if words else "no built-in one has all of them"


def _csv_line(
    row: str,
    line: dict[str, Any],
    skeleton: Skeleton,
    entries: dict[str, Entry],
    people: dict[tuple[str, str], ParsedPerson],
    seen: set[tuple[str, str, str]],
    report: Report,
) -> None:
    image, person, keypoint = line["image"] or "", line["person"] or "0", line["keypoint"] or ""
    if not image:
        return report.row(row, "image", "is empty")
    if (image, person, keypoint) in seen:
        return report.row(row, "keypoint", f"{keypoint!r} occurs twice for this person")
    seen.add((image, person, keypoint))
    values = {key: _text_number(line.get(key)) for key in ("x", "y", "x_mm", "y_mm", "z_mm")}
    seen_as = _text_number(line["visibility"])
    if seen_as not in (0, 1, 2):
        return report.row(row, "visibility", "is not 0 (absent), 1 (occluded) or 2 (visible)")
    state = int(seen_as)
    if state and (values["x"] is None or values["y"] is None):
        return report.row(row, "x" if values["x"] is None else "y", "is not a finite number")
    entry = entries.setdefault(image, Entry(row, image, [], (line.get("split") or "train"), outside="error"))
    if (image, person) not in people:
        people[image, person] = ParsedPerson([[0.0, 0.0, ABSENT] for _ in skeleton.keypoints])
        entry.people.append(people[image, person])
    one, j = people[image, person], skeleton.index(keypoint)
    one.keypoints[j] = [values["x"], values["y"], state] if state else [0.0, 0.0, ABSENT]  # type: ignore[list-item]
    truth = [values[key] for key in ("x_mm", "y_mm", "z_mm")]
    if any(line.get(key) for key in ("x_mm", "y_mm", "z_mm")):
        if None in truth:
            return report.row(row, "z_mm", "the three coordinates in mm must be finite numbers, or all empty")
        if one.truth_mm is None:
            one.truth_mm = [None for _ in skeleton.keypoints]
        one.truth_mm[j] = [value for value in truth if value is not None]
    return None


def _truth(places: list[Any]) -> list[list[float] | None] | None:
    """Places in mm, None where unknown; None if one of them is no place."""
    checked: list[list[float] | None] = []
    for place in places:
        values = [number(v) for v in place] if isinstance(place, list) else []
        if place is not None and (len(values) != 3 or None in values):
            return None
        checked.append(None if place is None else [v for v in values if v is not None])
    return checked


def _text_number(text: Any) -> float | None:
    try:
        return number(float(text))
    except (TypeError, ValueError):
        return None


def _custom(data: dict[str, Any]) -> Skeleton:
    try:
        return skeletons.from_dict(data)
    except BadSkeleton as error:
        raise BadInput(str(error), fix="see docs/admins.md, 'Skeletons'") from None


def read_json(path: Path, pictures: Pictures, limits: Limits, report: Report) -> Parsed:
    """`{"skeleton": name or object, "images": [{"file", "people": [{"keypoints": {name: [x, y, v]}}]}]}`"""
    data = load(path, limits)
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise BadInput("needs an object with the list 'images'", fix="see the example in docs/admins.md")
    skeleton_name = data.get("skeleton", "lsp-14")
    if isinstance(skeleton_name, dict):
        skeleton = _custom(skeleton_name)
    elif isinstance(skeleton_name, str) and skeleton_name in skeletons.BUILT_IN:
        skeleton = skeletons.BUILT_IN[skeleton_name]
    else:
        raise BadInput(
            "unknown skeleton", field="annotations", value=skeleton_name, fix=f"one of {', '.join(skeletons.BUILT_IN)}"
        )
    entries = []
    for position, image in enumerate(data["images"]):
        row = f"images[{position}]"
        if not isinstance(image, dict) or not isinstance(image.get("file"), str) or not image["file"]:
            report.row(row, "file", "is missing")
            continue
        entry = Entry(row, image["file"], [], outside="error", **_credits(image, row, report))
        listed = image.get("people")
        if not isinstance(listed, list) or not listed:
            report.row(row, "people", "is not a list of at least one person")
            continue
        for index, person in enumerate(listed):
            _json_person(person, f"{row}.people[{index}]", skeleton, entry, report)
        entries.append(entry)
    return Parsed(skeleton, entries)


def _credits(image: dict[str, Any], row: str, report: Report) -> dict[str, Any]:
    credits: dict[str, Any] = {}
    for key, most in (("split", 5), ("source", 400), ("licence", 200), ("attribution", 400)):
        value = image.get(key)
        if value is None:
            continue
        if not isinstance(value, str) or len(value) > most:
            report.row(row, key, f"is not a text of at most {most} characters")
        else:
            credits[key] = value
    return credits


def _json_person(person: Any, row: str, skeleton: Skeleton, entry: Entry, report: Report) -> None:
    points = person.get("keypoints") if isinstance(person, dict) else None
    if not isinstance(points, dict):
        return report.row(row, "keypoints", "is not an object of name: [x, y, visibility]")
    keypoints: list[list[float]] = [[0.0, 0.0, ABSENT] for _ in skeleton.keypoints]
    for name, value in points.items():
        if name not in skeleton.keypoints:
            return report.row(row, str(name)[:40], f"is not a keypoint of {skeleton.name}")
        numbers = [number(v) for v in value] if isinstance(value, list) and len(value) == 3 else [None]
        if None in numbers or numbers[2] not in (0, 1, 2):
            return report.row(row, name, "needs finite x, y and a visibility of 0, 1 or 2")
        keypoints[skeleton.index(name)] = [numbers[0], numbers[1], int(numbers[2])]  # type: ignore[list-item, arg-type]
    bbox = None
    if person.get("bbox") is not None:
        box = person["bbox"]
        bbox = [number(v) for v in box] if isinstance(box, list) and len(box) == 4 else [None]
        if None in bbox or bbox[2] <= 0 or bbox[3] <= 0:  # type: ignore[operator]
            return report.row(row, "bbox", "needs finite x, y and positive width, height")
    truth = person.get("truth_mm")
    truth_mm = None
    if truth is not None:
        if not isinstance(truth, dict) or not set(truth) <= set(skeleton.keypoints):
            return report.row(row, "truth_mm", f"is not an object of keypoints of {skeleton.name}")
        truth_mm = _truth([truth.get(name) for name in skeleton.keypoints])
        if truth_mm is None:
            return report.row(row, "truth_mm", "needs three finite numbers for every keypoint that it names")
    entry.people.append(ParsedPerson(keypoints, bbox, truth_mm if any(truth_mm or []) else None))  # type: ignore[arg-type]
    return None


def read_ordinal(path: Path, pictures: Pictures, limits: Limits, report: Report) -> Parsed:
    """The LSP-style ordinal data set: our release's `ordinal.json` and the published `relative_depth_lsp_v1.json`."""
    data = load(path, limits)
    if (
        not isinstance(data, dict)
        or not isinstance(data.get("images"), list)
        or not isinstance(data.get("joint_names"), list)
    ):
        raise BadInput("needs 'joint_names' and the list 'images'", fix="give a release's ordinal.json")
    names = [skeletons.ALIASES.get(n, n) if isinstance(n, str) else "" for n in data["joint_names"]]
    skeleton = _ordinal_skeleton(names, data.get("skeleton"))
    entries: dict[str, Entry] = {}
    for position, image in enumerate(data["images"]):
        _ordinal_image(image, f"images[{position}]", skeleton, entries, report)
    return Parsed(skeleton, list(entries.values()))


def _ordinal_skeleton(names: list[str], described: Any) -> Skeleton:
    """The file's own skeleton, the built-in one of these names, or one without bones."""
    if described is not None:
        skeleton = _custom(described if isinstance(described, dict) else {})
        if list(skeleton.keypoints) != names:
            raise BadInput("'joint_names' differ from the keypoints of 'skeleton'")
        return skeleton
    built_in = skeletons.by_names(names)
    if built_in is not None:
        return built_in
    heads = [n.replace("nose", "head") for n in names]
    if sorted(heads) == sorted(skeletons.LSP_14.keypoints):
        return _custom({**skeletons.LSP_14.as_dict(), "name": "lsp-14-reordered", "keypoints": heads})
    return _custom({"name": f"ordinal-{len(names)}", "keypoints": names, "bones": [], "root": (names or [""])[0]})


def _ordinal_image(image: Any, row: str, skeleton: Skeleton, entries: dict[str, Entry], report: Report) -> None:
    joints = len(skeleton.keypoints)
    if not isinstance(image, dict) or not isinstance(image.get("im_file"), str) or not image["im_file"]:
        return report.row(row, "im_file", "is missing")
    flat, occluded, absent = (image.get(k) for k in ("keypoints", "occluded", "absent"))
    if not isinstance(flat, list) or len(flat) != 2 * joints:
        return report.row(row, "keypoints", f"has not {2 * joints} numbers")
    occluded = [0] * joints if occluded is None else occluded
    absent = [0] * joints if absent is None else absent
    for key, flags in (("occluded", occluded), ("absent", absent)):
        if not isinstance(flags, list) or len(flags) != joints or any(f not in (0, 1) for f in flags):
            return report.row(row, key, f"has not {joints} values of 0 or 1")
    keypoints: list[list[float]] = []
    for j, name in enumerate(skeleton.keypoints):
        x, y = number(flat[2 * j]), number(flat[2 * j + 1])
        if x is None or y is None:
            return report.row(row, name, "needs finite x and y")
        keypoints.append([0.0, 0.0, ABSENT] if absent[j] else [x, y, OCCLUDED if occluded[j] else VISIBLE])
    split = image.get("split") or ("train" if image.get("is_train", True) else "test")
    if image["im_file"] not in entries:
        entries[image["im_file"]] = Entry(row, image["im_file"], [], **_credits({**image, "split": split}, row, report))
    entry = entries[image["im_file"]]
    truth = image.get("truth_mm")
    if truth is not None:
        truth = _truth(truth) if isinstance(truth, list) and len(truth) == joints else None
        if truth is None:
            return report.row(row, "truth_mm", f"needs {joints} times three finite numbers, or null where unknown")
    box = image.get("bbox")
    bbox = None
    if box is not None:
        bbox = [number(v) for v in box] if isinstance(box, list) and len(box) == 4 else [None]
        if None in bbox or bbox[2] <= 0 or bbox[3] <= 0:  # type: ignore[operator]
            return report.row(row, "bbox", "needs finite x, y and positive width, height")
    entry.people.append(ParsedPerson(keypoints, bbox, truth if any(truth or []) else None))  # type: ignore[arg-type]
    entry.questions += questions_of(image.get("anns"), row, len(entry.people) - 1, joints, report)
    return None
