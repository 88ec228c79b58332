"""Take the upload of any harvester: check it, keep it, start its job. No torch here."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from pydantic import Field

from training.catalogs import HarvesterOffer, UploadedPart, harvesters
from training.harvest.harvester import HarvestPlan
from training.harvests.frames import as_dict
from training.models import Harvest, Model
from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.catalog import UnknownOffer, load
from webapp.config import Config
from webapp.errors import InputError, Invalid, NotFound, TooLarge
from webapp.jobs import run as jobs
from webapp.jobs.models import Job, State
from webapp.typed import read


class HarvestJob(Config):
    """What a worker needs to harvest an upload."""

    harvest: str
    upload: str = Field(description="folder of the uploaded files")


def offer_of(name: str) -> HarvesterOffer:
    """Raises NotFound."""
    try:
        return harvesters[name]
    except UnknownOffer:
        fix = f"one of {', '.join(harvesters.names())}"
        raise NotFound("There is no such harvester.", field="harvester", value=name, fix=fix) from None


def receive(actor: Account, harvester: str, plan: HarvestPlan, files: Mapping[str, UploadedFile | None]) -> Harvest:
    """Take an upload and start its harvest. What can be seen at once to be wrong is refused and leaves nothing behind.

    `files` by the names of the harvester's parts. Raises NotAllowed, NotFound, Invalid, TooLarge.
    """
    require(actor, Role.ADMIN)
    offer = offer_of(harvester)
    options = read(offer.config, plan.options)
    _check_models(plan)
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        for part in offer.parts:
            _write(folder, part, files.get(part.field))
        skeleton, cameras = plan.asked_skeleton, load(offer.check)(folder, plan)
        with transaction.atomic():
            harvest = Harvest(
                name=plan.name,
                source=offer.name,
                config={"plan": plan.model_dump(mode="json", exclude={"options"}), "options": options.model_dump()},
                cameras=[as_dict(c) for c in cameras],
                skeleton=skeleton.as_dict() if skeleton else None,
                fps=plan.fps,
                created_by=actor,
            )
            config = HarvestJob(harvest=str(harvest.uuid), upload=str(folder))
            harvest.job = jobs.enqueue(actor, "harvest", config.model_dump(), title=f"Harvest {plan.name}"[:200])
            harvest.save()
            audit.record(actor, "harvest.start", harvest, harvester=offer.name, cameras=len(cameras))
        return harvest
    except InputError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise error.refusal() from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check_models(plan: HarvestPlan) -> None:
    asked: list[Any] = list(getattr(plan, "models", ()))
    known = list(Model.objects.filter(uuid__in=asked))
    missing = sorted(str(m) for m in set(asked) - {m.uuid for m in known})
    if missing:
        raise Invalid("No such model.", field="models", value=missing[0], fix="choose a trained model")
    if len({tuple(m.keypoints) for m in known}) > 1:
        raise Invalid("These models have different skeletons.", field="models", fix="choose models of one skeleton")


def _write(folder: Path, part: UploadedPart, file: UploadedFile | None) -> None:
    if file is None:
        if part.required:
            raise Invalid("Choose a file.", field=part.field)
        return
    if not file.size:
        raise Invalid("The file is empty.", field=part.field, fix="choose another file")
    if file.size > settings.MAX_UPLOAD_BYTES:
        most = settings.MAX_UPLOAD_BYTES // 2**20
        raise TooLarge(f"Larger than {most} MiB.", field=part.field, fix="split the recording")
    name = str(file.name).lower()
    ending = next((e for e in part.endings if name.endswith(e)), None)
    if ending is None:
        ends = ", ".join(part.endings)
        raise Invalid(
            f"Bring one of {ends}.", field=part.field, value=name[:80], fix=f"choose a file that ends in {ends}"
        )
    with (folder / f"{part.field}{ending}").open("wb") as target:
        shutil.copyfileobj(file, target, 2**20)


def tidy(job: Job) -> None:
    """Once it is certain that a harvest will not go on: forget the upload."""
    folder = Path(HarvestJob.model_validate(job.config).upload)
    if job.state == State.DONE and Path(settings.FILE_UPLOAD_TEMP_DIR) in folder.parents:
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("unpacked", "views", "maps"):
            shutil.rmtree(Path(settings.VAR) / "jobs" / str(job.uuid) / name, ignore_errors=True)
