"""An optional second factor: codes of an authenticator app (TOTP, RFC 6238). Secrets and throttling are django-otp's."""

from __future__ import annotations

import base64
import time
from typing import Any

import segno
from django.db import transaction
from django.http import HttpRequest
from django_otp.plugins.otp_totp.models import TOTPDevice

from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.errors import Conflict, Invalid

WAITING = "second_factor"  # in the session: whose password was right, and when
WAITS_S = 300


def device_of(account: Account) -> TOTPDevice | None:
    """The app that signs this person in, once its first code was right."""
    return TOTPDevice.objects.filter(user=account, confirmed=True).first()


def offered(account: Account) -> dict[str, str] | None:
    """What a person puts into the app while it is being set up: the key in base32 and as a picture of squares (SVG)."""
    device = TOTPDevice.objects.filter(user=account, confirmed=False).first()
    if device is None:
        return None
    picture = segno.make_qr(device.config_url).svg_inline(scale=4, dark="#000", light="#fff")
    return {"key": base64.b32encode(device.bin_key).decode(), "picture": picture}


def begin(account: Account) -> None:
    """Make a new secret, which signs nobody in before `confirm`. Raises Conflict."""
    if device_of(account) is not None:
        raise Conflict("You have a second factor already.", field="code", fix="remove it first")
    with transaction.atomic():
        TOTPDevice.objects.filter(user=account, confirmed=False).delete()
        TOTPDevice.objects.create(user=account, name="app", confirmed=False)


def confirm(account: Account, code: str) -> None:
    """From now on the password alone does not sign in. Raises Invalid."""
    with transaction.atomic():
        device = TOTPDevice.objects.select_for_update().filter(user=account, confirmed=False).first()
        right = device is not None and _verified(device, code)
        if right:
            device.confirmed = True
            device.save(update_fields=["confirmed"])
            audit.record(account, "account.second-factor", account, on=True)
    if not right:
        raise Invalid("This code is wrong or too old.", field="code", fix="type the app's newest six digits")


def remove(actor: Account, account: Account) -> None:
    """One's own, or as an admin anybody's who lost the app."""
    if actor.pk != account.pk:
        require(actor, Role.ADMIN)
    with transaction.atomic():
        gone, _ = TOTPDevice.objects.filter(user=account).delete()
        if gone:
            audit.record(actor, "account.second-factor", account, on=False)


def wait_for_code(request: HttpRequest, account: Account, to: str) -> None:
    """The password was right: remember for whom a code is awaited. Nobody is signed in by it."""
    request.session.cycle_key()
    request.session[WAITING] = {"account": account.pk, "at": time.time(), "next": to}


def awaited(request: HttpRequest) -> tuple[Account, str] | None:
    """Whose code is awaited, and where to go then."""
    waiting: dict[str, Any] | None = request.session.get(WAITING)
    if not waiting or not 0 <= time.time() - waiting["at"] < WAITS_S:
        return None
    account = Account.objects.filter(pk=waiting["account"], is_active=True).first()
    return (account, waiting["next"]) if account else None


def check(account: Account, code: str) -> None:
    """Raises Invalid. After wrong codes django-otp waits, twice as long each time; a code serves once."""
    with transaction.atomic():
        device = TOTPDevice.objects.select_for_update().filter(user=account, confirmed=True).first()
        right = device is not None and _verified(device, code)
    if not right:
        raise Invalid("This code is wrong or too old.", field="code", fix="wait for the app's next one and type that")


def _verified(device: TOTPDevice, code: str) -> bool:
    digits = "".join(code.split())
    allowed, _ = device.verify_is_allowed()
    return bool(allowed and digits.isascii() and digits.isdigit() and len(digits) == 6 and device.verify_token(digits))
