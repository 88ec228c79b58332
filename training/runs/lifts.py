"""Lifting with a stored model: small batches at once by numpy, larger ones as a job. No torch here."""

from __future__ import annotations

import json
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from pydantic import Field

from training.lifter import keypoints
from training.lifter.predict import Model as Weights
from training.lifter.predict import load, predict
from training.models import Model
from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import READERS, require
from webapp.config import Config
from webapp.errors import Invalid
from webapp.jobs import run as jobs
from webapp.jobs.models import Job, State
from webapp.jobs.run import JobContext

AT_ONCE = 256
MOST = 10_000  # in one request; files of any length go through `manage.py lift`


class LiftConfig(Config):
    """What a worker needs to lift a stored batch."""

    model: str = Field(description="uuid of the model")
    batch: str = Field(description="name of the stored keypoints, below VAR/lifts")


def weights_of(model: Model) -> Weights:
    """The model's weights; the last four used ones stay in memory (a model's file never changes)."""
    return _weights(model.path)


@lru_cache(maxsize=4)
def _weights(path: str) -> Weights:
    return load(Path(settings.MEDIA_ROOT) / path)


def lift(actor: Account, model: Model, asked: dict[str, Any]) -> dict[str, Any] | Job:
    """3D poses of `asked["people"]`: at once for up to 256, else a job whose result is fetched later.

    Raises NotAllowed, Invalid (which person and which keypoint).
    """
    require(actor, *READERS)
    people = asked.get("people")
    if not isinstance(people, list) or not 1 <= len(people) <= MOST:
        raise Invalid(f"Give a list of 1 to {MOST} people.", field="people")
    weights = weights_of(model)
    try:
        poses = keypoints.from_people(people, weights.skeleton, asked)
    except keypoints.BadKeypoints as error:
        raise error.refusal() from None
    if len(people) > AT_ONCE:
        return _enqueue(actor, model, asked)
    result = predict(weights, poses)
    return {
        "model": str(model.uuid),
        "joints": list(weights.skeleton.keypoints),
        "people": [
            {"name": name, "pose_mm": [[round(float(v), 2) for v in joint] for joint in pose]}
            for name, pose in zip(poses.names, result)
        ],
    }


def _enqueue(actor: Account, model: Model, asked: dict[str, Any]) -> Job:
    batch = f"{uuid.uuid4()}.json"
    folder = Path(settings.VAR) / "lifts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / batch).write_text(json.dumps(asked))
    with transaction.atomic():
        config = LiftConfig(model=str(model.uuid), batch=batch).model_dump()
        job = jobs.enqueue(actor, "lift", config, title=f"Lift {len(asked['people'])} people")
        audit.record(actor, "model.lift", model, people=len(asked["people"]))
    return job


def result_of(job: Job) -> Path:
    """Where the poses of a finished lifting job lie."""
    return Path(settings.MEDIA_ROOT) / "lifts" / f"{job.uuid}.json"


def run_lift(context: JobContext, config: LiftConfig) -> dict[str, Any]:
    """Job: lift a stored batch and write the poses as JSON."""
    model = Model.objects.get(uuid=config.model)
    source = Path(settings.VAR) / "lifts" / config.batch
    people = lift_file(
        weights_of(model), source, result_of(context.job), lambda done, total: context.progress(done, total, "people")
    )
    return {"people": people, "model": config.model}


def tidy(job: Job) -> None:
    """Forget the keypoints of a lifting job once it is done; a failed or cancelled one may be continued."""
    if job.state == State.DONE:
        (Path(settings.VAR) / "lifts" / LiftConfig.model_validate(job.config).batch).unlink(missing_ok=True)


def lift_file(weights: Weights, source: Path, target: Path, progress: Any = lambda *_: None) -> int:
    """2D keypoints in a file to 3D poses in a file; returns how many people. Raises keypoints.BadKeypoints."""
    total = keypoints.count(source, weights.skeleton)
    if not total:
        raise keypoints.BadKeypoints("holds nobody", field=source.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    with keypoints.writing(target, weights.skeleton, total) as writer:
        for poses in keypoints.read(source, weights.skeleton):
            writer.add(poses.names, predict(weights, poses))
            done += len(poses.names)
            progress(done, total)
    return total
