"""Tokens of questions: signed text that says which question was handed out, to whom, and when. One kind for every question.

Nobody can make one, and none fits another question, person or try. What a token says is checked by who reads it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.core import signing

from webapp.errors import Invalid

_signer = signing.TimestampSigner(salt="nearer.assignment")


def issue(*about: object, now: datetime) -> str:
    """A token about something (texts without colons), issued `now`."""
    return _signer.sign(":".join([*map(str, about), f"{int(now.timestamp() * 1000):x}"]))


def read(token: str, count: int, *, fix: str) -> tuple[list[str], datetime]:
    """The `count` texts of a token and when it was issued. Raises Invalid."""
    try:
        *about, issued = _signer.unsign(token).split(":")
        if len(about) != count:
            raise ValueError
        return about, datetime.fromtimestamp(int(issued, 16) / 1000, tz=UTC)
    except (signing.BadSignature, ValueError):
        raise Invalid("This is not a token that the server gave out.", field="token", fix=fix) from None
