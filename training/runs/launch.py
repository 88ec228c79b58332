"""Training runs: start one from a release, cancel and continue through its job. No torch here: web requests come by."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from pydantic import Field

from labeling.models import Release
from training.catalogs import training_methods
from training.models import Model, Run
from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.catalog import Offer, UnknownOffer
from webapp.config import Config
from webapp.errors import Invalid
from webapp.jobs import run as jobs
from webapp.typed import read


class TrainConfig(Config):
    """What a worker needs to find a run."""

    run: str = Field(description="uuid of the run")


def start(
    actor: Account,
    release: Release,
    *,
    name: str = "",
    method: str = "lifter",
    preset: str = "nearer",
    options: dict[str, Any] | None = None,
    start_from: UUID | None = None,
) -> Run:
    """Record a run and enqueue its job. `options` override the preset. Raises NotAllowed, Invalid."""
    require(actor, Role.ADMIN, Role.RESEARCHER)
    try:
        offer = training_methods[method]
    except UnknownOffer as error:
        raise Invalid(str(error), field="method", value=method) from None
    if not offer.presets:
        raise Invalid("This method starts from a harvest.", field="method", value=method, fix="POST harvests/ID/tune/")
    presets = offer.presets
    if preset not in presets:
        raise Invalid("Unknown preset.", field="preset", value=preset, fix=f"choose from {', '.join(presets)}")
    config = checked(offer, presets[preset].model_dump() | (options or {}))
    parent = None
    if start_from is not None:
        parent = Model.objects.filter(uuid=start_from).first()
        if parent is None:
            raise Invalid("No such model.", field="start_from", value=start_from)
        if parent.keypoints != release.campaign.dataset.skeleton.keypoints:
            raise Invalid("The model has another skeleton than the release.", field="start_from", value=start_from)
    return begin(actor, release, method, config, parent, name.strip() or f"{preset} on {release.title}"[:120])


def checked(offer: Offer, options: dict[str, Any]) -> Config:
    """The options of a method. Raises Invalid, naming the first that is wrong."""
    return read(offer.config, options)


def begin(actor: Account, release: Release, method: str, config: Config, parent: Model | None, title: str) -> Run:
    """Record a run that was checked, and enqueue its job. Raises Invalid for a long name."""
    if len(title) > 120:
        raise Invalid("Longer than 120 characters.", field="name")
    with transaction.atomic():
        run = Run(
            name=title,
            release=release,
            method=method,
            config=config.model_dump(),
            started_from=parent,
            created_by=actor,
        )
        run.job = jobs.enqueue(
            actor, "train", TrainConfig(run=str(run.uuid)).model_dump(), title=f"Train {title}"[:200]
        )
        run.save()
        audit.record(actor, "run.start", run, release=str(release.uuid))
    return run
