"""Verbs on accounts: create, change role, switch off, links for passwords and for the first admin."""

from __future__ import annotations

import re
import secrets

from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.tokens import default_token_generator
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.dispatch import Signal
from django.http import HttpRequest
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from django.utils.text import slugify
from django_otp.plugins.otp_totp.models import TOTPDevice

from webapp import audit
from webapp.accounts.models import Account, canonical
from webapp.accounts.roles import Role, require
from webapp.errors import Conflict, Invalid, NotFound

erased = Signal()  # `account`: whoever keeps words of a person elsewhere deletes them


def _known_role(role: str) -> None:
    if role not in Role.values:
        raise Invalid("Unknown role.", field="role", value=role, fix=f"choose from {', '.join(Role.values)}")


def create(
    actor: Account | None,
    *,
    username: str,
    role: str,
    password: str | None = None,
    email: str = "",
    simulated: bool = False,
) -> Account:
    """Make an account. `actor` None is the command line of the server itself. Raises NotAllowed, Invalid, Conflict."""
    if actor is not None:
        require(actor, Role.ADMIN)
    _known_role(role)
    username = " ".join(username.split())
    account = Account(username=username, name_key=canonical(username), role=role, is_simulated=simulated, email=email)
    try:
        Account._meta.get_field("username").clean(username, account)
        if email:
            Account._meta.get_field("email").clean(email, account)
    except ValidationError as error:
        raise Invalid(
            " ".join(error.messages), field="username", value=username, fix="letters, digits and @ . + - _"
        ) from None
    if password is None:
        account.set_unusable_password()
    else:
        check_password(password, account)
        account.set_password(password)
    try:
        with transaction.atomic():
            account.save()
            audit.record(actor, "account.create", account, role=role)
    except IntegrityError:
        raise Conflict(
            "This name is taken, perhaps in another spelling.", field="username", value=username, fix="choose another"
        ) from None
    return account


def check_password(password: str, account: Account) -> None:
    """Raises Invalid for a password that is too short, too common, or too much like the person's name."""
    if "\0" in password or re.search(r"[\ud800-\udfff]", password):
        raise Invalid("A password is text.", field="password")
    try:
        validate_password(password, account)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages), field="password", fix="choose a longer, rarer one") from None
    if canonical(password) == account.name_key:
        raise Invalid("The password is the name.", field="password", fix="choose another one")


def change(actor: Account, account: Account, *, role: str | None = None, active: bool | None = None) -> Account:
    require(actor, Role.ADMIN)
    if role is not None:
        _known_role(role)
    if account.pk == actor.pk and (active is False or role not in (None, Role.ADMIN)):
        raise Conflict("You cannot take your own admin role away.", field="role", fix="ask another admin")
    if account.is_recruited and role not in (None, Role.ANNOTATOR):
        raise Conflict(
            "Whoever has a recruiter's link can enter such an account: it never gets another role.",
            field="role",
            fix="make an account of their own for this person",
        )
    with transaction.atomic():
        if role is not None:
            account.role = role
        if active is not None:
            account.is_active = active
        account.save(update_fields=["role", "is_active"])
        audit.record(actor, "account.change", account, role=account.role, active=account.is_active)
    return account


def password_link(actor: Account | None, account: Account) -> str:
    """The path of a page on which the account's password is set, once, within a day. For an admin to hand out."""
    if actor is not None:
        require(actor, Role.ADMIN)
    if account.is_recruited or account.is_simulated:
        raise Conflict("This account has no password.", field="account")
    audit.record(actor, "account.password-link", account)
    key = urlsafe_base64_encode(force_bytes(account.pk))
    return reverse("password-set", args=[key, default_token_generator.make_token(account)])


def erase(actor: Account, account: Account) -> None:
    """Delete for good what tells who somebody is; votes stay, under the pseudonym of each campaign.

    Name, address, password, second factor, tokens, sign-ins, the recruiter's ids, free text of appeals and reports. The audit book
    keeps what was done, by an account without a name. Raises NotAllowed, Conflict.
    """
    require(actor, Role.ADMIN)
    if account.pk == actor.pk:
        raise Conflict("You cannot erase yourself.", field="account", fix="ask another admin")
    with transaction.atomic():
        keys = list(account.sign_ins.values_list("session_key", flat=True))
        Session.objects.filter(session_key__in=keys).delete()
        account.sign_ins.all().delete()
        account.tokens.all().delete()
        TOTPDevice.objects.filter(user=account).delete()
        erased.send(Account, account=account)
        account.username = account.name_key = f"erased-{secrets.token_hex(8)}"
        account.first_name = account.last_name = account.email = account.recruiter = account.recruiter_id = ""
        account.is_active = False
        account.set_unusable_password()
        account.save()
        audit.record(actor, "account.erase", account)


# --- the first admin ---
_first = signing.TimestampSigner(salt="nearer.first-admin")
FIRST_S = 86_400


def has_admin() -> bool:
    return Account.objects.filter(role=Role.ADMIN, is_active=True).exists()


def first_admin_link() -> str:
    """The path of the page that makes the first admin. It serves as long as there is none, for a day."""
    return reverse("first-admin", args=[_first.sign(secrets.token_urlsafe(16))])


def make_first_admin(token: str, *, username: str, password: str) -> Account:
    """Raises NotFound for a link that does not serve (any more), Invalid, Conflict."""
    check_first(token)
    with transaction.atomic():
        # Two who hold the link at once: this row is what they wait for each other at.
        ContentType.objects.select_for_update().get(app_label="accounts", model="account")
        check_first(token)
        return create(None, username=username, role=Role.ADMIN, password=password)


def check_first(token: str) -> None:
    try:
        _first.unsign(token, max_age=FIRST_S)
    except signing.BadSignature:
        raise NotFound(
            "This link is not one of ours, or it is too old.", fix="start the site again for a new one"
        ) from None
    if has_admin():
        raise NotFound("This site has an admin already.", fix="sign in, or ask the admin")


def make_admin(username: str) -> tuple[Account, bool]:
    """For the command line: give an account the role admin and switch it on; make it if it is not there (True)."""
    account = Account.objects.filter(name_key=canonical(username)).first()
    if account is None:
        return create(None, username=username, role=Role.ADMIN), True
    if account.is_recruited:
        raise Conflict("Whoever has a recruiter's link can enter this account.", field="username", fix="another name")
    with transaction.atomic():
        Account.objects.filter(pk=account.pk).update(role=Role.ADMIN, is_active=True)
        audit.record(None, "account.change", account, role=Role.ADMIN, active=True)
    account.refresh_from_db()
    return account, False


# --- people who come by a link ---
INVITED = "may_register"


def invite(request: HttpRequest) -> None:
    """Whoever holds an invitation link may make an account, also where registration is closed."""
    request.session[INVITED] = True


def recruited(recruiter: str, recruiter_id: str) -> Account:
    """The account of somebody sent by a recruiter (Prolific or any other), made at the first visit."""
    known = Account.objects.filter(recruiter=recruiter, recruiter_id=recruiter_id).first()
    if known:
        return known
    name = f"{slugify(recruiter)[:12]}-{secrets.token_hex(6)}"
    account = Account(
        username=name, role=Role.ANNOTATOR, recruiter=recruiter, recruiter_id=recruiter_id, password=make_password(None)
    )
    try:
        with transaction.atomic():
            account.save()
    except IntegrityError:  # the same person in two tabs: the first one counts
        return Account.objects.get(recruiter=recruiter, recruiter_id=recruiter_id)
    return account
