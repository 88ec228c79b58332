"""What a release is written from: people in order, each with its labels, streamed from the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labeling.models import Campaign, CrowdRun, Image, Label, Person, Vote
from labeling.models.dataset import ABSENT, OCCLUDED
from labeling.skeletons import Skeleton

CHUNK = 5000
DIGITS = 9
CLOSER = ("first", "second", "same")


@dataclass(frozen=True)
class Ann:
    """One labelled pair: keypoint indices, P(second closer), risk of the likelier answer, votes used."""

    kp0: int
    kp1: int
    prob: float
    risk: float
    votes: int

    @property
    def label(self) -> int:
        return int(self.prob > 0.5)


class Source:
    """One campaign's labels by one crowd run. Every method streams; nothing is held in memory."""

    def __init__(self, campaign: Campaign, crowd_run: CrowdRun) -> None:
        self.campaign, self.crowd_run = campaign, crowd_run
        self.skeleton: Skeleton = campaign.dataset.skeleton.plain
        self._people = Person.objects.filter(image__dataset=campaign.dataset)

    def count(self) -> int:
        return self._people.count()

    def people(self) -> Iterator[tuple[Image, Person]]:
        for person in self._people.select_related("image").order_by("image_id", "index").iterator(chunk_size=CHUNK):
            yield person.image, person

    def labelled(self) -> Iterator[tuple[Image, Person, list[Ann]]]:
        """Every person with its labels: both streams come in one order and are merged."""
        labels = self._labels()
        waiting = next(labels, None)
        for image, person in self.people():
            anns: list[Ann] = []
            while waiting is not None and waiting[0] == person.pk:
                anns.append(waiting[1])
                waiting = next(labels, None)
            yield image, person, anns

    def _labels(self) -> Iterator[tuple[int, Ann]]:
        rows = (
            Label.objects.filter(run=self.crowd_run)
            .order_by("pair__image_id", "pair__first_person__index", "pair__first", "pair__second")
            .values_list("pair__first_person_id", "pair__first", "pair__second", "p_first_closer", "risk", "votes_used")
        )
        for person, first, second, p_first, risk, votes in rows.iterator(chunk_size=CHUNK):
            yield person, Ann(first, second, round(1 - p_first, DIGITS), round(risk, DIGITS), votes)

    def votes(self) -> Iterator[dict[str, Any]]:
        """Every vote ever given, also those taken back; annotators under a pseudonym of this campaign."""
        names = self.skeleton.keypoints
        rows = (
            Vote.objects.filter(pair__campaign=self.campaign, pk__lte=self.crowd_run.last_vote)
            .order_by("pk")
            .values_list(
                "pair__image__name",
                "pair__first_person__index",
                "pair__first",
                "pair__second",
                "closer",
                "participation__pseudonym",
                "participation__annotator__is_simulated",
                "received_at",
                "leased_at",
                "response_ms",
                "toggles",
                "zoom",
                "viewport",
                "by",
                "side_seen",
                "app_version",
                "retraction__at",
            )
        )
        for (
            image,
            person,
            first,
            second,
            closer,
            who,
            simulated,
            received,
            leased,
            response,
            toggles,
            zoom,
            viewport,
            by,
            side,
            version,
            retracted,
        ) in rows.iterator(chunk_size=CHUNK):
            yield {
                "image": image,
                "person": person,
                "first": names[first],
                "second": names[second],
                "closer": CLOSER[closer],
                "annotator": str(who),
                "simulated": int(simulated),
                "received_at": received.isoformat(),
                "leased_at": leased.isoformat(),
                "response_ms": response,
                "toggles": toggles,
                "zoom": zoom,
                "viewport": viewport,
                "by": by,
                "green_and_first_side": side,
                "app_version": version,
                "retracted_at": retracted.isoformat() if retracted else None,
            }

    def label_rows(self) -> Iterator[dict[str, Any]]:
        names = self.skeleton.keypoints
        for image, person, anns in self.labelled():
            for ann in anns:
                yield {
                    "image": image.name,
                    "split": image.split,
                    "person": person.index,
                    "kp0": ann.kp0,
                    "kp1": ann.kp1,
                    "first": names[ann.kp0],
                    "second": names[ann.kp1],
                    "label": ann.label,
                    "prob": ann.prob,
                    "risk": ann.risk,
                    "votes": ann.votes,
                }


def flags(person: Person, state: int) -> list[int]:
    return [int(k[2] == state) for k in person.keypoints]


def occluded(person: Person) -> list[int]:
    return flags(person, OCCLUDED)


def absent(person: Person) -> list[int]:
    return flags(person, ABSENT)
