"""Labels and raw votes as Parquet and CSV, batch by batch: memory does not grow with their number.

The Parquet files are written first, and every other file of a release is made from them: the database is read once.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from labeling.releasing.source import Source, Subject

TIME = pa.timestamp("us", "UTC")
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
        ("prob_without_prior", pa.float64()),
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
        ("received_at", TIME),
        ("leased_at", TIME),
        ("response_ms", pa.int64()),
        ("toggles", pa.int32()),
        ("zoom", pa.float64()),
        ("viewport", pa.string()),
        ("by", pa.string()),
        ("presentation", pa.string()),
        ("app_version", pa.string()),
        ("retracted_at", TIME),
    ]
)


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    if kind == TIME:  # text in UTC, from PostgreSQL with its offset
        plain = ["NaT" if v is None else v.removesuffix("+00") for v in values]
        return pa.array(np.array(plain, "datetime64[us]"), kind)
    if kind == pa.int8():
        values = np.asarray(values, np.int8)
    return pa.array(values, kind)


def _parquet(batches: Iterable[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            columns = [_column(batch[field.name], field.type) for field in schema]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _csv(path: Path) -> None:
    source = path.with_suffix(".parquet")
    kinds = pq.read_schema(source)  # times without their zone, which is UTC: writing the zone takes ten times as long
    plain = pa.schema([(f.name, pa.timestamp("us") if f.type == TIME else f.type) for f in kinds])
    with pq.ParquetFile(source) as stored, pa.csv.CSVWriter(path, plain) as writer:
        for batch in stored.iter_batches(batch_size=8192):
            writer.write_batch(batch.cast(plain))


def write_labels_parquet(source: Source, path: Path) -> None:
    _parquet(source.label_columns(), LABELS, path)


class Ann(NamedTuple):
    """One labelled pair: keypoint indices, likelier answer (1 = kp1 closer), P(label = 1), risk, votes used; and P without a
    prior, where the merge used one."""

    kp0: int
    kp1: int
    label: int
    prob: float
    risk: float
    votes: int
    prob_without_prior: float | None


def labelled(source: Source, folder: Path) -> Iterator[tuple[Subject, list[Ann]]]:
    """Every person with the labels in the folder's `labels.parquet`: both are in one order and are merged."""
    labels = _stored(folder / "labels.parquet")
    waiting = next(labels, None)
    for subject in source.people():
        anns: list[Ann] = []
        while waiting is not None and waiting[0] == (subject.image, subject.person):
            anns.append(waiting[1])
            waiting = next(labels, None)
        yield subject, anns
    if waiting is not None:
        raise AssertionError(f"labels of {waiting[0]} belong to nobody in this data set")


def _stored(path: Path) -> Iterator[tuple[tuple[str, int], Ann]]:
    with pq.ParquetFile(path) as stored:
        for batch in stored.iter_batches(batch_size=8192, columns=["image", "person", *Ann._fields]):
            image, person, *rest = (column.to_pylist() for column in batch.columns)
            yield from zip(zip(image, person, strict=True), map(Ann, *rest), strict=True)


def anns_json(anns: list[Ann]) -> str:
    """As `json.dumps` would write them, several times faster."""
    form = '{"kp0": %d, "kp1": %d, "label": %d, "prob": %r, "risk": %r, "votes": %d}'
    if any(ann.prob_without_prior is not None for ann in anns):
        form = form[:-1] + ', "prob_without_prior": %s}'
        return "[" + ", ".join([form % (*ann[:-1], "null" if ann[-1] is None else repr(ann[-1])) for ann in anns]) + "]"
    return "[" + ", ".join([form % ann[:-1] for ann in anns]) + "]"


def write_labels_csv(source: Source, path: Path) -> None:
    """The rows of labels.parquet, which is written first."""
    _csv(path)


def write_votes_parquet(source: Source, path: Path) -> None:
    _parquet(source.vote_columns(), VOTES, path)


def write_votes_csv(source: Source, path: Path) -> None:
    """The rows of votes.parquet, which is written first."""
    _csv(path)


def write_reference_answers_csv(source: Source, path: Path) -> None:
    """`as_expected`: right for a gold question, the same as before for a mirror probe; `number` > 1: answered anew after an undo,
    not counted."""
    columns = (
        "kind",
        "image",
        "person",
        "first",
        "second",
        "closer",
        "as_expected",
        "number",
        "annotator",
        "received_at",
        "response_ms",
    )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(source.reference_answers())
