"""Curves of the quality page."""

from __future__ import annotations

import numpy as np

from labeling.crowd.measures import Psychometric, Reliability
from labeling.crowd.normal import cdf
from webapp.plots import Dot, Plot, across, points, radius, up

STEPS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def _right(share: float) -> float:
    """y from half right (bottom) to all right (top); worse than half stays at the bottom."""
    return up((share - 0.5) * 2)


_SHARES = [(_right(v), f"{v:.1f}") for v in STEPS]


def reliability(table: Reliability) -> Plot:
    """Share of labels that are right, by how sure the model says it is."""
    most = int(table.count.max(initial=1))
    dots = [
        Dot(across((c - 0.5) * 2), _right(r), radius(n, most), f"{n} labels: said {c:.2f}, {r:.2f} are right")
        for n, c, r in zip(table.count.tolist(), table.confidence.tolist(), table.right.tolist())
        if n
    ]
    return Plot(
        "Reliability: are labels as sure as they say?",
        "probability of the label",
        "share that is right",
        dots,
        points([(across(0), _right(0.5)), (across(1), _right(1))]),
        "perfectly calibrated",
        [(across((v - 0.5) * 2), f"{v:.1f}") for v in STEPS],
        _SHARES,
    )


def outlook(curve: list[dict[str, float]], target_risk: float) -> Plot:
    """Mean risk of all pairs of a person after each vote; dashed: the wanted risk."""
    most = curve[-1]["votes"]

    dots = [
        Dot(
            across(row["votes"] / most),
            up(row["risk"] / 0.5),
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
        points([(across(0), up(target_risk / 0.5)), (across(1), up(target_risk / 0.5))]),
        f"wanted risk {target_risk:.2f}",
        [(across(v / most), f"{v:.0f}") for v in range(0, int(most) + 1, 5)],
        [(up(v / 0.5), f"{v:.1f}") for v in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)],
    )


MOST_MM = 600.0


def psychometric(measured: Psychometric, title: str) -> Plot:
    """Share of right answers by true depth gap, with the probit curve that fits best."""
    most = int(measured.count.max(initial=1))
    middle = np.minimum((measured.edges_mm[:-1] + measured.edges_mm[1:]) / 2, MOST_MM)
    dots = [
        Dot(across(m / MOST_MM), _right(r), radius(n, most), f"{a:.0f} to {b:.0f} mm: {r:.2f} of {n} right")
        for m, a, b, n, r in zip(
            middle, measured.edges_mm[:-1], measured.edges_mm[1:], measured.count.tolist(), measured.right.tolist()
        )
        if n
    ]
    gaps = np.linspace(0, MOST_MM, 40)
    curve = points((across(g / MOST_MM), _right(p)) for g, p in zip(gaps, cdf(gaps / measured.noise_mm)))
    return Plot(
        title,
        "true depth gap (mm)",
        "share of answers right",
        dots,
        curve,
        f"noise of {measured.noise_mm:.0f} mm",
        [(across(v / MOST_MM), f"{v:.0f}") for v in (0, 100, 200, 300, 400, 500)],
        _SHARES,
    )
