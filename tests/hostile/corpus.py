"""Bad uploads and requests, each with the field its answer must name."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from tests.conftest import jpeg, people_json

GOOD_PICTURES = {f"p{n + 1:04d}.jpg": jpeg(n) for n in range(3)}


def zipped(files: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if change:
                change(info)
            archive.writestr(info, data)
    return stream.getvalue()


GOOD_ZIP = zipped(GOOD_PICTURES)
GOOD_JSON = json.dumps(people_json(3)).encode()


def with_picture(data: bytes) -> bytes:
    return zipped({**GOOD_PICTURES, "p0002.jpg": data})


def edited(change: Callable[[dict[str, Any]], Any]) -> bytes:
    data = people_json(3)
    change(data)
    return json.dumps(data).encode()


def png_promising(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def bomb() -> bytes:
    return zipped({**GOOD_PICTURES, "p0009.jpg": b"\0" * 30_000_000})


def link(info: zipfile.ZipInfo) -> None:
    info.external_attr = 0o120777 << 16


def mat(**variables: Any) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


def mat_promising(rows: int) -> bytes:
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    body = (
        struct.pack("<IIII", 6, 8, 6, 0)
        + struct.pack("<IIiiii", 5, 12, 3, 14, rows, 0)
        + struct.pack("<II8s", 1, 6, b"joints")
    )
    body += struct.pack("<II", 9, 8) + b"\0" * 8
    return head + struct.pack("<II", 14, len(body)) + body


def gif() -> bytes:
    stream = io.BytesIO()
    Image.new("P", (40, 40)).save(stream, "GIF")
    return stream.getvalue()


def animation() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40)).save(stream, "WEBP", save_all=True, append_images=[Image.new("RGB", (40, 40), "red")])
    return stream.getvalue()


def tiny() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "PNG")
    return stream.getvalue()


def set_at(path: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    def change(data: dict[str, Any]) -> None:
        *way, last = path.split("/")
        here: Any = data
        for step in way:
            here = here[int(step)] if isinstance(here, list) else here[step]
        here[int(last) if isinstance(here, list) else last] = value

    return change


PERSON = "images/1/people/0"
LSP_ZIP = zipped({f"im{n + 1:04d}.jpg": jpeg(n) for n in range(3)})
LSP = np.random.default_rng(0).uniform(5, 90, (3, 14, 3)).round()
LSP[2] = 0


def ordinal(**change: Any) -> bytes:
    names = list(people_json(1)["images"][0]["people"][0]["keypoints"])
    image = {
        "im_file": "p0001.jpg",
        "keypoints": [20.0] * 28,
        "occluded": [0] * 14,
        "is_train": True,
        "anns": [{"kp0": 0, "kp1": 1, "label": 0, "prob": 0.1, "risk": 0.1}],
    }
    return json.dumps({"joint_names": names, "images": [image | change]}).encode()


def coco(images: Any = None, annotations: Any = None) -> bytes:
    images = [{"id": 1, "file_name": "p0001.jpg"}] if images is None else images
    annotations = [{"image_id": 1, "keypoints": [10, 10, 2] * 17}] if annotations is None else annotations
    return json.dumps({"images": images, "annotations": annotations}).encode()


def uploads() -> Iterator[tuple[str, str, bytes, bytes, str]]:
    """(name, format, annotations, pictures, field that must be named)"""
    for name, data in {
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "html": b"<!doctype html><script>alert(1)</script>",
        "text": b"hello",
        "empty": b"",
        "gif": gif(),
        "truncated jpeg": jpeg()[:400],
        "magic only": b"\xff\xd8\xff\xe0",
        "animation": animation(),
        "tiny": tiny(),
        "png of 2^31 px": png_promising(2**31 - 1, 2**31 - 1),
        "png of 60000 px": png_promising(60_000, 60_000),
        "png with wrong data": png_promising(64, 64),
        "riff but no webp": b"RIFF\x10\0\0\0WAVEfmt ",
        "pickle": b"\x80\x04\x95cposix\nsystem",
    }.items():
        yield f"picture: {name}", "json", GOOD_JSON, with_picture(data), "pictures"
    for name, data in {
        "slip": zipped({"../../evil.jpg": jpeg()}),
        "absolute": zipped({"/etc/evil.jpg": jpeg()}),
        "drive": zipped({"C:/evil.jpg": jpeg()}),
        "backslash slip": zipped({"..\\evil.jpg": jpeg()}),
        "bomb": bomb(),
        "link": zipped(GOOD_PICTURES, link),
        "no zip": b"no zip at all",
        "empty file": b"",
        "cut off": GOOD_ZIP[: len(GOOD_ZIP) // 2],
        "picture missing": zipped({"p0001.jpg": jpeg()}),
        "empty archive": zipped({}),
        "damaged data": GOOD_ZIP[:60] + b"\xff" * 40 + GOOD_ZIP[100:],
        "encrypted flag": GOOD_ZIP.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
    }.items():
        yield f"archive: {name}", "json", GOOD_JSON, data, "pictures"
    for name, data, field in (
        ("not json", b"{", "annotations"),
        ("nan", GOOD_JSON.replace(b"2]", b"NaN]", 1), "annotations"),
        ("empty", b"", "annotations"),
        ("infinity", GOOD_JSON.replace(b"2]", b"Infinity]", 1), "annotations"),
        ("deep", b"[" * 100_000, "annotations"),
        ("doubled key", b'{"images": [], "images": []}', "annotations"),
        ("utf-16", GOOD_JSON.decode().encode("utf-16"), "annotations"),
        ("no images", b'{"skeleton": "lsp-14"}', "annotations"),
        ("list", b"[]", "annotations"),
        ("nobody", b'{"images": []}', "annotations"),
        ("unknown skeleton", edited(set_at("skeleton", "cow-5")), "annotations"),
        ("skeleton of one", edited(set_at("skeleton", {"name": "x", "keypoints": ["a"]})), "annotations"),
        ("two values", edited(set_at(f"{PERSON}/keypoints/neck", [1, 2])), "neck"),
        ("text value", edited(set_at(f"{PERSON}/keypoints/neck", ["a", 2, 2])), "neck"),
        ("null", edited(set_at(f"{PERSON}/keypoints/neck", [None, 2, 2])), "neck"),
        ("visibility 7", edited(set_at(f"{PERSON}/keypoints/neck", [1, 2, 7])), "neck"),
        ("huge", edited(set_at(f"{PERSON}/keypoints/neck", [10**400, 2, 2])), "neck"),
        ("outside", edited(set_at(f"{PERSON}/keypoints/neck", [-5, 2, 2])), "neck"),
        ("2^31", edited(set_at(f"{PERSON}/keypoints/neck", [2**31, 2, 2])), "neck"),
        ("unknown joint", edited(set_at(f"{PERSON}/keypoints/tail", [1, 2, 2])), "tail"),
        ("negative box", edited(set_at(f"{PERSON}/bbox", [0, 0, -4, 5])), "bbox"),
        ("truth without depth", edited(set_at(f"{PERSON}/truth_mm", {"neck": [0, 0]})), "truth_mm"),
        ("doubled name", edited(set_at("images/1/file", "p0001.jpg")), "file"),
        ("name with ..", edited(set_at("images/1/file", "../p0001.jpg")), "file"),
        ("wrong split", edited(set_at("images/1/split", "later")), "split"),
        ("number as name", edited(set_at("images/1/file", 5)), "file"),
        ("no people", edited(set_at("images/1/people", [])), "people"),
        ("long licence", edited(set_at("images/1/licence", "x" * 900)), "licence"),
    ):
        yield f"json: {name}", "json", data, GOOD_ZIP, field
    for name, kind, data in (
        ("no mat", "lsp", b"no matlab file"),
        ("7.3", "lsp", b"MATLAB 7.3 MAT-file".ljust(600)),
        ("no joints", "lsp", mat(other=np.zeros(3))),
        ("other layout", "lsp", mat(joints=LSP.transpose(1, 0, 2))),
        ("wrong shape", "lsp-extended", mat(joints=np.zeros((4, 5, 6)))),
        ("text", "lsp", mat(joints="text")),
        ("promise of 2^31", "lsp", mat_promising(2**31 - 1)),
        ("cut off", "lsp", mat(joints=LSP)[:-300]),
        ("negative size", "lsp", mat_promising(-5)),
        ("cells", "lsp", mat(joints=np.array([[1, "a"]], dtype=object))),
        ("no struct", "mpii", mat(RELEASE=np.zeros(2))),
    ):
        yield f"mat: {name}", kind, data, LSP_ZIP, "annotations"
    yield "mat: too few pictures", "lsp", mat(joints=np.ones((3, 14, 9))), LSP_ZIP, "pictures"
    yield "mat: third channel", "lsp", mat(joints=np.full((3, 14, 3), 5.0)), LSP_ZIP, "right_ankle"
    for name, data, field in (
        ("kp out of range", ordinal(anns=[{"kp0": 0, "kp1": 99, "label": 0}]), "kp1"),
        ("same kp", ordinal(anns=[{"kp0": 3, "kp1": 3, "label": 0}]), "kp1"),
        ("prob 2", ordinal(anns=[{"kp0": 0, "kp1": 1, "label": 1, "prob": 2}]), "prob"),
        ("label 5", ordinal(anns=[{"kp0": 0, "kp1": 1, "label": 5, "prob": 1}]), "label"),
        ("doubled pair", ordinal(anns=[{"kp0": 0, "kp1": 1, "label": 1}, {"kp0": 1, "kp1": 0, "label": 0}]), "kp1"),
        ("short", ordinal(keypoints=[1.0]), "keypoints"),
        ("occluded 3", ordinal(occluded=[3] * 14), "occluded"),
    ):
        yield f"ordinal: {name}", "ordinal", data, GOOD_ZIP, field
    for name, data, field in (
        ("unknown image", coco(annotations=[{"image_id": 5, "keypoints": [1, 1, 2] * 17}]), "image_id"),
        ("empty file name", coco(images=[{"id": 1, "file_name": ""}]), "file"),
        ("doubled id", coco(images=[{"id": 1, "file_name": "p0001.jpg"}] * 2), "id"),
        ("short", coco(annotations=[{"image_id": 1, "keypoints": [1, 1, 2]}]), "keypoints"),
        ("no lists", b"{}", "annotations"),
        ("id is a list", coco(annotations=[{"image_id": [1], "keypoints": [1, 1, 2] * 17}]), "image_id"),
    ):
        yield f"coco: {name}", "coco", data, GOOD_ZIP, field
    head = b"image,person,keypoint,x,y,visibility\n"
    for name, data, field in (
        ("no column", b"image,person\n", "annotations"),
        ("bad visibility", head + b"p0001.jpg,0,neck,1,2,9\n", "visibility"),
        ("nan", head + b"p0001.jpg,0,neck,nan,2,2\n", "x"),
        ("twice", head + b"p0001.jpg,0,neck,1,2,2\n" * 2, "keypoint"),
        ("no image", head + b",0,neck,1,2,2\n", "image"),
        ("latin", head + b"p\xff.jpg,0,neck,1,2,2\n", "annotations"),
    ):
        yield f"csv: {name}", "csv", data, GOOD_ZIP, field
