"""Files that a job may still need, and the removal of those that nobody needs any more.

A failed or cancelled job may be continued for `KEEP_UPLOADS_S`: so long its upload and its checkpoints stay. What requests and
killed workers left half-written goes as soon as it is certain that nobody writes it any more.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Q

from webapp import clock
from webapp.jobs.models import FINISHED, Job, State

log = logging.getLogger(__name__)
IN_FLIGHT_S = 3600.0  # a request that sends a file has no job yet
UNOWNED_S = 86_400.0
_ATTEMPT = re.compile(r"^([0-9a-f]{32})-(\d+)$")


def folder_of(job: Job) -> Path:
    """Where a job keeps its checkpoints."""
    return Path(settings.VAR) / "jobs" / str(job.uuid)


def staged_by(job: Job) -> Path:
    """Where one attempt of a job writes files that are not part of the store yet; swept once that attempt is over."""
    return Path(settings.MEDIA_ROOT) / "staged" / f"{job.uuid.hex}-{job.attempt}"


def may_continue_until(job: Job) -> datetime | None:
    """The time to which the files of a failed or cancelled job are kept, else None."""
    if job.state not in (State.FAILED, State.CANCELLED) or job.finished_at is None:
        return None
    return job.finished_at + timedelta(seconds=settings.KEEP_UPLOADS_S)


def remove(in_flight_s: float = IN_FLIGHT_S) -> int:
    """Delete files that no job needs; returns how many files and folders went. Safe to run at any time, any number of times.

    `in_flight_s`: how long a file that belongs to no job may be one that a request is still writing.
    """
    return sum(_remove(path) for path in _unneeded(time.time(), in_flight_s))


def _unneeded(now: float, in_flight_s: float) -> list[Path]:
    uploads = _inside(Path(settings.FILE_UPLOAD_TEMP_DIR)) + _inside(Path(settings.VAR) / "lifts")
    folders, staged = _inside(Path(settings.VAR) / "jobs"), _inside(Path(settings.MEDIA_ROOT) / "staged")
    # Asked after the folders were listed: a job that starts meanwhile makes its folder later.
    kept = _kept_names()
    alive = {(j.uuid.hex, j.attempt) for j in Job.objects.filter(state__in=(State.RUNNING, State.CANCELLING))}
    gone = [p for p in uploads if p.name not in kept and _age(p, now) > in_flight_s]
    gone += [p for p in folders if p.name not in kept]
    for path in staged:
        owner = _ATTEMPT.match(path.name)
        over = (owner[1], int(owner[2])) not in alive if owner else _age(path, now) > UNOWNED_S
        gone += [path] if over else []
    for root in (Path(settings.MEDIA_ROOT), Path(settings.VAR) / "broker"):
        gone += [p for p in root.rglob("*.part") if _age(p, now) > in_flight_s]
    return gone


def _kept_names() -> set[str]:
    """Names of files and folders in the configuration of jobs that run, wait or may be continued, and those jobs' own."""
    continued = Q(state__in=(State.FAILED, State.CANCELLED), finished_at__gt=clock.ago(settings.KEEP_UPLOADS_S))
    names: set[str] = set()
    for identity, config in Job.objects.filter(~Q(state__in=FINISHED) | continued).values_list("uuid", "config"):
        names.add(str(identity))
        for value in config.values():
            if isinstance(value, str):
                names.update(Path(value).parts)
    return names


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _age(path: Path, now: float) -> float:
    try:
        return now - path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(path: Path) -> int:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        log.warning("could not remove %s", path, exc_info=True)
        return 0
    return 1
