"""Which pairs of keypoints a campaign asks about, written in bulk."""

from __future__ import annotations

import itertools

import numpy as np
from django.db import transaction

from labeling.models import Campaign, Pair, Person
from labeling.models.dataset import ABSENT
from webapp import rows
from webapp.progress import Progress

ROWS = 20_000  # in one transaction
COLUMNS = (
    "campaign_id",
    "person_id",
    "first",
    "second",
    "rank",
    "votes_needed",
    "votes_counted",
    "taken",
)


def make(campaign: Campaign, progress: Progress) -> int:
    """Draw the pairs of every person by the campaign's policy and write them; returns how many.

    Pairs come in an order shuffled by the policy's seed: if those of one picture followed each other, a gold question or a
    mirror probe would be known by its picture, which interrupts the row.
    """
    policy = campaign.pair_policy
    rng = np.random.default_rng(policy["seed"])
    asked = [campaign.dataset.skeleton.keypoints.index(name) for name in campaign.keypoints]
    people = Person.objects.filter(image__dataset=campaign.dataset)
    total = people.count()
    per_person = policy["per_person"] if policy["name"] == "random" else len(asked) * (len(asked) - 1) // 2
    order = np.random.default_rng([policy["seed"], 1]).permutation(total * per_person)
    count = number = last = 0
    # Some thousand pairs a transaction: nobody waits for more. While PostgreSQL takes a COPY, its connection can do nothing else.
    while chunk := list(
        people.filter(id__gt=last).order_by("id").values_list("id", "keypoints")[: max(1, ROWS // per_person)]
    ):
        made_here = []
        for person, keypoints in chunk:
            base, number, last = number * per_person, number + 1, person
            for offset, (first, second) in enumerate(_drawn(keypoints, asked, per_person, rng)):
                rank = int(order[base + offset])
                made_here.append((campaign.pk, person, first, second, rank, campaign.votes_per_pair, 0, 0))
        with transaction.atomic():
            rows.write(Pair, COLUMNS, made_here)
        count += len(made_here)
        progress(min(total, number), total, "people")
    return count


def _drawn(
    keypoints: list[list[float]], asked: list[int], most: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    present = [j for j in asked if keypoints[j][2] != ABSENT]
    every = list(itertools.combinations(present, 2))
    if len(every) <= most:
        return every
    return [every[i] for i in rng.choice(len(every), size=most, replace=False)]
