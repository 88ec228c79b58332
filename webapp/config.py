"""The base of every typed configuration. Pydantic only, so that numerical packages may use it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Unknown fields are errors, values are frozen, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NoOptions(Config):
    """A configuration without options."""
