"""Import a data set from files on this machine, all or nothing; repeating it adds nothing twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling.catalogs import import_formats
from labeling.importing import storing
from labeling.importing.parsed import BadInput
from webapp.errors import Refusal

FORMATS_BY_SUFFIX = {".csv": "csv", ".json": "json"}


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="a folder with joints.mat and images/, or use the two options")
        parser.add_argument("--name", help="name of the data set (default: the folder's name)")
        parser.add_argument(
            "--format", choices=import_formats.names(), help="default: lsp-extended or lsp by the shape of joints.mat"
        )
        parser.add_argument("--annotations", type=Path, help="default: FOLDER/joints.mat, people.json or ordinal.json")
        parser.add_argument("--pictures", type=Path, help="a folder or .zip (default: FOLDER/images)")
        parser.add_argument(
            "--leave-out-bad-rows", action="store_true", help="import the good rows of a file that has bad ones"
        )
        parser.add_argument("--licence", default="")
        parser.add_argument("--attribution", default="")

    def handle(self, **options: Any) -> None:
        folder: Path = options["folder"]
        annotations = options["annotations"] or next(
            (folder / n for n in ("joints.mat", "people.json", "ordinal.json") if (folder / n).is_file()), None
        )
        pictures = options["pictures"] or folder / "images"
        if annotations is None or not Path(annotations).is_file():
            raise CommandError(
                "annotations: there is no joints.mat, people.json or ordinal.json here (use --annotations)"
            )
        if not Path(pictures).exists():
            raise CommandError(f"pictures: {pictures} does not exist (use --pictures)")
        started = time.monotonic()
        try:
            kind = options["format"] or _format_of(Path(annotations))
            plan = storing.ImportConfig(
                dataset=options["name"] or folder.resolve().name,
                format=kind,
                annotations=str(annotations),
                pictures=str(pictures),
                licence=options["licence"],
                attribution=options["attribution"],
                bad_rows="leave-out" if options["leave_out_bad_rows"] else "refuse",
            )
            result = storing.store(None, plan, lambda *_: None)
        except storing.ImportRefused as error:
            for row in error.more["report"]["rows"]:
                self.stderr.write(f"{row['row']}: {row['field']}: {row['reason']}")
            raise CommandError(str(error)) from None
        except (Refusal, BadInput) as error:
            raise CommandError(str(error)) from None
        for text, times in result.pop("notes").items():
            self.stdout.write(f"{times} {text}")
        for key, value in result.items():
            self.stdout.write(f"{key}: {value}")
        self.stdout.write(f"{time.monotonic() - started:.1f} s")


def _format_of(path: Path) -> str:
    if path.suffix == ".mat":
        from labeling.importing.matlab import load

        joints = load(path, storing.limits()).get("joints")
        return "lsp-extended" if getattr(joints, "shape", ())[:2] == (14, 3) else "lsp"
    if path.name == "ordinal.json":
        return "ordinal"
    return FORMATS_BY_SUFFIX.get(path.suffix, "json")
