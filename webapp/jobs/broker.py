"""The embedded broker: kombu's filesystem transport, which survives what a kill or a full disk leaves behind.

A message is written aside and renamed, so that nobody reads half of one. An empty or broken one is thrown away: the job's row is
the truth, and waiting jobs are notified again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from json import JSONDecodeError
from time import monotonic
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

log = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        name = f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        aside = os.path.join(self.data_folder_out, f".{name}.part")
        try:
            with open(aside, "wb", buffering=0) as file:
                file.write(dumps(payload).encode())
            os.replace(aside, os.path.join(self.data_folder_out, name))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise ChannelError(f"the broker's folder did not take a message: {error}") from error

    def _get(self, queue: str) -> Any:
        while True:
            try:
                return super()._get(queue)
            except (JSONDecodeError, UnicodeDecodeError):
                log.warning("threw away a broken message of queue %s", queue)

    def get_table(self, exchange: str) -> Any:
        try:
            return super().get_table(exchange)
        except (JSONDecodeError, UnicodeDecodeError):
            return []

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except (JSONDecodeError, UnicodeDecodeError):
            self._exchange_file(exchange).unlink(missing_ok=True)
            super()._queue_bind(exchange, routing_key, pattern, queue)


class Transport(filesystem.Transport):
    Channel = Channel


TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
