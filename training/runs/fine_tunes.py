"""Fine-tuning a lifter on a harvest's pseudo-labels: what is asked for, and the run that does it. No torch here; the work is in
`training.runs.fine_tune_job`."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import Field, ValidationError

from training.catalogs import training_methods
from training.harvests import frames
from training.lifter.config import LifterConfig
from training.models import Harvest, Model, PseudoLabel, Run
from training.runs import launch
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.config import Config
from webapp.errors import Conflict, Invalid


class TunePlan(Config):
    """How a lifter is to learn a harvest's pseudo-labels. What is not said, `options` say, else the model's own configuration."""

    start_from: UUID = Field(description="the model to fine-tune; its release's labels are learned on beside")
    name: str = Field("", max_length=120)
    learn_from: Literal["accepted", "unrejected"] = Field(
        "accepted", description="only what reviewers accepted, or everything that they did not reject"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="of TuneConfig, for example epochs")


def start(actor: Account, harvest: Harvest, plan: TunePlan) -> Run:
    """Start fine-tuning. Raises NotAllowed, Invalid, Conflict where there is nothing to learn from."""
    require(actor, Role.ADMIN)
    model = Model.objects.select_related("run__release__campaign__dataset__skeleton").filter(uuid=plan.start_from)
    parent = model.first()
    if parent is None:
        raise Invalid("No such model.", field="start_from", value=str(plan.start_from), fix="choose a trained model")
    if harvest.report is None or harvest.skeleton is None:
        raise Conflict("The harvest is not finished.", field="harvest")
    if tuple(parent.keypoints) != frames.skeleton_of(harvest).keypoints:
        raise Invalid(
            "The model has another skeleton than the harvest.", field="start_from", value=str(plan.start_from)
        )
    usual = _of_parent(parent)
    if usual["objective"] == "ordinal" and usual["depth"] == "free":
        raise Invalid(
            "This model's depth has no unit, pseudo-labels are in mm.",
            field="start_from",
            value=str(plan.start_from),
            fix="start from a model with depth 'bones', or a supervised one",
        )
    if not learned(harvest, plan.learn_from).exists():
        raise Conflict(
            f"There is no {'accepted ' if plan.learn_from == 'accepted' else ''}pseudo-label to learn from.",
            field="learn_from",
            fix="review the harvest first",
        )
    options = usual | plan.options | {"harvest": str(harvest.uuid), "learn_from": plan.learn_from}
    title = plan.name or f"{parent.name} v{parent.version} on {harvest.name}"[:120]
    config = launch.checked(training_methods["fine-tune"], options)
    return launch.begin(actor, parent.run.release, "fine-tune", config, parent, title)


def learned(harvest: Harvest, learn_from: str) -> Any:
    """The pseudo-labels that are learned."""
    labels = PseudoLabel.objects.filter(harvest=harvest)
    if learn_from == "accepted":
        return labels.filter(verdict="accepted")
    return labels.exclude(verdict="rejected")


def _of_parent(model: Model) -> dict[str, Any]:
    """What shapes the network and its labels stays; length and pace of training are fine-tuning's own."""
    own = set(LifterConfig.model_fields) - {"epochs", "learning_rate"}
    try:
        return LifterConfig.model_validate(
            {k: v for k, v in model.run.config.items() if k in LifterConfig.model_fields}
        ).model_dump(include=own)
    except ValidationError:
        raise Conflict("The model's run has no configuration that can be read.", field="start_from") from None
