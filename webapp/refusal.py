"""A Refusal: one thing a caller did that we will not do, with the field, the value and the fix.

`webapp.problems` turns it into problem details (API) or a page (browsers); its text is what the command line prints.
"""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """Base of all refusals. `code` is stable, `field` names the input, `fix` says what to do."""

    code = "refused"
    status = 400

    def __init__(self, detail: str, *, field: str = "", fix: str = "", value: object = None, **more: Any) -> None:
        super().__init__(detail)
        self.detail, self.field, self.fix, self.more = detail, field, fix, more
        self.value = None if value is None else str(value)[:200]

    def as_dict(self) -> dict[str, Any]:
        problem = {
            "type": f"urn:nearer:error:{self.code}",
            "code": self.code,
            "status": self.status,
            "detail": self.detail,
        }
        for key in ("field", "fix", "value"):
            if getattr(self, key):
                problem[key] = getattr(self, key)
        return problem | self.more

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{where}{self.detail}" + (f" ({self.fix})" if self.fix else "")


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
