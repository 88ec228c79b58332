"""Questions whose answer is known from camera-space truth: gold and tutorial."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labeling.models import Campaign, Dataset, Pair, Person, ReferenceQuestion
from labeling.models.dataset import ABSENT, OCCLUDED
from labeling.skeletons import twin_of

GOLD_GAP_MM = 250.0  # beyond 20 cm annotators are right more than 90 % of the time (Ronchi et al. 2018, Fig. 2a)
CLOSE_GAP_MM = 80.0
TUTORIAL = ("clear", "clear", "occluded", "twins", "clear", "close")  # kinds in the order of asking, easy ones first
LOOKED_AT = 2000  # people looked at for known questions at most, drawn from all

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
    depth = Person.depths_mm(person.truth_mm)
    present = [
        j for j, k in enumerate(person.keypoints) if k[2] != ABSENT and names[j] in asked and math.isfinite(depth[j])
    ]
    for n, first in enumerate(present):
        for second in present[n + 1 :]:
            gap = depth[first] - depth[second]
            states = {person.keypoints[first][2], person.keypoints[second][2]}
            if abs(gap) < CLOSE_GAP_MM:
                kind = "close"
            elif OCCLUDED in states:
                kind = "occluded"
            elif twin_of(names[first], names) == names[second]:
                kind = "twins"
            else:
                kind = "clear"
            yield Candidate(person, first, second, gap, kind)


def _people_with_truth(dataset: Dataset, rng: random.Random) -> Iterator[Person]:
    """People of known truth in an order drawn by `rng` from the whole data set, read a few hundred at a time."""
    people = Person.objects.filter(image__dataset=dataset, truth_mm__isnull=False)
    keys = list(people.order_by("pk").values_list("pk", flat=True))
    drawn = rng.sample(keys, min(len(keys), LOOKED_AT))
    for start in range(0, len(drawn), 500):
        part = drawn[start : start + 500]
        read = {person.pk: person for person in people.filter(pk__in=part)}
        yield from (read[pk] for pk in part if pk in read)


MOST_GOLD = 20_000
ROUNDS = 60  # of the fitting of weights to both sums: what is left is far below the noise of drawing


def gold_needed(campaign: Campaign, pairs: int) -> int:
    """So many gold questions that none is asked more often than an ordinary pair: who remembers, or talks to others, cannot
    tell them by that."""
    gold, probes = campaign.gold_share, campaign.probe_share
    # Gold stands in where there is no probe yet (labeling.answering.choice.check).
    share = gold + (1 - gold) * probes if gold else 0.0
    return min(MOST_GOLD, math.ceil(pairs * share / (1 - share)))


def make_gold(campaign: Campaign, most: int) -> int:
    """Turn pairs with a large depth gap into gold questions, drawn by the campaign's seed.

    Neither the person nor the two keypoints must tell a gold question from an ordinary one: candidates are drawn with
    weights for which every person, and every pair of keypoints that is ever far apart, comes equally often, as in the
    campaign. What the campaign asks as an ordinary pair comes last.
    """
    rng = np.random.default_rng([campaign.pair_policy["seed"], 2])
    people = (
        list(_people_with_truth(campaign.dataset, random.Random(f"gold {campaign.pair_policy['seed']}")))
        if most
        else []
    )
    if not people:
        return 0
    names = campaign.dataset.skeleton.keypoints
    asked = np.isin(names, campaign.keypoints)
    depth = np.array([Person.depths_mm(person.truth_mm) for person in people])
    shown = np.array([[point[2] != ABSENT for point in person.keypoints] for person in people]) & asked
    first, second = np.triu_indices(len(names), 1)
    gap = depth[:, first] - depth[:, second]
    who, which = np.nonzero(shown[:, first] & shown[:, second] & (np.abs(gap) >= GOLD_GAP_MM))
    keys = np.array([person.pk for person in people])
    spare = _asked_anyway(campaign, keys[who], first[which], second[which])
    # Weighted drawing without putting back is sorting by exponential times (Efraimidis and Spirakis 2006).
    order = np.lexsort((rng.exponential(size=len(who)) / _even(who, which), spare))[:most]
    rng.shuffle(order)
    rows = [
        ReferenceQuestion(
            campaign=campaign,
            use=ReferenceQuestion.Use.GOLD,
            position=position,
            person=people[who[n]],
            first=int(first[which[n]]),
            second=int(second[which[n]]),
            second_closer=bool(gap[who[n], which[n]] > 0),
            gap_mm=float(abs(gap[who[n], which[n]])),
            reason="clear",
        )
        for position, n in enumerate(order.tolist())
    ]
    ReferenceQuestion.objects.bulk_create(rows, batch_size=500)
    return len(rows)


def _asked_anyway(
    campaign: Campaign, person: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of these are ordinary pairs of the campaign as well."""
    pairs = Pair.objects.filter(campaign=campaign, person__in=np.unique(person).tolist())
    ordinary = set(pairs.values_list("person_id", "first", "second"))
    return np.array([key in ordinary for key in zip(person.tolist(), first.tolist(), second.tolist())], dtype=bool)


def _even(who: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Weights of candidates (M,) float64 whose sums over every person, and over every pair of keypoints, are as equal as can be
    (iterative proportional fitting, Deming and Stephan 1940)."""
    weight = np.ones(len(who))
    for _ in range(ROUNDS):
        for group in (who, which):
            weight /= np.bincount(group, weight)[group]
    return weight


def make_tutorial(campaign: Campaign, length: int, dataset_uuid: str = "") -> int:
    """Build the questions that the tries of a tutorial are drawn from: each kind of them, so many that every try can ask
    others. None where no truth is known. Returns the length of one try."""
    dataset = campaign.dataset
    if dataset_uuid:
        dataset = Dataset.objects.select_related("skeleton").get(uuid=dataset_uuid)
    asked = set(campaign.keypoints) if dataset == campaign.dataset else set(dataset.skeleton.keypoints)
    rng = random.Random(f"tutorial {campaign.pair_policy['seed']}")
    names = dataset.skeleton.keypoints
    needed = {kind: 0 for kind in TUTORIAL}
    for n in range(length):
        needed[TUTORIAL[n % len(TUTORIAL)]] += campaign.tutorial_tries
    rows: list[ReferenceQuestion] = []
    people = list(_people_with_truth(dataset, rng)) if length else []
    taken: set[tuple[int, int, int]] = set()
    before = -1
    while any(needed.values()) and before < len(rows):  # people once, and again only where there are too few
        before = len(rows)
        for person in people:
            fitting = [
                c
                for c in candidates(person, names, asked)
                if needed[c.kind] and _teaches(c) and (person.pk, c.first, c.second) not in taken
            ]
            if fitting:
                most = max(needed[c.kind] for c in fitting)
                c = rng.choice([c for c in fitting if needed[c.kind] == most])
                needed[c.kind] -= 1
                taken.add((person.pk, c.first, c.second))
                rows.append(_row(campaign, ReferenceQuestion.Use.TUTORIAL, len(rows), c))
            if not any(needed.values()):
                break
    ReferenceQuestion.objects.bulk_create(rows, batch_size=500)
    return min(length, len(rows))


def _teaches(c: Candidate) -> bool:
    least, largest = (20.0, CLOSE_GAP_MM) if c.kind == "close" else (200.0, 5000.0)
    return least <= abs(c.gap_mm) <= largest


def _row(campaign: Campaign, use: str, position: int, c: Candidate) -> ReferenceQuestion:
    return ReferenceQuestion(
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
