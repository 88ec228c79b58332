"""The LSP-style ordinal data set (layout of `relative_depth_lsp_v1.json`; Ronchi et al. 2018), written as a stream.

label 0 = kp0 closer; prob = P(label = 1); risk = probability that label is wrong. Beyond the published keys each
image may carry `absent`, `person`, `bbox`, `truth_mm` and its credits, so that nothing is lost on the way back.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labeling.releasing.source import Source, Subject
from labeling.releasing.tables import Ann, anns_json, labelled


def write(source: Source, path: Path) -> None:
    head = {"joint_names": list(source.skeleton.keypoints), "skeleton": source.skeleton.as_dict()}
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "images": [')
        between = "\n"
        for subject, anns in labelled(source, path.parent):
            file.write(between + _image(subject, anns))
            between = ",\n"
        file.write("\n]}\n")


def _image(subject: Subject, anns: list[Ann]) -> str:
    data: dict[str, Any] = {
        "im_file": subject.image,
        "is_train": subject.split == "train",
        "split": subject.split,
        "width": subject.width,
        "height": subject.height,
        "sha256": subject.sha256,
        "person": subject.person,
        "bbox": subject.bbox,
        "keypoints": [v for k in subject.keypoints for v in k[:2]],
        "occluded": subject.occluded,
    }
    if any(subject.absent):
        data["absent"] = subject.absent
    if subject.truth_mm:
        data["truth_mm"] = subject.truth_mm
    for key in ("source", "licence", "attribution"):
        if text := getattr(subject, key):
            data[key] = text
    return json.dumps(data, ensure_ascii=False)[:-1] + f', "anns": {anns_json(anns)}}}'
