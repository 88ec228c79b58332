"""Look through an upload in a process of its own, with bounded memory and time: `python -m labeling.importing.sandbox`.

A web request asks it before anything is stored, so that a bad upload is answered at once and leaves nothing behind,
and so that the web process imports no scipy. A job asks it about uploads that were too large for that, so that a hostile
file ends this process and not the worker. Reads one JSON object from standard input, writes one to standard output.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from labeling.importing.parsed import BadInput, Limits
from labeling.importing.reading import inspect

MEMORY_BYTES = 4 * 2**30
REQUEST_S = 60
JOB_S = 1800


def ask(
    target: str, annotations: Path, pictures: Path, limits: Limits, *, decode: bool = True, time_s: int = REQUEST_S
) -> dict[str, Any]:
    """What `inspect` says: {'refused': {...}}, {'bad': n, 'rows': [...], 'notes': {...}} or {'timeout': True}.

    `decode`: look at every picture too, not at the annotations and the archive's list only.
    """
    question = {
        "target": target,
        "annotations": str(annotations),
        "pictures": str(pictures),
        "limits": asdict(limits),
        "decode": decode,
        "time_s": time_s,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "labeling.importing.sandbox"],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=time_s,
            check=False,
            cwd=Path(__file__).resolve().parent.parent.parent,
        )
    except subprocess.TimeoutExpired:
        return {"timeout": True}
    if done.returncode or not done.stdout:
        # A killed process has a negative code; Python's own complaint stands in the last line.
        short = done.returncode < 0 or "MemoryError" in done.stderr or "Unable to allocate" in done.stderr
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1].partition(":")[0]
        what = "within the memory and time it may use" if short else f"({last})"
        return {
            "refused": {
                "detail": f"the upload could not be read {what}",
                "field": "annotations",
                "fix": "check the file with the program that wrote it",
                "value": "",
            }
        }
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    question = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CPU, (question["time_s"], question["time_s"]))
    try:
        report = inspect(
            question["target"],
            Path(question["annotations"]),
            Path(question["pictures"]),
            Limits(**question["limits"]),
            decode=question["decode"],
        )
        answer: dict[str, Any] = {"rows": report.rows, "bad": report.bad, "notes": report.notes}
    except BadInput as error:
        answer = {"refused": {"detail": error.detail, "field": error.field, "fix": error.fix, "value": error.value}}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
