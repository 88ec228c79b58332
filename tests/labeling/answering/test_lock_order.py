"""Every verb locks rows in the one order of docs/decisions/0004-locks.md."""

from __future__ import annotations

import os
import random
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from labeling.aggregation import aggregate
from labeling.answering import assignment, voting
from labeling.campaigns import lifecycle, participants
from labeling.models import Participation
from labeling.releasing import freeze
from tests.conftest import NOON, SECOND, World
from webapp.jobs import run

ORDER = (
    *("jobs_job", "labeling_participation", "labeling_campaign", "labeling_assignment", "labeling_session"),
    *("labeling_depthposterior", "labeling_pair", "labeling_referencequestion"),
)
UPDATE = re.compile(r'^(?:UPDATE|DELETE FROM) "(\w+)"')
LOCKING = re.compile(r'FOR (?:NO KEY )?UPDATE(?: OF ((?:"\w+"(?:, )?)+))?')
FROM = re.compile(r'\bFROM "(\w+)"')


def tables_locked(sql: str) -> list[str]:
    """Tables of which a statement locks rows, in its order."""
    if changed := UPDATE.match(sql):
        return [changed[1]]
    if lock := LOCKING.search(sql):
        named = re.findall(r'"(\w+)"', lock[1] or "")
        return named or [FROM.search(sql)[1]]  # type: ignore[index]
    return []


class Recorder:
    """Remembers, per transaction, in which order tables were locked for the first time."""

    def __init__(self) -> None:
        self.transactions: list[list[str]] = [[]]

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        word = sql.split(" ", 1)[0]
        if word in ("SAVEPOINT", "RELEASE", "BEGIN"):  # in a test, a transaction of a verb is a savepoint of the test's
            self.transactions.append([])
        for table in tables_locked(sql):
            if table in ORDER and table not in self.transactions[-1]:
                self.transactions[-1].append(table)
        return execute(sql, params, many, context)


@contextmanager
def recorded() -> Iterator[None]:
    recorder = Recorder()
    with connection.execute_wrapper(recorder):
        yield
    for tables in recorder.transactions:
        places = [ORDER.index(table) for table in tables]
        assert places == sorted(places), f"locked in the order {tables}"


def test_statements_that_lock_are_understood() -> None:
    assert tables_locked('SELECT 1 FROM "labeling_pair" WHERE x FOR NO KEY UPDATE SKIP LOCKED') == ["labeling_pair"]
    both = 'SELECT 1 FROM "a" JOIN "b" ON x FOR NO KEY UPDATE OF "labeling_assignment", "labeling_session"'
    assert tables_locked(both) == ["labeling_assignment", "labeling_session"]
    assert tables_locked('UPDATE "labeling_campaign" SET x = 1') == ["labeling_campaign"]
    assert tables_locked('SELECT 1 FROM "labeling_pair"') == []


def test_a_wrong_order_is_found(world: World) -> None:
    campaign = world.campaign()
    with pytest.raises(AssertionError, match="locked in the order"), recorded():
        campaign.pairs.update(taken=0)
        Participation.objects.filter(campaign=campaign).update(flag="")


@pytest.mark.skipif("DATABASE_URL" not in os.environ, reason="SQLite has one lock: set DATABASE_URL")
@pytest.mark.parametrize("mode", ["fixed", "adaptive"])
def test_every_verb_locks_in_the_one_order(world: World, mode: str) -> None:
    campaign = world.campaign(mode=mode, budget_votes=40, gold_share=0.3, probe_share=0.3, guard="pause")
    with recorded():
        world.participation(world.ann, campaign)
        for number in range(12):
            now = NOON + number * SECOND
            lease = assignment.next_pair(world.ann, campaign.uuid, now=now, rng=random.Random(number))
            world.vote(world.ann, lease, now=now)
        voting.undo(world.ann, campaign.uuid, key=uuid.uuid4(), now=now + SECOND)
    with recorded():
        later = NOON + timedelta(days=1)
        world.participation(world.ben, campaign)
        assignment.next_pair(world.ben, campaign.uuid, now=later, rng=random.Random(1))
        assert assignment.return_expired(later + timedelta(days=1)) > 0
    participation = Participation.objects.get(campaign=campaign, annotator=world.ann)
    with recorded():
        participants.set_standing(world.ada, participation, "blocked", "wrong")
        participants.set_standing(world.ada, participation, "active", "")
    with recorded():
        run.run_job(aggregate.start(world.ada, campaign).pk)
        run.run_job(freeze.start(world.ada, campaign).pk)
        lifecycle.move(world.ada, campaign, "pause")
        lifecycle.move(world.ada, campaign, "close")
    assert campaign.aggregation_runs.count() >= 1
