"""How large an npz may unpack: looked up in its table of contents before anything is read."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import IO


def unpacked_bytes(file: Path | IO[bytes] | BytesIO) -> int:
    """Raises zipfile.BadZipFile for what is no archive."""
    with zipfile.ZipFile(file) as archive:
        return sum(info.file_size for info in archive.infolist())


def bounded(file: Path | IO[bytes] | BytesIO, most: int) -> None:
    """Raises ValueError for an archive that unpacks to more than `most` bytes."""
    size = unpacked_bytes(file)
    if size > most:
        raise ValueError(f"it unpacks to {size >> 20} MiB, at most {most >> 20} are read")
