"""The REST API: roles, tokens, problem details, and the loop of an annotator over HTTP."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.test import Client

from labeling.models import Assignment, Vote
from tests.conftest import World
from webapp.accounts import tokens

PAGES = [
    "/campaigns/",
    "/datasets/",
    "/releases/",
    "/runs/",
    "/jobs/",
    "/people/",
    "/campaigns/new/",
    "/datasets/import/",
    "/runs/new/",
]
ALLOWED = {
    "ada": set(PAGES),
    "rea": {"/campaigns/", "/datasets/", "/releases/", "/runs/", "/jobs/"},
    "resi": {"/campaigns/", "/releases/", "/runs/", "/jobs/", "/runs/new/"},
    "eve": set(),
}


@pytest.mark.parametrize("name", list(ALLOWED))
def test_every_page_is_open_to_its_roles_and_nobody_else(world: World, name: str) -> None:
    client = world.client(getattr(world, name))
    opened = {p for p in PAGES if client.get(p, headers={"accept": "text/html"}).status_code == 200}
    assert opened == ALLOWED[name]


def test_strangers_are_sent_to_the_sign_in_page_and_get_401_from_the_api(db: None) -> None:
    assert Client().get("/campaigns/").status_code == 302
    answer = Client().get("/api/v1/campaigns/")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


def post(client: Client, url: str, body: Any, **headers: str) -> Any:
    return client.post(url, json.dumps(body), content_type="application/json", headers=headers)


def test_an_annotators_loop_over_http(world: World) -> None:
    campaign = world.campaign()
    client, base = world.client(world.ann), f"/api/v1/annotate/{campaign.uuid}/"
    assert client.get(base).json()["session_length"] == 25
    question = post(client, base + "next/", {"have": []}).json()
    picture = client.get(question["picture"])
    assert (picture.status_code, picture["Content-Type"]) == (200, "image/jpeg")
    assert 0 <= question["first"]["x"] <= 1
    vote = {
        "token": question["token"],
        "closer": "first",
        "key": str(uuid.uuid4()),
        "response_ms": 900,
        "viewport": "360x740@2.0",
    }
    assert post(client, base + "vote/", vote).json() == {"to_go": 24, "answered": 1, "session_finished": False}
    assert post(client, base + "undo/", {"key": str(uuid.uuid4())}).json()["id"] == question["id"]
    assert Vote.objects.get().retraction


def test_eve_sees_neither_anns_picture_nor_others_campaigns(world: World) -> None:
    campaign = world.campaign(access="invite")
    lease = world.lease(world.ann, campaign)
    eve = world.client(world.eve)
    assert eve.get(f"/api/v1/annotate/pictures/{lease.assignment.uuid}.jpg").status_code == 404
    assert eve.get(f"/api/v1/annotate/{campaign.uuid}/").status_code == 404
    assert eve.get(f"/api/v1/campaigns/{campaign.uuid}/").status_code == 404
    assert eve.get("/api/v1/campaigns/").json()["count"] == 0
    assert eve.get("/api/v1/releases/").json()["count"] == 0
    assert eve.get("/api/v1/accounts/").json()["count"] == 1
    assert Assignment.objects.count() == 1


def test_a_token_can_do_what_its_scopes_say_until_it_is_revoked(world: World) -> None:
    token, secret = tokens.issue(world.ada, name="script", scopes=["read"])
    client, bearer = Client(), {"authorization": f"Bearer {secret}"}
    assert client.get("/api/v1/campaigns/", headers=bearer).status_code == 200
    refused = post(client, "/api/v1/tokens/", {"name": "more", "scopes": ["write"]}, **bearer)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    tokens.revoke(world.ada, token)
    assert client.get("/api/v1/campaigns/", headers=bearer).status_code == 401


def test_lists_cost_a_bounded_number_of_queries(world: World, django_assert_max_num_queries: Any) -> None:
    for n in range(6):
        world.campaign(world.dataset(2, f"d{n}"), name=f"c{n}", pairs=1)
    client = world.client(world.ada)
    for url in ("/campaigns/", "/datasets/", "/jobs/", "/api/v1/campaigns/", "/api/v1/jobs/", "/api/v1/datasets/"):
        with django_assert_max_num_queries(9):
            assert client.get(url).status_code == 200
    with django_assert_max_num_queries(16):
        assert client.get(f"/campaigns/{world_campaign(client)}/").status_code == 200


def world_campaign(client: Client) -> str:
    return client.get("/api/v1/campaigns/").json()["results"][0]["id"]
