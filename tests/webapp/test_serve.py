"""The supervisor: what it says on a new site, and that nothing of it is left when it is gone."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests
from django.core.management import CommandError

from tests.site import ROOT, Site
from training.management.commands.serve import wait_for_port


def session_nice(process: psutil.Process) -> int | None:
    """How nice Linux takes the whole session of a process to be; None where it does not group sessions."""
    group = Path(f"/proc/{process.pid}/autogroup")
    return int(group.read_text().split()[-1]) if group.exists() else None


def test_a_new_site_prints_a_link_for_its_first_admin_and_a_killed_supervisor_leaves_nobody_behind(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path, "serve")
    site.manage("collectstatic", "--noinput", "--verbosity", "0")
    log = tmp_path / "serve.log"
    command = [sys.executable, "-u", "manage.py", "serve"]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=site.environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 90
        while "Ctrl-C" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        link = re.search(r"http://\S+/first-admin/\S+", log.read_text())
        assert link is not None
        web = requests.Session()
        web.get(link[0], timeout=20)
        form = {"username": "root", "password": "a-long-Password-7", "csrfmiddlewaretoken": web.cookies["csrftoken"]}
        assert web.post(link[0], data=form, timeout=20).status_code == 200
        assert web.get(f"{site.url}/people/", timeout=20).status_code == 200
        time.sleep(3)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 4
        deadline = time.monotonic() + 60
        while {session_nice(p) for p in children if "celery" in p.cmdline()} - {10, None}:  # as soon as they are up
            assert time.monotonic() < deadline, "people go before jobs"
            time.sleep(0.2)
        assert {session_nice(p) for p in children if "gunicorn" in p.cmdline()} <= {0, None}
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert [p.cmdline() for p in alive] == []
    finally:
        for child in psutil.Process().children(recursive=True):
            if str(tmp_path) in str(child.environ().get("NEARER_VAR", "")):
                child.kill()
        site.stop()


def test_a_start_waits_for_the_end_of_the_one_before_and_refuses_a_port_that_stays_in_use() -> None:
    """A service manager starts the site again a second after it died, while its web process still answers what it has begun."""
    lines: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"127.0.0.1:{port} is in use"):
            wait_for_port("127.0.0.1", port, lines.append, most_s=0.5)
        threading.Timer(0.6, taken.close).start()
        begun = time.monotonic()
        wait_for_port("127.0.0.1", port, lines.append, most_s=20)
        assert 0.4 < time.monotonic() - begun < 10
    assert len(lines) == 2
    assert "waiting 20 s at most" in lines[1]
