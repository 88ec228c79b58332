"""COCO keypoints JSON; pairs that our own release adds (`ordinal`) are read back. Source: Lin et al., ECCV 2014."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labeling import skeletons
from labeling.importing.archive import Pictures
from labeling.importing.jsonfile import load, questions_of
from labeling.importing.parsed import ABSENT, BadInput, Entry, Limits, Parsed, ParsedPerson, Report, number
from labeling.skeletons import Skeleton


def read_coco(path: Path, pictures: Pictures, limits: Limits, report: Report) -> Parsed:
    """Annotations without keypoints are left out and counted. Crowds (`iscrowd`) too."""
    data = load(path, limits)
    if (
        not isinstance(data, dict)
        or not isinstance(data.get("images"), list)
        or not isinstance(data.get("annotations"), list)
    ):
        raise BadInput("needs the lists 'images' and 'annotations'", fix="give a COCO keypoints file")
    skeleton = _skeleton(data.get("categories"))
    by_id: dict[Any, Entry] = {}
    for position, image in enumerate(data["images"]):
        row = f"images[{position}]"
        name = image.get("file_name") if isinstance(image, dict) else None
        identity = image.get("id") if isinstance(image, dict) else None
        if not isinstance(name, str) or not isinstance(identity, int | str):
            report.row(row, "file_name" if isinstance(identity, int | str) else "id", "is missing")
        elif identity in by_id:
            report.row(row, "id", f"{identity!r} occurs twice")
        else:
            split = image.get("split", "train")
            by_id[identity] = Entry(
                row, name, [], split if isinstance(split, str) else "", str(image.get("coco_url") or "")[:400]
            )
    for position, annotation in enumerate(data["annotations"]):
        _annotation(annotation, f"annotations[{position}]", by_id, skeleton, report)
    empty = sum(not e.people for e in by_id.values())
    if empty:
        report.note("pictures without annotated people, left out", empty)
    return Parsed(skeleton, [e for e in by_id.values() if e.people])


def _annotation(annotation: Any, row: str, by_id: dict[Any, Entry], skeleton: Skeleton, report: Report) -> None:
    if not isinstance(annotation, dict):
        return report.row(row, "annotation", "is not an object")
    flat = annotation.get("keypoints")
    if annotation.get("iscrowd") or not flat or annotation.get("num_keypoints") == 0:
        return report.note("annotations without keypoints, left out")
    identity = annotation.get("image_id")
    entry = by_id.get(identity) if isinstance(identity, int | str) else None
    if entry is None:
        return report.row(row, "image_id", f"{identity!r} is not one of 'images'")
    expected_length = 3 * len(skeleton.keypoints)
    if not isinstance(flat, list) or len(flat) != expected_length:
        return report.row(row, "keypoints", f"has not {expected_length} numbers")
    values = [number(v) for v in flat]
    keypoints: list[list[float]] = []
    for j, name in enumerate(skeleton.keypoints):
        x, y, v = values[3 * j : 3 * j + 3]
        if x is None or y is None or v not in (0, 1, 2):
            report.row(row, name, "needs finite x, y and a visibility of 0, 1 or 2")
            return None
        keypoints.append([x, y, int(v)] if v else [0.0, 0.0, ABSENT])
    box = annotation.get("bbox")
    bbox = [number(v) for v in box] if isinstance(box, list) and len(box) == 4 else None
    if bbox is not None and (None in bbox or bbox[2] <= 0 or bbox[3] <= 0):  # type: ignore[operator]
        return report.row(row, "bbox", "needs finite x, y and positive width, height")
    entry.people.append(ParsedPerson(keypoints, bbox))  # type: ignore[arg-type]
    entry.questions += questions_of(
        annotation.get("ordinal"), row, len(entry.people) - 1, len(skeleton.keypoints), report
    )
    return None


def _skeleton(categories: Any) -> Skeleton:
    person = (
        next((c for c in categories or [] if isinstance(c, dict) and c.get("keypoints")), None)
        if isinstance(categories, list)
        else None
    )
    if person is None:
        return skeletons.COCO_17
    names = person["keypoints"]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise BadInput("categories.keypoints is not a list of names")
    known = skeletons.by_names(names)
    if known:
        return known
    try:
        bones = [[names[a - 1], names[b - 1]] for a, b in person.get("skeleton", [])]
        return skeletons.from_dict({"name": f"coco-{len(names)}", "keypoints": names, "bones": bones, "root": names[0]})
    except (TypeError, ValueError, IndexError) as error:
        raise BadInput(f"categories.skeleton is wrong: {error}") from None
