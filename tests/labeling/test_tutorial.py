"""The tutorial teaches, scores, remembers, and cannot be skipped."""

from __future__ import annotations

import pytest

from labeling import assignment, tutorial
from labeling.models import Campaign, KnownQuestion, TutorialAnswer
from tests.conftest import NOON, SECOND, World


def _answer_all(world: World, campaign: Campaign, right: bool) -> tutorial.Feedback:
    while True:
        step = tutorial.where(world.ann, campaign.uuid)
        truth = "second" if step.question.second_closer else "first"
        wrong = "first" if truth == "second" else "second"
        feedback = tutorial.answer(
            world.ann,
            campaign.uuid,
            question=step.question.position,
            closer=truth if right else wrong,
            shown_at=NOON,
            now=NOON + SECOND,
        )
        assert feedback.correct is right
        assert feedback.closer == truth
        assert feedback.reason
        if feedback.step.question is None:
            return feedback


@pytest.fixture
def campaign(world: World) -> Campaign:
    made = world.campaign(world.dataset(40), tutorial_questions=6, tutorial_tries=2)
    world.seat(world.ann, made)
    return made


def test_no_question_before_the_tutorial_is_passed(world: World, campaign: Campaign) -> None:
    with pytest.raises(assignment.TutorialFirst):
        world.lease(world.ann, campaign)
    assert _answer_all(world, campaign, right=True).step.passed
    assert world.lease(world.ann, campaign).assignment.pair_id


def test_a_reload_continues_the_try_and_does_not_skip_it(world: World, campaign: Campaign) -> None:
    step = tutorial.where(world.ann, campaign.uuid)
    tutorial.answer(world.ann, campaign.uuid, question=0, closer="first", shown_at=NOON, now=NOON + SECOND)
    again = tutorial.where(world.ann, campaign.uuid)
    assert (again.position, again.question.position, again.attempt.pk) == (1, 1, step.attempt.pk)
    with pytest.raises(assignment.TutorialFirst):
        world.lease(world.ann, campaign)


def test_failing_uses_up_tries_and_then_it_is_over(world: World, campaign: Campaign) -> None:
    for _ in range(2):
        assert not _answer_all(world, campaign, right=False).step.passed
    assert tutorial.where(world.ann, campaign.uuid).question is None
    with pytest.raises(assignment.TutorialFirst):
        world.lease(world.ann, campaign)


def test_each_question_is_answered_once_per_try(world: World, campaign: Campaign) -> None:
    tutorial.where(world.ann, campaign.uuid)
    for closer in ("first", "second"):
        tutorial.answer(world.ann, campaign.uuid, question=0, closer=closer, shown_at=NOON, now=NOON + SECOND)
    assert TutorialAnswer.objects.count() == 1


def test_tutorial_truth_is_the_depth_in_the_camera_frame(world: World, campaign: Campaign) -> None:
    for q in KnownQuestion.objects.filter(campaign=campaign).select_related("person"):
        z = [q.person.truth_mm[j][2] for j in (q.first, q.second)]
        assert q.second_closer == (z[1] < z[0])
        assert q.gap_mm == pytest.approx(abs(z[0] - z[1]))
