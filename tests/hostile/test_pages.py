"""Every address of the URL tables by every role, and every page form with every kind of nonsense: nothing answers 5xx."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from labeling.campaigns.plan import NewCampaign
from tests.conftest import World
from tests.site import ROOT
from training.lifter.config import LifterConfig
from training.multiview.config import HarvestConfig
from training.multiview.upload import MultiviewPlan
from training.video.config import VideoConfig
from training.video.upload import VideoPlan
from webapp.accounts.models import Account
from webapp.forms import Form

SAFE_FOR_ALL = {
    "documentation",
    "document",
    "health",
    "login",
    "schema",
    "api-docs",
    "password-forgotten",
    "password-set",
    "first-admin",
    "register",
}
PUBLIC = SAFE_FOR_ALL | {"enter", "join", "logout", ""}
# Who may open a page (GET) that the URL table names: everybody else is sent away. Staff: admins and reviewers.
ADMIN = {
    "people",
    "audit",
    "campaign-new",
    "campaign-plan",
    "dataset-import",
    "harvest-new",
    "campaign-participants",
}
STAFF = {
    "dataset-list",
    "dataset",
    "campaign-labels",
    "campaign-quality",
    "campaign-reports",
    "harvest-list",
    "thumbnail",
}
BAD = [
    "",
    "abc",
    "²",
    "0" * 5000,
    "-1",
    "9" * 30,
    "NaN",
    "1e999",
    "x" * 1_000_000,
    "{" * 50_000,
    "[" * 50_000,
    "a\x00b",
    "\ud800",
]
BAD += [
    str(uuid.uuid4()),
    "../../etc/passwd",
    "'; DROP TABLE x; --",
    "a: " * 20_000,
    "= [" * 20_000,
    "<script>",
    "true",
]


def addresses(patterns: Any = None, prefix: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """Name, route and converters of every address of the URL tables."""
    for pattern in patterns or get_resolver().url_patterns:
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            kinds = [type(c).__name__ for c in pattern.pattern.converters.values()]
            yield pattern.name or "", prefix + str(pattern.pattern), kinds


def path_of(route: str, known: dict[str, str]) -> str:
    """An address with something in every place: a thing that is there where we have one, else one that is not."""
    route = (
        re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", route)
        .replace("\\.", ".")
        .replace("^", "")
        .replace("$", "")
        .replace("\\Z", "")
    )
    if "(?P<format>" in route or "<format>" in route:
        return ""

    def place(match: re.Match[str]) -> str:
        name = match[1].rpartition(":")[2]
        if "int" in match[1]:
            return "0"
        if name in ("identity", "campaign", "id", "uuid"):
            for word, value in known.items():
                if f"{word}s/" in route or (word == "campaign" and "annotate/" in route):
                    return value
            return str(uuid.UUID(int=7))
        return "x"

    return "/" + re.sub(r"<([^>]+)>", place, route)


@pytest.fixture
def known(world: World) -> dict[str, str]:
    campaign = world.campaign(gold_share=0.1)
    world.vote(world.ann, world.lease(world.ann, campaign))
    return {"campaign": str(campaign.uuid), "dataset": str(campaign.dataset.uuid)}


def clients(world: World) -> dict[str, Client]:
    people = {"admin": world.ada, "reviewer": world.rea, "researcher": world.resi, "annotator": world.ann}
    recruited = Account.objects.create(username="sent", recruiter="PROLIFIC_PID", recruiter_id="5f" * 12)
    clients = {role: Client(raise_request_exception=False) for role in (*people, "recruited", "nobody")}
    for role, person in (people | {"recruited": recruited}).items():
        clients[role].force_login(person)
    return clients


def test_every_address_by_every_role(world: World, known: dict[str, str]) -> None:
    table = [(name, path_of(route, known)) for name, route, _ in addresses()]
    assert len(table) > 100
    for role, client in clients(world).items():
        for name, path in table:
            if not path or name in ("logout",) or "static" in path:
                continue
            for method in ("get", "post"):
                if method == "post" and (role == "admin" or name in ("login",)):
                    continue  # what admins may do they do below, on purpose
                answer = getattr(client, method)(path)
                status = answer.status_code
                assert status < 500, (role, method, path, status)
                if role == "nobody" and name not in PUBLIC:
                    assert status in (302, 401, 403, 404, 405), (method, path, status)
                    assert status != 302 or "/login/" in answer["Location"], (path, answer["Location"])
                if role != "nobody" and method == "get" and status == 200:
                    assert name not in ADMIN or role == "admin", (role, path)
                    assert name not in STAFF or role in ("admin", "reviewer"), (role, path)


def fields() -> list[str]:
    """Names of all fields of all page forms, from the templates and from what the pages read."""
    names: set[str] = set()
    for path in ROOT.glob("*/**/templates/**/*.html"):
        names |= set(re.findall(r'name="([a-z_0-9]+)"', path.read_text()))
    for path in ROOT.glob("*/*/pages.py"):
        names |= set(re.findall(r'(?:POST|post)(?:\.get|\.getlist)?[\[(]"([a-z_0-9]+)"', path.read_text()))
    for config in (NewCampaign, MultiviewPlan, HarvestConfig, VideoPlan, VideoConfig, LifterConfig):
        names |= set(Form(config).names())
    return sorted(names - {"viewport", "csrfmiddlewaretoken"})


def test_every_field_of_every_page_form_takes_nonsense(world: World, known: dict[str, str], settings: Any) -> None:
    settings.RATE_HEAVY = "999999/hour"
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 2**20
    client = Client(raise_request_exception=False)
    client.force_login(world.ada)
    names = fields()
    assert {"participation", "standing", "revoke", "release", "grid", "dataset", "username", "most_votes"} <= set(names)
    pages = {
        path_of(route, known)
        for name, route, _ in addresses()
        if not route.startswith("api/") and name not in ("logout", "login", "password-forgotten", "enter")
    }
    actions = ["standing", "grant-try", "new-link", "aggregate", "release", "open", "retry", "cancel", "nonsense", ""]
    tried = 0
    for path in sorted(pages - {""}):
        if _post(client, path, {}).status_code in (404, 405):
            continue  # no form there
        tried += 1
        for number, bad in enumerate(BAD):
            form = {name: bad for name in names if len(bad) < 1000 or number % 9 == len(name) % 9}
            form["do"] = actions[number % len(actions)]
            answer = _post(client, path, form)
            assert answer.status_code < 500, (path, bad[:40], answer.status_code)
        for name in names[len(path) % 4 :: 4]:  # one wrong and doubled, the others missing
            answer = _post(client, path, {name: ["²", "abc"], "do": "standing"})
            assert answer.status_code < 500, (path, name, answer.status_code)
    assert tried > 10


def _post(client: Client, path: str, form: dict[str, Any]) -> Any:
    body = urlencode(form, doseq=True, errors="surrogatepass")
    return client.generic("POST", path, body, content_type="application/x-www-form-urlencoded")


DEEP = [
    "[" * 100_000 + "]" * 100_000,
    '{"a":' * 50_000 + "1" + "}" * 50_000,
    '{"text": "\\ud800"}',
    '{"text": "a\\u0000b"}',
    "\x00",
    "{",
]


@pytest.mark.parametrize("body", DEEP, ids=["lists", "objects", "surrogate", "nul", "raw-nul", "half"])
def test_json_that_no_database_holds_is_refused(world: World, known: dict[str, str], body: str) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(world.ada)
    for path in (
        "/api/v1/campaigns/",
        "/api/v1/tokens/",
        "/api/v1/accounts/",
        f"/api/v1/annotate/{known['campaign']}/vote/",
    ):
        answer = client.post(path, body, content_type="application/json")
        assert answer.status_code == 400, (path, answer.status_code)
        assert answer.json()["detail"]


def test_a_stranger_cannot_send_much(world: World, settings: Any) -> None:
    """Refused before the body is read: nothing of it reaches the disk."""
    for client in (Client(), world.client(world.ann)):
        for path in ("/login/", "/datasets/import/", "/api/v1/imports/"):
            answer = client.post(path, {"file": io.BytesIO(b"x" * 3_000_000)})
            assert answer.status_code == 413, path
    assert list(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir()) == []
