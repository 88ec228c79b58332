"""Imports: the verb, the upload's place on disk, and the job that writes pictures and people, all or nothing."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from pydantic import Field

from labeling.campaigns import pairs
from labeling.catalogs import import_formats
from labeling.importing import sandbox
from labeling.importing.archive import open_pictures
from labeling.importing.images import Picture
from labeling.importing.parsed import BadInput, Entry, Limits, Parsed, Report
from labeling.importing.reading import checked_pictures, parse
from labeling.models import AggregationRun, Campaign, Dataset, Image, Label, Pair, Person, SkeletonRow
from webapp import audit, rows
from webapp.accounts.models import Account
from webapp.accounts.roles import Role, require
from webapp.catalog import UnknownOffer
from webapp.config import Config
from webapp.errors import Conflict, Invalid, Refusal, TooLarge
from webapp.jobs import run
from webapp.jobs.leftovers import staged_by
from webapp.jobs.models import Job, State
from webapp.progress import Progress

LOOKED_UP = 1000  # names in one query
INSPECT_BYTES = 64 * 2**20  # uploads up to here are looked through before the request is answered


class ImportRefused(Refusal):
    """Some rows are bad: nothing was imported. `report` lists them."""

    code, status = "import_refused", 422


class ImportConfig(Config):
    """What to import and under which name."""

    dataset: str = Field(min_length=1, max_length=120, description="name of the data set; an existing one is added to")
    format: str = Field(description="one of the import formats")
    licence: str = Field("", max_length=200)
    attribution: str = Field("", max_length=400)
    description: str = Field("", max_length=5000)
    annotations: str = ""
    pictures: str = ""
    discard: bool = Field(False, description="delete the uploaded files at the end")
    looked_through: bool = Field(False, description="the upload was looked through when it came")
    bad_rows: Literal["refuse", "leave-out"] = Field(
        "refuse", description="a file with bad rows is refused, or imported without them"
    )
    questions: Literal["keep", "ignore"] = Field("keep", description="what to do with pairs that the file carries")


def limits() -> Limits:
    return Limits(
        archive_bytes=settings.MAX_ARCHIVE_BYTES,
        archive_files=settings.MAX_ARCHIVE_FILES,
        image_pixels=settings.MAX_IMAGE_PIXELS,
        image_bytes=settings.MAX_IMAGE_BYTES,
    )


def receive(actor: Account, plan: ImportConfig, annotations: UploadedFile, pictures: UploadedFile) -> Job:
    """Take an upload: look through it, keep it aside, start the job. A bad one is refused and leaves nothing behind."""
    require(actor, Role.ADMIN)
    offer = _offer(plan.format)
    for field, file in (("annotations", annotations), ("pictures", pictures)):
        if not file.size:
            raise Invalid("The file is empty.", field=field, fix="choose another file")
        if file.size > settings.MAX_UPLOAD_BYTES:
            raise TooLarge(f"Larger than {settings.MAX_UPLOAD_BYTES // 2**20} MiB.", field=field, fix="split it")
    check_target(plan)
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        paths = {"annotations": folder / "annotations", "pictures": folder / "pictures.zip"}
        for field, file in (("annotations", annotations), ("pictures", pictures)):
            with paths[field].open("wb") as target:
                shutil.copyfileobj(file, target, 2**20)
        if small := (annotations.size or 0) + (pictures.size or 0) <= INSPECT_BYTES:
            small = _inspect(plan, offer.target, paths["annotations"], paths["pictures"])
        return run.enqueue(
            actor,
            "import-dataset",
            plan.model_copy(
                update={k: str(v) for k, v in paths.items()} | {"discard": True, "looked_through": small}
            ).model_dump(),
            title=f"Import {plan.dataset}",
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _offer(name: str) -> Any:
    try:
        return import_formats[name]
    except UnknownOffer as error:
        raise Invalid(str(error), field="format", value=name) from None


def _inspect(plan: ImportConfig, target: str, annotations: Path, pictures: Path, **how: Any) -> bool:
    """Refuse what the sandbox refuses. False if it had too little time to say."""
    inspection = sandbox.ask(target, annotations, pictures, limits(), **how)
    if "refused" in inspection:
        raise Invalid(**inspection["refused"])
    if inspection.get("bad") and plan.bad_rows == "refuse":
        _refuse(inspection)
    return "timeout" not in inspection


def _refuse(report: dict[str, Any]) -> None:
    first = report["rows"][0]
    raise ImportRefused(
        f"{report['bad']} bad row{'s' * (report['bad'] != 1)}, nothing was imported. First: {first['row']}, {first['field']}: {first['reason']}",
        field=first["field"],
        fix="mend the rows of the report and import again, or have them left out",
        report=report,
    )


def check_target(plan: ImportConfig) -> Dataset | None:
    if not plan.dataset.strip() or not plan.dataset.isprintable():
        raise Invalid("A data set needs a printable name.", field="dataset", value=plan.dataset)
    return Dataset.objects.select_related("skeleton").filter(name=plan.dataset).first()


def run_import(context: run.JobContext, plan: ImportConfig) -> dict[str, Any]:
    """Job: read, check, store. Repeating it adds nothing twice."""
    if not (Path(plan.annotations).exists() and Path(plan.pictures).exists()):
        raise Invalid("The uploaded files are no longer here.", field="annotations", fix="import them again")
    if plan.discard and not plan.looked_through:
        paths = Path(plan.annotations), Path(plan.pictures)
        context.say("Looking through the upload")
        if not _inspect(plan, _offer(plan.format).target, *paths, decode=False, time_s=sandbox.JOB_S):
            raise TooLarge("Reading the annotations takes too long.", field="annotations", fix="split the file")
    result = store(context.actor, plan, context.progress, context)
    for text, times in result["notes"].items():
        context.say(f"{times} {text}")
    context.say(f"{result['images_added']} pictures added, {result['images_known']} were known")
    return result


def tidy(job: Job) -> None:
    """Delete the upload of an import that is done, or whose files were refused: continued, they would be refused again."""
    refused = job.state == State.FAILED and 400 <= (job.error or {}).get("status", 500) < 500
    folder = Path(job.config.get("annotations", "")).parent
    if (
        (job.state == State.DONE or refused)
        and job.config.get("discard")
        and Path(settings.FILE_UPLOAD_TEMP_DIR) in folder.parents
    ):
        shutil.rmtree(folder, ignore_errors=True)


def store(
    actor: Account | None, plan: ImportConfig, progress: Progress, context: run.JobContext | None = None
) -> dict[str, Any]:
    """Import from files on this machine. Raises Invalid, ImportRefused, Conflict; then nothing was written."""
    offer, bounds, report = _offer(plan.format), limits(), Report()
    known = check_target(plan)
    staged = _Staged(staged_by(context.job) if context else None)
    try:
        pictures = open_pictures(Path(plan.pictures), bounds)
        try:
            parsed = parse(offer.target, Path(plan.annotations), pictures, bounds, report)
            _same_skeleton(known, parsed)
            rows_read = [
                (entry, staged.add(picture))
                for entry, picture in checked_pictures(parsed, pictures, bounds, report, progress)
            ]
        finally:
            pictures.close()
        if report.bad and (plan.bad_rows == "refuse" or not rows_read):
            _refuse({"bad": report.bad, "rows": report.rows, "notes": report.notes})
        for row in report.rows:
            report.note(f"row left out: {row['row']}, {row['field']}: {row['reason']}")
        if report.bad > len(report.rows):
            report.note("further bad rows, left out", report.bad - len(report.rows))
        ready = [_Row.of(entry, picture, plan) for entry, picture in rows_read]  # before others have to wait
        with transaction.atomic():
            if context:
                context.hold()
            result = _write(actor, plan, known, parsed, ready)
            staged.keep()
    except BadInput as error:
        raise error.refusal() from None
    except BaseException:
        staged.undo()
        raise
    finally:
        staged.clear()
    return result | {"notes": report.notes}


def _same_skeleton(known: Dataset | None, parsed: Parsed) -> None:
    if known and tuple(known.skeleton.keypoints) != parsed.skeleton.keypoints:
        raise Conflict(
            f"The data set has the skeleton {known.skeleton.name}, this file has {parsed.skeleton.name}.",
            field="dataset",
            value=known.name,
            fix="import under another name",
        )


class _Staged:
    """Picture files on their way into the store: written aside, linked in at the end, taken back on failure."""

    def __init__(self, folder: Path | None) -> None:
        self.root = Path(settings.MEDIA_ROOT)
        self.folder = folder or self.root / "staged" / uuid.uuid4().hex
        self.folder.mkdir(parents=True)
        self.names: set[str] = set()
        self.kept: list[Path] = []

    def add(self, picture: Picture) -> Picture:
        name = f"{picture.sha256}{picture.suffix}"
        if name not in self.names:
            self.names.add(name)
            with open(f"{self.folder}/{name}", "wb", buffering=0) as file:
                file.write(picture.data)
        return replace(picture, data=b"")

    def keep(self) -> None:
        images = self.root / "images"
        for prefix in {name[:2] for name in self.names}:
            (images / prefix).mkdir(parents=True, exist_ok=True)
        for name in self.names:
            target = images / name[:2] / name
            if not target.exists():
                os.replace(f"{self.folder}/{name}", target)
                self.kept.append(target)

    def undo(self) -> None:
        for path in self.kept:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


IMAGE = (
    "uuid",
    "dataset_id",
    "name",
    "sha256",
    "suffix",
    "bytes",
    "width",
    "height",
    "split",
    "source",
    "licence",
    "attribution",
)
PERSON = ("uuid", "image_id", "index", "bbox", "keypoints", "truth_mm")


@dataclass(frozen=True)
class _Row:
    """A picture and its people as they are written: on SQLite everybody waits while they are, so nothing is worked out then."""

    entry: Entry
    picture: Picture
    image: tuple[Any, ...]  # the columns of IMAGE behind `dataset_id`
    people: list[tuple[str | None, ...]]  # JSON of box, keypoints and truth

    @classmethod
    def of(cls, entry: Entry, picture: Picture, plan: ImportConfig) -> _Row:
        image = (
            *(entry.name, picture.sha256, picture.suffix, picture.bytes, picture.width, picture.height, entry.split),
            *(entry.source, entry.licence or plan.licence, entry.attribution or plan.attribution),
        )
        people: list[tuple[str | None, ...]] = [
            (json.dumps(p.bbox), json.dumps(p.keypoints), None if p.truth_mm is None else json.dumps(p.truth_mm))
            for p in entry.people
        ]
        return cls(entry, picture, image, people)


def _write(
    actor: Account | None, plan: ImportConfig, dataset: Dataset | None, parsed: Parsed, rows_read: list[_Row]
) -> dict[str, Any]:
    if dataset is None:  # or another import made one of this name meanwhile: then this one adds to it
        dataset, is_new = Dataset.objects.get_or_create(
            name=plan.dataset,
            defaults={
                "description": plan.description,
                "licence": plan.licence,
                "attribution": plan.attribution,
                "skeleton": _skeleton_row(parsed),
                "created_by": actor,
            },
        )
        if not is_new:
            _same_skeleton(dataset, parsed)
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)  # imports into one data set follow each other
    known = _known(dataset, [row.entry.name for row in rows_read])
    for row in rows_read:
        if row.entry.name in known:
            _same_picture(known[row.entry.name], row.entry, row.picture)
    fresh = [row for row in rows_read if row.entry.name not in known]
    rows.write(Image, IMAGE, ((uuid.uuid4().hex, dataset.pk, *row.image) for row in fresh))
    keys = dict(dataset.images.values_list("name", "pk"))
    people = [
        (uuid.uuid4().hex, keys[row.entry.name], index, *texts)
        for row in fresh
        for index, texts in enumerate(row.people)
    ]
    rows.write(Person, PERSON, people)
    asked = _questions(actor, plan, dataset, fresh, keys) if plan.questions == "keep" else None
    audit.record(actor, "dataset.import", dataset, format=plan.format, images=len(fresh))
    return {
        "dataset": str(dataset.uuid),
        "images_added": len(fresh),
        "images_known": len(rows_read) - len(fresh),
        "people_added": len(people),
        **(asked or {}),
    }


def _known(dataset: Dataset, names: list[str]) -> dict[str, Image]:
    """Those of the pictures that the data set has already, with their people, by name."""
    known: dict[str, Image] = {}
    for start in range(0, len(names), LOOKED_UP):
        some = dataset.images.filter(name__in=names[start : start + LOOKED_UP]).prefetch_related("people")
        known |= {image.name: image for image in some}
    return known


def _skeleton_row(parsed: Parsed) -> SkeletonRow:
    plain = parsed.skeleton
    name, number = plain.name, 1
    while True:
        row = SkeletonRow.objects.filter(name=name).first()
        if row is None:
            data = plain.as_dict()
            try:
                with transaction.atomic():
                    return SkeletonRow.objects.create(
                        name=name, keypoints=data["keypoints"], bones=data["bones"], root=plain.root
                    )
            except IntegrityError:  # another import was first
                continue
        if row.as_skeleton.as_dict() | {"name": ""} == plain.as_dict() | {"name": ""}:
            return row
        number += 1
        name = f"{plain.name}-{number}"


def _same_picture(image: Image, entry: Entry, picture: Picture) -> None:
    same_people = [p.keypoints for p in image.people.all()] == [p.keypoints for p in entry.people]
    if image.sha256 != picture.sha256 or not same_people:
        raise Conflict(
            f"{entry.row}: the data set has another picture or other keypoints under {entry.name!r}.",
            field="file",
            value=entry.name,
            fix="import under another data set name",
        )


def _questions(
    actor: Account | None, plan: ImportConfig, dataset: Dataset, fresh: list[_Row], keys: dict[str, int]
) -> dict[str, Any] | None:
    """Pairs that came with the file become a campaign: closed and labelled if labels came too, else a draft to open."""
    if not any(row.entry.questions for row in fresh):
        return None
    labelled = all(q.p_second_closer is not None for row in fresh for q in row.entry.questions)
    number = dataset.campaigns.count() + 1
    campaign = Campaign.objects.create(
        name=f"{plan.dataset} (imported{'' if number == 1 else f' {number}'})"[:120],
        dataset=dataset,
        keypoints=dataset.skeleton.keypoints,
        pair_policy={"name": "imported", "per_person": 0, "seed": 0},
        state=Campaign.State.CLOSED if labelled else Campaign.State.DRAFT,
        created_by=actor,
    )
    people = Person.objects.filter(image__dataset=dataset).values_list("image_id", "index", "pk")
    index = {(image, n): pk for image, n, pk in people}

    def asked() -> Iterator[tuple[int, ...]]:
        rank, key, votes = 0, campaign.pk, campaign.votes_per_pair
        for row in fresh:
            here = [index[keys[row.entry.name], n] for n in range(len(row.people))]
            for q in row.entry.questions:
                yield (key, here[q.person], q.first, q.second, rank, votes, 0, 0)
                rank += 1

    rows.write(Pair, pairs.COLUMNS, asked())
    rows.refresh_statistics(Pair)
    count = campaign.pairs.count()
    Campaign.objects.filter(pk=campaign.pk).update(pair_count=count, votes_wanted=count * campaign.votes_per_pair)
    if labelled:
        _labels(actor, campaign, fresh)
    return {"campaign": str(campaign.uuid), "pairs_added": count}


def _labels(actor: Account | None, campaign: Campaign, fresh: list[_Row]) -> None:
    aggregation_run = AggregationRun.objects.create(
        campaign=campaign, number=1, model="imported", votes_used=0, last_vote=0, created_by=actor
    )
    keys = Pair.objects.filter(campaign=campaign).order_by("rank").values_list("pk", flat=True)
    questions = (q for row in fresh for q in row.entry.questions)
    rows.write(
        Label,
        ("run_id", "pair_id", "p_first_closer", "risk", "votes_used"),
        (
            (aggregation_run.pk, key, round(1 - (q.p_second_closer or 0.0), 12), min(0.5, q.risk or 0.0), q.votes)
            for key, q in zip(list(keys), questions, strict=True)
        ),
    )
