"""Say that this folder (NEARER_VAR) is the site's, after it was moved or replaced: workers with another one do not start."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from webapp.jobs import folder


class Command(BaseCommand):
    help = __doc__

    def handle(self, **options: Any) -> None:
        folder.use()
        self.stdout.write(f"{settings.VAR} is the folder of this site now. Start the workers again.")
