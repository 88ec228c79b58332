"""SQLite has one writer at a time: who waits gets its turn, and nobody's end, however bad, stops the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction

from tests.site import ROOT
from webapp.accounts.models import Account
from webapp.sqlite.base import DatabaseWrapper

pytestmark = [
    pytest.mark.skipif("DATABASE_URL" in os.environ, reason="SQLite's writers; PostgreSQL locks rows"),
    pytest.mark.django_db(transaction=True),
]


def held() -> bool:
    """Whether this thread's connection has the turn."""
    this = connections["default"]
    assert isinstance(this, DatabaseWrapper)
    return this._held


def count_up() -> None:
    with transaction.atomic():
        account = Account.objects.get(username="counter")
        time.sleep(0.001)
        Account.objects.filter(pk=account.pk).update(last_name=str(int(account.last_name) + 1))


def in_a_thread(body: Any) -> threading.Thread:
    def run() -> None:
        try:
            body()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_eight_writers_beside_each_other_lose_nothing() -> None:
    Account.objects.create(username="counter", last_name="0")
    threads = [in_a_thread(lambda: [count_up() for _ in range(15)]) for _ in range(8)]
    for thread in threads:
        thread.join(60)
    assert Account.objects.get(username="counter").last_name == "120"


def test_a_turn_ends_with_its_transaction_however_that_ends() -> None:
    with transaction.atomic():
        assert held()
        with transaction.atomic():
            assert held()
        assert held()
    assert not held()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        1 / 0  # noqa: B018
    assert not held()
    connection.ensure_connection()
    with pytest.raises(RuntimeError), transaction.atomic():
        connection.close()
        raise RuntimeError
    assert not held()
    Account.objects.create(username="alone")  # one statement, no transaction
    assert not held()
    list(Account.objects.all())
    assert not held()


def test_a_single_statement_waits_for_the_transaction_before_it() -> None:
    Account.objects.create(username="counter", last_name="0")
    order = []

    def alone() -> None:
        Account.objects.filter(username="counter").update(first_name="after")
        order.append("statement")

    with transaction.atomic():
        Account.objects.filter(username="counter").update(first_name="before")
        thread = in_a_thread(alone)
        time.sleep(0.3)
        order.append("transaction")
    thread.join(30)
    assert order == ["transaction", "statement"]
    assert Account.objects.get(username="counter").first_name == "after"


HOLD = """
import time
from django.db import transaction
from webapp.accounts.models import Account
with transaction.atomic():
    Account.objects.filter(username="counter").update(last_name="lost")
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_writer_gives_its_turn_back(tmp_path: Path) -> None:
    environment = dict(os.environ, NEARER_VAR=str(tmp_path))
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "migrate", "--verbosity", "0"], cwd=ROOT, env=environment, check=True, timeout=120)
    holder = subprocess.Popen([*manage, "shell", "-v0", "-c", HOLD], cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    writer = "from webapp.accounts.models import Account; Account.objects.create(username='next'); print('written')"
    waiting = subprocess.Popen(
        [*manage, "shell", "-v0", "-c", writer], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(4)
    holder.send_signal(signal.SIGKILL)
    assert waiting.communicate(timeout=60)[0] == b"written\n"
    holder.wait(10)
    assert not [path.name for path in tmp_path.glob("*queue*")]
