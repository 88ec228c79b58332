"""What a release is written from: people in order, labels and votes, streamed from the database in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from django.db.models import TextField
from django.db.models.functions import Cast

from labeling.models import AggregationRun, Answer, Campaign, Label, Participation, Person, Vote
from labeling.models.dataset import ABSENT, OCCLUDED
from labeling.skeletons import Skeleton
from webapp import rows

DIGITS = 9
IN_ORDER = ("pair__person_id", "pair__first", "pair__second")  # one index gives this order


class Subject(NamedTuple):
    """One person of one picture. `keypoints` [x px, y px, visibility], `truth_mm` [x, y, z] in the camera frame,
    None where unknown."""

    image_id: int
    image: str
    split: str
    width: int
    height: int
    sha256: str
    source: str
    licence: str
    attribution: str
    person_id: int
    person: int
    bbox: list[float]
    keypoints: list[list[float]]
    truth_mm: list[list[float] | None] | None

    def flags(self, state: int) -> list[int]:
        """1 for every keypoint in this state."""
        return [int(k[2] == state) for k in self.keypoints]

    @property
    def occluded(self) -> list[int]:
        return self.flags(OCCLUDED)

    @property
    def absent(self) -> list[int]:
        return self.flags(ABSENT)


COLUMNS = (
    "image_id",
    *(f"image__{c}" for c in ("name", "split", "width", "height", "sha256", "source", "licence", "attribution")),
    *("id", "index", "bbox", "keypoints", "truth_mm"),
)


class Source:
    """One campaign's labels by one crowd run. Every method streams; nothing is held in memory."""

    def __init__(self, campaign: Campaign, aggregation_run: AggregationRun) -> None:
        self.campaign, self.aggregation_run = campaign, aggregation_run
        self.skeleton: Skeleton = campaign.dataset.skeleton.as_skeleton
        self._people = Person.objects.filter(image__dataset=campaign.dataset)

    def count(self) -> int:
        return self._people.count()

    def people(self) -> Iterator[Subject]:
        for batch in rows.read(self._people.order_by("id").values_list(*COLUMNS)):
            for row in batch:
                yield Subject(*row[:-3], *(None if text is None else json.loads(text) for text in row[-3:]))

    def label_columns(self) -> Iterator[dict[str, Any]]:
        """Labels in batches, by column; ordered by person, kp0, kp1."""
        names = np.array(self.skeleton.keypoints)
        labels = Label.objects.filter(run=self.aggregation_run).order_by(*IN_ORDER)
        for batch in rows.read(
            labels.values_list(*IN_ORDER, "p_first_closer", "risk", "votes_used", "p_first_closer_without_prior")
        ):
            person, kp0, kp1, p_first, risk, votes, plain = zip(*batch, strict=True)
            asked = {
                pk: place for pk, *place in self._places(set(person))
            }  # joined here, the sort carries numbers only
            image, split, index = zip(*(asked[pk] for pk in person), strict=True)
            # Rounded so that what is read back and written again is the same text.
            prob = np.round(1 - np.array(p_first), DIGITS)
            yield {
                "image": image,
                "split": split,
                "person": index,
                "kp0": kp0,
                "kp1": kp1,
                "first": names[list(kp0)],
                "second": names[list(kp1)],
                "label": prob > 0.5,
                "prob": prob,
                "risk": np.round(np.array(risk), DIGITS),
                "votes": votes,
                "prob_without_prior": [None if p is None else round(1 - p, DIGITS) for p in plain],
            }

    def _places(self, people: set[int]) -> Any:
        rows = Person.objects.filter(pk__gte=min(people), pk__lte=max(people), image__dataset=self.campaign.dataset_id)
        return rows.values_list("pk", "image__name", "image__split", "index")

    def reference_answers(self) -> Iterator[dict[str, Any]]:
        """Answers to gold questions and mirror probes, row by row: what quality was measured on. Annotators under a pseudonym."""
        names, answers = self.skeleton.keypoints, ("first", "second", "same")
        for kind, asked, person in (
            (Answer.Kind.GOLD, "assignment__gold", "person"),
            (Answer.Kind.PROBE, "assignment__probe_of__pair", "person"),
        ):
            rows = (
                Answer.objects.filter(
                    campaign=self.campaign, kind=kind, received_at__lte=self.aggregation_run.created_at
                )
                .order_by("pk")
                .values_list(
                    *(f"{asked}__{person}__image__name", f"{asked}__{person}__index"),
                    *(f"{asked}__first", f"{asked}__second", "closer", "as_expected"),
                    *("number", "participation__pseudonym", "received_at", "response_ms"),
                )
            )
            for image, index, first, second, closer, as_expected, number, who, at, ms in rows.iterator(chunk_size=2000):
                yield {
                    "kind": kind.value,
                    "image": image,
                    "person": index,
                    "first": names[first],
                    "second": names[second],
                    "closer": answers[closer],
                    "as_expected": int(as_expected),
                    "number": number,
                    "annotator": str(who),
                    "received_at": at.isoformat(),
                    "response_ms": "" if ms is None else ms,
                }

    def vote_columns(self) -> Iterator[dict[str, Any]]:
        """Every vote ever given in batches, by column, also those taken back; annotators under a pseudonym."""
        names, answers = np.array(self.skeleton.keypoints), np.array(["first", "second", "same"])
        participations = Participation.objects.filter(campaign=self.campaign)
        known = dict(
            (pk, (str(pseudonym), simulated))
            for pk, pseudonym, simulated in participations.values_list("pk", "pseudonym", "annotator__is_simulated")
        )
        plain = ("response_ms", "toggles", "zoom", "viewport", "by", "presentation", "app_version")
        votes = (
            Vote.objects.filter(campaign=self.campaign, pk__lte=self.aggregation_run.last_vote)
            # As text: making 300 thousand time objects costs more than all the rest.
            .annotate(
                received=Cast("received_at", TextField()),
                leased=Cast("leased_at", TextField()),
                retracted=Cast("retraction__at", TextField()),
            )
            .order_by("pk")
            .values_list(
                *(
                    "pair__person__image__name",
                    "pair__person__index",
                    "pair__first",
                    "pair__second",
                    "closer",
                ),
                *("participation_id", "received", "leased", "retracted", *plain),
            )
        )
        for batch in rows.read(votes):
            image, person, first, second, closer, participation, received, leased, retracted, *rest = zip(
                *batch, strict=True
            )
            yield {
                "image": image,
                "person": person,
                "first": names[list(first)],
                "second": names[list(second)],
                "closer": answers[list(closer)],
                "annotator": [known[s][0] for s in participation],
                "simulated": [known[s][1] for s in participation],
                "received_at": received,
                "leased_at": leased,
                "retracted_at": retracted,
                **dict(zip(plain, rest, strict=True)),
            }
