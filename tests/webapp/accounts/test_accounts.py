"""Accounts: the first admin, names, passwords, links, throttles, sessions, the audit book."""

from __future__ import annotations

import os
import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice

from labeling.models import Participation, Vote
from tests.conftest import World
from webapp import clock
from webapp.accounts import people, throttle, tokens
from webapp.accounts.models import Account, Attempts, AuditEntry
from webapp.errors import Conflict, Invalid, NotAllowed, NotFound

GOOD = "a-long-Password-7"


def sign_in(client: Client, name: str, password: str = GOOD, **headers: Any) -> int:
    return client.post("/login/", {"username": name, "password": password}, **headers).status_code


# --- the first admin ---
def test_a_site_without_an_admin_prints_a_link_that_makes_one_and_then_serves_no_more(db: None) -> None:
    link = people.first_admin_link()
    client = Client()
    assert client.get(link).status_code == 200
    weak = client.post(link, {"username": "root", "password": "root"})
    assert weak.status_code == 200
    assert not people.has_admin()
    assert client.post(link, {"username": "root", "password": GOOD}).status_code == 302
    assert Account.objects.get(username="root").role == "admin"
    assert client.get("/people/").status_code == 200
    other = Client()
    assert other.get(link).status_code == 404
    assert other.post(link, {"username": "eve", "password": GOOD}).status_code == 404
    assert other.get("/first-admin/made-up/").status_code == 404


def test_whoever_registers_first_is_an_annotator(db: None, settings: Any) -> None:
    settings.REGISTRATION_OPEN = True
    Client().post("/register/", {"username": "quick", "password": GOOD, "role": "admin"})
    assert Account.objects.get(username="quick").role == "annotator"
    assert not people.has_admin()


def test_the_command_line_makes_admins(db: None, capsys: Any) -> None:
    call_command("make_admin", "root")
    path = re.search(r"(/password/\S+)", capsys.readouterr().out)
    assert path is not None
    people.create(None, username="mary", role="annotator", password=GOOD)
    call_command("make_admin", "Mary")
    assert "/password/" not in capsys.readouterr().out
    assert set(Account.objects.values_list("username", "role")) == {("root", "admin"), ("mary", "admin")}
    call_command("createsuperuser", "--noinput", username="boss", email="boss@example.org")
    assert Account.objects.get(username="boss").role == "admin"


# --- names and passwords ---
def test_one_name_in_every_spelling(db: None) -> None:
    people.create(None, username="Mary", role="annotator", password=GOOD)
    for name in ("mary", " MARY ", "ｍａｒｙ", "ＭＡＲＹ"):
        with pytest.raises((Conflict, Invalid)):
            people.create(None, username=name, role="annotator")
        assert authenticate(username=name, password=GOOD) is not None, name
    with pytest.raises(IntegrityError), transaction.atomic():
        Account(username="MARY").save()


@pytest.mark.parametrize("password", ["short", "password123", "marymary", "12345678901", "MARY.SMITH"])
def test_passwords_are_checked_with_the_person_in_mind(db: None, password: str) -> None:
    with pytest.raises(Invalid) as error:
        people.create(None, username="mary.smith", role="annotator", password=password)
    assert error.value.field == "password"


def test_a_password_is_changed_and_other_sessions_end(world: World) -> None:
    people.create(None, username="mary", role="annotator", password=GOOD)
    here, there = Client(), Client()
    assert sign_in(here, "mary") == sign_in(there, "mary") == 302
    new = "another-Password-9"
    form = {"old_password": GOOD, "new_password1": new, "new_password2": new}
    assert here.post("/account/password/", form).status_code == 302
    assert here.get("/account/").status_code == 200
    assert there.get("/account/").status_code == 302
    assert sign_in(Client(), "mary") == 200
    assert sign_in(Client(), "mary", new) == 302
    assert AuditEntry.objects.filter(verb="account.password").count() == 1


def test_an_admin_hands_out_a_link_that_sets_a_password_once(world: World) -> None:
    ada = world.client(world.ada)
    ada.post("/people/", {"account": str(world.ben.uuid), "do": "password-link"})
    page = ada.get("/people/").content.decode()
    link = re.search(r"http://testserver(/password/[^<]+)<", page)
    assert link is not None
    assert "/password/" not in re.sub(r'href="[^"]*"', "", ada.get("/people/").content.decode())  # shown once
    client = Client()
    form = client.get(link[1], follow=True).request["PATH_INFO"]
    done = client.post(form, {"new_password1": GOOD, "new_password2": GOOD})
    assert done.status_code == 302
    assert sign_in(Client(), "ben") == 302
    assert "used already" in Client().get(link[1], follow=True).content.decode()
    with pytest.raises(NotAllowed):
        people.password_link(world.ben, world.ada)


def test_a_forgotten_password_goes_by_mail_where_there_is_mail(world: World, settings: Any, mailoutbox: Any) -> None:
    assert Client().get("/password/").status_code == 404
    settings.EMAIL_URL = "smtp://localhost"
    people.create(None, username="mary", role="annotator", password=GOOD, email="mary@example.org")
    assert Client().post("/password/", {"email": "mary@example.org"}).status_code == 302
    assert (
        Client().post("/password/", {"email": "nobody@example.org"}).status_code == 302
    )  # says nothing of who is here
    assert len(mailoutbox) == 1
    assert "/password/" in mailoutbox[0].body


# --- throttles ---
def test_wrong_passwords_are_counted_by_name_in_every_spelling_and_by_address(world: World) -> None:
    people.create(None, username="mary", role="annotator", password=GOOD)
    tried = [sign_in(Client(), name, "wrong") for name in ("mary", " Mary", "MARY ", "ｍａｒｙ") * 4]
    assert tried == [200] * 10 + [429] * 6
    assert sign_in(Client(), "mary") == 429  # from this address not even with the right one
    assert sign_in(Client(), "mary", REMOTE_ADDR="10.0.0.9") == 302  # nobody is locked out by somebody else
    sprayed = [sign_in(Client(), f"name-{n}", "wrong", REMOTE_ADDR="10.0.0.7") for n in range(70)]
    assert sprayed.count(429) == 10
    Attempts.objects.update(since=clock.now() - timedelta(hours=1))
    assert sign_in(Client(), "mary") == 302


def test_a_browser_that_is_known_is_spared_when_the_whole_net_guesses(world: World) -> None:
    people.create(None, username="mary", role="annotator", password=GOOD)
    known = Client()
    assert sign_in(known, "mary") == 302
    known.post("/logout/")
    for n in range(100):
        sign_in(Client(), "mary", "wrong", REMOTE_ADDR=f"10.0.{n}.1")
    assert sign_in(Client(), "mary", REMOTE_ADDR="10.9.9.9") == 429
    assert sign_in(known, "mary", REMOTE_ADDR="10.9.9.9") == 302


@pytest.mark.skipif("DATABASE_URL" not in os.environ, reason="many writers at once need PostgreSQL: set DATABASE_URL")
@pytest.mark.django_db(transaction=True)
def test_a_hundred_guesses_at_once_are_ten() -> None:
    outcome: list[bool] = []

    def guess() -> None:
        try:
            throttle.take(throttle.NAME_AT_ADDRESS, "mary")
            outcome.append(True)
        except throttle.TooOften:
            outcome.append(False)
        finally:
            connection.close()

    threads = [threading.Thread(target=guess) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcome.count(True) == 10


def test_pages_and_api_share_one_count_of_heavy_work(world: World, settings: Any) -> None:
    settings.RATE_HEAVY = "3/hour"
    campaign = world.campaign()
    world.vote(world.ann, world.lease(world.ann, campaign))
    client = world.client(world.ada)
    api, page = f"/api/v1/campaigns/{campaign.uuid}/aggregate/", f"/campaigns/{campaign.uuid}/act/"
    assert client.post(api, {}, content_type="application/json").status_code == 202
    assert "/jobs/" in client.post(page, {"do": "aggregate"})["Location"]
    assert client.post(api, {}, content_type="application/json").status_code == 202
    over = client.post(api, {}, content_type="application/json")
    assert (over.status_code, over.json()["code"]) == (429, "throttled")
    assert int(over["Retry-After"]) > 3000
    assert "/jobs/" not in client.post(page, {"do": "aggregate"})["Location"]


# --- sessions, tokens, invitations, the book ---
def test_sessions_are_listed_and_ended(world: World) -> None:
    people.create(None, username="mary", role="annotator", password=GOOD)
    here, there = Client(headers={"user-agent": "Here/1"}), Client(headers={"user-agent": "There/2"})
    sign_in(here, "mary")
    sign_in(there, "mary")
    page = here.get("/account/").content.decode()
    assert "There/2" in page and "this one" in page
    here.post("/account/", {"end": "others"})
    assert there.get("/account/").status_code == 302
    assert "There/2" not in here.get("/account/").content.decode()


def test_a_token_is_shown_once_and_a_reload_makes_no_second_one(world: World) -> None:
    client = world.client(world.ann)
    created = client.post("/account/", {"name": "script", "scopes": ["read"]})
    assert created.status_code == 302
    first, second = client.get("/account/"), client.get("/account/")
    assert "nearer_" in first.content.decode()
    assert "nearer_" not in second.content.decode()
    assert world.ann.tokens.count() == 1
    assert "no-store" in first["Cache-Control"]


def test_an_invitation_lets_its_holder_make_an_account(world: World) -> None:
    campaign = world.campaign(access="invite")
    client = Client()
    assert client.get("/register/").status_code == 404
    to = client.get(f"/join/{campaign.entry_key}/")
    assert to["Location"] == f"/register/?next=%2Fjoin%2F{campaign.entry_key}%2F"
    assert client.get(to["Location"]).status_code == 200
    created = client.post(
        to["Location"], {"username": "mary", "password": GOOD, "next": f"/join/{campaign.entry_key}/"}
    )
    assert client.get(created["Location"], follow=True).status_code == 200
    assert campaign.participations.get().annotator.username == "mary"
    assert client.get("/register/").status_code == 404  # one account an invitation
    evil = client.post("/register/", {"username": "x", "password": GOOD, "next": "https://evil.example/"})
    assert evil.status_code == 404


def test_the_audit_book_can_be_read_by_admins_alone(world: World) -> None:
    campaign = world.campaign()
    page = world.client(world.ada).get("/audit/?verb=campaign.").content.decode()
    assert "campaign.open" in page and str(campaign.uuid) in page
    rows = world.client(world.ada).get(f"/api/v1/audit/?thing_id={campaign.uuid}").json()["results"]
    assert [r["verb"] for r in rows] == ["campaign.open", "campaign.create"]
    for person in (world.rea, world.resi, world.ann):
        assert world.client(person).get("/audit/").status_code == 403
        assert world.client(person).get("/api/v1/audit/").status_code == 403


def test_a_missing_field_does_not_echo_the_password(world: World) -> None:
    sent = {"password": "very-Secret-77", "role": "annotator"}
    answer = world.client(world.ada).post("/api/v1/accounts/", sent, content_type="application/json")
    assert answer.status_code == 400
    assert "very-Secret-77" not in answer.content.decode()


def test_a_form_from_before_the_last_sign_in_is_explained() -> None:
    client = Client(enforce_csrf_checks=True)
    page = client.post("/login/", {"username": "a", "password": "b"}, headers={"accept": "text/html"})
    assert page.status_code == 403
    assert "older than your last sign-in" in page.content.decode()


def test_links_for_the_first_admin_need_a_site_without_one(world: World) -> None:
    with pytest.raises(NotFound, match="has an admin"):
        people.make_first_admin(people.first_admin_link().split("/")[2], username="eve", password=GOOD)


# --- the second factor ---
def code_of(account: Account, drift: int = 0) -> str:
    device = TOTPDevice.objects.get(user=account)
    return f"{totp(device.bin_key, step=device.step, t0=device.t0, drift=drift):06d}"


def with_factor(world: World) -> Client:
    world.rea.set_password(world.password)
    world.rea.save()
    client = world.client(world.rea)
    client.post("/account/", {"do": "second-factor"})
    page = client.get("/account/").content.decode()
    assert "<svg" in page
    client.post("/account/", {"do": "confirm", "code": "000000"})
    assert not TOTPDevice.objects.get().confirmed
    TOTPDevice.objects.update(throttling_failure_count=0)
    client.post("/account/", {"do": "confirm", "code": code_of(world.rea)})
    assert TOTPDevice.objects.get().confirmed
    return client


def test_with_a_second_factor_the_password_alone_signs_nobody_in(world: World) -> None:
    with_factor(world)
    client = Client()
    form = {"username": "rea", "password": world.password, "next": "/jobs/"}
    assert client.post("/login/", form).headers["Location"] == "/login/code/"
    assert client.get("/jobs/").headers["Location"].startswith("/login/")
    used = code_of(world.rea)
    assert (
        b"wrong or too old" in client.post("/login/code/", {"code": used}).content
    )  # it served already, to switch it on
    for bad in ("", "abcdef", "12345", "9" * 400, "\u0661" * 6):
        assert client.post("/login/code/", {"code": bad}).status_code == 200
    TOTPDevice.objects.update(throttling_failure_count=0)
    done = client.post("/login/code/", {"code": code_of(world.rea, drift=1)})
    assert (done.status_code, done.headers["Location"]) == (302, "/jobs/")
    assert client.get("/jobs/").status_code == 200
    other = Client()
    assert (
        other.post("/login/code/", {"code": code_of(world.rea)}).headers["Location"] == "/login/"
    )  # no password before


def test_codes_are_not_guessed(world: World) -> None:
    with_factor(world)
    client = Client()
    client.post("/login/", {"username": "rea", "password": world.password})
    answers = [client.post("/login/code/", {"code": f"{n:06d}"}) for n in range(30)]
    assert TOTPDevice.objects.get().throttling_failure_count <= 2  # the rest was not even compared
    assert "many" in answers[-1].content.decode()


def test_a_stolen_session_does_not_find_the_password_out(world: World) -> None:
    client = with_factor(world)
    new = {"new_password1": "another-Password-8", "new_password2": "another-Password-8"}
    for n in range(10):
        client.post("/account/", {"do": "remove-factor", "password": f"guess {n}"})
        assert client.post("/account/password/", new | {"old_password": f"guess {n}"}).status_code == 200
    client.post("/account/", {"do": "remove-factor", "password": world.password})  # right, and not even compared
    assert TOTPDevice.objects.get().confirmed
    assert client.post("/account/password/", new | {"old_password": world.password}).status_code == 429
    world.rea.refresh_from_db()
    assert world.rea.check_password(world.password)


def test_a_lost_app_is_removed_by_an_admin_and_ones_own_with_the_password(world: World) -> None:
    client = with_factor(world)
    client.post("/account/", {"do": "remove-factor", "password": "wrong"})
    assert TOTPDevice.objects.exists()
    client.post("/account/", {"do": "remove-factor", "password": world.password})
    assert not TOTPDevice.objects.exists()
    with_factor(world)
    assert (
        world.client(world.ann).post("/people/", {"account": str(world.rea.uuid), "do": "remove-factor"}).status_code
        == 403
    )
    world.client(world.ada).post("/people/", {"account": str(world.rea.uuid), "do": "remove-factor"})
    assert not TOTPDevice.objects.exists()
    assert AuditEntry.objects.filter(verb="account.second-factor").count() == 4


# --- erasing ---
def test_an_erased_person_leaves_votes_and_no_name(world: World) -> None:
    campaign = world.campaign()
    world.vote(world.ann, world.lease(world.ann, campaign))
    participation = Participation.objects.get(annotator=world.ann)
    Participation.objects.update(recruiter_study="s-1", appeal="I am Ann Smith")
    tokens.issue(world.ann, name="t", scopes=["annotate"])
    client = world.client(world.ann)
    assert world.client(world.rea).post("/people/", {"account": str(world.ann.uuid), "do": "erase"}).status_code == 403
    world.client(world.ada).post("/people/", {"account": str(world.ann.uuid), "do": "erase"})
    world.ann.refresh_from_db()
    participation.refresh_from_db()
    assert world.ann.username.startswith("erased-")
    assert not (world.ann.is_active or world.ann.email or world.ann.has_usable_password() or world.ann.tokens.exists())
    assert (participation.recruiter_study, participation.appeal, participation.vote_count) == ("", "", 1)
    assert Vote.objects.filter(participation=participation).count() == 1
    assert client.get("/account/").status_code == 302
    assert "ann" not in {e.actor.username for e in AuditEntry.objects.exclude(actor=None)}
    world.client(world.ada).post("/people/", {"account": str(world.ada.uuid), "do": "erase"})
    world.ada.refresh_from_db()
    assert world.ada.is_active
