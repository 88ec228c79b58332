"""Fine-tune a lifter on a harvest's pseudo-labels and print its measures; a Celery worker does it, or this process with --here."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError as BadValue
from django.core.management.base import BaseCommand, CommandError, CommandParser

from training.lifter.config import TuneConfig
from training.management.commands.train_lifter import follow
from training.models import Harvest
from training.runs import fine_tunes
from webapp.accounts.models import Account
from webapp.errors import Refusal
from webapp.forms import add_options, options_given
from webapp.jobs import run as jobs
from webapp.typed import read

OWN = ("harvest", "learn_from")


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("harvest", help="uuid of a harvest")
        parser.add_argument("--start-from", required=True, help="uuid of the model to fine-tune")
        parser.add_argument("--actor", required=True, help="name of the admin who starts it")
        parser.add_argument("--name", default="")
        parser.add_argument("--learn-from", choices=["accepted", "unrejected"], default="accepted")
        parser.add_argument("--here", action="store_true", help="train in this process, without a worker")
        add_options(parser, TuneConfig, leave_out=OWN)

    def handle(self, **options: Any) -> None:
        try:
            harvest = Harvest.objects.select_related("job").filter(uuid=options["harvest"]).first()
        except (BadValue, ValueError):
            harvest = None
        actor = Account.objects.filter(username=options["actor"]).first()
        if harvest is None or actor is None:
            raise CommandError(f"no such {'harvest' if harvest is None else 'account'}")
        fields = {k: options[k] for k in ("start_from", "name", "learn_from")}
        try:
            run = fine_tunes.start(
                actor, harvest, read(fine_tunes.TunePlan, fields | {"options": options_given(TuneConfig, options)})
            )
        except Refusal as error:
            raise CommandError(str(error)) from None
        if options["here"]:
            jobs.run_job(run.job.pk)
        follow(run, self.stdout)
