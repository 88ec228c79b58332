"""`python -m tests.architecture.shape [ROOT]`: sizes and signs of a tree, per package. They are signs, not goals.

Functions over 30 lines, files over 400, lines over 140 characters in templates, CSS and TypeScript, `Any`, words that the
vocabulary gave up, runs of 8 or more lines that stand twice.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("webapp", "labeling", "training")
GIVEN_UP = re.compile(
    r"\b(?:[Pp]ercepts?|seats?|CrowdRun|crowd_runs?|KnownQuestion|known_questions?|Merged|merged?|rung_at|bell|sweeps?"
    r"|Circumstances|Signs|believed|LOOKS|side_seen|dolls?|Dress|photograph|Letter|Told|told|beside|frozen(?!=)|said|made)\b"
)
LONG, RUN = 140, 8


def python_files(root: Path) -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield package, path


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def identifiers(path: Path) -> Iterator[str]:
    """Names in the code; comments and strings are sentences and not counted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def front_end(root: Path) -> Iterator[Path]:
    source = root / "frontend" / "src"
    for pattern in ("*.ts", "*.tsx", "*.css"):
        yield from (p for p in sorted(source.rglob(pattern)) if "generated" not in p.name)
    for package in PACKAGES:
        yield from sorted((root / package).rglob("*.html"))


def repeated(root: Path) -> int:
    """Runs of RUN or more lines of code that stand in two places; imports and blank lines left out."""
    places: dict[tuple[str, ...], set[tuple[Path, int]]] = defaultdict(set)
    for _, path in python_files(root):
        lines = [line.strip() for line in path.read_text().splitlines()]
        lines = [line for line in lines if line and not line.startswith(("import ", "from ", "#"))]
        for start in range(len(lines) - RUN + 1):
            block = tuple(lines[start : start + RUN])
            if sum(len(line) > 3 for line in block) >= RUN - 2:
                places[block].add((path, start))
    twice = {place for where in places.values() if len(where) > 1 for place in where}
    return sum((path, start - 1) not in twice for path, start in twice) // 2


def report(root: Path) -> list[str]:
    lines = [
        f"{'package':10} {'files':>5} {'lines':>7} {'median':>6} {'largest':>7} {'functions':>9} {'median':>6} {'> 30':>5}"
    ]
    over_30, over_400, every_any, words = 0, 0, 0, Counter()
    for package in PACKAGES:
        files = [path for owner, path in python_files(root) if owner == package]
        sizes = [len(path.read_text().splitlines()) for path in files]
        lengths = [length for path in files for _, length in functions(path)]
        long = sum(length > 30 for length in lengths)
        over_30, over_400 = over_30 + long, over_400 + sum(size > 400 for size in sizes)
        lines.append(
            f"{package:10} {len(files):5} {sum(sizes):7} {statistics.median(sizes):6.0f} {max(sizes):7} {len(lengths):9} "
            f"{statistics.median(lengths):6.0f} {long:5}"
        )
        for path in files:
            every_any += len(re.findall(r"\bAny\b", path.read_text())) - 1
            words.update(name for name in identifiers(path) if GIVEN_UP.fullmatch(name))
    wide = sum(len(line) > LONG for path in front_end(root) for line in path.read_text().splitlines())
    lines += [
        f"functions over 30 lines: {over_30}",
        f"files over 400 lines: {over_400}",
        f"lines over {LONG} characters in templates, CSS and TypeScript: {wide}",
        f"Any: {every_any}",
        f"names that the vocabulary gave up: {sum(words.values())} ({', '.join(f'{w} {n}' for w, n in words.most_common(6))})",
        f"runs of {RUN} or more lines that stand twice: {repeated(root)}",
    ]
    return lines


if __name__ == "__main__":
    print("\n".join(report(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])))
