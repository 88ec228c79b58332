"""What can be chosen (a crowd model, an import format, a training method) and where its code is.

An offer names its code as text, so that a web request can list, describe and validate it without importing
the libraries it needs; a worker loads it. Stdlib and pydantic only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

from webapp.config import Config, NoOptions


@dataclass(frozen=True)
class Offer:
    """One choosable thing. `target` is 'module:function', loaded only where the work is done."""

    name: str
    title: str
    target: str
    config: type[Config] = NoOptions
    source: str = ""

    def load(self) -> Callable[..., Any]:
        return load(self.target)


def load(target: str) -> Callable[..., Any]:
    """The function that 'module:function' names."""
    module, _, function = target.partition(":")
    return getattr(import_module(module), function)


class UnknownOffer(LookupError):
    """A name that the catalogue does not hold; the message lists what it holds."""


O = TypeVar("O", bound=Offer)  # noqa: E741


class Catalog(Generic[O]):
    """Offers of one kind by name. Made of `parts`, it also holds what those hold."""

    def __init__(self, kind: str, *parts: Catalog[O]) -> None:
        self.kind = kind
        self._parts = parts
        self._own: dict[str, O] = {}

    def add(self, offer: O) -> None:
        """Raises ValueError for a name that is there."""
        if offer.name in self:
            raise ValueError(f"{self.kind} {offer.name!r} is offered twice")
        self._own[offer.name] = offer

    def __getitem__(self, name: str) -> O:
        for offer in self:
            if offer.name == name:
                return offer
        raise UnknownOffer(f"{self.kind} {name!r} is not offered; there are: {', '.join(self.names())}")

    def __iter__(self) -> Iterator[O]:
        yield from self._own.values()
        for part in self._parts:
            yield from part

    def __contains__(self, name: object) -> bool:
        return any(offer.name == name for offer in self)

    def names(self) -> list[str]:
        return [offer.name for offer in self]
