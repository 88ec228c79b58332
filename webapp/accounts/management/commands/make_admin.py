"""Give an account the role admin; make it if it is not there, and print a link on which its password is set."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.accounts import people
from webapp.errors import Refusal


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")

    def handle(self, **options: Any) -> None:
        try:
            account, fresh = people.make_admin(options["name"])
        except Refusal as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{account.username} is an admin now.")
        if fresh or not account.has_usable_password():
            path = people.password_link(None, account)
            self.stdout.write(f"Set the password here, once, within a day: {settings.SITE_URL}{path}")
