"""Plots that pages draw as SVG, without scripts: dots on a line (`Plot`, ui/plot.html) and bars side by side (`Bars`, ui/bars.html).

Coordinates of a plot are 0 to 100 in both directions, y downwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LEFT, RIGHT, TOP, BOTTOM = 9.0, 95.0, 3.0, 90.0
WIDE = 100.0


@dataclass(frozen=True)
class Dot:
    """A point of a plot: place, radius (how many stand behind it), and what a reader would want to know."""

    x: float
    y: float
    r: float
    text: str


@dataclass(frozen=True)
class Plot:
    """Dots joined by a line; `ideal`: points of the line that would be perfect, or that was fitted."""

    title: str
    x_title: str
    y_title: str
    dots: list[Dot]
    ideal: str
    ideal_title: str
    x_marks: list[tuple[float, str]]
    y_marks: list[tuple[float, str]]

    @property
    def line(self) -> str:
        return points((d.x, d.y) for d in self.dots)


def across(share: float) -> float:
    """x of a share of the width."""
    return LEFT + (RIGHT - LEFT) * share


def up(share: float) -> float:
    """y of a share of the height; what is beyond an end lies on it."""
    return BOTTOM - (BOTTOM - TOP) * min(max(float(share), 0.0), 1.0)


def points(places: Iterable[tuple[float, float]]) -> str:
    """The attribute of a polyline."""
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in places)


def radius(count: int, most: int) -> float:
    return 1.0 + 1.6 * (count / max(most, 1)) ** 0.5


@dataclass(frozen=True)
class Bar:
    """One bar: its text and its width in percent of the longest of the plot."""

    text: str
    width: float
    series: int


@dataclass(frozen=True)
class Bars:
    """A plot of horizontal bars: rows of (label, bars), one bar per series."""

    title: str
    unit: str
    rows: list[tuple[str, list[Bar]]]


def bars(title: str, unit: str, labels: list[str], series: list[list[float | None]]) -> Bars:
    """`series`: each as long as labels; None where a series has no such value."""
    longest = max((v for one in series for v in one if v is not None), default=0.0) or 1.0

    def row(n: int) -> list[Bar]:
        values = [(s, one[n]) for s, one in enumerate(series)]
        return [Bar(_short(v), WIDE * v / longest, s) for s, v in values if v is not None]

    return Bars(title, unit, [(label, row(n)) for n, label in enumerate(labels)])


def _short(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.1f}" if value >= 2 else f"{value:.3f}"
