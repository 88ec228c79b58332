"""All benchmarks stand on one harness: options, bars, one line of JSON, an exit code."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import harness

FOLDER = Path(harness.__file__).parent
SCRIPTS = sorted(
    p for p in FOLDER.glob("*.py") if p.stem not in ("__init__", "harness", "video_hour")
)  # a part of `video`


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_every_benchmark_takes_its_options_from_the_harness_and_concludes_with_it(script: Path) -> None:
    tree = ast.parse(script.read_text())
    main = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main")
    calls = [n for n in ast.walk(main) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    asked = {c.func.attr for c in calls if ast.unparse(c.func).startswith("harness.")}
    assert asked == {"options", "conclude"}
    own = {a.value for c in calls if c.func.attr == "add_argument" for a in c.args if isinstance(a, ast.Constant)}
    assert not own & {"--json", "--seeds", "--parts", "--pictures", *(f"--{name}" for name in harness.FILES)}


@pytest.mark.parametrize(
    ("bars", "code", "broken"),
    [
        ({"fast enough": np.True_, "small enough": np.False_}, 1, ["small enough"]),
        ({"fast enough": True}, 0, []),
        (["17 ms > 12"], 1, ["17 ms > 12"]),
        ([], 0, []),
    ],
)
def test_json_is_the_last_line_and_the_exit_code_says_whether_the_bars_hold(
    capsys: pytest.CaptureFixture[str], bars: object, code: int, broken: list[str]
) -> None:
    asked = harness.options("What it measures", takes=["poses"], seeds=3, parts=["a", "b"]).parse_args(["--json"])
    assert (asked.poses, asked.seeds, asked.parts) == (None, 3, ["a", "b"])
    assert harness.conclude(asked, {"mm": np.array([1.5, 2.5]), "where": Path("x")}, bars) == code  # type: ignore[arg-type]
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (printed["mm"], printed["where"], printed["broken"]) == ([1.5, 2.5], "x", broken)


def test_a_file_that_a_benchmark_needs_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        harness.options("What it measures", needs=["poses"]).parse_args([])
    assert "--poses" in capsys.readouterr().err
