"""`joints.mat` in the LSP layout, 3 x J x N: x, y, third channel 1 = occluded; absent keypoints are NaN.

Written as a stream: MATLAB stores arrays by column, so one person's 3 x J numbers lie together, in order.
Format: MATLAB 5 MAT-file, uncompressed (MathWorks, 'MAT-File Format').
"""

from __future__ import annotations

import struct
from pathlib import Path

from labeling.models.dataset import ABSENT, OCCLUDED
from labeling.releasing.source import Source
from webapp.errors import Refusal

MI_INT8, MI_INT32, MI_UINT32, MI_DOUBLE, MI_MATRIX = 1, 5, 6, 9, 14
MX_DOUBLE = 6
NAN = float("nan")


def write(source: Source, path: Path) -> None:
    joints, people = len(source.skeleton.keypoints), source.count()
    numbers = 3 * joints * people * 8
    if numbers >= 2**31 - 64:
        raise Refusal("Too many people for a MATLAB 5 file.", field="joints.mat", fix="use ordinal.json or Parquet")
    with path.open("wb") as file:
        file.write(b"MATLAB 5.0 MAT-file, written by Nearer".ljust(124) + b"\x00\x01IM")
        file.write(struct.pack("<II", MI_MATRIX, 16 + 24 + 16 + 8 + numbers))
        file.write(struct.pack("<IIII", MI_UINT32, 8, MX_DOUBLE, 0))
        file.write(struct.pack("<IIiiii", MI_INT32, 12, 3, joints, people, 0))
        file.write(struct.pack("<II8s", MI_INT8, 6, b"joints"))
        file.write(struct.pack("<II", MI_DOUBLE, numbers))
        for subject in source.people():
            for x, y, state in subject.keypoints:
                row = (NAN, NAN, NAN) if state == ABSENT else (x, y, float(state == OCCLUDED))
                file.write(struct.pack("<3d", *row))
