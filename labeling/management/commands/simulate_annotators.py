"""Let simulated annotators answer a campaign through the public HTTP interface.

Each sees joint depths with a misperception that all share and a noise of its own per answer. The defaults fit the
paper's figures (raw votes 71 % right, aggregated 79 %, beyond 20 cm over 90 %; Ronchi et al. 2018, Fig. 2a). Where no truth
is known the picture's joints get a random depth order from the seed: such labels mean nothing and say so.
Their accounts are marked as simulated everywhere.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
import zlib
from typing import Any

import requests
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections, connection

from labeling.answering.questions import Closer, as_stored
from labeling.models import Assignment, Campaign, Person, ReferenceQuestion, TutorialTry
from webapp.accounts import people, tokens
from webapp.accounts.models import Account

SAID_EVERY_S = 10.0


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("campaign", help="name or uuid of an open campaign")
        parser.add_argument("--url", default=settings.SITE_URL, help="address of the running site")
        parser.add_argument("--annotators", type=int, default=8)
        parser.add_argument("--most", type=int, default=10**9, help="answers in all, at most")
        parser.add_argument(
            "--shared-cm", type=float, default=7.0, help="sd of the misperception that all share (cm per joint)"
        )
        parser.add_argument("--own-cm", type=float, default=24.0, help="sd of each answer's own noise (cm)")
        parser.add_argument("--seed", type=int, default=0, help="of each answer's noise")
        parser.add_argument("--world", type=int, help="seed of what everybody misperceives; empty: the same as --seed")

    def handle(self, **options: Any) -> None:
        campaign_name = options["campaign"]
        campaign = Campaign.objects.filter(name=campaign_name).first()
        if campaign is None and len(campaign_name) == 36:
            campaign = Campaign.objects.filter(uuid=campaign_name).first()
        if campaign is None:
            raise CommandError(f"campaign: there is no {campaign_name!r}")
        crowd = Crowd(campaign, options)
        threads = [threading.Thread(target=crowd.annotate, args=(n,)) for n in range(options["annotators"])]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(SAID_EVERY_S)
                if thread.is_alive():
                    took = time.monotonic() - started
                    self.stdout.write(f"{crowd.answers} answers after {took:.0f} s")
                    self.stdout.flush()
        if crowd.error:
            raise CommandError(str(crowd.error))
        took = time.monotonic() - started
        self.stdout.write(
            f"{crowd.answers} simulated answers in {took:.1f} s ({crowd.answers / max(took, 1e-9):.0f} a second)"
        )
        if crowd.known:
            self.stdout.write(f"{crowd.right / crowd.known:.4f} of {crowd.known} answers with known truth are right")
        else:
            self.stdout.write("no truth is known here: the answers follow a random order of depth and mean nothing")


class Crowd:
    """The simulated annotators of one campaign, one thread each."""

    def __init__(self, campaign: Campaign, options: dict[str, Any]) -> None:
        self.campaign, self.options = campaign, options
        self.world = options["seed"] if options.get("world") is None else options["world"]
        self.base = f"{options['url'].rstrip('/')}/api/v1/annotate/{campaign.uuid}/"
        self.answers = self.right = self.known = 0
        self.error: Exception | None = None
        self.lock = threading.Lock()

    def annotate(self, number: int) -> None:
        try:
            self._annotate(number)
        except Exception as error:
            self.error = self.error or error
        finally:
            close_old_connections()
            connection.close()

    def _annotate(self, number: int) -> None:
        name = f"simulated-{number + 1:03d}"
        account = Account.objects.filter(username=name).first() or people.create(
            None, username=name, role="annotator", simulated=True
        )
        _, secret = tokens.issue(account, name="simulation", scopes=["annotate", "read"])
        web = requests.Session()
        web.headers["Authorization"] = f"Bearer {secret}"
        rng = random.Random(self.options["seed"] * 1000 + number)
        state = self._call(web, "GET", "")
        if state["has_tutorial"] and not state["tutorial_passed"]:
            self._tutorial(web, account)
        while self._one_more():
            question = self._call(
                web, "POST", "next/", {"have": []}, ends=("nothing_left", "budget_spent", "campaign_not_open")
            )
            if question is None:
                with self.lock:
                    self.answers -= 1
                return
            closer = as_stored(uuid.UUID(question["id"]), self._perceive(question["id"], rng))
            vote = {
                "token": question["token"],
                "closer": closer,
                "key": str(uuid.uuid4()),
                "by": "simulated",
                "response_ms": question["delay_ms"] + rng.randrange(400, 3000),
            }
            self._call(web, "POST", "vote/", vote)

    def _one_more(self) -> bool:
        """Reserve an answer, so that all together never give more than asked for."""
        with self.lock:
            if self.answers >= self.options["most"]:
                return False
            self.answers += 1
            return True

    def _tutorial(self, web: requests.Session, account: Account) -> None:
        while True:
            state = self._call(web, "GET", "tutorial/")
            if state["passed"]:
                return
            if state["question"] is None:
                raise CommandError("a simulated annotator failed the tutorial")
            number = state["question"]["number"]
            attempt = TutorialTry.objects.get(
                participation__campaign=self.campaign, participation__annotator=account, number=state["try_number"]
            )
            asked = ReferenceQuestion.objects.get(pk=attempt.drawn[number][0])
            closer = "second" if asked.second_closer else "first"
            self._call(
                web,
                "POST",
                "tutorial/",
                {"number": number, "token": state["question"]["token"], "closer": closer},
            )

    def _call(self, web: requests.Session, method: str, path: str, body: Any = None, ends: tuple[str, ...] = ()) -> Any:
        for _ in range(200):
            response = web.request(method, self.base + path, json=body, timeout=60)
            if response.ok:
                return response.json()
            problem = response.json() if "json" in response.headers.get("Content-Type", "") else {}
            if problem.get("code") in ends:
                return None
            if problem.get("code") == "too_early":
                time.sleep(problem["retry_after_ms"] / 1000)
                continue
            raise CommandError(f"{path}: {response.status_code} {problem.get('detail', '')}")
        raise CommandError(f"{path}: the server kept refusing")

    def _perceive(self, assignment: str, rng: random.Random) -> Closer:
        held = Assignment.objects.select_related("pair__person", "gold__person", "probe_of__pair__person").get(
            uuid=assignment
        )
        asked = held.asked
        first, known = self._depth_cm(asked.person, asked.first)
        second, _ = self._depth_cm(asked.person, asked.second)
        shared = self.options["shared_cm"]
        gap = first - second
        seen = gap + shared * (
            self._misperception(asked.person, asked.first) - self._misperception(asked.person, asked.second)
        )
        closer: Closer = "second" if seen + rng.gauss(0, self.options["own_cm"]) > 0 else "first"
        if known:
            with self.lock:
                self.known += 1
                self.right += (closer == "second") == (gap > 0)
        return closer

    def _depth_cm(self, person: Person, joint: int) -> tuple[float, bool]:
        if person.truth_mm and person.truth_mm[joint]:
            return person.truth_mm[joint][2] / 10, True
        return 25 * self._fixed(f"depth {self.world} {person.uuid} {joint}"), False

    def _misperception(self, person: Person, joint: int) -> float:
        return self._fixed(f"shared {self.world} {person.pk} {joint}")

    @staticmethod
    def _fixed(text: str) -> float:
        """The same standard normal number for the same text."""
        return random.Random(zlib.crc32(text.encode())).gauss(0, 1)
