"""COCO keypoints JSON with the pairs added to each annotation under `ordinal`; written as a stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labeling.models import Person
from labeling.models.dataset import ABSENT
from labeling.releasing.source import Ann, Source


def write(source: Source, path: Path) -> None:
    plain = source.skeleton
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(plain.keypoints),
        "skeleton": [[plain.index(a) + 1, plain.index(b) + 1] for a, b in plain.bones],
    }
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": ' + json.dumps({"description": source.campaign.name}) + ', "categories": ')
        file.write(json.dumps([category]) + ', "images": [')
        between, last = "\n", None
        for image, _ in source.people():
            if image.pk != last:
                row = {
                    "id": image.pk,
                    "file_name": image.name,
                    "width": image.width,
                    "height": image.height,
                    "split": image.split,
                }
                file.write(between + json.dumps(row, ensure_ascii=False))
                between, last = ",\n", image.pk
        file.write('\n], "annotations": [')
        between = "\n"
        for image, person, anns in source.labelled():
            file.write(between + json.dumps(_annotation(image.pk, person, anns)))
            between = ",\n"
        file.write("\n]}\n")


def _annotation(image: int, person: Person, anns: list[Ann]) -> dict[str, Any]:
    return {
        "id": person.pk,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": person.bbox,
        "area": round(person.bbox[2] * person.bbox[3], 2),
        "num_keypoints": sum(k[2] != ABSENT for k in person.keypoints),
        "keypoints": [v for k in person.keypoints for v in k],
        "ordinal": [
            {"kp0": a.kp0, "kp1": a.kp1, "label": a.label, "prob": a.prob, "risk": a.risk, "votes": a.votes}
            for a in anns
        ],
    }
