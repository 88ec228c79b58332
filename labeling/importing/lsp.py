"""Leeds Sports Pose: `joints.mat`, and LSP-extended, whose layout and third channel are different.

            layout        third channel         absent joint
LSP         3 x 14 x N    1 = occluded          not a number
extended    14 x 3 x N    1 = visible           coordinates outside the picture
Source: Johnson and Everingham, BMVC 2010 and CVPR 2011.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from labeling.importing.archive import PICTURE_SUFFIXES, Pictures
from labeling.importing.matlab import load
from labeling.importing.parsed import ABSENT, OCCLUDED, VISIBLE, BadInput, Entry, Limits, Parsed, ParsedPerson, Report
from labeling.skeletons import LSP_14

NUMBERED = re.compile(r"^(.*?)(\d+)(\.\w+)$")


def read_lsp(path: Path, pictures: Pictures, limits: Limits, report: Report) -> Parsed:
    """LSP: 3 x 14 x N; of exactly 2,000 pictures the first 1,000 are for training (the published split)."""
    joints = _joints(path, limits, (3, 14), "LSP (3 x 14 x N)")
    return _parsed(joints.transpose(2, 1, 0), False, pictures, report)


def read_lsp_extended(path: Path, pictures: Pictures, limits: Limits, report: Report) -> Parsed:
    """LSP-extended: 14 x 3 x N, all for training."""
    joints = _joints(path, limits, (14, 3), "LSP-extended (14 x 3 x N)")
    return _parsed(joints.transpose(2, 0, 1), True, pictures, report)


def _joints(path: Path, limits: Limits, shape: tuple[int, int], title: str) -> Any:
    variables = load(path, limits)
    joints = variables.get("joints")
    if joints is None:
        raise BadInput(f"has no variable 'joints' (has: {', '.join(sorted(variables)) or 'none'})", fix=f"give {title}")
    if isinstance(joints, np.ndarray) and joints.ndim == 2 and joints.shape == shape:
        joints = joints[:, :, None]
    if not isinstance(joints, np.ndarray) or joints.dtype.kind not in "fiu" or joints.ndim != 3:
        raise BadInput("'joints' is not an array of three dimensions", fix=f"give {title}")
    if joints.shape[:2] != shape:
        other = " - this is the layout of the other LSP format" if joints.shape[:2] == shape[::-1] else ""
        raise BadInput(f"'joints' is {' x '.join(map(str, joints.shape))}{other}", fix=f"give {title}")
    return joints.astype(np.float64)


def _parsed(joints: Any, extended: bool, pictures: Pictures, report: Report) -> Parsed:
    """`joints`: N x 14 x (x, y, third channel)."""
    names = _names(len(joints), pictures)
    entries = []
    for number, (name, person) in enumerate(zip(names, joints, strict=True)):
        row = f"joints(:,:,{number + 1})"
        keypoints = []
        for keypoint, (x, y, third) in zip(LSP_14.keypoints, person.tolist(), strict=True):
            if x != x or y != y:
                keypoints.append([0.0, 0.0, ABSENT])
                continue
            if third not in (0.0, 1.0):
                report.row(row, keypoint, f"the third channel is {third}, not 0 or 1")
            if abs(x) > 1e6 or abs(y) > 1e6:
                report.row(row, keypoint, f"coordinates {x}, {y} are no pixels")
            state = VISIBLE if (third == 1.0) == extended else OCCLUDED
            keypoints.append([x, y, state])
        split = "test" if not extended and len(joints) == 2000 and number >= 1000 else "train"
        entries.append(Entry(row, name, [ParsedPerson(keypoints)], split))
    return Parsed(LSP_14, entries)


def _names(count: int, pictures: Pictures) -> list[str]:
    """Picture k of the file is the one numbered k (im0001.jpg, im00001.jpg): by number, never by chance of sorting."""
    numbered: dict[int, str] = {}
    for name in sorted(pictures.names):
        match = NUMBERED.match(name) if Path(name).suffix.lower() in PICTURE_SUFFIXES else None
        if match:
            if int(match[2]) in numbered:
                raise BadInput(
                    f"two pictures are numbered {int(match[2])}",
                    field="pictures",
                    value=name,
                    fix="leave only im0001.jpg, im0002.jpg, ... in the folder",
                )
            numbered[int(match[2])] = name
    missing = [k for k in range(1, count + 1) if k not in numbered]
    if missing:
        raise BadInput(
            f"picture number {missing[0]} of {count} is missing ({len(missing)} in all)",
            field="pictures",
            fix="name the pictures im0001.jpg, im0002.jpg, ...",
        )
    return [numbered[k] for k in range(1, count + 1)]
