"""Make, prepare and open a campaign on an imported data set."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan, PairPolicy
from labeling.models import Dataset
from webapp.accounts.models import Account
from webapp.errors import Refusal
from webapp.jobs import run


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dataset")
        parser.add_argument("--name", required=True)
        parser.add_argument("--admin", required=True, help="name of the admin who makes it")
        parser.add_argument("--pairs", type=int, default=5, help="pairs per person")
        parser.add_argument("--votes", type=int, default=5, help="votes per pair")
        parser.add_argument("--delay-ms", type=int, default=750)
        parser.add_argument("--seed", type=int, default=0)

    def handle(self, **options: Any) -> None:
        dataset = Dataset.objects.select_related("skeleton").filter(name=options["dataset"]).first()
        admin = Account.objects.filter(username=options["admin"]).first()
        if dataset is None or admin is None:
            raise CommandError(f"no such {'data set' if dataset is None else 'account'}")
        try:
            plan = CampaignPlan(
                name=options["name"],
                votes_per_pair=options["votes"],
                delay_ms=options["delay_ms"],
                pair_policy=PairPolicy(per_person=options["pairs"], seed=options["seed"]),
            )
            campaign, job = lifecycle.create(admin, dataset, plan)
            run.run_job(job.pk)
            lifecycle.move(admin, campaign, "open")
        except (Refusal, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"campaign {campaign.uuid}: {campaign.pairs.count()} pairs")
