"""A campaign's counted votes, pairs and gold answers as arrays, read in one state of the database.

Everything that computes over votes starts here: read, let the database go, compute, and write in short steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import Exists, OuterRef, QuerySet
from numpy.typing import NDArray

from labeling.crowd.votes import CONDITIONS, Votes
from labeling.models import Answer, Campaign, DepthPosterior, Pair, Participation, Person, Retraction, Vote
from labeling.models.answer import SAME, SECOND
from webapp import rows

PRESENTATIONS = {"green-left": 3, "green-right": 1, "pink-left": 2, "pink-right": 0}  # bits of crowd.votes.Votes.shown


def counted_votes(campaign: Any) -> QuerySet[Vote]:
    """Votes that were not taken back, of annotators who are not blocked."""
    return standing_votes(campaign).exclude(participation__standing=Participation.Standing.BLOCKED)


def standing_votes(campaign: Any) -> QuerySet[Vote]:
    """Votes that were not taken back, whoever gave them."""
    return Vote.objects.filter(~Exists(Retraction.objects.filter(answer=OuterRef("pk"))), campaign=campaign)


@dataclass(frozen=True)
class Gold:
    """First answers to gold questions, M: `person` key, `first`, `second`, `second_closer`, `look`, `participation` key."""

    person: NDArray[np.int64]
    first: NDArray[np.int16]
    second: NDArray[np.int16]
    second_closer: NDArray[np.bool_]
    presentation: NDArray[np.int8]
    participation: NDArray[np.int64]


@dataclass(frozen=True)
class Snapshot:
    """P pairs by ascending key `pair_id`, with the keys of their people, and their keypoints; N counted votes by ascending
    key `vote`: `pair` is a place in the pairs, `participation` one in `participation_ids`. Answers 'same' are left out. `control`: keys of the
    people of that arm; `truth_mm`: depths of the people of gold questions, NaN where unknown."""

    pair_id: NDArray[np.int64]
    person: NDArray[np.int64]
    first: NDArray[np.int16]
    second: NDArray[np.int16]
    vote: NDArray[np.int64]
    pair: NDArray[np.int32]
    participation: NDArray[np.int32]
    second_closer: NDArray[np.bool_]
    presentation: NDArray[np.int8]
    participation_ids: NDArray[np.int64]
    gold: Gold
    truth_mm: dict[int, list[float]]
    control: frozenset[int]

    @property
    def last_vote(self) -> int:
        return int(self.vote[-1]) if len(self.vote) else 0

    def questions(self) -> tuple[Votes, NDArray[np.int64]]:
        """The votes as answers to single questions, and the keys of the pairs that were asked."""
        count = np.bincount(self.pair, minlength=len(self.pair_id))
        asked = np.flatnonzero(count)
        place = np.zeros(len(self.pair_id), np.int32)
        place[asked] = np.arange(len(asked))
        shown = self.presentation if len(self.presentation) and self.presentation.max() < CONDITIONS else None
        votes = Votes(
            place[self.pair], self.participation, self.second_closer, len(asked), len(self.participation_ids), shown
        )
        return votes, self.pair_id[asked]


def read(campaign: Campaign) -> Snapshot:
    """Read it. Its cost is the campaign's own, however many votes other campaigns have."""
    with rows.snapshot():
        pairs = _columns(
            Pair.objects.filter(campaign=campaign).order_by().values_list("pk", "person_id", "first", "second"),
            (np.int64, np.int64, np.int16, np.int16),
        )
        votes = _columns(
            counted_votes(campaign)
            .exclude(closer=SAME)
            .order_by()
            .values_list("pk", "pair_id", "participation_id", "closer", "presentation"),
            (np.int64, np.int64, np.int64, np.int8, np.int8),
            last=lambda presentation: PRESENTATIONS.get(presentation, CONDITIONS),
        )
        gold = _gold(campaign)
        truth = dict(Person.objects.filter(pk__in=set(gold.person.tolist())).values_list("pk", "truth_mm"))
        control = DepthPosterior.objects.filter(campaign=campaign, control=True).values_list("person_id", flat=True)
        apart = frozenset(control)
    order = pairs[0].argsort()
    pair_id, person, first, second = (column[order] for column in pairs)
    order = votes[0].argsort()
    vote, of_pair, of_participation, closer, presentation = (column[order] for column in votes)
    participation_ids, participation = np.unique(of_participation, return_inverse=True)
    return Snapshot(
        pair_id=pair_id,
        person=person,
        first=first,
        second=second,
        vote=vote,
        pair=np.searchsorted(pair_id, of_pair).astype(np.int32),
        participation=participation.astype(np.int32),
        second_closer=closer == SECOND,
        presentation=presentation,
        participation_ids=participation_ids,
        gold=gold,
        truth_mm={pk: Person.depths_mm(joints) for pk, joints in truth.items()},
        control=apart,
    )


def _columns(values: QuerySet[Any, Any], types: tuple[Any, ...], last: Any = None) -> list[NDArray[Any]]:
    """The columns of many rows of numbers; `last` makes a number of the last column."""
    parts: list[list[NDArray[Any]]] = [[] for _ in types]
    for batch in rows.read(values):
        for n, (column, dtype) in enumerate(zip(zip(*batch, strict=True), types, strict=True)):
            numbers = map(last, column) if last and n == len(types) - 1 else column
            parts[n].append(np.fromiter(numbers, dtype, len(batch)))
    return [np.concatenate(part) if part else np.zeros(0, dtype) for part, dtype in zip(parts, types, strict=True)]


def _gold(campaign: Campaign) -> Gold:
    """First answers only: whoever takes one back and looks again would else be judged by what was found out."""
    answers = (
        Answer.objects.filter(campaign=campaign, kind=Answer.Kind.GOLD, number=1)
        .exclude(closer=SAME)
        .exclude(participation__standing=Participation.Standing.BLOCKED)
        .order_by("pk")
        .values_list(
            *("assignment__gold__person_id", "assignment__gold__first", "assignment__gold__second", "closer"),
            *("presentation", "participation_id"),
        )
    )
    table = [(p, f, s, c == SECOND, PRESENTATIONS[shown], w) for p, f, s, c, shown, w in answers]
    columns = list(zip(*table, strict=True)) if table else [()] * 6
    types = (np.int64, np.int16, np.int16, np.bool_, np.int8, np.int64)
    return Gold(*(np.array(column, dtype) for column, dtype in zip(columns, types, strict=True)))


def newest_vote(campaign: Any) -> Any:
    """A subquery: key of a campaign's newest counted vote."""
    return counted_votes(campaign).order_by("-pk").values("pk")[:1]
