"""The embedded broker keeps going after half-written, empty and foreign messages, and on a full disk."""

from __future__ import annotations

from pathlib import Path
from queue import Empty

import pytest
from kombu import Connection
from kombu.exceptions import ChannelError

from webapp.jobs import broker


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    for part in ("messages", "control"):
        (tmp_path / part).mkdir()
    folders = {"data_folder_in": str(tmp_path / "messages"), "data_folder_out": str(tmp_path / "messages")}
    return Connection("filesystem://", transport_options=folders | {"control_folder": str(tmp_path / "control")})


def test_broken_messages_are_thrown_away_and_the_good_one_is_read(connection: Connection, tmp_path: Path) -> None:
    for n, text in enumerate((b"", b'{"body": "ha', b"\xff\xfe", b"[")):
        (tmp_path / "messages" / f"{n}_x.light.msg").write_bytes(text)
    channel = connection.default_channel
    channel._put("light", {"job": 7})
    assert channel._get("light") == {"job": 7}
    with pytest.raises(Empty):
        channel._get("light")
    assert list((tmp_path / "messages").iterdir()) == []


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broker.os, "replace", full)
    with pytest.raises(ChannelError, match="No space left"):
        connection.default_channel._put("light", {"job": 7})
    assert list((tmp_path / "messages").iterdir()) == []


def test_a_broken_table_of_queues_is_made_anew(connection: Connection, tmp_path: Path) -> None:
    (tmp_path / "control" / "light.exchange").write_bytes(b"")
    with connection.SimpleQueue("light") as queue:
        queue.put({"job": 8})
        assert queue.get(timeout=5).payload == {"job": 8}
