"""gunicorn's threaded worker, which gives a thread back when its request is sent too slowly.

Without it forty half-sent requests hold every thread of a small site. A proxy in front that buffers requests does the same
for the open internet (docs/operations.md); this is for sites without one.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

GRACE_S = float(os.environ.get("NEARER_SEND_GRACE_S", "10"))  # so long a sender may be silent or slow
LEAST_BYTES_PER_S = 2000  # after that


class PatientSocket(socket.socket):
    """A socket whose `recv` raises TimeoutError for a sender that is silent for `GRACE_S` or slower than `LEAST_BYTES_PER_S`."""

    started: float | None = None
    received = 0

    def expect(self) -> None:
        """A new request begins."""
        self.started, self.received = None, 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if self.getblocking() is False:
            return super().recv(size, flags)
        self.started = time.monotonic() if self.started is None else self.started
        before = self.gettimeout()
        self.settimeout(GRACE_S if before is None else min(before, GRACE_S))
        try:
            data = super().recv(size, flags)
        finally:
            self.settimeout(before)
        self.received += len(data)
        elapsed = time.monotonic() - self.started
        if elapsed > GRACE_S and self.received < LEAST_BYTES_PER_S * (elapsed - GRACE_S):
            raise TimeoutError("the request is sent too slowly")
        return data


class Worker(ThreadWorker):
    def enqueue_req(self, conn: Any) -> None:
        if not isinstance(conn.sock, PatientSocket):
            conn.sock = PatientSocket(fileno=conn.sock.detach())
        conn.sock.expect()
        super().enqueue_req(conn)
