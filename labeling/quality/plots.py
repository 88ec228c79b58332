"""Curves of the quality page as SVG coordinates: 0 to 100 in both directions, y downwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labeling.crowd.measures import Psychometric, Reliability
from labeling.crowd.normal import cdf

LEFT, RIGHT, TOP, BOTTOM = 9.0, 95.0, 3.0, 90.0


@dataclass(frozen=True)
class Dot:
    """A point of a plot: place, radius (how many stand behind it), and what a reader would want to know."""

    x: float
    y: float
    r: float
    text: str


@dataclass(frozen=True)
class Plot:
    title: str
    x_title: str
    y_title: str
    dots: list[Dot]
    ideal: str  # points of the line that would be perfect, or that was fitted
    ideal_title: str
    x_marks: list[tuple[float, str]]
    y_marks: list[tuple[float, str]]

    @property
    def line(self) -> str:
        return " ".join(f"{d.x:.2f},{d.y:.2f}" for d in self.dots)


def _x(share: float) -> float:
    return LEFT + (RIGHT - LEFT) * share


def _y(right: float) -> float:
    """From half right (bottom) to all right (top); worse than half stays at the bottom."""
    return BOTTOM - (BOTTOM - TOP) * float(np.clip((right - 0.5) * 2, 0, 1))


_SHARES = [(_y(v), f"{v:.1f}") for v in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)]


def _radius(count: int, most: int) -> float:
    return 1.0 + 1.6 * (count / max(most, 1)) ** 0.5


def reliability(table: Reliability) -> Plot:
    """Share of labels that are right, by how sure the model says it is."""
    most = int(table.count.max(initial=1))
    dots = [
        Dot(_x((c - 0.5) * 2), _y(r), _radius(n, most), f"{n} labels: said {c:.2f}, {r:.2f} are right")
        for n, c, r in zip(table.count.tolist(), table.confidence.tolist(), table.right.tolist())
        if n
    ]
    return Plot(
        "Reliability: are labels as sure as they say?",
        "probability of the label",
        "share that is right",
        dots,
        f"{_x(0):.2f},{_y(0.5):.2f} {_x(1):.2f},{_y(1):.2f}",
        "perfectly calibrated",
        [(_x((v - 0.5) * 2), f"{v:.1f}") for v in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)],
        _SHARES,
    )


def outlook(curve: list[dict[str, float]], target_risk: float) -> Plot:
    """Mean risk of all pairs of a person after each vote; dashed: the wanted risk."""
    most = curve[-1]["votes"]

    def y(risk: float) -> float:
        return TOP + (BOTTOM - TOP) * (1 - risk / 0.5)

    dots = [
        Dot(
            _x(row["votes"] / most),
            y(row["risk"]),
            1.2,
            f"{row['votes']} votes: risk {row['risk']:.3f}, {row['sure']:.0%} of pairs above 0.9",
        )
        for row in curve
    ]
    return Plot(
        "What votes buy",
        "votes per person",
        "mean risk of all pairs",
        dots,
        f"{_x(0):.2f},{y(target_risk):.2f} {_x(1):.2f},{y(target_risk):.2f}",
        f"wanted risk {target_risk:.2f}",
        [(_x(v / most), f"{v:.0f}") for v in range(0, int(most) + 1, 5)],
        [(y(v), f"{v:.1f}") for v in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)],
    )


MOST_MM = 600.0


def psychometric(measured: Psychometric, title: str) -> Plot:
    """Share of right answers by true depth gap, with the probit curve that fits best."""
    most = int(measured.count.max(initial=1))
    middle = np.minimum((measured.edges_mm[:-1] + measured.edges_mm[1:]) / 2, MOST_MM)
    dots = [
        Dot(_x(m / MOST_MM), _y(r), _radius(n, most), f"{a:.0f} to {b:.0f} mm: {r:.2f} of {n} right")
        for m, a, b, n, r in zip(
            middle, measured.edges_mm[:-1], measured.edges_mm[1:], measured.count.tolist(), measured.right.tolist()
        )
        if n
    ]
    gaps = np.linspace(0, MOST_MM, 40)
    curve = " ".join(f"{_x(g / MOST_MM):.2f},{_y(p):.2f}" for g, p in zip(gaps, cdf(gaps / measured.noise_mm)))
    return Plot(
        title,
        "true depth gap (mm)",
        "share of answers right",
        dots,
        curve,
        f"noise of {measured.noise_mm:.0f} mm",
        [(_x(v / MOST_MM), f"{v:.0f}") for v in (0, 100, 200, 300, 400, 500)],
        _SHARES,
    )
