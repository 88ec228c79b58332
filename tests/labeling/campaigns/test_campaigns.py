"""Campaigns are read back as they were written, changed where that is harmless, and refused where they cannot work."""

from __future__ import annotations

import re
from typing import Any

import pytest

from labeling.campaigns.plan import CampaignPlan, NewCampaign, PairPolicy
from labeling.models import Campaign
from tests.conftest import World
from webapp.accounts.models import AuditEntry
from webapp.forms import Form

PLAN: dict[str, Any] = {
    "name": "evening people",
    "votes_per_pair": 3,
    "delay_ms": 900,
    "session_length": 12,
    "lease_s": 600,
    "allow_same": True,
    "gold_share": 0.1,
    "tutorial_pass_share": 0.5,
    "tutorial_tries": 2,
    "instructions": "Look twice.",
    "access": "recruiter",
    "recruiter_parameter": "WORKER",
    "completion_url": "https://recruiter.example/done",
    "screened_out_url": "https://recruiter.example/out",
    "no_work_url": "https://recruiter.example/none",
    "budget_votes": 500,
    "mode": "adaptive",
    "stop_risk": 0.1,
    "least_votes": 2,
    "most_votes": 9,
    "control_share": 0.2,
    "probe_share": 0.05,
    "guard": "pause",
    "pay_per_vote": 0.02,
    "currency": "EUR",
}


def test_a_campaign_is_read_back_as_it_was_written(world: World) -> None:
    client, dataset = world.client(world.ada), world.dataset()
    body = PLAN | {"dataset": str(dataset.uuid)}
    created = client.post("/api/v1/campaigns/", body, content_type="application/json")
    assert created.status_code == 201
    read = client.get(f"/api/v1/campaigns/{created.json()['id']}/").json()
    assert {name: read[name] for name in PLAN} == PLAN
    # Every field of a plan has a place in the answer, but those of which only the outcome is kept.
    assert set(CampaignPlan.model_fields) - set(read) == {"gold_questions", "tutorial_dataset"}


def test_annotators_do_not_read_what_would_help_them_to_cheat(world: World) -> None:
    campaign = world.campaign(gold_share=0.2, probe_share=0.1, completion_url="https://recruiter.example/?cc=SECRET")
    for person, hides in (
        (world.ann, {"gold_share", "completion_url"}),
        (world.resi, {"completion_url"}),
        (world.rea, set()),
    ):
        answer = world.client(person).get(f"/api/v1/campaigns/{campaign.uuid}/")
        if answer.status_code == 200:
            assert hides.isdisjoint(answer.json()), person
            assert bool(hides) == ("SECRET" not in answer.content.decode())
    assert "gold_share" in world.client(world.rea).get(f"/api/v1/campaigns/{campaign.uuid}/").json()


def test_harmless_settings_are_changed_and_the_book_says_from_what_to_what(world: World) -> None:
    campaign, client = world.campaign(budget_votes=10), world.client(world.ada)
    path = f"/api/v1/campaigns/{campaign.uuid}/"
    news = {"instructions": "Take your time.", "pay_per_vote": 0.5, "budget_votes": None, "name": "  new   name "}
    changed = client.patch(path, news, content_type="application/json")
    assert changed.status_code == 200
    assert changed.json() | news | {"name": "new name"} == changed.json()
    entry = AuditEntry.objects.get(verb="campaign.change")
    assert (entry.details["before"]["budget_votes"], entry.details["after"]["budget_votes"]) == (10, None)
    for wrong in (
        {"mode": "adaptive"},
        {"votes_per_pair": 9},
        {"delay_ms": -1},
        {"guard": None},
        {"no_work_url": "ftp://x"},
        {"name": " "},
    ):
        refused = client.patch(path, wrong, content_type="application/json")
        assert (refused.status_code, refused.json()["field"]) == (400, next(iter(wrong)))
    assert world.client(world.rea).patch(path, news, content_type="application/json").status_code == 403


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        ({"tutorial_dataset": "abc"}, "tutorial_dataset"),
        ({"tutorial_dataset": "00000000-0000-4000-8000-000000000000"}, "tutorial_dataset"),
        ({"mode": "adaptive", "least_votes": 30, "most_votes": 5}, "least_votes"),
        ({"no_work_url": "http://x.example"}, "no_work_url"),
        ({"name": "   "}, "name"),
        ({"name": "a\u0000b"}, "body"),
    ],
)
def test_a_campaign_that_could_never_work_is_refused_at_once(world: World, plan: dict[str, Any], field: str) -> None:
    body = {"name": "x", "dataset": str(world.dataset().uuid)} | plan
    answer = world.client(world.ada).post("/api/v1/campaigns/", body, content_type="application/json")
    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_the_form_has_every_field_of_a_campaign_and_keeps_what_was_typed_after_an_error(world: World) -> None:
    fields = set(CampaignPlan.model_fields) - {"pair_policy"} | {"dataset"}
    fields |= {f"pair_policy.{name}" for name in PairPolicy.model_fields}
    assert set(Form(NewCampaign).names()) == fields
    data, client = world.dataset(3), world.client(world.ada)
    typed = {
        "name": "LSPET night",
        "dataset": str(data.uuid),
        "access": "invite",
        "allow_same": "on",
        "pair_policy.name": "all",
        "guard": "pause",
        "gold_share": "0.25",
        "lease_s": "77",
        "keypoints": "left_wirst, neck",
    }
    page = client.post("/campaigns/new/", typed).content.decode()
    assert "left_wirst" in page
    assert "is no keypoint" in page
    for name in ("access", "pair_policy.name", "guard"):
        select = re.search(rf'<select[^>]* name="{name}"[^>]*>(.*?)</select>', page, re.DOTALL)[1]  # type: ignore[index]
        assert re.findall(r'value="([^"]*)" selected', select) == [typed[name]]
    assert re.search(r'name="allow_same" checked', page)
    assert re.search(r'name="lease_s"[^>]*value="77"', page)
    about = re.search(r'name="keypoints"[^>]*aria-invalid="true"[^>]*aria-describedby="([^"]+)"', page)[1]  # type: ignore[index]
    assert re.search(rf'id="{about}">[^<]*is no keypoint', page)  # the error stands at its field
    assert client.post("/campaigns/new/", typed | {"keypoints": "left_wrist, neck"}).status_code == 302
    campaign = Campaign.objects.get(name="LSPET night")
    assert (campaign.access, campaign.allow_same, campaign.guard, campaign.lease_s, campaign.gold_share) == (
        "invite",
        True,
        "pause",
        77,
        0.25,
    )
    assert campaign.pair_policy["name"] == "all"
