"""COCO keypoints JSON with the pairs added to each annotation under `ordinal`; written as a stream."""

from __future__ import annotations

import json
from pathlib import Path

from labeling.models.dataset import ABSENT
from labeling.releasing.source import Source, Subject
from labeling.releasing.tables import Ann, anns_json, labelled


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
        between = "\n"
        for subject in source.people():
            if subject.person == 0:
                row = {"id": subject.image_id, "file_name": subject.image}
                row |= {"width": subject.width, "height": subject.height, "split": subject.split}
                file.write(between + json.dumps(row, ensure_ascii=False))
                between = ",\n"
        file.write('\n], "annotations": [')
        between = "\n"
        for subject, anns in labelled(source, path.parent):
            file.write(between + _annotation(subject, anns))
            between = ",\n"
        file.write("\n]}\n")


def _annotation(subject: Subject, anns: list[Ann]) -> str:
    data = {
        "id": subject.person_id,
        "image_id": subject.image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": subject.bbox,
        "area": round(subject.bbox[2] * subject.bbox[3], 2),
        "num_keypoints": sum(k[2] != ABSENT for k in subject.keypoints),
        "keypoints": [v for k in subject.keypoints for v in k],
    }
    return json.dumps(data)[:-1] + f', "ordinal": {anns_json(anns)}}}'
