"""Adaptive campaigns: posteriors follow the votes, the queue asks what teaches most, stops by risk, and every pair is labelled."""

from __future__ import annotations

import io
import json
import os
import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from labeling.aggregation import aggregate, posteriors
from labeling.aggregation.snapshot import PRESENTATIONS
from labeling.answering import assignment, voting
from labeling.campaigns import participants
from labeling.crowd import anatomy, depth
from labeling.models import Campaign, DepthPosterior, DepthPrior, Label, Pair, Participation, Person, PersonPrior, Vote
from labeling.quality import forecast, report, suspicion, truth, wages
from labeling.releasing import freeze
from tests.conftest import NOON, SECOND, World
from webapp.accounts import people
from webapp.errors import Conflict, Invalid, NotFound
from webapp.jobs import run
from webapp.jobs.models import Job


def truthful(world: World, campaign: Campaign, account: object, most: int, *, start: int = 0) -> int:
    """One annotator answers what is true, until nothing is left or `most` is reached."""
    for number in range(most):
        now = NOON + (start + number) * SECOND
        try:
            lease = world.lease(account, campaign, now=now)
        except (assignment.NothingLeft, assignment.SessionFull):
            return number
        asked = lease.assignment.pair or lease.assignment.gold
        person = lease.assignment.person
        truth = Person.objects.get(pk=person.pk).truth_mm
        closer = "second" if truth[asked.first][2] > truth[asked.second][2] else "first"
        world.vote(account, lease, closer, now=now)
    return most


def test_a_vote_moves_the_posterior_and_an_undo_moves_it_back(world: World) -> None:
    campaign = world.campaign(mode="adaptive")
    before = {p.pk: p for p in DepthPosterior.objects.filter(campaign=campaign)}
    assert {p.votes for p in before.values()} == {0}
    lease = world.lease(world.ann, campaign)
    posterior = DepthPosterior.objects.get(campaign=campaign, person=lease.assignment.pair.person_id)
    assert posterior.leased == 1
    world.vote(world.ann, lease)
    posterior.refresh_from_db()
    assert (posterior.votes, posterior.leased) == (1, 0)
    assert posterior.risk < before[posterior.pk].risk - 0.01
    mean, _ = posteriors.unpack(posterior.perceived)
    assert mean[lease.assignment.pair.first] < mean[lease.assignment.pair.second]  # 'first is closer'
    voting.undo(world.ann, campaign.uuid, key=uuid.uuid4(), now=NOON + SECOND)
    posterior.refresh_from_db()
    assert (posterior.votes, posterior.leased) == (0, 1)
    assert posterior.risk == pytest.approx(before[posterior.pk].risk)
    assert bytes(posterior.perceived) == bytes(before[posterior.pk].perceived)


def test_following_votes_equals_fitting_them_together(world: World) -> None:
    campaign = world.campaign(mode="adaptive", most_votes=8, session_length=500)
    truthful(world, campaign, world.ann, 20)
    person = DepthPosterior.objects.filter(campaign=campaign).order_by("-votes").first()
    rows = Vote.objects.filter(pair__person=person.person_id).values_list(
        "pair__first", "pair__second", "closer", "presentation"
    )
    f, s, c, look = (np.array(column) for column in zip(*rows))
    votes = depth.PairVotes(
        np.zeros(len(f), int),
        f,
        s,
        np.arange(len(f)),
        c == 1,
        len(f),
        np.array([PRESENTATIONS[x] for x in look]),
    )
    pictures = depth.Pictures(
        np.zeros((1, 14)), anatomy.covariance(campaign.dataset.skeleton.as_skeleton), np.zeros(1, bool)
    )
    state = depth.fit(pictures, votes, posteriors.LIVE, crowd=depth.Crowd(), belief=np.tile(depth.PRIOR, (len(f), 1)))
    assert posteriors.unpack(person.perceived)[0] == pytest.approx(state.perceived_mean[0], abs=0.01)


def test_the_queue_spreads_first_and_asks_no_pair_of_one_person_twice(world: World) -> None:
    campaign = world.campaign(mode="adaptive", least_votes=2, session_length=500)
    truthful(world, campaign, world.ann, 10)
    assert set(DepthPosterior.objects.filter(campaign=campaign).values_list("votes", flat=True)) == {2}
    assert Pair.objects.filter(campaign=campaign, votes_counted=1).count() == 10
    assert Pair.objects.filter(campaign=campaign).count() > 400  # every pair can be asked


def test_a_person_is_done_at_the_wanted_risk_or_the_most_votes(world: World) -> None:
    campaign = world.campaign(mode="adaptive", most_votes=3, session_length=500)
    assert truthful(world, campaign, world.ann, 100) == 15
    assert not DepthPosterior.objects.filter(campaign=campaign, open=True).exists()
    easy = world.campaign(
        campaign.dataset, name="easy", mode="adaptive", most_votes=90, stop_risk=0.32, session_length=500
    )
    votes = truthful(world, easy, world.ann, 100)
    assert 5 <= votes < 60
    assert DepthPosterior.objects.filter(campaign=easy).order_by("-risk").first().risk <= 0.32


def test_a_lease_that_expired_opens_the_person_again(world: World) -> None:
    campaign = world.campaign(mode="adaptive", most_votes=1, lease_s=10)
    for account in (world.ann, world.ben):
        have: tuple[str, ...] = ()
        for _ in range(3):
            try:
                have += (str(world.lease(account, campaign, have=have).assignment.uuid),)
            except assignment.NothingLeft:
                break
    assert not DepthPosterior.objects.filter(campaign=campaign, open=True).exists()
    assert assignment.return_expired(NOON + timedelta(seconds=11)) == 5
    assert DepthPosterior.objects.filter(campaign=campaign, open=True, leased=0).count() == 5


def test_a_merge_labels_every_pair_and_learns_who_looks(world: World) -> None:
    campaign = world.campaign(world.dataset(8), mode="adaptive", most_votes=40, gold_share=0.2, session_length=500)
    for number, account in enumerate((world.ann, world.ben)):
        truthful(world, campaign, account, 60, start=100 * number)
    job = aggregate.start(world.ada, campaign)
    run.run_job(job.pk)
    aggregation_run = campaign.aggregation_runs.get()
    assert aggregation_run.model == "depth"
    labels = Label.objects.filter(run=aggregation_run)
    assert labels.count() == campaign.pairs.count()
    assert labels.filter(votes_used=0).exists()
    scores = truth.label_truth(aggregation_run)
    assert scores["voted"]["accuracy"] > 0.9
    assert scores["all"]["accuracy"] > 0.6
    campaign.refresh_from_db()
    assert sum(campaign.crowd["shares"]) == pytest.approx(1, abs=1e-3)
    participation = Participation.objects.get(campaign=campaign, annotator=world.ann)
    honest = sum(b for b, kind in zip(participation.belief, depth.KINDS) if kind.name == "honest")
    assert honest > 0.9
    assert participation.flag == ""
    again = aggregate.start(world.ada, campaign)
    run.run_job(again.pk)
    first, second = (dict(Label.objects.filter(run__number=n).values_list("pair_id", "p_first_closer")) for n in (1, 2))
    assert first == second  # an aggregation is deterministic


def test_a_prior_speaks_before_any_vote_but_not_in_the_control_arm(world: World) -> None:
    dataset = world.dataset(6)
    sigma = anatomy.covariance(dataset.skeleton.as_skeleton)
    prior = DepthPrior.objects.create(dataset=dataset, name="lifter", kind="lifter", covariance=(0.25 * sigma).tolist())
    people = list(Person.objects.filter(image__dataset=dataset).order_by("pk"))
    for person in people:
        z = np.array([joint[2] for joint in person.truth_mm])
        PersonPrior.objects.create(prior=prior, person=person, mean=(z - z.mean()).tolist())
    campaign = world.campaign(dataset, mode="adaptive-prior", control_share=0.5, most_votes=10, session_length=500)
    risk = dict(DepthPosterior.objects.filter(campaign=campaign).values_list("control", "risk"))
    assert risk[True] == pytest.approx(0.5)
    assert risk[False] < 0.3
    assert DepthPosterior.objects.filter(campaign=campaign, control=True).count() == 3
    truthful(world, campaign, world.ann, 30)
    run.run_job(aggregate.start(world.ada, campaign).pk)
    scores = truth.label_truth(campaign.aggregation_runs.get())
    assert scores["test"]["accuracy"] > scores["plain"]["accuracy"]
    assert scores["test"]["accuracy"] > scores["control"]["accuracy"]
    assert 0 < len(report.arms(campaign)) == 2


def test_excluding_an_annotator_gives_the_votes_back_to_the_queue(world: World) -> None:
    campaign = world.campaign(votes_per_pair=1)
    for _ in range(5):
        world.vote(world.ann, world.lease(world.ann, campaign))
    participation = Participation.objects.get(campaign=campaign, annotator=world.ann)
    participants.set_standing(world.ada, participation, "blocked", "clicks at random")
    assert Pair.objects.filter(campaign=campaign, votes_counted=0, taken=0).count() == 15
    for _ in range(15):
        world.vote(world.ben, world.lease(world.ben, campaign))
    participants.set_standing(
        world.ada, participation, "active", ""
    )  # a mistake: the answers count again, none is lost or counted twice
    assert Pair.objects.filter(campaign=campaign, votes_counted=2, votes_needed=2, taken=2).count() == 5
    assert sum(Pair.objects.filter(campaign=campaign).values_list("votes_counted", flat=True)) == 20


def test_a_prior_of_another_data_set_is_refused(world: World) -> None:
    other = DepthPrior.objects.create(dataset=world.dataset(name="others"), name="x", kind="lifter", covariance=[])
    with pytest.raises(Invalid, match="no such depth prior"):
        world.campaign(mode="adaptive-prior", prior=str(other.uuid))
    with pytest.raises(Invalid, match="Only mode adaptive-prior"):
        world.campaign(mode="adaptive", prior=str(other.uuid))


def test_the_forecast_counts_votes_and_money_to_go(world: World) -> None:
    campaign = world.campaign(votes_per_pair=2, pay_per_vote=0.05)
    for number in range(6):
        now = NOON + number * SECOND
        world.vote(world.ann, world.lease(world.ann, campaign, now=now), now=now)
    outlook = forecast.forecast(campaign, NOON + timedelta(hours=1))
    assert (outlook.votes, outlook.money) == (24, pytest.approx(1.2))
    assert outlook.rate_per_day == pytest.approx(6 * 24, rel=0.01)
    assert wages.wage(campaign, Participation.objects.get(campaign=campaign)) == pytest.approx(0.05 * 3600)


def belief_of(**kinds: float) -> np.ndarray:
    """A belief by name of kind, the rest spread over the honest ones."""
    names = [kind.name for kind in depth.KINDS]
    kinds_now = np.array([kinds.get(name.replace("-", "_"), 0.0) / names.count(name) for name in names])
    honest = np.array([name == "honest" for name in names])
    return np.where(honest, (1 - kinds_now.sum()) / honest.sum(), kinds_now)


def test_automata_are_flagged() -> None:
    rng = np.random.default_rng(0)
    belief = np.vstack([belief_of(), belief_of(), belief_of(always_left=1.0), belief_of(random=0.2)])
    at = np.concatenate(
        [np.cumsum(rng.gamma(4, 0.6, 60)), np.cumsum(rng.gamma(4, 0.6, 60)), np.cumsum(rng.normal(0.8, 0.02, 60))]
    )
    left = np.concatenate([rng.random(60) < 0.5, np.arange(60) % 2 == 0, rng.random(60) < 0.5]).astype(float)
    recent = suspicion.Recent(np.repeat([1, 2, 4], 60), at, left)
    flags = suspicion.suspicions(750, np.array([1, 2, 3, 4]), belief, np.full(4, 60), recent)
    assert set(flags) == {2, 3, 4}
    assert "in turn" in flags[2][0] and flags[2][1]
    assert "left" in flags[3][0] and flags[3][1]
    # Quick and doubtful: shown. Neither the one nor the other is enough to be certain.
    assert flags[4] == ("answers every 794 ms, and often not as one who looks (P 0.714)", False)


@pytest.mark.parametrize("delay_ms", [0, 750, 3000])
def test_who_decides_while_waiting_and_presses_as_the_buttons_open_is_no_cheat(delay_ms: int) -> None:
    rng = np.random.default_rng(1)
    at = np.cumsum(rng.normal(delay_ms / 1000 + 0.2, 0.03, 60).clip(0.05))
    recent = suspicion.Recent(np.ones(60, int), at, (rng.random(60) < 0.5).astype(float), np.full(60, delay_ms + 200.0))
    assert suspicion.suspicions(delay_ms, np.array([1]), belief_of()[None], np.array([60]), recent) == {}
    # The same pace with answers that are surely not looked at is certain, by the answers.
    blind = suspicion.suspicions(delay_ms, np.array([1]), belief_of(random=0.9999)[None], np.array([60]), recent)
    assert blind[1][1]


def test_answers_that_come_in_bursts_after_a_tunnel_are_timed_by_the_page() -> None:
    at = np.cumsum(np.tile([24.0, 0.78, 0.78], 20))  # three at once, as soon as there is a network again
    doubtful = belief_of(random=0.06)[None]
    recent = suspicion.Recent(np.ones(60, int), at, np.tile([0.0, 1, 1], 20), np.full(60, 8000.0))
    assert suspicion.suspicions(750, np.array([1]), doubtful, np.array([60]), recent) == {}
    clicker = suspicion.Recent(np.ones(60, int), at, np.tile([0.0, 1, 1], 20), np.full(60, 780.0))
    assert suspicion.suspicions(750, np.array([1]), doubtful, np.array([60]), clicker)[1][1] is False


@pytest.mark.parametrize(
    ("kind", "each"), [("votes", 36.0), ("same", 36.0), ("gold", 36.0), ("probes", 36.0)], ids=lambda v: str(v)
)
def test_the_wage_counts_everything_that_was_answered(world: World, kind: str, each: float) -> None:
    """One answer every 10 s at 0.1 each are 36 an hour, whatever was asked."""
    plan = {
        "votes": {},
        "same": {"allow_same": True},
        "gold": {"gold_share": 0.5, "gold_questions": 20},
        "probes": {"probe_share": 0.5},
    }[kind]
    campaign = world.campaign(world.dataset(20), pay_per_vote=0.1, session_length=100, **plan)
    for number in range(45):
        now = NOON + 10 * number * SECOND
        lease = (
            assignment.next_pair(world.ann, campaign.uuid, now=now, rng=random.Random(number))
            if number
            else world.lease(world.ann, campaign, now=now)
        )
        world.vote(world.ann, lease, "same" if kind == "same" and number % 2 else "first", now=now)
    participation = Participation.objects.get(campaign=campaign)
    assert participation.answer_count == 45
    assert wages.wage(campaign, participation) == pytest.approx(each)
    if kind in ("gold", "probes"):
        asked = participation.gold_count + participation.probe_count
        assert asked > 3
        assert participation.vote_count == 45 - asked
        outlook = forecast.forecast(campaign, NOON + timedelta(hours=1))
        assert outlook.answers == pytest.approx(outlook.votes * 45 / participation.vote_count, abs=1)
        assert outlook.money == pytest.approx(0.1 * outlook.answers)


def test_an_annotator_reads_the_reason_and_appeals(world: World) -> None:
    campaign = world.campaign()
    participation = world.participation(world.ann, campaign)
    with pytest.raises(Conflict, match="nothing to appeal"):
        participants.appeal(world.ann, campaign.uuid, "why?")
    participants.set_standing(world.ada, participation, "paused", "always left")
    page = world.client(world.ann).get("/home/").content.decode()
    assert "always left" in page
    sent = world.client(world.ann).post(f"/annotate/{campaign.uuid}/appeal/", {"text": "I am left-handed"})
    assert sent.status_code == 302
    assert "left-handed" in world.client(world.ada).get(f"/campaigns/{campaign.uuid}/quality/").content.decode()
    with pytest.raises(NotFound):
        participants.appeal(world.eve, campaign.uuid, "me too")
    participants.set_standing(world.ada, participation, "active", "")
    participation.refresh_from_db()
    assert participation.appeal == ""


def test_the_quality_page_shows_plots_arms_and_people_in_few_queries(
    world: World, django_assert_max_num_queries: object
) -> None:
    campaign = world.campaign(world.dataset(6), mode="adaptive", control_share=0.34, most_votes=12, session_length=500)
    truthful(world, campaign, world.ann, 30)
    truthful(world, campaign, world.ben, 30, start=100)
    run.run_job(aggregate.start(world.ada, campaign).pk)
    client = world.client(world.ada)
    with django_assert_max_num_queries(32):  # type: ignore[operator]
        page = client.get(f"/campaigns/{campaign.uuid}/quality/").content.decode()
    for text in (
        "Reliability",
        "Psychometric curve of all annotators",
        "uniform (control)",
        "Krippendorff",
        "least known",
    ):
        assert text in page, text
    for account in (world.ann, world.resi, world.eve):
        assert world.client(account).get(f"/campaigns/{campaign.uuid}/quality/").status_code in (403, 404)


def test_reliability_of_a_release_is_one_command(world: World) -> None:
    campaign = world.campaign(world.dataset(6), mode="adaptive", most_votes=20, session_length=500)
    truthful(world, campaign, world.ann, 60)
    run.run_job(aggregate.start(world.ada, campaign).pk)
    release = freeze.freeze(world.ada, campaign)
    out = io.StringIO()
    call_command("reliability", str(release.uuid), "--json", stdout=out)
    outlook = json.loads(out.getvalue())
    again = truth.label_truth(campaign.aggregation_runs.get())["all"]
    assert outlook["labels"] == again["labels"] == campaign.pairs.count()
    assert outlook["accuracy"] == pytest.approx(again["accuracy"], abs=1e-6)
    with pytest.raises(CommandError, match="there is no"):
        call_command("reliability", "nothing", stdout=out)


def test_the_planner_says_what_votes_will_buy_and_cost(world: World) -> None:
    client = world.client(world.ada)
    wish = {"people": 100, "pairs": 5, "votes_per_pair": 5, "risk": 0.3, "pay_per_vote": 0.01, "gold_share": 0.2}
    planned = client.post("/api/v1/campaigns/plan/", wish, content_type="application/json").json()
    assert planned["fixed"] == {"votes_per_person": 25, "votes": 3125, "money": 31.25}
    risks = [row["risk"] for row in planned["curve"]]
    assert risks[0] == 0.5
    assert risks[25] < risks[10] < risks[3] < 0.45
    each = planned["adaptive"]["votes_per_person"]
    assert risks[each] <= 0.3 < risks[each - 1]
    page = client.get("/campaigns/plan/", {"risk": 0.3}).content.decode()
    assert "What votes buy" in page
    refused = client.post("/api/v1/campaigns/plan/", {"risk": 0.7}, content_type="application/json")
    assert refused.status_code == 400
    assert refused.json()["field"] == "risk"
    assert (
        world.client(world.ann).post("/api/v1/campaigns/plan/", {}, content_type="application/json").status_code == 403
    )


def test_the_schedule_looks_at_annotators_of_adaptive_campaigns_without_writing_labels(world: World) -> None:
    campaign = world.campaign(mode="adaptive", session_length=500)
    assert aggregate.judge_open_campaigns() == 0
    truthful(world, campaign, world.ann, 12)
    assert aggregate.judge_open_campaigns() == 1
    assert aggregate.judge_open_campaigns() == 0  # it waits already
    run.run_job(Job.objects.get(kind="aggregate").pk)
    assert Job.objects.get(kind="aggregate").state == "done"
    assert aggregate.judge_open_campaigns() == 0  # nothing new
    assert Label.objects.count() == 0
    assert aggregate.aggregate_open_campaigns() == 0  # that one is for fixed campaigns
    assert len(Participation.objects.get(campaign=campaign, annotator=world.ann).belief) == len(depth.KINDS)
    truthful(world, campaign, world.ben, 1, start=100)
    assert aggregate.judge_open_campaigns() == 1


def test_who_is_certainly_not_looking_is_paused_once_and_an_admin_has_the_last_word(world: World) -> None:
    campaign = world.campaign(guard="pause")
    participation = world.participation(world.ann, campaign)
    nobody = suspicion.Recent(np.zeros(0, int), np.zeros(0), np.zeros(0))
    kinds = np.array([kind.name for kind in depth.KINDS])

    def judged(left: float) -> Participation:
        belief = np.where(
            kinds == "always-left", left, (1 - left) * depth.PRIOR / depth.PRIOR[kinds != "always-left"].sum()
        )
        suspicion.judge(campaign, np.array([participation.pk]), belief[None] / belief.sum(), np.array([40]), nobody)
        return Participation.objects.get(pk=participation.pk)

    assert (judged(0.1).flag, judged(0.1).standing) == ("", "active")
    assert "left" in judged(0.6).flag  # looks wrong: shown, not paused
    assert judged(0.6).standing == "active"
    paused = judged(0.9999)
    assert paused.standing == "paused"
    assert "almost always answers left" in paused.standing_reason
    participants.set_standing(world.ada, paused, "active", "")
    assert judged(0.9999).standing == "active"


@pytest.mark.skipif(not os.environ.get("DATABASE_URL"), reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_many_annotators_at_once_neither_lock_each_other_out_nor_count_twice(world: World) -> None:
    """Few people and pairs, so that choosing, answering and undoing meet on the same rows all the time."""
    names = ["left_wrist", "right_wrist", "left_ankle", "right_ankle"]
    campaign = world.campaign(
        world.dataset(2), mode="adaptive", keypoints=names, votes_per_pair=8, most_votes=100, session_length=500
    )
    crowd = [people.create(None, username=f"crowd-{n}", role="annotator") for n in range(8)]
    for account in crowd:
        world.participation(account, campaign)

    def work(number: int) -> int:
        rng, count = random.Random(number), 0
        try:
            for turn in range(14):
                now = NOON + (100 * number + turn) * SECOND
                try:
                    lease = assignment.next_pair(crowd[number], campaign.uuid, now=now, rng=rng)
                except assignment.NothingLeft:
                    continue
                world.vote(crowd[number], lease, now=now)
                count += 1
                if turn % 5 == 4:
                    voting.undo(crowd[number], campaign.uuid, key=uuid.uuid4(), now=now)
                    count -= 1
            return count
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(work, range(8)))
    counted = list(Pair.objects.filter(campaign=campaign).values_list("votes_counted", flat=True))
    assert sum(counted) == Vote.objects.filter(retraction=None).count() == total
    assert sum(DepthPosterior.objects.filter(campaign=campaign).values_list("votes", flat=True)) == total


def test_the_least_known_people_come_with_their_contradictions(world: World) -> None:
    """Forty true answers and thirty wrong ones of somebody else: circles equal a count over triples, wrong votes surprise."""
    campaign = world.campaign(world.dataset(1), mode="adaptive", most_votes=90, session_length=500)
    truthful(world, campaign, world.ann, 40)
    clean = report.riskiest(campaign)[0]
    assert (clean.circles, clean.surprising) == (0, 0)
    for number in range(30):
        now = NOON + (100 + number) * SECOND
        lease = world.lease(world.ben, campaign, now=now)
        truth = Person.objects.get(pk=lease.assignment.person.pk).truth_mm
        pair = lease.assignment.pair
        world.vote(world.ben, lease, "first" if truth[pair.first][2] > truth[pair.second][2] else "second", now=now)
    score = np.zeros((14, 14))
    for first, second, closer in Vote.objects.values_list("pair__first", "pair__second", "closer"):
        near, far = (second, first) if closer else (first, second)
        score[near, far] += 1
    wins = score > score.T
    circles = sum(
        bool((wins[a, b] and wins[b, c] and wins[c, a]) or (wins[b, a] and wins[c, b] and wins[a, c]))
        for a in range(14)
        for b in range(a)
        for c in range(b)
    )
    person = report.riskiest(campaign)[0]
    assert person.circles == circles > 0
    assert person.surprising > 0
    page = world.client(world.ada).get(f"/campaigns/{campaign.uuid}/quality/").content.decode()
    assert f"{circles} contradiction" in page


def test_gold_goes_to_whom_the_model_doubts_and_to_noisy_ones_only_where_many_do_not_look() -> None:
    kinds = depth.KINDS

    def belief(**weights: float) -> list[float]:
        """Spread evenly over the kinds of a name; `noisy` and `steady` are honest ones above and below 400 mm."""
        names = [k.name if k.name != "honest" else "noisy" if k.noise_mm >= 400 else "steady" for k in kinds]
        return [weights.get(name, 0.0) / names.count(name) for name in names]

    honest, half_bad = belief(steady=0.8, noisy=0.2), belief(steady=0.4, noisy=0.1, random=0.5)
    share = suspicion.gold_share
    assert share(0.1, belief(steady=1.0), half_bad) == 0.1
    assert share(0.1, belief(steady=0.98, random=0.02), honest) == pytest.approx(0.2 * 0.8)
    assert share(0.1, belief(steady=0.5, inverted=0.5), honest) == 0.8
    assert share(0.1, belief(noisy=1.0), honest) == 0.1
    assert share(0.1, belief(steady=0.95, noisy=0.05), half_bad) == pytest.approx(0.5 * 0.8)
    assert share(0.1, belief(noisy=1.0), half_bad) == 0.8
    assert share(0.0, belief(random=1.0), half_bad) == 0.0  # no gold in the campaign
    assert share(0.1, [], half_bad) == share(0.1, belief(random=1.0), []) == 0.1  # nothing aggregated yet
