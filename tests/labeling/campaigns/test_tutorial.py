"""The tutorial teaches, scores, remembers, and cannot be skipped."""

from __future__ import annotations

import pytest

from labeling.aggregation import aggregate
from labeling.answering import assignment
from labeling.answering.voting import TooEarly
from labeling.campaigns import participants, reference_questions, tutorial
from labeling.models import Campaign, Person, ReferenceQuestion, TutorialAnswer
from labeling.skeletons import BUILT_IN
from tests.conftest import NOON, SECOND, World
from webapp.errors import Conflict, Invalid, NotAllowed


def _answer_all(world: World, campaign: Campaign, right: bool) -> tutorial.Feedback:
    while True:
        step = tutorial.where(world.ann, campaign.uuid)
        truth = "second" if step.question.second_closer else "first"
        wrong = "first" if truth == "second" else "second"
        feedback = tutorial.answer(
            world.ann,
            campaign.uuid,
            question=step.position,
            closer=truth if right else wrong,
            token=tutorial.token_of(step, NOON),
            now=NOON + SECOND,
        )
        assert feedback.correct is right
        assert feedback.closer == truth
        assert feedback.reason
        if feedback.step.question is None:
            return feedback


@pytest.fixture
def campaign(world: World) -> Campaign:
    campaign = world.campaign(world.dataset(40), tutorial_questions=6, tutorial_tries=2)
    world.participation(world.ann, campaign)
    return campaign


def test_no_question_before_the_tutorial_is_passed(world: World, campaign: Campaign) -> None:
    with pytest.raises(assignment.TutorialFirst):
        world.lease(world.ann, campaign)
    assert _answer_all(world, campaign, right=True).step.passed
    assert world.lease(world.ann, campaign).assignment.pair_id


def test_a_reload_continues_the_try_and_does_not_skip_it(world: World, campaign: Campaign) -> None:
    step = tutorial.where(world.ann, campaign.uuid)
    token = tutorial.token_of(step, NOON)
    tutorial.answer(world.ann, campaign.uuid, question=0, closer="first", token=token, now=NOON + SECOND)
    again = tutorial.where(world.ann, campaign.uuid)
    assert (again.position, again.question.pk, again.attempt.pk) == (1, step.attempt.drawn[1][0], step.attempt.pk)
    with pytest.raises(assignment.TutorialFirst):
        world.lease(world.ann, campaign)


def test_failing_uses_up_tries_and_then_it_is_over(world: World, campaign: Campaign) -> None:
    for _ in range(2):
        assert not _answer_all(world, campaign, right=False).step.passed
    assert tutorial.where(world.ann, campaign.uuid).question is None
    with pytest.raises(assignment.TutorialFirst):
        world.lease(world.ann, campaign)


def test_each_question_is_answered_once_per_try(world: World, campaign: Campaign) -> None:
    token = tutorial.token_of(tutorial.where(world.ann, campaign.uuid), NOON)
    for closer in ("first", "second"):
        tutorial.answer(world.ann, campaign.uuid, question=0, closer=closer, token=token, now=NOON + SECOND)
    assert TutorialAnswer.objects.count() == 1


def test_tutorial_truth_is_the_depth_in_the_camera_frame(world: World, campaign: Campaign) -> None:
    for q in ReferenceQuestion.objects.filter(campaign=campaign).select_related("person"):
        z = [q.person.truth_mm[j][2] for j in (q.first, q.second)]
        assert q.second_closer == (z[1] < z[0])
        assert q.gap_mm == pytest.approx(abs(z[0] - z[1]))


def test_every_try_asks_other_questions_in_other_colours(world: World, campaign: Campaign) -> None:
    drawn = []
    for _ in range(2):
        drawn.append(tutorial.where(world.ann, campaign.uuid).attempt.drawn)
        _answer_all(world, campaign, right=False)
    first, second = ({one[0] for one in one_try} for one_try in drawn)
    assert len(first) == len(second) == 6
    assert not first & second
    kinds = dict(ReferenceQuestion.objects.filter(campaign=campaign).values_list("pk", "reason"))
    assert [kinds[one[0]] for one in drawn[0]][:2] == ["clear", "clear"]
    looks = {tuple(one[1:]) for one_try in drawn for one in one_try}
    assert len(looks) > 1


def test_a_token_serves_one_person_one_try_and_one_question(world: World, campaign: Campaign) -> None:
    world.participation(world.ben, campaign)
    mine = tutorial.token_of(tutorial.where(world.ann, campaign.uuid), NOON)
    tutorial.where(world.ben, campaign.uuid)
    later = NOON + SECOND
    with pytest.raises(Invalid, match="another question, try or person"):
        tutorial.answer(world.ben, campaign.uuid, question=0, closer="first", token=mine, now=later)
    tutorial.answer(world.ann, campaign.uuid, question=0, closer="first", token=mine, now=later)
    with pytest.raises(Invalid, match="another question, try or person"):
        tutorial.answer(world.ann, campaign.uuid, question=1, closer="first", token=mine, now=later)
    _answer_all(world, campaign, right=False)
    with pytest.raises(Invalid, match="another question, try or person"):
        tutorial.where(world.ann, campaign.uuid)
        tutorial.answer(world.ann, campaign.uuid, question=0, closer="first", token=mine, now=later)
    with pytest.raises(Invalid, match="not a token"):
        tutorial.answer(world.ann, campaign.uuid, question=0, closer="first", token="tutorial:1:1:0:0:x", now=later)


def test_the_viewing_time_holds_for_every_tutorial_question(world: World) -> None:
    campaign = world.campaign(world.dataset(40), tutorial_questions=3, delay_ms=5000)
    world.participation(world.ann, campaign)
    token = tutorial.token_of(tutorial.where(world.ann, campaign.uuid), NOON)
    with pytest.raises(TooEarly):
        tutorial.answer(world.ann, campaign.uuid, question=0, closer="first", token=token, now=NOON + 4 * SECOND)
    tutorial.answer(world.ann, campaign.uuid, question=0, closer="first", token=token, now=NOON + 5 * SECOND)


def test_an_admin_sees_who_failed_and_grants_a_try(world: World, campaign: Campaign) -> None:
    participation = world.participation(world.ann, campaign)
    with pytest.raises(Conflict, match="tries left"):
        participants.grant_try(world.ada, participation)
    for _ in range(2):
        _answer_all(world, campaign, right=False)
    row = aggregate.annotator_rows(campaign, list(aggregate.annotators(campaign)))[0]
    assert row["tutorial"] == "failed"
    client = world.client(world.ada)
    assert "Grant a try" in client.get(f"/campaigns/{campaign.uuid}/").content.decode()
    client.post(f"/campaigns/{campaign.uuid}/act/", {"do": "grant-try", "participation": str(participation.pseudonym)})
    assert _answer_all(world, campaign, right=True).step.passed
    with pytest.raises(NotAllowed):
        participants.grant_try(world.ben, participation)


@pytest.mark.parametrize("skeleton", sorted(BUILT_IN))
def test_only_left_and_right_of_the_same_part_are_called_twins(skeleton: str) -> None:
    names = list(BUILT_IN[skeleton].keypoints)
    person = Person(keypoints=[[0.0, 0.0, 2]] * len(names), truth_mm=[[0.0, 0.0, 300.0 * n] for n in range(len(names))])
    for c in reference_questions.candidates(person, names, set(names)):
        mirrored = {
            a.replace("left", "right") if "left" in a else a.replace("right", "left") for a in (names[c.first],)
        }
        assert (c.kind == "twins") == (names[c.second] in mirrored and names[c.first] != names[c.second])
