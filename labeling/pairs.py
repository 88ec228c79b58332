"""Which pairs of keypoints a campaign asks about, written in bulk."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from django.db import connection

from labeling.models import Campaign, Pair, Person
from labeling.models.dataset import ABSENT

Progress = Callable[[int, int, str], None]
CHUNK = 2000
COLUMNS = (
    "campaign_id",
    "image_id",
    "first_person_id",
    "second_person_id",
    "first",
    "second",
    "rank",
    "votes_needed",
    "votes_counted",
    "taken",
)


def make(campaign: Campaign, progress: Progress) -> int:
    """Draw the pairs of every person by the campaign's policy and write them; returns how many.

    Pictures come in an order shuffled by the policy's seed and the pairs of one picture follow each other, so that
    an annotator answers about one picture before the next. Runs inside the caller's transaction.
    """
    policy = campaign.pair_policy
    rng = np.random.default_rng(policy["seed"])
    asked = [campaign.dataset.skeleton.keypoints.index(name) for name in campaign.keypoints]
    people = Person.objects.filter(image__dataset=campaign.dataset)
    total = people.count()
    order = rng.permutation(total)
    per_person = policy["per_person"] if policy["name"] == "random" else len(asked) * (len(asked) - 1) // 2
    made = 0
    listed = people.order_by("id").values_list("id", "image_id", "keypoints").iterator(chunk_size=CHUNK)
    numbered = enumerate(listed)
    # Chunk by chunk: while PostgreSQL takes a COPY, its connection can neither read people nor report progress.
    while chunk := list(itertools.islice(numbered, CHUNK)):
        rows = []
        for number, (person, image, keypoints) in chunk:
            base = int(order[number]) * per_person
            for offset, (first, second) in enumerate(_drawn(keypoints, asked, per_person, rng)):
                rank = base + offset
                rows.append((campaign.pk, image, person, person, first, second, rank, campaign.votes_per_pair, 0, 0))
        write(rows)
        made += len(rows)
        progress(min(total, chunk[-1][0] + 1), total, "people")
    return made


def _drawn(
    keypoints: list[list[float]], asked: list[int], most: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    present = [j for j in asked if keypoints[j][2] != ABSENT]
    every = list(itertools.combinations(present, 2))
    if len(every) <= most:
        return every
    return [every[i] for i in rng.choice(len(every), size=most, replace=False)]


def write(rows: Iterable[tuple[Any, ...]]) -> None:
    """Write pairs as fast as the database takes them: COPY on PostgreSQL, executemany elsewhere."""
    table = connection.ops.quote_name(Pair._meta.db_table)
    columns = ", ".join(connection.ops.quote_name(c) for c in COLUMNS)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join(["%s"] * len(COLUMNS))
            for batch in _batches(rows):
                cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", batch)  # noqa: S608


def _batches(rows: Iterable[Any], size: int = 5000) -> Iterator[list[Any]]:
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def refresh_statistics() -> None:
    """Tell the planner about a table that just grew: without it the queue's first plans read the whole table."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {connection.ops.quote_name(Pair._meta.db_table)}")
