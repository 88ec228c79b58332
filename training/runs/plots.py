"""Numbers of runs made ready for templates: bars, options that differ, people with their overlay."""

from __future__ import annotations

from typing import Any

from labeling.models import Image
from labeling.skeletons import words
from training.models import Run
from webapp.plots import Bars, bars


def plots_of(runs: list[Run]) -> list[Bars]:
    """Per joint, per action, by depth gap, and the histogram, of runs that have them; runs side by side."""
    details = [run.details or {} for run in runs]
    plots = []
    joints: list[str] = next((d["joints"] for d in details if d.get("per_joint")), [])
    for key, title, unit in (
        ("pa_mpjpe_mm", "PA-MPJPE per keypoint", "mm"),
        ("order_error", "Relative-label error per keypoint (true order)", ""),
    ):
        series = [_by_name(d.get("joints", []), d.get("per_joint", {}).get(key), joints) for d in details]
        if joints:
            plots.append(bars(title, unit, [words(j) for j in joints], series))
    actions = sorted({a for d in details for a in d.get("per_action", {})})
    if len(actions) > 1:
        series = [[d.get("per_action", {}).get(a) for a in actions] for d in details]
        plots.append(bars("PA-MPJPE per action", "mm", actions, series))
    by_gap: list[list[dict[str, float]]] = [(r.metrics or {}).get("by_gap", []) for r in runs]
    gaps: list[dict[str, float]] = next((rows for rows in by_gap if rows), [])
    if gaps:
        labels = [f"from {g['from_mm']:.0f} mm" for g in gaps]
        by = [{g["from_mm"]: g["error"] for g in rows} for rows in by_gap]
        plots.append(
            bars("Relative-label error by depth gap", "", labels, [[b.get(g["from_mm"]) for g in gaps] for b in by])
        )
    histograms = [d.get("histogram") for d in details]
    if any(histograms):
        width = next(h["bin_mm"] for h in histograms if h)
        longest = max(len(h["people"]) for h in histograms if h)
        labels = [f"{n * width:.0f} to {(n + 1) * width:.0f} mm" for n in range(longest - 1)]
        labels.append(f"{(longest - 1) * width:.0f} mm and more")
        counts: list[list[float | None]] = [
            [*h["people"], *[0] * (longest - len(h["people"]))] if h else [None] * longest for h in histograms
        ]
        plots.append(bars("Held-out people by PA-MPJPE", "people", labels, counts))
    return plots


def _by_name(names: list[str], values: list[float] | None, names_shown: list[str]) -> list[float | None]:
    known = dict(zip(names, values or []))
    return [known.get(n) for n in names_shown]


def differing(runs: list[Run]) -> list[tuple[str, list[Any]]]:
    """Options in which the runs differ, with each run's value."""
    keys = list(dict.fromkeys(k for run in runs for k in run.config))
    rows = [(k, [run.config.get(k, "–") for run in runs]) for k in keys]
    return [(k, values) for k, values in rows if any(v != values[0] for v in values)]


def with_pictures(run: Run, people: list[dict[str, Any]], may_see: bool) -> list[dict[str, Any]]:
    """People of a run's details with the picture's id and size, where one may see it and it is still there; one query."""
    bones = (run.details or {}).get("bones", [])
    images = {
        i.name: i
        for i in Image.objects.filter(dataset_id=run.release.campaign.dataset_id, name__in=[p["name"] for p in people])
        if may_see
    }
    cards = []
    for person in people:
        points, there = person["keypoints_px"], person["present"]
        lines = [(*points[a], *points[b]) for a, b in bones if there[a] and there[b]]
        image = images.get(person["name"])
        cards.append({**person, "image": image, "lines": lines, "dots": [p for p, t in zip(points, there) if t]})
    return cards
