"""Questions, answers, undos, skips, pauses, exclusions, role changes and expiry in any order: the books always balance."""

from __future__ import annotations

import random
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Count, F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from labeling.aggregation import aggregate
from labeling.aggregation.snapshot import counted_votes, standing_votes
from labeling.answering import assignment, reports, voting
from labeling.campaigns import lifecycle, participants
from labeling.models import Answer, Assignment, Pair, Participation
from tests.conftest import NOON, World
from webapp.errors import Refusal

WHO = st.sampled_from(["ann", "ben", "eve"])


class AnyOrder(RuleBasedStateMachine):
    """Every step goes through the verbs that pages and API call; what they refuse must change nothing."""

    world: World
    dataset: Any
    mode: str

    def __init__(self) -> None:
        super().__init__()
        self.block = transaction.atomic()
        self.block.__enter__()
        self.now = NOON
        self.rng = random.Random(1)
        self.people = {name: getattr(self.world, name) for name in ("ann", "ben", "eve")}
        self.held: dict[str, dict[str, assignment.Lease]] = {name: {} for name in self.people}
        self.first_gold: dict[int, int] = {}
        self.may_still: set[int] | None = None  # leases that were out when the campaign was paused or closed

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.campaign = self.world.campaign(
            self.dataset,
            name=f"any order {seed}",
            mode=self.mode,
            votes_per_pair=2,
            session_length=6,
            gold_share=0.4,
            gold_questions=4,
            probe_share=0.2,
            lease_s=60,
            pairs=2,
        )
        self.work("ann", 5, "first")

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.block.__exit__(None, None, None)

    def tried(self, verb: Any) -> Any:
        """The outcome of a verb, or None where it refused."""
        try:
            with transaction.atomic():
                return verb()
        except Refusal:
            return None

    @rule(who=WHO, seconds=st.integers(0, 20))
    def ask(self, who: str, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        account = self.people[who]
        account.refresh_from_db()
        have = frozenset(self.held[who])
        lease = self.tried(
            lambda: (
                participants.participate(account, self.campaign)
                and assignment.next_pair(account, self.campaign.uuid, now=self.now, rng=self.rng, have=have)
            )
        )
        if lease is not None:
            state = self.state()
            assert state == "open" or lease.assignment.pk in (self.may_still or ())
            self.held[who][str(lease.assignment.uuid)] = lease

    @rule(who=WHO, closer=st.sampled_from(["first", "second"]))
    def answer(self, who: str, closer: str) -> None:
        if not self.held[who]:
            return
        identity, lease = next(iter(self.held[who].items()))
        account = self.people[who]
        account.refresh_from_db()
        done = self.tried(lambda: voting.accept(account, lease.token, closer=closer, key=uuid.uuid4(), now=self.now))
        del self.held[who][identity]
        if done is not None and self.state() != "open":
            assert done.assignment.pk in (self.may_still or ())

    @rule(who=WHO, many=st.integers(1, 6), closer=st.sampled_from(["first", "second"]))
    def work(self, who: str, many: int, closer: str) -> None:
        for _ in range(many):
            self.ask(who, 1)
            self.answer(who, closer)

    @rule(who=WHO, closer=st.sampled_from(["first", "second"]))
    def think_again(self, who: str, closer: str) -> None:
        self.work(who, 2, "first")
        self.undo(who)
        self.answer(who, closer)

    @rule(who=WHO)
    def undo(self, who: str) -> None:
        account = self.people[who]
        account.refresh_from_db()
        lease = self.tried(lambda: voting.undo(account, self.campaign.uuid, key=uuid.uuid4(), now=self.now))
        if lease is not None:
            assert self.state() == "open"
            self.held[who][str(lease.assignment.uuid)] = lease

    @rule(who=WHO)
    def skip(self, who: str) -> None:
        if self.held[who]:
            _, lease = self.held[who].popitem()
            self.tried(
                lambda: reports.skip(
                    self.people[who],
                    self.campaign.uuid,
                    lease.assignment.uuid,
                    reason="picture",
                    words="",
                    now=self.now,
                )
            )

    @rule(to=st.sampled_from(["open", "open", "open", "pause", "close"]))
    def move(self, to: str) -> None:
        if self.tried(lambda: lifecycle.move(self.world.ada, self.campaign, to)) is None:
            return
        live = Assignment.objects.filter(campaign=self.campaign, state="leased", expires_at__gt=self.now)
        self.may_still = None if to == "open" else set(live.values_list("pk", flat=True))

    @rule(who=WHO, standing=st.sampled_from(["active", "active", "active", "paused", "blocked"]))
    def decide(self, who: str, standing: str) -> None:
        participation = Participation.objects.filter(campaign=self.campaign, annotator=self.people[who]).first()
        if participation is not None:
            self.tried(lambda: participants.set_standing(self.world.ada, participation, standing, "because"))

    @rule(who=WHO, role=st.sampled_from(["annotator", "annotator", "annotator", "researcher"]))
    def change_role(self, who: str, role: str) -> None:
        type(self.world.ann).objects.filter(pk=self.people[who].pk).update(role=role)

    @rule(seconds=st.integers(30, 200))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        assignment.return_expired(self.now)

    def state(self) -> str:
        self.campaign.refresh_from_db(fields=["state"])
        return str(self.campaign.state)

    @invariant()
    def the_books_balance(self) -> None:
        if not hasattr(self, "campaign"):
            return
        counted = dict(counted_votes(self.campaign).order_by().values_list("pair").annotate(n=Count("pk")))
        leased = dict(
            Assignment.objects.filter(campaign=self.campaign, state="leased", pair__isnull=False)
            .order_by()
            .values_list("pair")
            .annotate(n=Count("pk"))
        )
        for pair in Pair.objects.filter(campaign=self.campaign):
            assert pair.votes_counted == counted.get(pair.pk, 0)
            assert pair.taken == pair.votes_counted + leased.get(
                pair.pk, 0
            )  # short of votes: open or in somebody's hands
            assert pair.taken <= pair.votes_needed
        finished = Pair.objects.filter(campaign=self.campaign, votes_counted=F("votes_needed")).count()
        if self.mode == "fixed":
            progress = aggregate.progress_of(self.campaign)
            assert progress["pairs_finished"] == finished
            assert progress["votes_counted"] == sum(counted.values())
            assert progress["leased"] == sum(leased.values())

    @invariant()
    def the_first_answer_to_gold_stands_whatever_comes_later(self) -> None:
        if not hasattr(self, "campaign"):
            return
        for answer in Answer.objects.filter(campaign=self.campaign, kind="gold", number=1):
            assert self.first_gold.setdefault(answer.pk, answer.closer) == answer.closer
        for participation in Participation.objects.filter(campaign=self.campaign):
            mine = Answer.objects.filter(participation=participation)
            first = mine.filter(kind="gold", number=1)
            assert (participation.gold_count, participation.gold_right) == (
                first.count(),
                first.filter(as_expected=True).count(),
            )
            probes = mine.filter(kind="probe", number=1)
            assert (participation.probe_count, participation.probes_same) == (
                probes.count(),
                probes.filter(as_expected=True).count(),
            )
            votes = standing_votes(self.campaign).filter(participation=participation)
            assert participation.vote_count == votes.count()
            assert participation.answer_count == mine.filter(retraction__isnull=True).count()
            assert not mine.exclude(participation=F("assignment__participation")).exists()
            assert mine.filter(kind="gold", number__gt=voting.MOST_UNDONE + 1).count() == 0


def machine(world: World, dataset: Any, mode: str) -> type[RuleBasedStateMachine]:
    return type("AnyOrderHere", (AnyOrder,), {"world": world, "dataset": dataset, "mode": mode})


@pytest.mark.parametrize("mode", ["fixed", "adaptive"])
def test_any_order_of_steps_leaves_the_books_balanced(world: World, mode: str) -> None:
    dataset = world.dataset(4)
    run_state_machine_as_test(
        machine(world, dataset, mode),
        settings=settings(
            max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
