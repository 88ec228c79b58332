"""Staff look at what annotators see without taking part, and are offered only work that they may do."""

from __future__ import annotations

import uuid

import pytest

from labeling.models import Assignment, Participation, Vote
from tests.conftest import World


@pytest.mark.parametrize("access", ["open", "invite", "recruiter"])
def test_a_preview_shows_real_questions_and_counts_nothing_also_of_a_draft(world: World, access: str) -> None:
    campaign = world.campaign(opened=False, access=access)
    client, base = world.client(world.rea), f"/api/v1/annotate/{campaign.uuid}/preview/"
    page = client.get(f"/campaigns/{campaign.uuid}/preview/").content.decode()
    assert "nothing counts" in page
    assert base in page
    assert client.get(base).json()["delay_ms"] == campaign.delay_ms
    asked = client.post(f"{base}next/", {"have": []}, content_type="application/json").json()
    assert client.get(asked["picture"]).headers["Content-Type"] == "image/jpeg"
    vote = {"token": asked["token"], "closer": "first", "key": str(uuid.uuid4())}
    assert client.post(f"{base}vote/", vote, content_type="application/json").status_code == 200
    assert client.post(f"{base}undo/", {"key": vote["key"]}, content_type="application/json").status_code == 409
    assert not (Participation.objects.exists() or Assignment.objects.exists() or Vote.objects.exists())
    for other in (world.ann, world.resi):
        assert world.client(other).get(f"/campaigns/{campaign.uuid}/preview/").status_code == 403
        assert world.client(other).post(f"{base}next/", {}, content_type="application/json").status_code == 403
        assert world.client(other).get(asked["picture"]).status_code == 403


def test_the_page_of_work_offers_nothing_that_answers_with_not_found(world: World) -> None:
    names = {"open": "Everybody's", "invite": "The invited's", "recruiter": "The recruited's"}
    campaigns = {a: world.campaign(world.dataset(2, name=a), name=n, access=a) for a, n in names.items()}
    for account in (world.ada, world.rea, world.resi, world.ann):
        client = world.client(account)
        page = client.get("/home/").content.decode()
        for access, campaign in campaigns.items():
            offered = f"/annotate/{campaign.uuid}/" in page
            assert offered == (access == "open" and account != world.resi)
            if offered:
                assert client.get(f"/annotate/{campaign.uuid}/").status_code == 200
