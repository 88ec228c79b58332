"""The base of every typed configuration. Pydantic only, so that numerical packages may use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Unknown fields are errors, values are frozen, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NoOptions(Config):
    """A configuration without options."""


def shown(
    group: str = "",
    *,
    choices: Mapping[str, str] | None = None,
    wide: bool = False,
    lines: int = 1,
    first: bool = False,
) -> dict[str, Any]:
    """How a form shows a field, for its `json_schema_extra`: its group, words for its choices, its size; `first`: at the top."""
    how = {"group": group, "choices": dict(choices or {}), "wide": wide, "lines": lines, "first": first}
    return {"x-form": {key: value for key, value in how.items() if value}}
