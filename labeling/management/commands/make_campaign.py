"""Make, prepare and open a campaign on an imported data set."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan
from labeling.models import Dataset
from webapp.accounts.models import Account
from webapp.errors import Refusal
from webapp.forms import add_options, options_given
from webapp.jobs import run
from webapp.typed import read


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dataset")
        parser.add_argument("--admin", required=True, help="name of the admin who makes it")
        add_options(parser, CampaignPlan)

    def handle(self, **options: Any) -> None:
        dataset = Dataset.objects.select_related("skeleton").filter(name=options["dataset"]).first()
        admin = Account.objects.filter(username=options["admin"]).first()
        if dataset is None or admin is None:
            raise CommandError(f"no such {'data set' if dataset is None else 'account'}")
        try:
            plan = read(CampaignPlan, options_given(CampaignPlan, options))
            campaign, job = lifecycle.create(admin, dataset, plan)
            run.run_job(job.pk)
            lifecycle.move(admin, campaign, "open")
        except Refusal as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"campaign {campaign.uuid}: {campaign.pairs.count()} pairs")
