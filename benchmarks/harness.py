"""What every benchmark shares: options of one style, bars, and one line of JSON at the end.

`--poses` (npz of motion), `--real` (folder of real votes), `--recording` (folder of a real recording), `--pictures` (how many), `--seeds` and
`--parts` mean the same wherever they are taken. `--json` prints one line, the last on standard output: the figures, `bars` (each
with whether it holds) and `broken` (those that do not). The exit code is 0 if every bar holds, 1 if one does not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FILES = {
    "poses": "npz of mocap sequences",
    "real": "folder with answer.csv (question, worker, answer) and truth.csv (question, truth) of real people",
    "recording": "folder of a real recording with its calibration and reference",
}


def options(
    about: str | None,
    *,
    needs: Sequence[str] = (),
    takes: Sequence[str] = (),
    seeds: int = 0,
    pictures: int = 0,
    parts: Sequence[str] = (),
    usual: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """A parser with `--json` and the shared options asked for: files that it `needs` or `takes` (keys of FILES), the usual number of
    `seeds` and `pictures`, and `parts` of which the `usual` ones (all, where none are named) run."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one line of JSON last")
    for name in (*needs, *takes):
        parser.add_argument(f"--{name}", type=Path, required=name in needs, help=FILES[name])
    if seeds:
        parser.add_argument("--seeds", type=int, default=seeds, help="how many seeds; figures are means over them")
    if pictures:
        parser.add_argument("--pictures", type=int, default=pictures, help="how many pictures")
    if parts:
        parser.add_argument("--parts", nargs="+", choices=parts, default=list(usual or parts), help="what to measure")
    return parser


def conclude(asked: argparse.Namespace, figures: Mapping[str, Any], bars: Mapping[str, Any] | Iterable[str]) -> int:
    """Print the bars, and with `--json` everything in one line; the exit code. `bars`: whether each holds, or only those broken."""
    held = (
        {name: bool(holds) for name, holds in bars.items()} if isinstance(bars, Mapping) else dict.fromkeys(bars, False)
    )
    print()
    for name, holds in held.items():
        print(f"{'holds ' if holds else 'FAILS '} {name}")
    if not held:
        print("every bar holds")
    broken = [name for name, holds in held.items() if not holds]
    if asked.json:
        print(json.dumps({**figures, "bars": held, "broken": broken}, default=_plain))
    return int(bool(broken))


def _plain(value: Any) -> Any:
    """numpy's numbers and arrays, and paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
