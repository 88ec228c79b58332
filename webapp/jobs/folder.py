"""Is the folder of this process the folder of the site? A worker with another one makes files that the web server does not find."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from django.conf import settings

from webapp.errors import Conflict
from webapp.jobs.models import Folder


def _mark() -> str:
    """What stands in this folder's mark, made at the first call of whichever process is first."""
    path = Path(settings.VAR) / "site_mark"
    if not path.exists():
        aside = path.with_suffix(f".{secrets.token_hex(8)}")
        aside.write_text(secrets.token_hex(16))
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)  # whole or not at all, and the first one counts
        aside.unlink()
    return path.read_text()


def check() -> None:
    """Raises Conflict where another process of the site works in another folder."""
    if Folder.objects.get_or_create(pk=1, defaults={"mark": _mark()})[0].mark != _mark():
        raise Conflict(
            "This process's NEARER_VAR is not the folder of this site: what it writes the others would not find.",
            field="NEARER_VAR",
            fix="mount one and the same folder everywhere; after the folder was replaced on purpose: manage.py use_folder",
        )


def use() -> None:
    """From now on this process's folder is the site's."""
    Folder.objects.update_or_create(pk=1, defaults={"mark": _mark()})
