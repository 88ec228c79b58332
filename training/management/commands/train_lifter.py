"""Train a lifter on a release and print its measures; a Celery worker does it, or this process with --here."""

from __future__ import annotations

import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper

from labeling.models import Release
from training.lifter.config import PRESETS, LifterConfig
from training.models import Run
from training.runs import launch
from webapp.accounts.models import Account
from webapp.errors import Refusal
from webapp.forms import add_options, options_given
from webapp.jobs import run as jobs


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("release", help="uuid of a release, or the name of a campaign (its latest release)")
        parser.add_argument("--actor", required=True, help="name of the admin or researcher who starts it")
        parser.add_argument("--name", default="")
        parser.add_argument("--preset", choices=list(PRESETS), default="nearer")
        parser.add_argument("--start-from", help="uuid of a model to fine-tune")
        parser.add_argument("--here", action="store_true", help="train in this process, without a worker")
        add_options(parser, LifterConfig)

    def handle(self, **options: Any) -> None:
        releases = Release.objects.select_related("campaign__dataset__skeleton").order_by("-created_at")
        release_name = options["release"]
        release = releases.filter(campaign__name=release_name).first()
        if release is None and len(release_name) == 36:
            release = releases.filter(uuid=release_name).first()
        actor = Account.objects.filter(username=options["actor"]).first()
        if release is None or actor is None:
            raise CommandError(f"no such {'release' if release is None else 'account'}")
        try:
            run = launch.start(
                actor,
                release,
                name=options["name"],
                preset=options["preset"],
                options=options_given(LifterConfig, options),
                start_from=options["start_from"],
            )
        except Refusal as error:
            raise CommandError(str(error)) from None
        if options["here"]:
            jobs.run_job(run.job.pk)
        follow(run, self.stdout)


def follow(run: Run, out: OutputWrapper) -> None:
    """Print a run's progress until it ends, then its model and measures. Raises CommandError where it failed."""
    job = run.job
    shown = -1.0
    while True:
        job.refresh_from_db()
        if job.finished:
            break
        share = job.share_done or 0.0
        if share >= shown + 0.1:
            shown = share
            out.write(f"{share:.0%}")
        time.sleep(0.5)
    if job.state != "done":
        raise CommandError(f"{job.state}: {(job.error or {}).get('detail', '')}")
    result = job.result or {}
    out.write(f"run {run.uuid}")
    out.write(f"model {result['model']}")
    out.write(json.dumps(result["metrics"], indent=1))
