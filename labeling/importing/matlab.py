"""MATLAB 5 files, looked through before scipy may read them.

scipy allocates what a header promises; a file of 200 bytes can promise 2^31 numbers. This walks every element and
refuses those that promise more than they hold.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

from labeling.importing.parsed import BadInput, Limits

MI_MATRIX, MI_COMPRESSED = 14, 15
CELL, STRUCT, OBJECT, CHAR, SPARSE, FUNCTION, OPAQUE = 1, 2, 3, 4, 5, 16, 17
FIX = "save it as a MATLAB 5 (v6 or v7) file"


def load(path: Path, limits: Limits) -> dict[str, Any]:
    """Variables of a .mat file by name. Raises BadInput."""
    size = path.stat().st_size
    if size > limits.annotation_bytes:
        raise BadInput("the file is too large")
    data = path.read_bytes()
    if data[:19] == b"MATLAB 7.3 MAT-file" or data[:8] == b"\x89HDF\r\n\x1a\n":
        raise BadInput("a MATLAB 7.3 file", fix=FIX)
    if len(data) < 136 or data[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise BadInput("not a MATLAB 5 file", fix=FIX)
    order = "<" if data[126:128] == b"IM" else ">"
    try:
        _walk(data[128:], order, limits)
    except (struct.error, zlib.error, IndexError) as error:
        raise BadInput(f"the MATLAB file is damaged or cut off ({error})", fix="copy it again") from None
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return {k: v for k, v in loadmat(path, struct_as_record=False, squeeze_me=False).items() if k[0] != "_"}
    except (
        MatReadError,
        ValueError,
        TypeError,
        OSError,
        KeyError,
        IndexError,
        NotImplementedError,
        zlib.error,
        MemoryError,
        AssertionError,
        UnicodeDecodeError,
        EOFError,
    ) as error:
        raise BadInput(f"scipy cannot read this MATLAB file ({error})", fix=FIX) from None


def _walk(data: bytes, order: str, limits: Limits) -> None:
    at = 0
    budget = limits.annotation_bytes
    while at < len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        if at + 8 + size > len(data):
            raise BadInput("the MATLAB file is cut off", fix="copy it again")
        body = data[at + 8 : at + 8 + size]
        if kind == MI_COMPRESSED:
            unpacker = zlib.decompressobj()
            body = unpacker.decompress(body, budget)
            if unpacker.unconsumed_tail:
                raise BadInput("unpacked, the MATLAB file is too large")
            budget -= len(body)
            kind, size = struct.unpack_from(order + "II", body)
            if size > len(body) - 8:
                raise BadInput("the MATLAB file promises more than it holds", fix="copy it again")
            body = body[8 : 8 + size]
        if kind == MI_MATRIX:
            _matrix(body, order, 0)
        at += 8 + struct.unpack_from(order + "I", data, at + 4)[0]


def _element(data: bytes, at: int, order: str) -> tuple[int, bytes, int]:
    """(type, body, next offset) of the element at `at`, small or normal."""
    kind, size = struct.unpack_from(order + "II", data, at)
    if kind >> 16:
        return kind & 0xFFFF, data[at + 4 : at + 4 + (kind >> 16)], at + 8
    if at + 8 + size > len(data):
        raise BadInput("the MATLAB file promises more than it holds", fix="copy it again")
    return kind, data[at + 8 : at + 8 + size], at + 8 + size + (-size) % 8


def _matrix(body: bytes, order: str, depth: int) -> None:
    if not body:
        return
    if depth > 20:
        raise BadInput("the MATLAB file is nested too deep")
    _, flags, at = _element(body, 0, order)
    mclass = struct.unpack(order + "I", flags[:4])[0] & 0xFF
    if mclass in (OBJECT, FUNCTION, OPAQUE, SPARSE):
        raise BadInput(
            "the MATLAB file holds objects, functions or sparse matrices", fix="save plain arrays and structs"
        )
    _, dims, at = _element(body, at, order)
    count = 1
    for size in struct.unpack(order + f"{len(dims) // 4}i", dims[: len(dims) // 4 * 4]):
        if size < 0:
            raise BadInput("the MATLAB file has a negative dimension")
        count *= size
    if count > len(body):
        raise BadInput("the MATLAB file promises more than it holds", value=f"{count} elements", fix="copy it again")
    _, _, at = _element(body, at, order)  # name
    if mclass == STRUCT:
        _, width, at = _element(body, at, order)
        _, names, at = _element(body, at, order)
        fields = len(names) // max(1, struct.unpack(order + "i", width[:4])[0])
        if count * fields * 8 > len(body):
            raise BadInput("the MATLAB file promises more than it holds", fix="copy it again")
    if mclass in (CELL, STRUCT):
        while at + 8 <= len(body):
            kind, inner, at = _element(body, at, order)
            if kind == MI_MATRIX:
                _matrix(inner, order, depth + 1)
