"""Questions whose answer is known from camera-space truth: gold and tutorial."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from labeling.models import Campaign, Dataset, KnownQuestion, Person
from labeling.models.dataset import ABSENT, OCCLUDED
from webapp.refusal import Invalid

GOLD_GAP_MM = 250.0  # beyond 20 cm annotators are right more than 90 % of the time (Ronchi et al. 2018, Fig. 2a)
CLOSE_GAP_MM = 80.0

REASONS = {
    "clear": "It is clearly nearer to the camera.",
    "occluded": "One of the two is hidden behind the body. Trust the name on the button and the reference figure, "
    "and judge where the part must be.",
    "twins": "Left and right are the person's own. Read the name, then follow the limb from shoulder or hip.",
    "close": "These two are at almost the same distance: a close call. Give your best guess.",
}


@dataclass(frozen=True)
class Candidate:
    person: Person
    first: int
    second: int
    gap_mm: float
    kind: str

    @property
    def second_closer(self) -> bool:
        return self.gap_mm > 0


def candidates(person: Person, names: list[str], asked: set[str]) -> Iterator[Candidate]:
    """All pairs of one person with their depth gap z_first - z_second (mm) and what makes them hard."""
    present = [j for j, k in enumerate(person.keypoints) if k[2] != ABSENT and names[j] in asked]
    for n, first in enumerate(present):
        for second in present[n + 1 :]:
            gap = person.truth_mm[first][2] - person.truth_mm[second][2]
            states = {person.keypoints[first][2], person.keypoints[second][2]}
            if abs(gap) < CLOSE_GAP_MM:
                kind = "close"
            elif OCCLUDED in states:
                kind = "occluded"
            elif names[first].partition("_")[2] == names[second].partition("_")[2]:
                kind = "twins"
            else:
                kind = "clear"
            yield Candidate(person, first, second, gap, kind)


def _people_with_truth(dataset: Dataset, most: int = 400) -> list[Person]:
    return list(
        Person.objects.filter(image__dataset=dataset, truth_mm__isnull=False)
        .select_related("image")
        .order_by("id")[:most]
    )


def make_gold(campaign: Campaign, most: int) -> int:
    """Turn pairs with a large depth gap into gold questions, one per person, spread by a fixed seed."""
    people = _people_with_truth(campaign.dataset) if most else []
    rng = random.Random(f"gold {campaign.pair_policy['seed']}")
    rng.shuffle(people)
    names, asked = campaign.dataset.skeleton.keypoints, set(campaign.keypoints)
    rows = []
    for person in people[:most]:
        clear = [c for c in candidates(person, names, asked) if abs(c.gap_mm) >= GOLD_GAP_MM]
        if clear:
            # The widest of three: nobody who looks fails it, so that few are enough to tell who does not look.
            widest = max(rng.sample(clear, min(3, len(clear))), key=lambda c: abs(c.gap_mm))
            rows.append(_row(campaign, KnownQuestion.Use.GOLD, len(rows), widest))
    KnownQuestion.objects.bulk_create(rows)
    return len(rows)


def make_tutorial(campaign: Campaign, most: int, dataset_uuid: str = "") -> int:
    """Build a tutorial that teaches each kind of question, easy ones first; none where no truth is known."""
    dataset = campaign.dataset
    if dataset_uuid:
        dataset = Dataset.objects.select_related("skeleton").filter(uuid=dataset_uuid).first()
        if dataset is None:
            raise Invalid("No such data set.", field="tutorial_dataset", value=dataset_uuid)
    asked = set(campaign.keypoints) if dataset == campaign.dataset else set(dataset.skeleton.keypoints)
    people = _people_with_truth(dataset) if most else []
    rng = random.Random(f"tutorial {campaign.pair_policy['seed']}")
    rng.shuffle(people)
    wanted = ["clear", "clear", "occluded", "twins", "clear", "close"]
    rows: list[KnownQuestion] = []
    for person in people:
        if len(rows) == most:
            break
        kind = wanted[len(rows) % len(wanted)]
        least, largest = (20.0, CLOSE_GAP_MM) if kind == "close" else (200.0, 5000.0)
        fitting = [
            c
            for c in candidates(person, dataset.skeleton.keypoints, asked)
            if c.kind == kind and least <= abs(c.gap_mm) <= largest
        ]
        if fitting:
            rows.append(_row(campaign, KnownQuestion.Use.TUTORIAL, len(rows), rng.choice(fitting)))
    KnownQuestion.objects.bulk_create(rows)
    return len(rows)


def _row(campaign: Campaign, use: str, position: int, c: Candidate) -> KnownQuestion:
    return KnownQuestion(
        campaign=campaign,
        use=use,
        position=position,
        person=c.person,
        first=c.first,
        second=c.second,
        second_closer=c.second_closer,
        gap_mm=abs(c.gap_mm),
        reason=c.kind,
    )
