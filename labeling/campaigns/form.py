"""The form of a new campaign, made from `CampaignPlan`: its fields, bounds and defaults are written there only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from django.http import QueryDict
from pydantic.fields import FieldInfo

from labeling.campaigns.plan import CampaignPlan, PairPolicy
from labeling.models import Dataset, DepthPrior

POLICY = "pair_policy"
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "What is asked",
        ("name", "dataset", "keypoints", "pair_policy.name", "pair_policy.per_person", "pair_policy.seed"),
    ),
    ("What annotators read", ("instructions",)),
    ("How many votes", ("mode", "votes_per_pair", "budget_votes")),
    ("Adaptive modes only", ("prior", "stop_risk", "least_votes", "most_votes", "control_share")),
    ("Who answers", ("access", "recruiter_parameter", "completion_url", "screened_out_url", "no_work_url")),
    ("Pay", ("pay_per_vote", "currency")),
    ("One question", ("delay_ms", "session_length", "lease_s", "allow_same")),
    ("Quality", ("gold_share", "gold_questions", "probe_share", "guard")),
    ("Tutorial", ("tutorial_questions", "tutorial_dataset", "tutorial_pass_share", "tutorial_tries")),
)
LABELS = {
    "dataset": "Data set",
    "keypoints": "Keypoints (comma separated, empty = all)",
    "instructions": "Instructions for annotators",
    "pair_policy.name": "Pairs",
    "pair_policy.per_person": "Pairs per person",
    "pair_policy.seed": "Seed of the pairs",
    "prior": "Depth prior",
    "stop_risk": "Stop at mean risk",
    "least_votes": "Least votes per person",
    "most_votes": "Most votes per person",
    "control_share": "Share asked uniformly",
    "votes_per_pair": "Votes per pair",
    "budget_votes": "Budget of votes",
    "completion_url": "Completion address",
    "recruiter_parameter": "Parameter with the person's id",
    "screened_out_url": "Address after a failed tutorial",
    "no_work_url": "Address when there is no work",
    "pay_per_vote": "Pay per answer",
    "delay_ms": "Delay before an answer (ms)",
    "session_length": "Comparisons per session",
    "lease_s": "Time to answer (s)",
    "allow_same": "Offer the answer 'same distance' (the paper does not)",
    "gold_share": "Share of gold questions",
    "gold_questions": "Number of gold questions",
    "probe_share": "Share of mirror probes",
    "guard": "Suspicious annotators",
    "tutorial_questions": "Tutorial questions",
    "tutorial_dataset": "Tutorial from data set",
    "tutorial_pass_share": "Share right to pass",
    "tutorial_tries": "Tries of the tutorial",
}
CHOICES = {
    "fixed": "fixed: so many votes on each pair (the paper)",
    "adaptive": "adaptive: the most informative pair next, all pairs labelled",
    "adaptive-prior": "adaptive, starting from expected depths",
    "random": "drawn at random (the paper)",
    "all": "all pairs of a person",
    "open": "open to all annotators",
    "invite": "by invitation link",
    "recruiter": "by a recruiter's link",
    "flag": "are shown to admins",
    "pause": "are paused until an admin decides",
}
OFFERED = {
    "prior": "Of the third mode",
    "tutorial_dataset": "One whose people have known depths; without any there is no tutorial",
}
WIDE = ("keypoints", "instructions")


@dataclass(frozen=True)
class Input:
    """One field as the template draws it. `kind`: text, number, url, area, check or select."""

    name: str
    label: str
    kind: str
    value: Any
    help: str = ""
    least: float | None = None
    largest: float | None = None
    step: str = "any"
    longest: int | None = None
    required: bool = False
    choices: list[tuple[str, str]] = field(default_factory=list)
    wide: bool = False


def inputs(post: QueryDict) -> list[tuple[str, list[Input]]]:
    """The form's groups with what was typed, or the plan's defaults where nothing was."""
    datasets = list(Dataset.objects.order_by("name").values_list("name", "uuid"))
    offered = {
        "dataset": [(name, name) for name, _ in datasets],
        "tutorial_dataset": [("", "the campaign's own"), *((str(uuid), name) for name, uuid in datasets)],
        "prior": [
            ("", "the data set's newest"),
            *((str(p.uuid), f"{p.name} ({p.dataset.name})") for p in DepthPrior.objects.select_related("dataset")),
        ],
    }
    return [(title, [_input(name, post, offered) for name in names]) for title, names in GROUPS]


def plan_of(post: QueryDict) -> dict[str, Any]:
    """What was sent, for `CampaignPlan`; empty fields keep their defaults."""
    plan: dict[str, Any] = {POLICY: {}}
    for _, names in GROUPS:
        for name in names:
            text = post.get(_sent_as(name), "").strip()
            if name == "keypoints":
                plan[name] = [part.strip() for part in text.split(",") if part.strip()]
            elif name == "allow_same":
                plan[name] = text == "on"
            elif text and name != "dataset":
                where = plan[POLICY] if name.startswith(POLICY) else plan
                where[name.removeprefix(f"{POLICY}.")] = text
    return plan


def _sent_as(name: str) -> str:
    return {"pair_policy.name": "policy"}.get(name, name.removeprefix(f"{POLICY}."))


def _about(name: str) -> tuple[FieldInfo | None, Any]:
    model: Any = PairPolicy if name.startswith(POLICY) else CampaignPlan
    info = model.model_fields.get(name.removeprefix(f"{POLICY}."))
    return info, None if info is None or info.is_required() else info.default


def _input(name: str, post: QueryDict, offered: dict[str, list[tuple[str, str]]]) -> Input:
    info, default = _about(name)
    sent = _sent_as(name)
    label = LABELS.get(name, name.replace("_", " ").capitalize())
    value = post.get(sent, "" if default is None or isinstance(default, list) else default)
    common: dict[str, Any] = {"name": sent, "label": label, "value": value, "wide": name in WIDE}
    common["help"] = info.description or "" if info else ""
    if name in offered:
        return Input(kind="select", choices=offered[name], **common | {"help": OFFERED.get(name, "")})
    assert info is not None  # noqa: S101  (all other names are fields of the plan)
    bounds = {
        kind: bound
        for part in info.metadata
        for kind in ("ge", "le", "max_length")
        if (bound := getattr(part, kind, None)) is not None
    }
    if get_origin(info.annotation) is Literal:
        return Input(kind="select", choices=[(c, CHOICES.get(c, c)) for c in get_args(info.annotation)], **common)
    kinds = set(get_args(info.annotation)) or {info.annotation}
    if bool in kinds:
        return Input(kind="check", **common | {"value": post.get(sent) == "on"})
    if kinds & {int, float}:
        step = "any" if float in kinds else "1"
        return Input(kind="number", least=bounds.get("ge"), largest=bounds.get("le"), step=step, **common)
    kind = "area" if name == "instructions" else "url" if name.endswith("_url") else "text"
    return Input(kind=kind, longest=bounds.get("max_length"), required=info.is_required(), **common)


def names() -> Iterable[str]:
    """Every field of the form, as `CampaignPlan` names it."""
    return (name for _, names in GROUPS for name in names)
