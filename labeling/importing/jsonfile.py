"""JSON from outside: strict numbers, no doubled keys, bounded depth; and the pairs that several formats carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from labeling.importing.parsed import BadInput, Limits, ParsedQuestion, Report, number


def load(path: Path, limits: Limits) -> Any:
    """Raises BadInput for what is not JSON, has NaN or doubled keys, or is nested too deep."""
    if path.stat().st_size > limits.annotation_bytes:
        raise BadInput("the file is too large")

    def refuse(name: str) -> Any:
        raise BadInput(f"{name} is not a number", fix="leave absent keypoints out, or give them visibility 0")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise BadInput("an object has the same key twice", value=[k for k, _ in pairs][:20])
        return fields

    try:
        with path.open(encoding="utf-8-sig") as file:
            return json.load(file, parse_constant=refuse, object_pairs_hook=unique)
    except RecursionError:
        raise BadInput("nested too deep") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise BadInput(f"not JSON in UTF-8: {error}") from None


def questions_of(anns: Any, row: str, person: int, joints: int, report: Report) -> list[ParsedQuestion]:
    """Pairs of one person as our release writes them: kp0, kp1 and, if labelled, label, prob, risk, votes."""
    if anns is None:
        return []
    if not isinstance(anns, list):
        report.row(row, "anns", "is not a list")
        return []
    if (plain := _well_formed(anns, person, joints)) is not None:
        return plain
    questions: list[ParsedQuestion] = []
    seen: set[tuple[int, int]] = set()
    for position, ann in enumerate(anns):
        where = f"{row}.anns[{position}]"
        question = _question(ann, where, person, joints, report)
        if question is None:
            continue
        if (question.first, question.second) in seen:
            report.row(where, "kp1", "this pair occurs twice")
            continue
        seen.add((question.first, question.second))
        questions.append(question)
    return questions


def _well_formed(anns: list[Any], person: int, joints: int) -> list[ParsedQuestion] | None:
    """All at once if nothing is wrong with any of them (a tenth of the time); None if they need a closer look."""
    try:
        first = [a["kp0"] for a in anns]
        second = [a["kp1"] for a in anns]
        label_values = [a.get("prob", a.get("label")) for a in anns]
        labels = {a.get("label") for a in anns}
        votes = [a.get("votes", 0) for a in anns]
        risks = [a.get("risk", 0.0) for a in anns]
    except (TypeError, KeyError, AttributeError):
        return None
    if {*map(type, first), *map(type, second), *map(type, votes)} != {int} or not labels <= {0, 1, None}:
        return None
    every = first + second
    if min(every) < 0 or max(every) >= joints or min(votes) < 0 or max(votes) > 10_000:
        return None
    pairs = [(a, b) if a < b else (b, a) for a, b in zip(first, second, strict=True)]
    if len(set(pairs)) != len(pairs) or any(a == b for a, b in pairs):
        return None
    if set(map(type, label_values)) == {type(None)}:
        return [ParsedQuestion(person, a, b, None, None, n) for (a, b), n in zip(pairs, votes, strict=True)]
    if not {*map(type, label_values), *map(type, risks)} <= {float, int}:
        return None
    if not (
        min(label_values) >= 0 and max(label_values) <= 1 and min(risks) >= 0 and max(risks) <= 0.5
    ):  # NaN fails, too
        return None
    prob = [float(p) if a < b else 1 - p for a, b, p in zip(first, second, label_values, strict=True)]
    rest = zip(pairs, prob, risks, votes, strict=True)
    return [ParsedQuestion(person, a, b, p, float(r), n) for (a, b), p, r, n in rest]


def _question(ann: Any, where: str, person: int, joints: int, report: Report) -> ParsedQuestion | None:
    if not isinstance(ann, dict):
        report.row(where, "ann", "is not an object")
        return None
    pair: list[int] = []
    for key in ("kp0", "kp1"):
        value = ann.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < joints:
            report.row(where, key, f"is not an index of 0 to {joints - 1}")
            return None
        pair.append(value)
    if pair[0] == pair[1]:
        report.row(where, "kp1", "is the same keypoint as kp0")
        return None
    prob = ann.get("prob", ann.get("label"))
    p_second = None if prob is None else number(prob)
    if prob is not None and (p_second is None or not 0 <= p_second <= 1):
        report.row(where, "prob", "is not a probability")
        return None
    if ann.get("label") not in (None, 0, 1):
        report.row(where, "label", "is not 0 or 1")
        return None
    first, second = pair
    if first > second:  # stored in canonical order; the probability turns with it
        first, second = second, first
        p_second = None if p_second is None else 1 - p_second
    votes = ann.get("votes", 0)
    if not isinstance(votes, int) or not 0 <= votes <= 10_000:
        report.row(where, "votes", "is not a number of votes")
        return None
    risk = number(ann.get("risk", 0.0)) if p_second is not None else None
    if risk is not None and not 0 <= risk <= 0.5:
        report.row(where, "risk", "is not between 0 and 0.5")
        return None
    return ParsedQuestion(person, first, second, p_second, risk, votes)
