"""The entrance of people whom a recruiter sends: who gets in, what they see, and when the completion code is earned."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from labeling.campaigns import lifecycle, participants, tutorial
from labeling.models import Campaign, Participation
from tests.conftest import NOON, SECOND, World
from webapp.accounts import people, throttle, tokens
from webapp.accounts.models import Account, AuditEntry
from webapp.errors import Conflict, NotAllowed

PID, DONE = "5f3c" * 6, "https://recruiter.example/complete?cc=SECRET42"


@pytest.fixture
def study(world: World) -> Campaign:
    return world.campaign(
        access="recruiter",
        completion_url=DONE,
        screened_out_url=f"{DONE}-out",
        no_work_url=f"{DONE}-none",
        session_length=4,
    )


def enter(campaign: Campaign, client: Client | None = None, **parameters: str) -> Any:
    client = client or Client()
    return client, client.get(f"/enter/{campaign.entry_key}/", {"PROLIFIC_PID": PID, **parameters})


def work(client: Client, campaign: Campaign, answers: int) -> None:
    base = f"/api/v1/annotate/{campaign.uuid}/"
    for _ in range(answers):
        asked = client.post(base + "next/", {}, content_type="application/json").json()
        vote = {"token": asked["token"], "closer": "first", "key": str(uuid.uuid4())}
        assert client.post(base + "vote/", vote, content_type="application/json").status_code == 200


def ending(client: Client, campaign: Campaign) -> dict[str, Any]:
    return client.get(f"/api/v1/annotate/{campaign.uuid}/ending/").json()


def test_the_code_is_given_when_the_agreed_work_is_done_and_never_before(study: Campaign) -> None:
    client, there = enter(study, STUDY_ID="abc123", SESSION_ID="ses-1")
    assert there.status_code == 302
    state = client.get(f"/api/v1/annotate/{study.uuid}/")
    assert "SECRET42" not in state.content.decode() + client.get(there["Location"]).content.decode()
    work(client, study, 3)
    assert ending(client, study)["url"] != DONE
    work(client, study, 1)
    end = ending(client, study)
    assert (end["kind"], end["url"], end["again"]) == ("done", DONE, False)  # no second session that nobody pays


def test_who_sent_a_person_is_kept_and_shown_to_admins(world: World, study: Campaign) -> None:
    enter(study, STUDY_ID="abc123", SESSION_ID="ses-1")
    row = world.client(world.ada).get(f"/api/v1/campaigns/{study.uuid}/annotators/").json()["results"][0]
    assert (row["participant"], row["study"], row["session"]) == (PID, "abc123", "ses-1")
    assert PID in world.client(world.ada).get(f"/campaigns/{study.uuid}/").content.decode()
    table = world.client(world.ada).get(f"/campaigns/{study.uuid}/participants.csv")
    assert f"{PID},abc123,ses-1" in table.getvalue().decode()
    assert world.client(world.ann).get(f"/campaigns/{study.uuid}/participants.csv").status_code == 403


@pytest.mark.parametrize(
    "text", ["{{%PROLIFIC_PID%}}", "${pid}", "", "  ", "abc", "x" * 200, "5f3c" * 6 + "<", "\u0430" * 24, "[id]"]
)
def test_placeholders_and_malformed_ids_are_refused_with_the_fix(study: Campaign, text: str) -> None:
    _, there = enter(study, PROLIFIC_PID=text)
    assert there.status_code == 400
    assert there.json()["field"] == "PROLIFIC_PID"
    assert "link" in there.json()["fix"]
    assert not Participation.objects.filter(campaign=study).exists()


def test_a_session_of_staff_is_never_replaced(world: World, study: Campaign) -> None:
    client = world.client(world.ada)
    _, there = enter(study, client)
    assert there.status_code == 200
    assert "nothing was changed" in there.content.decode()
    assert client.get("/api/v1/me/").json()["username"] == "ada"
    assert not Participation.objects.filter(campaign=study).exists()


def test_a_recruited_person_sees_this_campaign_only_and_gets_no_role_and_no_token(
    world: World, study: Campaign
) -> None:
    other = world.campaign(world.dataset(name="others"), name="open to all")
    client, _ = enter(study)
    assert "open to all" not in client.get("/home/").content.decode()
    assert client.get(f"/api/v1/annotate/{other.uuid}/").status_code == 404
    account = Account.objects.get(recruiter_id=PID)
    with pytest.raises(Conflict, match="never gets another role"):
        people.change(world.ada, account, role="reviewer")
    with pytest.raises(IntegrityError), transaction.atomic():
        Account.objects.filter(pk=account.pk).update(role="admin")
    with pytest.raises(NotAllowed):
        tokens.issue(account, name="x", scopes=["annotate"])


def test_a_parameter_name_of_forty_letters_works(world: World) -> None:
    name = "P" * 40
    campaign = world.campaign(access="recruiter", recruiter_parameter=name)
    assert Client().get(f"/enter/{campaign.entry_key}/", {name: "someone-7"}).status_code == 302


def test_entries_are_limited_per_address(study: Campaign) -> None:
    codes = [enter(study, PROLIFIC_PID=f"{n:024x}")[1].status_code for n in range(throttle.ENTRIES.most + 2)]
    assert codes.count(302) == throttle.ENTRIES.most
    assert codes[-1] == 429


def test_each_way_to_end_has_words_and_an_address_of_its_own(world: World, study: Campaign) -> None:
    client, _ = enter(study)
    assert ending(client, study)["kind"] == "nothing_left"
    lifecycle.move(world.ada, study, "pause")
    assert (ending(client, study)["kind"], ending(client, study)["url"]) == ("paused", "")
    lifecycle.move(world.ada, study, "close")
    assert (ending(client, study)["kind"], ending(client, study)["url"]) == ("closed", f"{DONE}-none")
    late, there = enter(study, PROLIFIC_PID="ab" * 12)
    assert there.status_code == 302  # also who comes too late is told, and sent back
    assert ending(late, study)["kind"] == "closed"


def test_a_spent_budget_sends_people_back(world: World) -> None:
    study = world.campaign(access="recruiter", budget_votes=4, session_length=4, no_work_url=f"{DONE}-none")
    first, _ = enter(study)
    work(first, study, 4)
    second, _ = enter(study, PROLIFIC_PID="ab" * 12)
    answer = second.post(f"/api/v1/annotate/{study.uuid}/next/", {}, content_type="application/json")
    assert answer.json()["code"] == "budget_spent"
    assert (ending(second, study)["kind"], ending(second, study)["url"]) == ("budget_spent", f"{DONE}-none")


def test_a_failed_tutorial_screens_out(world: World) -> None:
    study = world.campaign(
        world.dataset(30), access="recruiter", tutorial_questions=3, tutorial_tries=1, screened_out_url=f"{DONE}-out"
    )
    client, _ = enter(study)
    account = Account.objects.get(recruiter_id=PID)
    for _ in range(3):
        step = tutorial.where(account, study.uuid)
        wrong = "first" if step.question.second_closer else "second"
        token = tutorial.token_of(step, NOON)
        tutorial.answer(account, study.uuid, question=step.position, closer=wrong, token=token, now=NOON + SECOND)
    assert (ending(client, study)["kind"], ending(client, study)["url"]) == ("tutorial_failed", f"{DONE}-out")
    assert participants.ending_of(account, study.uuid).again is False


@pytest.mark.parametrize(("access", "door"), [("recruiter", "enter"), ("invite", "join")])
def test_a_leaked_link_is_replaced_and_opens_nothing_any_more(world: World, access: str, door: str) -> None:
    campaign = world.campaign(access=access)
    leaked, ids = campaign.entry_key, {"PROLIFIC_PID": PID}
    act = f"/campaigns/{campaign.uuid}/act/"
    assert world.client(world.rea).post(act, {"do": "new-link"}).status_code == 302  # a reviewer may not
    campaign.refresh_from_db()
    assert campaign.entry_key == leaked
    renewed = world.client(world.ada).post(f"/api/v1/campaigns/{campaign.uuid}/new-link/")
    campaign.refresh_from_db()
    assert renewed.json()["link"].endswith(f"/{door}/{campaign.entry_key}/")
    assert campaign.entry_key != leaked
    assert Client().get(f"/{door}/{leaked}/", ids).status_code == 404
    assert Client().get(f"/{door}/{campaign.entry_key}/", ids).status_code == 302
    page = world.client(world.ada).post(act, {"do": "new-link"}, follow=True).content.decode()
    assert "opens nothing any more" in page
    assert campaign.entry_key not in page
    assert AuditEntry.objects.filter(verb="campaign.new-link").count() == 2


def test_an_open_campaign_has_no_link_to_replace(world: World) -> None:
    campaign = world.campaign()
    answer = world.client(world.ada).post(f"/api/v1/campaigns/{campaign.uuid}/new-link/")
    assert (answer.status_code, answer.json()["field"]) == (409, "access")
