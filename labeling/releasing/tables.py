"""Labels and raw votes as CSV and Parquet, in batches: memory does not grow with their number."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labeling.releasing.source import Source

BATCH = 20_000
LABELS = pa.schema(
    [
        ("image", pa.string()),
        ("split", pa.string()),
        ("person", pa.int32()),
        ("kp0", pa.int32()),
        ("kp1", pa.int32()),
        ("first", pa.string()),
        ("second", pa.string()),
        ("label", pa.int8()),
        ("prob", pa.float64()),
        ("risk", pa.float64()),
        ("votes", pa.int32()),
    ]
)
VOTES = pa.schema(
    [
        ("image", pa.string()),
        ("person", pa.int32()),
        ("first", pa.string()),
        ("second", pa.string()),
        ("closer", pa.string()),
        ("annotator", pa.string()),
        ("simulated", pa.int8()),
        ("received_at", pa.string()),
        ("leased_at", pa.string()),
        ("response_ms", pa.int64()),
        ("toggles", pa.int32()),
        ("zoom", pa.float64()),
        ("viewport", pa.string()),
        ("by", pa.string()),
        ("green_and_first_side", pa.string()),
        ("app_version", pa.string()),
        ("retracted_at", pa.string()),
    ]
)


def _csv(rows: Iterator[dict[str, Any]], columns: list[str], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _parquet(rows: Iterator[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(rows, BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def write_labels_csv(source: Source, path: Path) -> None:
    _csv(source.label_rows(), LABELS.names, path)


def write_labels_parquet(source: Source, path: Path) -> None:
    _parquet(source.label_rows(), LABELS, path)


def write_votes_csv(source: Source, path: Path) -> None:
    _csv(source.votes(), VOTES.names, path)


def write_votes_parquet(source: Source, path: Path) -> None:
    _parquet(source.votes(), VOTES, path)
