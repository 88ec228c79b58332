"""How long work reports. Stdlib only, so that numerical packages may use it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Called with what is done, of how much, and of what. It may raise to stop the work (`webapp.jobs.run.Cancelled`)."""

    def __call__(self, done: int, total: int, unit: str, /) -> object: ...


def silent(done: int, total: int, unit: str, /) -> None:
    """For whoever does not want to know."""
