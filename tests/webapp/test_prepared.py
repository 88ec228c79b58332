"""Prepared queries answer as the querysets they were made from."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, transaction
from django.db.models import (
    BigIntegerField,
    CharField,
    DateTimeField,
    Exists,
    F,
    IntegerField,
    JSONField,
    OuterRef,
    UUIDField,
)

from labeling.models import Participation, SawAnswers, Session
from webapp.accounts.models import Account
from webapp.prepared import Insert, Select, Slot, Update


def test_a_prepared_reading_gives_the_instances_of_its_queryset_with_related_and_annotated(world):
    def rows(campaign, account):
        saw = SawAnswers.objects.filter(campaign=OuterRef("campaign"), account=account)
        participations = Participation.objects.select_related("campaign__dataset").annotate(saw=Exists(saw))
        return participations.defer("campaign__instructions").filter(campaign__uuid=campaign).order_by("pk")

    campaign = world.campaign()
    for account in (world.ann, world.ben):
        world.participation(account, campaign)
    SawAnswers.objects.create(campaign=campaign, account=world.ben)
    prepared = Select(lambda: rows(Slot("campaign", UUIDField()), Slot("account", BigIntegerField())))
    for account in (world.ann, world.ben):  # the second run uses the first one's plan with other values
        instances = prepared.rows(campaign=campaign.uuid, account=account.pk)
        plain = list(rows(campaign.uuid, account.pk))
        assert [(p.pk, p.pseudonym, p.joined_at, p.cursors, p.saw, p.campaign.dataset.name) for p in instances] == [
            (p.pk, p.pseudonym, p.joined_at, p.cursors, p.saw, p.campaign.dataset.name) for p in plain
        ]
        assert [p.saw for p in instances] == [account == world.ben] * 2
        assert instances[0].campaign.get_deferred_fields() == {"instructions"}
    assert prepared.first(campaign=uuid.uuid4(), account=1) is None


def test_a_slot_without_a_value_is_an_error_not_a_wider_query(world):
    with pytest.raises(KeyError):
        Select(lambda: Account.objects.filter(username=Slot("name", CharField()))).rows(nmae="ann")


def test_a_prepared_change_touches_the_rows_named_and_adapts_json_times_and_expressions(world):
    campaign = world.campaign()
    participations = [world.participation(a, campaign) for a in (world.ann, world.ben)]
    noon = datetime(2026, 5, 4, 12, 0, 0, 250, tzinfo=UTC)
    change = Update(
        lambda: (
            Participation.objects.filter(pk=Slot("participation", BigIntegerField())),
            {
                "cursors": Slot("cursors", JSONField()),
                "exhausted_until": Slot("until", DateTimeField()),
                "tutorial_tries": F("tutorial_tries") + Slot("more", IntegerField()),
            },
        )
    )
    assert change.run(participation=participations[0].pk, cursors=[3, -1, 7], until=noon, more=2) == 1
    assert change.run(participation=participations[0].pk, cursors=[4], until=None, more=3) == 1
    assert change.run(participation=0, cursors=[], until=None, more=1) == 0
    for participation in participations:
        participation.refresh_from_db()
    assert (participations[0].cursors, participations[0].exhausted_until, participations[0].tutorial_tries) == (
        [4],
        None,
        5,
    )
    assert (participations[1].cursors, participations[1].tutorial_tries) == ([], 0)
    change.run(participation=participations[1].pk, cursors=[1], until=noon, more=1)
    participations[1].refresh_from_db()
    assert participations[1].exhausted_until == noon


def test_a_prepared_insertion_stores_what_create_would_and_obeys_the_schema(world):
    insert = Insert(Session)
    participation = world.participation(world.ann, world.campaign())
    session = insert.run(Session(participation=participation, length=7))
    stored = Session.objects.get(pk=session.pk)
    assert (stored.uuid, stored.length, stored.answered, stored.finished_at) == (session.uuid, 7, 0, None)
    assert stored.started_at is not None
    with pytest.raises(IntegrityError), transaction.atomic():
        insert.run(Session(participation=participation, length=3))
