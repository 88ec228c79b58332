"""The guarded edge, part one: a folder or a zip of pictures, opened without trusting a word of it."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from labeling.importing.parsed import BadInput, Limits

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
OTHER_SUFFIXES = {".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".avif", ".dng"}  # listed, and refused when read
MOST_RATIO = 1000  # no picture compresses better than this; a bomb does
FIELD = "pictures"
UTF_8 = 0x800  # the flag of a zip's member whose name is in UTF-8
OTHER_ENCODINGS = ("cp932", "gb18030", "cp1252", "cp850")  # of zips that do not say which one they use
_DRIVE = re.compile(r"^[A-Za-z]:(?=/)")


def plain_name(name: str) -> str:
    """A picture's name as everybody spells it: forward slashes, composed letters, from no drive and no folder above."""
    name = _DRIVE.sub("", unicodedata.normalize("NFC", name).replace("\\", "/"))
    parts = name.split("/")
    start = 0
    while start < len(parts) - 1 and parts[start] in ("", ".", ".."):
        start += 1
    return "/".join(part for part in parts[start:] if part != ".")


def is_litter(name: str) -> bool:
    """Whether a file is what a system keeps beside the files of its people: macOS writes such into every zip."""
    parts = name.split("/")
    return "__MACOSX" in parts or ".AppleDouble" in parts or parts[-1].startswith("._")


class Pictures:
    """Pictures by name. `read(name)` gives at most `limits.image_bytes` bytes."""

    names: frozenset[str]

    def read(self, name: str) -> bytes:
        raise BadInput(f"no picture named {name!r}", field=FIELD)

    def find(self, name: str) -> str | None:
        """The full name of a picture given as in the annotations: as it is, else the one whose path has the longest end in
        common with it. None where several have."""
        name = plain_name(name)
        if name in self.names:
            return name
        if name in self._other_spellings:
            return self._other_spellings[name]
        wanted_parts = name.split("/")[::-1]
        longest, best = 0, None
        for full in self._by_last_part.get(wanted_parts[0], ()):
            parts = full.split("/")[::-1]
            common = next((n for n, (a, b) in enumerate(zip(parts, wanted_parts)) if a != b), None)
            length = min(len(parts), len(wanted_parts)) if common is None else common
            longest, best = max(longest, length), full if length > longest else best if length < longest else None
        return best

    def whose(self, names: Iterable[str]) -> dict[str, str | None]:
        """The picture of each of the annotations' names. Two never share one: what names it exactly has it, else none."""
        sought = {name: self.find(name) for name in names}
        claimed: dict[str, int] = {}
        for full in sought.values():
            if full is not None:
                claimed[full] = claimed.get(full, 0) + 1
        return {
            name: full if full is None or claimed[full] == 1 or plain_name(name) == full else None
            for name, full in sought.items()
        }

    def _index(self, names: Iterable[str], other_spellings: dict[str, str | None] | None = None) -> None:
        listed = sorted(names)
        self.names = frozenset(listed)
        self._other_spellings = other_spellings or {}
        self._by_last_part: dict[str, list[str]] = {}
        for full in listed:
            self._by_last_part.setdefault(PurePosixPath(full).name, []).append(full)

    def close(self) -> None:
        """Release what is open."""


class Folder(Pictures):
    def __init__(self, path: Path, limits: Limits) -> None:
        if not path.is_dir():
            raise BadInput(f"{path.name} is not a folder", field=FIELD, fix="give a folder or a .zip of pictures")
        self.path, self.limits = path.resolve(), limits
        self._files: dict[str, str] = {}
        for file in self._pictures():
            if self._files.setdefault(plain_name(file), file) != file:
                raise BadInput("two pictures of one name", field=FIELD, value=file, fix="rename one of them")
        self._index(self._files)

    def _pictures(self) -> Iterator[str]:
        """Names below the folder; links that lead out of it are left alone."""
        for folder, _, files in os.walk(self.path):
            for file in files:
                path = f"{folder}/{file}"
                if not _is_picture(file) or is_litter(path):
                    continue
                if not os.path.islink(path) or self.path in Path(path).resolve().parents:
                    yield os.path.relpath(path, self.path).replace(os.sep, "/") if folder != str(self.path) else file

    def read(self, name: str) -> bytes:
        with (self.path / self._files[name]).open("rb") as file:
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
        self._index(filter(_is_picture, self.members), self._guessed_names())

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
            name = _decoded(info).replace("\\", "/")
            if is_litter(name):
                continue
            if name.startswith("/") or ".." in name.split("/") or _DRIVE.match(name) or "\0" in name:
                raise BadInput(
                    "a name that leads out of the archive", field=FIELD, value=name, fix="use plain file names"
                )
            if stat.S_ISLNK(info.external_attr >> 16):
                raise BadInput("a symbolic link", field=FIELD, value=name, fix="put the file itself into the archive")
            if info.flag_bits & 1:
                raise BadInput("an encrypted file", field=FIELD, value=name, fix="make the archive without a password")
            if info.is_dir():
                continue
            name = plain_name(name)
            if name in members:
                raise BadInput("a file name that occurs twice", field=FIELD, value=name, fix="rename one of them")
            if info.file_size > MOST_RATIO * max(info.compress_size, 1):
                raise BadInput("a file that unpacks to more than 1000 times its size", field=FIELD, value=name)
            members[name] = info
        return members

    def _guessed_names(self) -> dict[str, str | None]:
        """What members are called if their names are in another encoding than the one read; None where that is not clear."""
        guessed: dict[str, str | None] = {}
        for name, info in self.members.items():
            if info.flag_bits & UTF_8 or name.isascii() or not _is_picture(name):
                continue
            raw = info.orig_filename.encode("cp437", "replace")
            for encoding in OTHER_ENCODINGS:
                other = plain_name(raw.decode(encoding, "replace"))
                if other not in self.members:
                    guessed[other] = name if guessed.get(other, name) == name else None
        return guessed

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


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES | OTHER_SUFFIXES


def _decoded(info: zipfile.ZipInfo) -> str:
    """A member's name: many programs write UTF-8 without the flag that says so."""
    if info.flag_bits & UTF_8:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.orig_filename


def _bounded(data: bytes, name: str, limits: Limits) -> bytes:
    if len(data) > limits.image_bytes:
        raise BadInput(f"larger than {limits.image_bytes // 2**20} MiB", field=FIELD, value=name)
    return data


def open_pictures(path: Path, limits: Limits) -> Pictures:
    """A folder, or a zip archive, of pictures. Raises BadInput."""
    return Folder(path, limits) if path.is_dir() else Zip(path, limits)
