"""Mirror probes: an earlier question again, flipped, names and colours swapped; the answer is no vote."""

from __future__ import annotations

import random
import uuid

import numpy as np
import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labeling import pictures
from labeling.answering import assignment, choice, voting
from labeling.answering.questions import Question, question, turned
from labeling.models import Answer, Assignment, Campaign, Participation, ReferenceQuestion, Vote
from labeling.skeletons import LSP_14, twin_of
from tests.conftest import NOON, SECOND, World


def probed(world: World) -> tuple[Campaign, assignment.Lease]:
    """A campaign in which ann gave twelve answers and then got a probe."""
    campaign = world.campaign(world.dataset(8), votes_per_pair=1)
    for n in range(12):
        world.vote(world.ann, world.lease(world.ann, campaign, now=NOON + n * SECOND), now=NOON + n * SECOND)
    Campaign.objects.filter(pk=campaign.pk).update(probe_share=0.5)
    for n in range(50):
        lease = assignment.next_pair(
            world.ann, campaign.uuid, now=NOON + (20 + n) * SECOND, rng=random.Random(n), have=frozenset()
        )
        if lease.assignment.probe_of_id:
            return campaign, lease
        world.vote(world.ann, lease, now=NOON + (20 + n) * SECOND)
    raise AssertionError("no probe came")


def test_a_probe_is_the_old_question_flipped_with_names_colours_and_sides_swapped(world: World) -> None:
    campaign, lease = probed(world)
    vote = lease.assignment.probe_of
    old = question(assignment.Lease(vote.assignment, campaign, "t", 1))
    full = Assignment.objects.select_related("campaign__dataset__skeleton").get(pk=lease.assignment.pk)
    new = question(assignment.Lease(full, full.campaign, "t", 1))
    names = LSP_14.keypoints
    rings = {ring.keypoint: ring for ring in (new.first, new.second)}
    for ring in (old.first, old.second):  # either may come first
        flipped = rings[twin_of(ring.keypoint, names)]
        assert flipped.x == pytest.approx(1 - ring.x, abs=1e-5)
        assert flipped.y == ring.y

    def green(asked: Question) -> str:
        return (asked.first if asked.green_is_first else asked.second).keypoint

    assert green(new) != twin_of(green(old), names)
    first_was_left, first_is_left = (
        a.green_is_first == a.green_on_left for a in (vote.assignment, Assignment.objects.get(pk=full.pk))
    )
    assert first_is_left != first_was_left
    plain, flipped = (
        np.asarray(Image.open(pictures.file_of(lease.assignment.person, mirrored=m)).convert("RGB"), dtype=float)
        for m in (False, True)
    )
    assert np.abs(plain[:, ::-1] - flipped).mean() < 4  # JPEG
    assert np.abs(plain - flipped).mean() > 8


def test_neither_a_flipped_picture_nor_the_order_of_the_names_betrays_a_probe(world: World) -> None:
    campaign = world.campaign(world.dataset(12), pairs=8, votes_per_pair=1, probe_share=0.3, session_length=500)
    names, kinds = LSP_14.keypoints, []
    for n in range(60):
        now = NOON + n * SECOND
        world.participation(world.ann, campaign)
        lease = assignment.next_pair(world.ann, campaign.uuid, now=now, rng=random.Random(n), have=frozenset())
        asked = question(lease)
        kinds.append(
            (
                lease.assignment.probe_of_id is not None,
                lease.assignment.mirrored,
                names.index(asked.first.keypoint) < names.index(asked.second.keypoint),
            )
        )
        if kinds[-1][0]:
            assert lease.assignment.mirrored != lease.assignment.probe_of.assignment.mirrored
        world.vote(world.ann, lease, now=now)
    for probe in (False, True):  # what is shown takes both values for both kinds
        for shown in (1, 2):
            assert len({kind[shown] for kind in kinds if kind[0] is probe}) == 2


@given(seed=st.integers(0, 10**9), gold_share=st.floats(0, 0.5), probe_share=st.floats(0, 0.5))
def test_whether_a_question_is_a_check_does_not_depend_on_which_checks_there_are(
    seed: int, gold_share: float, probe_share: float
) -> None:
    gold, probe = ReferenceQuestion(), Vote()
    both, only_gold, only_probe = (
        choice.check(*there, gold_share, probe_share, random.Random(seed))
        for there in ((gold, probe), (gold, None), (None, probe))
    )
    assert (both is None) == (only_gold is None) == (only_probe is None)
    assert choice.check(None, None, gold_share, probe_share, random.Random(seed)) is None


def test_gold_and_probes_come_as_often_as_the_campaign_says() -> None:
    gold, probe, rng = ReferenceQuestion(), Vote(), random.Random(1)
    asked = [choice.check(gold, probe, 0.2, 0.125, rng) for _ in range(20_000)]
    assert sum(a is gold for a in asked) / 20_000 == pytest.approx(0.2, abs=0.01)
    assert sum(a is probe for a in asked) / 20_000 == pytest.approx(0.8 * 0.125, abs=0.01)
    early = [choice.check(gold, None, 0.2, 0.125, rng) for _ in range(20_000)]
    assert sum(a is gold for a in early) / 20_000 == pytest.approx(0.3, abs=0.01)


def test_an_answer_about_the_keypoint_that_is_shown_first_is_stored_as_meant(world: World) -> None:
    campaign = world.campaign(world.dataset(8), delay_ms=0, session_length=500)
    world.participation(world.ann, campaign)
    client, base = world.client(world.ann), f"/api/v1/annotate/{campaign.uuid}/"
    turns = set()
    for _ in range(12):
        asked = client.post(f"{base}next/", {"have": []}, content_type="application/json").json()
        vote = {"token": asked["token"], "closer": "first", "key": str(uuid.uuid4())}
        assert client.post(f"{base}vote/", vote, content_type="application/json").status_code == 200
        stored = Vote.objects.select_related("pair", "assignment").get(key=vote["key"])
        meant = (stored.pair.first, stored.pair.second)[stored.closer]
        assert LSP_14.keypoints[meant] == asked["first"]["keypoint"]
        assert client.post(f"{base}vote/", vote, content_type="application/json").status_code == 200  # once more
        assert (
            client.post(f"{base}vote/", vote | {"closer": "second"}, content_type="application/json").status_code == 409
        )
        turns.add(turned(stored.assignment.uuid))
    assert turns == {False, True}


@pytest.mark.parametrize(("closer", "same"), [("first", True), ("second", False)])
def test_the_answer_to_a_probe_is_no_vote_and_can_be_undone(world: World, closer: str, same: bool) -> None:
    campaign, lease = probed(world)
    votes, now = Vote.objects.count(), NOON + 500 * SECOND
    counted = list(campaign.pairs.order_by("pk").values_list("votes_counted", "taken"))
    key = uuid.uuid4()
    voting.accept(world.ann, lease.token, closer=closer, key=key, now=now)
    voting.accept(world.ann, lease.token, closer=closer, key=key, now=now)  # sent twice, recorded once
    assert Answer.objects.get(kind="probe").as_expected is same  # every earlier answer was 'first'
    assert Vote.objects.count() == votes
    assert list(campaign.pairs.order_by("pk").values_list("votes_counted", "taken")) == counted
    participation = Participation.objects.get(campaign=campaign, annotator=world.ann)
    assert (participation.probes_same, participation.probe_count, participation.answer_count) == (
        int(same),
        1,
        votes + 1,
    )
    again = voting.undo(world.ann, campaign.uuid, key=uuid.uuid4(), now=now + SECOND)
    assert again.assignment.pk == lease.assignment.pk
    participation.refresh_from_db()
    assert (participation.probes_same, participation.probe_count, participation.answer_count) == (int(same), 1, votes)
    other = "second" if closer == "first" else "first"
    voting.accept(world.ann, again.token, closer=other, key=uuid.uuid4(), now=now + 2 * SECOND)
    participation.refresh_from_db()  # the first answer counts, however often it is given anew
    assert (participation.probes_same, participation.probe_count, participation.answer_count) == (
        int(same),
        1,
        votes + 1,
    )


def test_a_vote_is_probed_once(world: World) -> None:
    _, lease = probed(world)
    probe = lease.assignment
    with pytest.raises(IntegrityError), transaction.atomic():
        Assignment.objects.create(
            campaign=probe.campaign,
            participation=probe.participation,
            session=probe.session,
            probe_of=probe.probe_of,
            leased_at=NOON,
            expires_at=NOON,
            green_is_first=True,
            green_on_left=True,
        )


def test_twins_have_each_others_names() -> None:
    names = LSP_14.keypoints
    assert twin_of("left_knee", names) == "right_knee"
    assert twin_of("right_knee", names) == "left_knee"
    assert twin_of("neck", names) == "neck"
    assert twin_of("left_wing", names) == "left_wing"
