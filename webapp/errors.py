"""A Refusal: one thing a caller did that we will not do, with the field, the value and the fix.

`webapp.problems` turns it into problem details (API) or a page (browsers); its text is what the command line prints.
"""

from __future__ import annotations

import errno
import re
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

_ROOTS = [
    str(Path(p).resolve()) for p in (Path(__file__).parent.parent, sys.prefix, sys.base_prefix, tempfile.gettempdir())
]


def hide(root: Path) -> None:
    """From now on `without_paths` knows this folder, too."""
    _ROOTS.append(str(root))


def without_paths(text: str) -> str:
    """A message for people elsewhere: of paths on this machine only the last part is left."""
    roots = "|".join(re.escape(root) for root in sorted(_ROOTS, key=len, reverse=True) if root != "/")
    path = rf"(?:{roots})(?:/[^\s'\":,;)]*)?"
    return re.sub(path, lambda match: match[0].rstrip("/").rpartition("/")[2], text)


class InputError(ValueError):
    """Bad input. The only exception of our libraries whose text a user reads; all else is logged with its traceback.

    `detail` says what is wrong, `field` names the input, `fix` says what would help, `value` is what was given.
    """

    usual_field = ""

    def __init__(self, detail: str, *, field: str = "", fix: str = "", value: object = None) -> None:
        super().__init__(detail)
        self.detail, self.field, self.fix, self.value = detail, field or self.usual_field, fix, value

    def refusal(self, *, field: str = "", fix: str = "") -> Invalid:
        """The same as a refusal; `field` and `fix` replace what the library could not know."""
        sentence = f"{self.detail[:1].upper()}{self.detail[1:]}"
        if not sentence.endswith((".", "!", "?")):
            sentence += "."
        return Invalid(sentence, field=field or self.field, fix=fix or self.fix, value=self.value)


class Refusal(Exception):
    """Base of all refusals. `code` is stable, `field` names the input, `fix` says what to do."""

    code = "refused"
    status = 400

    def __init__(self, detail: str, *, field: str = "", fix: str = "", value: object = None, **more: Any) -> None:
        detail = without_paths(detail)
        super().__init__(detail)
        self.detail, self.field, self.fix, self.more = detail, field, fix, more
        self.value = None if value is None else str(value)[:200]

    def as_dict(self) -> dict[str, Any]:
        problem = {
            "type": f"/docs/reference/errors#{self.code.replace('_', '-')}",
            "code": self.code,
            "status": self.status,
            "detail": self.detail,
        }
        for key in ("field", "fix", "value"):
            if getattr(self, key):
                problem[key] = getattr(self, key)
        return problem | self.more

    @property
    def words(self) -> str:
        """For people: what is wrong and what helps, without the field's name in code."""
        return self.detail + (f" ({self.fix})" if self.fix else "")

    def __str__(self) -> str:
        return f"{self.field}: {self.words}" if self.field else self.words


class NotAllowed(Refusal):
    code, status = "not_allowed", 403


class NotFound(Refusal):
    code, status = "not_found", 404


class Conflict(Refusal):
    code, status = "conflict", 409


class Invalid(Refusal):
    code, status = "invalid", 400


class TooLarge(Refusal):
    code, status = "too_large", 413


class DiskFull(Refusal):
    code, status = "disk_full", 507

    def __init__(self) -> None:
        super().__init__(
            "The disk of this site is full. Nothing was saved.",
            fix="Send it again later; an answer is kept by your browser until then. Whoever runs the site has to free space.",
        )


class Away(Refusal):
    code, status = "database_away", 503

    def __init__(self) -> None:
        super().__init__("The database does not answer. Nothing was saved.", fix="Send it again in a moment.")


def of_the_machine(error: BaseException | None) -> Refusal | None:
    """What a failure of disk or database means for who asked; None for every other error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFull()
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if "DiskFull" in kinds or (
            isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorname", "").startswith("SQLITE_FULL")
        ):
            return DiskFull()
        if error.__cause__ is None and kinds & {"OperationalError", "InterfaceError", "PoolTimeout"}:
            return Away()
        error = error.__cause__
    return None
