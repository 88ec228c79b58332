"""Similar poses: what the search finds, what it cannot know, and the depth prior made of it."""

from __future__ import annotations

import numpy as np
import pytest

from labeling.crowd import selection
from labeling.models import Campaign, DepthPosterior, DepthPrior, Person, PersonPrior, ReferenceQuestion
from labeling.skeletons import COCO_17, LSP_14
from tests.conftest import World
from training.poses import neighbours
from training.poses.neighbours import Library, PoorLibrary, expected_depths, look_at
from training.priors import depth_priors
from webapp.errors import Invalid, NotAllowed
from webapp.jobs import run as jobs


@pytest.fixture(scope="module")
def views() -> neighbours.Views:
    return look_at(Library.authored(), sides=12)


def everything(count: int) -> np.ndarray:
    return np.ones((count, 14), dtype=bool)


def test_a_view_of_the_library_finds_itself_wherever_and_however_large_it_is(views: neighbours.Views) -> None:
    some = np.arange(0, len(views.flat), 2999)
    seen = 0.3 * views.flat[some].astype(float) + [200.0, -40.0]
    np.testing.assert_allclose(
        expected_depths(views, seen, everything(len(some)), nearest=1), views.depth[some], atol=0.1
    )


def test_the_search_equals_one_written_out(views: neighbours.Views) -> None:
    rng = np.random.default_rng(1)
    few = neighbours.Views(views.flat[::700], views.depth[::700], views.pose[::700])
    asked = few.flat[[3, 17, 20]] + rng.normal(0, 60, (3, 14, 2))
    known = everything(3)
    known[1, [2, 7]] = False
    depths = expected_depths(few, asked, known, nearest=5)
    for n in range(3):
        like = []
        for view in few.flat.astype(float):
            a, b = asked[n][known[n]].astype(float), view[known[n]]
            a, b = a - a.mean(0), b - b.mean(0)
            like.append((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
        best = np.argsort(like)[-5:]
        weight = np.exp((np.array(like)[best] - max(like)) / 0.002)
        mean = weight @ few.depth[best].astype(float) / weight.sum()
        np.testing.assert_allclose(depths[n], mean - mean.mean(), atol=0.5)


def test_poses_left_out_of_the_library_are_ordered_far_better_than_by_chance(views: neighbours.Views) -> None:
    rng = np.random.default_rng(0)
    some = rng.choice(len(views.flat), 400, replace=False)
    first, second = selection.pairs_of(14)
    truth = views.depth[some][:, first] > views.depth[some][:, second]
    guess = expected_depths(views, views.flat[some].astype(float), everything(400), not_pose=views.pose[some])
    right = (guess[:, first] > guess[:, second]) == truth
    assert 0.80 < right.mean() < 0.95
    far = np.abs(views.depth[some][:, first] - views.depth[some][:, second]) > 200
    assert right[far].mean() > right.mean() + 0.04
    hidden = everything(400)
    hidden[:, [0, 1, 6]] = False
    without = expected_depths(views, views.flat[some].astype(float), hidden, not_pose=views.pose[some])
    assert np.isfinite(without).all()
    assert 0.75 < ((without[:, first] > without[:, second]) == truth).mean() < right.mean()


def test_whoever_cannot_be_looked_up_gets_no_depths(views: neighbours.Views) -> None:
    seen = views.flat[:4].astype(float)
    known = everything(4)
    known[0, 3:] = False  # three joints only
    seen[1] = 7.0  # all in one place
    seen[2, 5] = np.nan
    depths = expected_depths(views, seen, known)
    assert np.isnan(depths[:2]).all()
    assert np.isfinite(depths[2:]).all()


def test_poor_libraries_are_refused_in_words() -> None:
    poses = np.zeros((120, 14, 3))
    with pytest.raises(PoorLibrary, match="at least 100"):
        Library(LSP_14.keypoints, poses[:99])
    with pytest.raises(PoorLibrary, match="M x 14 x 3"):
        Library(LSP_14.keypoints, poses[:, :13])
    with pytest.raises(PoorLibrary, match="NaN"):
        Library(LSP_14.keypoints, np.full_like(poses, np.nan))
    with pytest.raises(PoorLibrary, match="left_big_toe"):
        Library(LSP_14.keypoints, poses).seen_as(("neck", "left_big_toe"), {})


def test_the_authored_library_serves_skeletons_with_other_joints() -> None:
    from labeling.crowd import anatomy

    seen = Library.authored().seen_as(COCO_17.keypoints, anatomy.BETWEEN)
    assert seen.poses_mm.shape == (1500, 17, 3)


def test_a_prior_of_similar_poses_is_made_before_any_vote_and_starts_a_campaign(world: World) -> None:
    dataset = world.dataset(6)
    for account in (world.resi, world.ann, world.eve):
        with pytest.raises(NotAllowed):
            depth_priors.start_from_poses(account, dataset)
    with pytest.raises(Invalid) as refused:
        depth_priors.start_from_poses(world.ada, dataset, seed=-1)
    assert refused.value.field == "seed"
    job = depth_priors.start_from_poses(world.ada, dataset, "similar")
    jobs.run_job(job.pk)
    job.refresh_from_db()
    assert job.state == "done", job.error
    prior = DepthPrior.objects.get()
    assert (prior.name, prior.kind) == ("similar", "neighbours")
    assert prior.evidence["poses"] == 1500
    assert PersonPrior.objects.count() == Person.objects.count() == 6
    campaign = world.campaign(dataset, mode="adaptive-prior")
    assert DepthPosterior.objects.filter(campaign=campaign, risk__lt=0.4).count() == 6


def test_gold_says_how_much_further_off_similar_poses_are(world: World) -> None:
    """With every gold answer against the prior its errors have to be large; with every answer for it, no larger than on the library."""
    dataset = world.dataset(6)
    campaign: Campaign = world.campaign(dataset, opened=False)
    people = {p.pk: p for p in Person.objects.filter(image__dataset=dataset)}
    library = Library.authored()
    plain = depth_priors.from_poses(None, dataset, library)
    mean = dict(PersonPrior.objects.filter(prior=plain).values_list("person_id", "mean"))
    factors = {}
    for right in (True, False):
        ReferenceQuestion.objects.filter(campaign=campaign).delete()
        for pk in people:
            for n, (a, b) in enumerate(((0, 5), (1, 13), (2, 12), (6, 11))):
                second = (mean[pk][a] > mean[pk][b]) == right
                about = {"person_id": pk, "first": a, "second": b, "gap_mm": 200}
                ReferenceQuestion.objects.create(
                    campaign=campaign, use="gold", position=10 * pk + n, second_closer=second, **about
                )
        factors[right] = depth_priors.from_poses(None, dataset, library)
    assert factors[True].evidence["right"] == 1.0
    assert factors[False].evidence["right"] == 0.0
    assert factors[True].evidence["errors_by_gold"] == 1.0  # easy gold never makes anybody surer
    assert factors[False].evidence["errors_by_gold"] == 30.0
    assert plain.evidence["errors_by_gold"] == 1.0
    assert plain.evidence["right"] is None
