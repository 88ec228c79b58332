"""Pictures and people for tests and benchmarks, made by a seed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from labeling.skeletons import LSP_14


def jpeg(seed: int = 0, size: tuple[int, int] = (96, 128)) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(size).save(stream, "JPEG")
    return stream.getvalue()


def people_json(count: int, seed: int = 1) -> dict[str, Any]:
    """`count` pictures with one LSP-14 person each; depths known, one joint occluded, one absent in every third."""
    rng = np.random.default_rng(seed)
    images = []
    for n in range(count):
        xy, depth = rng.uniform(8, 88, (14, 2)).round(2), rng.normal(3000, 250, 14).round(1)
        keypoints = {
            name: [*xy[j].tolist(), 1 if j == n % 14 else 0 if n % 3 == 2 and j == (n + 5) % 14 else 2]
            for j, name in enumerate(LSP_14.keypoints)
        }
        truth = {name: [*(xy[j] * 10).round(1).tolist(), depth[j].item()] for j, name in enumerate(LSP_14.keypoints)}
        images.append(
            {
                "file": f"p{n + 1:04d}.jpg",
                "split": "test" if n % 4 == 3 else "train",
                "people": [{"keypoints": keypoints, "truth_mm": truth}],
            }
        )
    return {"skeleton": "lsp-14", "images": images}
