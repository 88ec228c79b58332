"""gunicorn's threaded worker, which gives a thread back when its request is sent too slowly.

Without it forty half-sent requests hold every thread of a small site. A proxy in front that buffers requests does the same
for the open internet (docs/operations.md); this is for sites without one.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from django.conf import settings
from gunicorn.workers.gthread import ThreadWorker

LEAST_BYTES_PER_S = 2000  # after SEND_GRACE_S


class PatientSocket(socket.socket):
    """A socket whose `recv` raises TimeoutError for a sender that is silent for `SEND_GRACE_S` or slower than `LEAST_BYTES_PER_S`."""

    started: float | None = None
    received = 0

    def expect(self) -> None:
        """A new request begins."""
        self.started, self.received = None, 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self.getblocking() is False:
            return super().recv(size, flags)
        self.started = time.monotonic() if self.started is None else self.started
        grace_s, before = settings.SEND_GRACE_S, self.gettimeout()
        self.settimeout(grace_s if before is None else min(before, grace_s))
        try:
            data = super().recv(size, flags)
        finally:
            self.settimeout(before)
        self.received += len(data)
        elapsed = time.monotonic() - self.started
        if elapsed > grace_s and self.received < LEAST_BYTES_PER_S * (elapsed - grace_s):
            raise TimeoutError("the request is sent too slowly")
        return data


class Worker(ThreadWorker):  # type: ignore[misc]
    def enqueue_req(self, conn: Any) -> None:
        if not isinstance(conn.sock, PatientSocket):
            conn.sock = PatientSocket(fileno=conn.sock.detach())
        conn.sock.expect()
        super().enqueue_req(conn)
