"""The guarded edge, part one: a folder or a zip of pictures, opened without trusting a word of it."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from labeling.importing.parsed import BadInput, Limits

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
MOST_RATIO = 1000  # no picture compresses better than this; a bomb does
FIELD = "pictures"


class Pictures:
    """Pictures by name. `read(name)` gives at most `limits.image_bytes` bytes."""

    names: frozenset[str]

    def read(self, name: str) -> bytes:
        raise BadInput(f"no picture named {name!r}", field=FIELD)

    def find(self, name: str) -> str | None:
        """The full name of a picture given as in the annotations: as it is, else by its last part if that is unique."""
        if name in self.names:
            return name
        return self._by_last_part.get(PurePosixPath(name).name)

    def _index(self, names: Iterator[str]) -> None:
        listed = sorted(names)
        self.names = frozenset(listed)
        last: dict[str, str | None] = {}
        for full in listed:
            short = PurePosixPath(full).name
            last[short] = None if short in last else full
        self._by_last_part = last

    def close(self) -> None:
        """Release what is open."""


class Folder(Pictures):
    def __init__(self, path: Path, limits: Limits) -> None:
        if not path.is_dir():
            raise BadInput(f"{path.name} is not a folder", field=FIELD, fix="give a folder or a .zip of pictures")
        self.path, self.limits = path.resolve(), limits
        self._index(self._pictures())

    def _pictures(self) -> Iterator[str]:
        """Names below the folder; links that lead out of it are left alone."""
        for folder, _, files in os.walk(self.path):
            for file in files:
                path = f"{folder}/{file}"
                if os.path.splitext(file)[1].lower() not in PICTURE_SUFFIXES:
                    continue
                if not os.path.islink(path) or self.path in Path(path).resolve().parents:
                    yield os.path.relpath(path, self.path).replace(os.sep, "/") if folder != str(self.path) else file

    def read(self, name: str) -> bytes:
        with (self.path / name).open("rb") as file:
            data = file.read(self.limits.image_bytes + 1)
        return _bounded(data, name, self.limits)


class Zip(Pictures):
    def __init__(self, path: Path, limits: Limits) -> None:
        self.limits = limits
        try:
            self.file = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, zlib.error) as error:
            raise BadInput(f"not a readable zip archive: {error}", field=FIELD, fix="make the archive again") from None
        try:
            self.members = self._checked(self.file.infolist())
        except BaseException:
            self.file.close()
            raise
        self._index(n for n in self.members if PurePosixPath(n).suffix.lower() in PICTURE_SUFFIXES)

    def _checked(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        if len(infos) > self.limits.archive_files:
            raise BadInput(
                f"{len(infos)} files in the archive, at most {self.limits.archive_files} are taken", field=FIELD
            )
        if sum(i.file_size for i in infos) > self.limits.archive_bytes:
            raise BadInput(
                "unpacked, the archive is too large", field=FIELD, fix="split it, or raise NEARER_MAX_ARCHIVE_MB"
            )
        members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.orig_filename.replace("\\", "/")
            if name.startswith("/") or ".." in name.split("/") or ":" in name or "\0" in name:
                raise BadInput(
                    "a name that leads out of the archive", field=FIELD, value=name, fix="use plain file names"
                )
            if stat.S_ISLNK(info.external_attr >> 16):
                raise BadInput("a symbolic link", field=FIELD, value=name, fix="put the file itself into the archive")
            if info.flag_bits & 1:
                raise BadInput("an encrypted file", field=FIELD, value=name, fix="make the archive without a password")
            if info.is_dir():
                continue
            if name in members:
                raise BadInput("a file name that occurs twice", field=FIELD, value=name, fix="rename one of them")
            if info.file_size > MOST_RATIO * max(info.compress_size, 1):
                raise BadInput("a file that unpacks to more than 1000 times its size", field=FIELD, value=name)
            members[name] = info
        return members

    def read(self, name: str) -> bytes:
        try:
            with self.file.open(self.members[name]) as member:
                data = member.read(self.limits.image_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise BadInput(
                f"damaged in the archive: {error}", field=FIELD, value=name, fix="make the archive again"
            ) from None
        return _bounded(data, name, self.limits)

    def close(self) -> None:
        self.file.close()


def _bounded(data: bytes, name: str, limits: Limits) -> bytes:
    if len(data) > limits.image_bytes:
        raise BadInput(f"larger than {limits.image_bytes // 2**20} MiB", field=FIELD, value=name)
    return data


def open_pictures(path: Path, limits: Limits) -> Pictures:
    """A folder, or a zip archive, of pictures. Raises BadInput."""
    return Folder(path, limits) if path.is_dir() else Zip(path, limits)
