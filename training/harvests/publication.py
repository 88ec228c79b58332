"""Make a data set of accepted pseudo-labels: the verb; its job is in `training.harvests.jobs`."""

from __future__ import annotations

from pydantic import Field

from labeling.models import Dataset
from training.models import Harvest, PseudoLabel
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.config import Config
from webapp.errors import Conflict, Invalid
from webapp.jobs import run as jobs
from webapp.jobs.models import FINISHED, Job

# publication


class PublishPlan(Config):
    """How accepted pseudo-labels become a data set."""

    dataset: str = Field(min_length=1, max_length=120, description="name of the new data set")
    pairs_per_person: int = Field(
        20, ge=0, le=1000, description="ordinal pairs drawn from the accepted joints of a person"
    )
    least_joints: int = Field(6, ge=1, le=200, description="accepted joints below which a person is left out")
    seed: int = Field(0, ge=0, le=2**31 - 1)


class PublishJob(PublishPlan):
    harvest: str


def publish(actor: Account, harvest: Harvest, plan: PublishPlan) -> Job:
    """Start making a data set of accepted pseudo-labels: 2D keypoints per view, depths, ordinal pairs with probabilities.

    Raises NotAllowed, Invalid, Conflict.
    """
    require(actor, Role.ADMIN)
    if harvest.job.state not in FINISHED or harvest.report is None:
        raise Conflict("The harvest is not finished.", field="harvest")
    if not harvest.report.get("shown"):
        raise Conflict("The upload had no videos or pictures.", field="harvest", fix="upload the views too")
    if Dataset.objects.filter(name=plan.dataset).exists():
        raise Invalid(
            "There is a data set of this name.", field="dataset", value=plan.dataset, fix="choose another name"
        )
    if not harvest.pseudo_labels.filter(verdict=PseudoLabel.Verdict.ACCEPTED).exists():
        raise Conflict("Nothing is accepted yet.", field="harvest", fix="review pseudo-labels first")
    config = PublishJob(harvest=str(harvest.uuid), **plan.model_dump())
    return jobs.enqueue(actor, "publish-harvest", config.model_dump(), title=f"Data set of {harvest.name}"[:200])
