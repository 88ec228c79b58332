"""Many rows at once, past the ORM's instances: a hundred thousand in seconds, and reading never holds them all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from django.db import connection, transaction
from django.db.models import Model, QuerySet
from numpy.typing import NDArray

BATCH = 5000
CHANGED = 2000  # rows changed in one transaction: nobody waits longer than for these
FEWER = 10  # so many times fewer on SQLite, where everybody waits for the one writer
COPIED = 100_000  # rows packed at a time


@contextmanager
def snapshot() -> Iterator[None]:
    """One state of the database for several readings. It may last long: nobody waits for who only reads.

    Compute after it, not in it. Inside a transaction it is that transaction's state. On PostgreSQL statements are planned for
    their own values: a prepared one is soon planned for the average campaign, and for a small one beside a large one that is wrong
    (1.5 s in place of 0.1 s).
    """
    if connection.in_atomic_block:
        yield
        return
    if connection.vendor != "postgresql":
        connection.ensure_connection()
        mode: Any = connection
        usual = mode.transaction_mode  # immediate: it takes the lock of the writer
        mode.transaction_mode = "DEFERRED"
        try:
            with transaction.atomic():
                mode.transaction_mode = usual
                yield
        finally:
            mode.transaction_mode = usual
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        yield


def at_once(usual: int) -> int:
    """How many rows to write in one transaction, by this database's writers: `usual` on PostgreSQL."""
    return usual if connection.vendor == "postgresql" else max(1, usual // FEWER)


def write(model: type[Model], columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert rows as fast as the database takes them: COPY on PostgreSQL, executemany elsewhere.

    `columns` are column names; values are what the database's driver takes (JSON as text), defaults are not filled in.
    While PostgreSQL takes a COPY its connection can do nothing else, so `rows` must not query.
    """
    table = connection.ops.quote_name(model._meta.db_table)
    listed = ", ".join(connection.ops.quote_name(c) for c in columns)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} ({listed}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return
        cursor.execute("PRAGMA cache_size=-65536")  # 64 MiB: the indexes of a large table are written in many places
        statement = f"INSERT INTO {table} ({listed}) VALUES ({', '.join(['%s'] * len(columns))})"  # noqa: S608
        iterator = iter(rows)
        while batch := list(itertools.islice(iterator, BATCH)):
            cursor.executemany(statement, batch)


BINARY = {"bigint": ">i8", "integer": ">i4", "smallint": ">i2", "double precision": ">f8"}


def write_columns(model: type[Model], columns: dict[str, NDArray[Any]]) -> None:
    """Insert rows of numbers given as arrays of one length by column name; several times faster than `write` for millions.

    On PostgreSQL by its binary COPY: a row is its number of fields, then length and big-endian bytes of each.
    """
    listed = list(columns)
    if connection.vendor != "postgresql":
        return write(model, listed, zip(*(values.tolist() for values in columns.values()), strict=True))
    kinds = {
        f.column: BINARY[str(f.rel_db_type(connection))] for f in model._meta.concrete_fields if f.column in columns
    }
    row = np.dtype([("fields", ">i2")] + [part for c in listed for part in ((f"{c} bytes", ">i4"), (c, kinds[c]))])
    table, names = connection.ops.quote_name(model._meta.db_table), ", ".join(map(connection.ops.quote_name, listed))
    count = len(columns[listed[0]])
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, count, COPIED):
            packed = np.zeros(min(COPIED, count - start), dtype=row)
            packed["fields"] = len(listed)
            for column, values in columns.items():
                packed[f"{column} bytes"] = row[column].itemsize
                packed[column] = values[start : start + COPIED]
            copy.write(packed.tobytes())
        copy.write(b"\xff\xff")


def change(model: type[Model], columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Update many rows, each with its own values: the tuples hold the columns' values and then the primary key."""
    table = connection.ops.quote_name(model._meta.db_table)
    assigned = ", ".join(f"{connection.ops.quote_name(c)} = %s" for c in columns)
    with connection.cursor() as cursor:
        statement = f"UPDATE {table} SET {assigned} WHERE {connection.ops.quote_name(str(model._meta.pk.column))} = %s"  # noqa: S608
        for start in range(0, len(rows), BATCH):
            cursor.executemany(statement, rows[start : start + BATCH])


def change_in_steps(model: type[Model], columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> Iterator[int]:
    """`change`, a few thousand rows a transaction, ordered by key so that two such writers never wait for each other.

    Yields after each step how many rows are written: the caller checks there that it may still write.
    """
    ordered = sorted(rows, key=lambda row: row[-1])
    size = at_once(CHANGED)
    for start in range(0, len(ordered), size):
        with transaction.atomic():
            change(model, columns, ordered[start : start + size])
        yield min(start + size, len(ordered))


def delete_in_steps(rows: QuerySet[Any], size: int = 20_000) -> Iterator[int]:
    """Delete many rows that nothing else points to, in short transactions, by ranges of their keys; yields the sum so far."""
    done = 0
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:size]):
        with transaction.atomic():
            done += rows.filter(pk__gte=keys[0], pk__lte=keys[-1])._raw_delete(rows.db)
        yield done


def read(values: QuerySet[Any, Any], size: int = BATCH) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a `values_list` in batches, as the driver gives them (UUID, time and JSON may be text).

    On PostgreSQL through a cursor on the server; call it inside a transaction.
    """
    compiler = values.query.get_compiler(using=values.db)
    sql, parameters = compiler.as_sql()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:  # all rows will be read: plan for the last one, not for the first
            cursor.execute("SET LOCAL cursor_tuple_fraction = 1")
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, parameters)
        while batch := cursor.fetchmany(size):
            yield batch


def refresh_statistics(model: type[Model]) -> None:
    """Tell the planner about a table that just grew: without it the next plans read the whole table."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")
