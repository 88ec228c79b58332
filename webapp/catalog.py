"""What can be chosen (a crowd model, an import format, a training method) and where its code is.

An offer names its code as text, so that a web request can list, describe and validate it without importing
the libraries it needs; a worker loads it. Stdlib and pydantic only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of every typed configuration: unknown fields are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NoOptions(Config):
    """An offer without options."""


@dataclass(frozen=True)
class Offer:
    """One choosable thing. `target` is 'module:function', loaded only where the work is done."""

    name: str
    title: str
    target: str
    config: type[Config] = NoOptions
    source: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def load(self) -> Callable[..., Any]:
        module, _, function = self.target.partition(":")
        return getattr(import_module(module), function)


class UnknownOffer(LookupError):
    """A name that the catalogue does not hold; the message lists what it holds."""


class Catalog:
    """Offers of one kind by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._offers: dict[str, Offer] = {}

    def add(self, offer: Offer) -> None:
        if offer.name in self._offers:
            raise ValueError(f"{self.kind} {offer.name!r} is offered twice")
        self._offers[offer.name] = offer

    def __getitem__(self, name: str) -> Offer:
        try:
            return self._offers[name]
        except KeyError:
            raise UnknownOffer(f"{self.kind} {name!r} is not offered; there are: {', '.join(self._offers)}") from None

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._offers.values())

    def __contains__(self, name: object) -> bool:
        return name in self._offers

    def names(self) -> list[str]:
        return list(self._offers)
