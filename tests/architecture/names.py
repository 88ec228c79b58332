"""`python -m tests.architecture.names`: no variable, argument or function is called by a bare past participle.

`found` may be a row, a list or a number; whoever reads on has to run the code to know. Prints each place and exits non-zero.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAY_NOTHING = {"found", "told", "said", "made", "wanted", "given"}
PYTHON = ("webapp", "labeling", "training", "tests", "benchmarks")
TYPESCRIPT = re.compile(r"\b(?:const|let|var|function)\s+(?:\[|\{)?\s*(" + "|".join(sorted(SAY_NOTHING)) + r")\b")


def bound(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that gets a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def offences() -> list[str]:
    places = []
    for folder in PYTHON:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                names = bound(ast.parse(path.read_text()))
                places += [f"{path.relative_to(ROOT)}:{line}: {name}" for line, name in names if name in SAY_NOTHING]
    for path in sorted((ROOT / "frontend" / "src").rglob("*.ts*")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            places += [f"{path.relative_to(ROOT)}:{number}: {name}" for name in TYPESCRIPT.findall(line)]
    return places


def main() -> int:
    places = offences()
    for place in places:
        print(f"{place} says nothing of what it holds: name it by that", file=sys.stderr)
    return bool(places)


if __name__ == "__main__":
    sys.exit(main())
