"""Seconds from the start command to the first page, on an empty folder (migrations, sample campaign) and later.

`python -m benchmarks.start --json`; after installation. Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from benchmarks import harness
from tests.site import ROOT, Site

FIRST_S, LATER_S = 10.0, 3.0


def first_page_s(site: Site) -> float:
    """Start the site, fetch its first page, stop it."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--demo"],
        cwd=ROOT,
        env=site.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while True:
            try:
                urllib.request.urlopen(site.url, timeout=5).read()  # noqa: S310
                return time.perf_counter() - started
            except (urllib.error.URLError, OSError):
                if process.poll() is not None:
                    raise SystemExit("the site did not start") from None
                time.sleep(0.02)
    finally:
        time.sleep(3)  # the workers start after the page; let them come up before they are stopped
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)


def main() -> int:
    parser = harness.options(__doc__)
    parser.add_argument("--later", type=int, default=3, help="how many later starts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), "start")
        try:
            site.manage("collectstatic", "--noinput", "--verbosity", "0")
            first, *later = (round(first_page_s(site), 2) for _ in range(options.later + 1))
        finally:
            site.stop()
    bars = {
        f"first start {first} s (bar {FIRST_S})": first <= FIRST_S,
        f"later starts {', '.join(map(str, later))} s (bar {LATER_S})": max(later) <= LATER_S,
    }
    return harness.conclude(options, {"first_s": first, "later_s": later}, bars)


if __name__ == "__main__":
    sys.exit(main())
