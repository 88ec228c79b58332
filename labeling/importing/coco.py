"""COCO keypoints JSON; pairs that our own release adds (`ordinal`) are read back. Source: Lin et al., ECCV 2014."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labeling import skeletons
from labeling.importing.archive import Pictures
from labeling.importing.jsonfile import load, questions_of
from labeling.importing.parsed import ABSENT, BadInput, Entry, Limits, Parsed, ParsedPerson, Report, number
from labeling.skeletons import Skeleton


def read_coco(path: Path, pictures: Pictures, limits: Limits, report: Report) -> Parsed:
    """People by their category: those of others, crowds (`iscrowd`) and annotations without keypoints are left out and counted."""
    data = load(path, limits)
    if (
        not isinstance(data, dict)
        or not isinstance(data.get("images"), list)
        or not isinstance(data.get("annotations"), list)
    ):
        raise BadInput("needs the lists 'images' and 'annotations'", fix="give a COCO keypoints file")
    categories = _categories(data.get("categories"))
    by_id: dict[Any, Entry] = {}
    for position, image in enumerate(data["images"]):
        _image(image, f"images[{position}]", by_id, report)
    for position, annotation in enumerate(data["annotations"]):
        _annotation(annotation, f"annotations[{position}]", by_id, categories, report)
    empty = sum(not e.people for e in by_id.values())
    if empty:
        report.note("pictures without annotated people, left out", empty)
    return Parsed(categories.skeleton, [e for e in by_id.values() if e.people])


def _identity(value: Any) -> int | str | None:
    """An id whatever type a program gave it: 1, 1.0 and '1' are one. None for what is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and str(int(value[:400])) == value:
        return int(value)
    return value if isinstance(value, int | str) else None


def _image(image: Any, row: str, by_id: dict[Any, Entry], report: Report) -> None:
    if not isinstance(image, dict):
        return report.row(row, "image", "is not an object")
    name, identity = image.get("file_name"), _identity(image.get("id"))
    if not isinstance(name, str):
        return report.row(row, "file_name", "is missing" if name is None else "is not a text")
    if identity is None:
        is_missing = image.get("id") is None
        return report.row(row, "id", "is missing" if is_missing else f"{image['id']!r:.40} is no number or text")
    if identity in by_id:
        return report.row(row, "id", f"{identity!r} occurs twice")
    split, size = image.get("split", "train"), (number(image.get("width")), number(image.get("height")))
    by_id[identity] = Entry(
        *(row, name, [], split if isinstance(split, str) else "", str(image.get("coco_url") or "")[:400]),
        size=(size[0], size[1]) if size[0] and size[1] and min(size[0], size[1]) > 0 else None,
    )
    return None


def _annotation(annotation: Any, row: str, by_id: dict[Any, Entry], categories: _Categories, report: Report) -> None:
    if not isinstance(annotation, dict):
        return report.row(row, "annotation", "is not an object")
    flat = annotation.get("keypoints")
    if annotation.get("iscrowd") or not flat or annotation.get("num_keypoints") == 0:
        return report.note("annotations without keypoints, left out")
    category = _identity(annotation.get("category_id"))
    if category in categories.others:
        return report.note(f"annotations of the category {categories.others[category]!r}, left out")
    identity = annotation.get("image_id")
    entry = by_id.get(_identity(identity))
    if entry is None:
        return report.row(row, "image_id", f"{identity!r:.40} is not one of 'images'")
    skeleton = categories.skeleton
    expected_length = 3 * len(skeleton.keypoints)
    if not isinstance(flat, list) or len(flat) != expected_length:
        reason = f"has not {expected_length} numbers"
        if categories.unnamed:
            reason = f"the category names no keypoints, and these are not COCO's {len(skeleton.keypoints)}"
        return report.row(row, "keypoints", reason)
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
    if box is not None and (bbox is None or None in bbox or bbox[2] <= 0 or bbox[3] <= 0):  # type: ignore[operator]
        report.note("boxes without a size, drawn around the keypoints instead")
        bbox = None
    entry.people.append(ParsedPerson(keypoints, bbox))  # type: ignore[arg-type]
    entry.questions += questions_of(
        annotation.get("ordinal"), row, len(entry.people) - 1, len(skeleton.keypoints), report
    )
    return None


PERSON = {"person", "persons", "people", "human", "pedestrian", "body"}


@dataclass(frozen=True)
class _Categories:
    """The category of people, as a skeleton; `others` by id, whose annotations are left out. `unnamed`: the file names no
    keypoints, and COCO's are assumed."""

    skeleton: Skeleton
    others: dict[int | str | None, str]
    unnamed: bool


def _categories(listed: Any) -> _Categories:
    listed = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
    with_keypoints = [c for c in listed if c.get("keypoints")]
    people = [c for c in with_keypoints if str(c.get("name", "")).strip().lower() in PERSON] or with_keypoints
    if len(people) > 1:
        names = ", ".join(repr(str(c.get("name"))[:40]) for c in people[:10])
        raise BadInput(
            f"several categories have keypoints and it is not clear which are people: {names}",
            fix="call one of them 'person', or leave the others out",
        )
    person = people[0] if people else None
    others = {_identity(c.get("id")): str(c.get("name"))[:40] for c in with_keypoints if c is not person}
    if person is None:
        return _Categories(skeletons.COCO_17, others, bool(listed))
    return _Categories(skeleton_of(person), others, False)


def skeleton_of(person: dict[str, Any]) -> Skeleton:
    names = person["keypoints"]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise BadInput("categories.keypoints is not a list of names")
    known = skeletons.by_names(names)
    if known:
        return known
    bones = [[names[a], names[b]] for a, b in _edges(person.get("skeleton") or [], names)]
    try:
        return skeletons.from_dict({"name": f"coco-{len(names)}", "keypoints": names, "bones": bones, "root": names[0]})
    except (TypeError, ValueError, IndexError) as error:
        raise BadInput(f"categories.skeleton is wrong: {error}") from None


def _edges(edges: Any, names: list[str]) -> list[tuple[int, int]]:
    """Places of the keypoints that edges join. COCO counts from 1; a file with a 0 counts from 0."""
    if not isinstance(edges, list) or any(
        not isinstance(e, list) or len(e) != 2 or not all(isinstance(_identity(v), int) for v in e) for e in edges
    ):
        raise BadInput("categories.skeleton is not a list of pairs of numbers", fix="give [[1, 2], [2, 3]]")
    pairs = [(int(a), int(b)) for a, b in edges]
    start = 0 if any(0 in pair for pair in pairs) else 1
    for a, b in pairs:
        if not (start <= min(a, b) and max(a, b) < len(names) + start):
            raise BadInput(
                f"categories.skeleton has the edge [{a}, {b}], but there are {len(names)} keypoints",
                fix=f"count them from {start}",
            )
    return [(a - start, b - start) for a, b in pairs]
