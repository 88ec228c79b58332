"""Harvest from files by any harvester of the catalogue: 3D joints, pseudo-labels, a report. Goes on where it was stopped."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from training.catalogs import HarvesterOffer, UploadedPart, harvesters
from webapp.catalog import load
from webapp.errors import InputError, Refusal
from webapp.forms import add_options, options_given
from webapp.typed import read

NOT_ASKED = (
    "name",
    "models",
    "options",
)  # of a plan: the name is the folder's, models are files, options have their own


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        several = parser.add_subparsers(dest="harvester", required=True, metavar="HARVESTER")
        for offer in harvesters:
            one = several.add_parser(offer.name, help=offer.title)
            one.add_argument(
                "target", type=Path, help="folder for arrays, poses.trc, .c3d, .npz, .coco.json, report.json"
            )
            for part in offer.parts:
                option = f"--{part.field}"
                one.add_argument(option, type=Path, required=part.required, help=f"{part.help}; or a folder for a .zip")
            if "models" in offer.plan.model_fields:
                one.add_argument("--models", type=Path, nargs="*", default=[], help="files of trained lifters")
            add_options(one, offer.plan, leave_out=NOT_ASKED)
            add_options(one, offer.config)
            one.add_argument("--threads", type=int, default=1, help="frames at a time on a processor")

    def handle(self, **options: Any) -> None:
        from training.harvest.formats import poses
        from training.harvest.harvester import Upload

        offer, target = harvesters[options["harvester"]], Path(options["target"])
        work = target / "work"
        try:
            asked = {**options_given(offer.plan, options), "name": target.name or "harvest"}
            if models := options.get("models"):
                asked["models"] = [str(uuid5(NAMESPACE_OID, sha256(path.read_bytes()).hexdigest())) for path in models]
            plan = read(offer.plan, asked)
            config = read(offer.config, options_given(offer.config, options))
            _keep_only_if_same(work, _made_of(offer, options, [plan.model_dump_json(), config.model_dump_json()]))
            files = _files(offer, options, work / "files")
            upload = Upload(
                files=files,
                work=work,
                plan=plan,
                unpack=_unpack,
                cameras=load(offer.check)(files, plan),
                models=options.get("models", []),
                threads=options["threads"],
                most_pixels=settings.MAX_IMAGE_PIXELS,
            )
            result = offer.load()(upload, config, target, progress=self._progress, say=self.stdout.write)
        except InputError as error:
            raise CommandError(f"{error.field}: {error.detail}{f'; {error.fix}' if error.fix else ''}") from None
        except (Refusal, OSError) as error:
            raise CommandError(str(error)) from None
        (target / "report.json").write_text(json.dumps(result.report, indent=1))
        poses.write_all(target, result)
        shutil.rmtree(work)
        for finding in result.report["findings"]:
            self.stdout.write(finding)
        self.stdout.write(f"{result.report['kept']} of {result.report['found']} found joints kept in {target}")

    def _progress(self, done: int, total: int, unit: str) -> None:
        if done % 50 == 0 or done == total:
            self.stdout.write(f"{done} of {total} {unit}")


def _made_of(offer: HarvesterOffer, options: dict[str, Any], configured: list[str]) -> str:
    """What a harvest is made of: options, and every file by its place, size and time."""
    paths = [options[part.field] for part in offer.parts if options[part.field] is not None]
    files = [f for path in paths for f in ([path] if path.is_file() else sorted(path.rglob("*"))) if f.is_file()]
    stats = [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    return json.dumps([offer.name, *configured, *stats])


def _keep_only_if_same(work: Path, made_of: str) -> None:
    """What an earlier start read from other files must not be gone on with."""
    mark = work / "made_of.json"
    if not mark.exists() or mark.read_text() != made_of:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    mark.write_text(made_of)


def _files(offer: HarvesterOffer, options: dict[str, Any], folder: Path) -> Path:
    """A folder like that of an upload, each part named after its field."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in offer.parts:
        path: Path | None = options[part.field]
        if path is not None:
            if not path.exists():
                raise CommandError(f"{part.field}: there is no {path}")
            (folder / f"{part.field}{_ending(part, path)}").symlink_to(path.resolve())
    return folder


def _ending(part: UploadedPart, path: Path) -> str:
    if path.is_dir() and ".zip" in part.endings:
        return ".zip"
    ending = next((e for e in part.endings if path.name.lower().endswith(e)), None)
    if ending is None:
        raise CommandError(f"{part.field}: {path.name} ends in none of {', '.join(part.endings)}")
    return ending


def _unpack(archive: Path, folder: Path) -> Path:
    """A folder that stands for an archive is read where it lies."""
    from training.harvests.jobs import unpacked

    return archive.resolve() if archive.is_dir() else unpacked(archive, folder)
