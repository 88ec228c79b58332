"""SQLite with a queue for its one writer: who waits is woken as soon as the writer has ended.

SQLite's own wait looks again after pauses of up to 100 ms, and with many people at work somebody else always comes in between:
the slowest of twenty answers waited three times as long (benchmarks/at_work.py). The queue is a lock on the database's folder,
so it holds across threads and processes, leaves no file, and the system releases it when its holder dies.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any

from django.db.backends.sqlite3 import base

WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, but who will write takes the queue's lock first: for a transaction, or for one statement outside of any."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._queue: int | None = None
        self._held = False
        self.execute_wrappers.append(self._in_turn)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        connection = super().get_new_connection(conn_params)
        if not self.is_in_memory_db():
            self._queue = os.open(os.path.dirname(os.path.abspath(conn_params["database"])), os.O_RDONLY)
        return connection

    def _start_transaction_under_autocommit(self) -> None:
        if self.transaction_mode != "IMMEDIATE":
            super()._start_transaction_under_autocommit()
            return
        self._take()
        try:
            super()._start_transaction_under_autocommit()
        except BaseException:
            self._release()
            raise

    def _in_turn(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if self.in_atomic_block or self._held or not sql.lstrip()[:7].upper().startswith(WRITES):
            return execute(sql, params, many, context)
        self._take()
        try:
            return execute(sql, params, many, context)
        finally:
            self._release()

    def _commit(self) -> None:
        super()._commit()
        self._release()  # after an error Django rolls back, and that ends the turn

    def _rollback(self) -> None:
        try:
            super()._rollback()
        finally:
            self._release()

    def _close(self) -> None:
        try:
            super()._close()
        finally:
            self._release()
            if self._queue is not None:
                os.close(self._queue)
                self._queue = None

    def _take(self) -> None:
        if self._queue is not None:
            fcntl.flock(self._queue, fcntl.LOCK_EX)
            self._held = True

    def _release(self) -> None:
        if self._held and self._queue is not None:
            fcntl.flock(self._queue, fcntl.LOCK_UN)
        self._held = False
