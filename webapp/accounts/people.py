"""Verbs on accounts: create, change role, switch off, erase."""

from __future__ import annotations

import secrets

from django.contrib.auth.password_validation import validate_password
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.refusal import Conflict, Invalid


def create(
    actor: Account | None, *, username: str, role: str, password: str | None = None, simulated: bool = False
) -> Account:
    """Make an account. `actor` None is the command line of the server itself."""
    if actor is not None:
        require(actor, Role.ADMIN)
    if role not in Role.values:
        raise Invalid("Unknown role.", field="role", value=role, fix=f"choose from {', '.join(Role.values)}")
    username = username.strip()
    Account.username_validator(username)
    if password is not None:
        validate_password(password)
    try:
        with transaction.atomic():
            account = Account(username=username, role=role, is_simulated=simulated)
            if password is None:
                account.set_unusable_password()
            else:
                account.set_password(password)
            account.save()
            audit.record(actor, "account.create", account, role=role)
    except IntegrityError:
        raise Conflict("This name is taken.", field="username", value=username, fix="choose another name") from None
    return account


def change(actor: Account, account: Account, *, role: str | None = None, active: bool | None = None) -> Account:
    require(actor, Role.ADMIN)
    if role is not None and role not in Role.values:
        raise Invalid("Unknown role.", field="role", value=role, fix=f"choose from {', '.join(Role.values)}")
    if account.pk == actor.pk and (active is False or role not in (None, Role.ADMIN)):
        raise Conflict("You cannot take your own admin role away.", field="role", fix="ask another admin")
    with transaction.atomic():
        if role is not None:
            account.role = role
        if active is not None:
            account.is_active = active
        account.save(update_fields=["role", "is_active"])
        audit.record(actor, "account.change", account, role=account.role, active=account.is_active)
    return account


def recruited(recruiter: str, recruiter_id: str) -> Account:
    """The account of somebody sent by a recruiter (Prolific or any other), made at the first visit."""
    recruiter_id = recruiter_id.strip()
    if not 1 <= len(recruiter_id) <= 128 or not recruiter_id.isprintable():
        raise Invalid("The recruiter's id of the person is missing or malformed.", field=recruiter, value=recruiter_id)
    known = Account.objects.filter(recruiter=recruiter, recruiter_id=recruiter_id).first()
    if known:
        return known
    name = f"{slugify(recruiter)[:12]}-{secrets.token_hex(6)}"
    account = Account(username=name, role=Role.ANNOTATOR, recruiter=recruiter, recruiter_id=recruiter_id)
    account.set_unusable_password()
    try:
        with transaction.atomic():
            account.save()
    except IntegrityError:  # the same person in two tabs: the first one counts
        return Account.objects.get(recruiter=recruiter, recruiter_id=recruiter_id)
    return account
