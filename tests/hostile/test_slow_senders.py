"""Requests that are sent slowly or never end do not hold the site."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, "slow")
    site.environment["NEARER_SEND_GRACE_S"] = "1"
    site.manage("migrate", "--verbosity", "0")
    site.manage("collectstatic", "--noinput", "--verbosity", "0")
    site.web_only(threads=4)  # two processes: eight threads in all
    deadline = time.monotonic() + 60
    while True:
        try:
            requests.get(f"{site.url}/healthz", timeout=2)
            break
        except requests.RequestException:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    yield site
    site.stop()


def opened(site: Site, head: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", site.port), timeout=20)
    connection.sendall(head)
    return connection


HEAD = (
    b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: csrftoken=" + b"a" * 32 + b"\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\nusername=a"
)


def test_half_sent_posts_give_their_threads_back(site: Site) -> None:
    held = [opened(site, HEAD) for _ in range(24)]
    started = time.monotonic()
    assert requests.get(f"{site.url}/healthz", timeout=20).status_code == 200
    assert time.monotonic() - started < 12  # three rounds on eight threads, a second each
    for connection in held:
        connection.close()


def test_dripping_bodies_are_ended_and_honest_ones_are_not(site: Site) -> None:
    end = threading.Event()

    def drip(connection: socket.socket) -> None:
        while not end.is_set():
            try:
                connection.sendall(b"b")
            except OSError:
                return
            time.sleep(0.3)

    held = [opened(site, HEAD) for _ in range(16)]
    threads = [threading.Thread(target=drip, args=(connection,), daemon=True) for connection in held]
    for thread in threads:
        thread.start()
    time.sleep(6)
    waits = []
    for _ in range(5):
        started = time.monotonic()
        assert requests.post(f"{site.url}/login/", data={"username": "x" * 50_000}, timeout=20).status_code == 403
        waits.append(time.monotonic() - started)
    assert max(waits) < 2
    end.set()
    assert sum(_ended(connection) for connection in held) == len(held)


def _ended(connection: socket.socket) -> bool:
    """Whether the server closed the connection, with an answer or without."""
    connection.settimeout(5)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True
