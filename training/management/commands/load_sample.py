"""Load the sample campaign: 200 rendered pictures with known depth, an open campaign, and the demo log-ins."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan
from labeling.importing import storing
from labeling.models import Campaign, Dataset
from training.management.commands.serve import make_logins
from webapp.accounts.models import Account
from webapp.jobs import run

SAMPLE = "Sample people"
LICENCE = "CC0-1.0"
ATTRIBUTION = "Rendered by Nearer; body model anny (Apache-2.0, assets CC0)"


class Command(BaseCommand):
    help = __doc__

    def handle(self, **options: Any) -> None:
        make_logins()
        admin = Account.objects.get(username="ada")
        if not Dataset.objects.filter(name=SAMPLE).exists():
            folder = settings.BASE_DIR / "labeling" / "sample"
            plan = storing.ImportConfig(
                dataset=SAMPLE,
                format="json",
                licence=LICENCE,
                attribution=ATTRIBUTION,
                description="People rendered by this project, with true depth.",
                annotations=str(folder / "people.json"),
                pictures=str(folder / "images"),
            )
            storing.store(admin, plan, lambda *_: None)
        if not Campaign.objects.filter(name="Sample campaign").exists():
            dataset = Dataset.objects.select_related("skeleton").get(name=SAMPLE)
            plan_of = CampaignPlan(
                name="Sample campaign",
                votes_per_pair=3,
                gold_share=0.1,
                instructions="These people are rendered: their true depth is known.",
            )
            campaign, job = lifecycle.create(admin, dataset, plan_of)
            run.run_job(job.pk)
            lifecycle.move(admin, campaign, "open")
        self.stdout.write("The sample campaign is loaded.")
