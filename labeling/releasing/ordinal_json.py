"""The LSP-style ordinal data set (layout of `relative_depth_lsp_v1.json`; Ronchi et al. 2018), written as a stream.

label 0 = kp0 closer; prob = P(label = 1); risk = probability that label is wrong. Beyond the published keys each
image may carry `absent`, `person`, `bbox`, `truth_mm` and its credits, so that nothing is lost on the way back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labeling.models import Image, Person
from labeling.releasing.source import Ann, Source, absent, occluded


def write(source: Source, path: Path) -> None:
    head = {"joint_names": list(source.skeleton.keypoints), "skeleton": source.skeleton.as_dict()}
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "images": [')
        between = "\n"
        for image, person, anns in source.labelled():
            file.write(between + json.dumps(_image(image, person, anns), ensure_ascii=False))
            between = ",\n"
        file.write("\n]}\n")


def _image(image: Image, person: Person, anns: list[Ann]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "im_file": image.name,
        "is_train": image.split == "train",
        "split": image.split,
        "width": image.width,
        "height": image.height,
        "sha256": image.sha256,
        "person": person.index,
        "bbox": person.bbox,
        "keypoints": [v for k in person.keypoints for v in k[:2]],
        "occluded": occluded(person),
        "anns": [
            {"kp0": a.kp0, "kp1": a.kp1, "label": a.label, "prob": a.prob, "risk": a.risk, "votes": a.votes}
            for a in anns
        ],
    }
    if any(absent(person)):
        data["absent"] = absent(person)
    if person.truth_mm:
        data["truth_mm"] = person.truth_mm
    for key in ("source", "licence", "attribution"):
        if getattr(image, key):
            data[key] = getattr(image, key)
    return data
