"""Long work: enqueue, take, report, cancel, resume.

Taking a job is an update that expects its state and raises `attempt`; every later write names its attempt, so a
worker that was thought dead can no longer write. A job may therefore run twice, and must do no harm when it does.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import close_old_connections, connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from webapp import audit
from webapp.accounts.models import Account
from webapp.catalog import Catalog, Offer
from webapp.jobs.models import FINISHED, Job, JobLine, State
from webapp.refusal import Conflict, NotAllowed, Refusal

log = logging.getLogger(__name__)
job_kinds = Catalog("job kind")
BEAT_S = 2.0


class Cancelled(Exception):
    """Raised by progress() when somebody asked for the job to stop."""


class Superseded(Exception):
    """Raised when another worker has taken the job over: this one must not write any more."""


class Work:
    """What the running code of a job sees: its configuration, a folder for checkpoints, and ways to report."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.actor: Account | None = job.created_by
        self.folder = Path(settings.VAR) / "jobs" / str(job.uuid)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._last_write = 0.0

    def mine(self) -> Any:
        return Job.objects.filter(pk=self.job.pk, attempt=self.job.attempt)

    def progress(self, done: int, total: int = 0, unit: str = "") -> None:
        """Report `done` of `total`. Raises Cancelled or Superseded; writes at most four times a second."""
        now = time.monotonic()
        if now - self._last_write < 0.25 and done < total:
            return
        self._last_write = now
        changed = (
            self.mine()
            .filter(state__in=(State.RUNNING, State.CANCELLING))
            .update(done=done, total=total, unit=unit, heartbeat_at=timezone.now())
        )
        if not changed:
            raise Superseded
        if Job.objects.values_list("state", flat=True).get(pk=self.job.pk) == State.CANCELLING:
            raise Cancelled

    def say(self, text: str) -> None:
        JobLine.objects.create(job=self.job, text=text[:1000])

    def hold(self) -> None:
        """Inside a transaction: lock the row and make sure that the job is still ours before results are written."""
        if not self.mine().select_for_update().filter(state__in=(State.RUNNING, State.CANCELLING)).exists():
            raise Superseded


def enqueue(actor: Account | None, kind: str, config: dict[str, Any], *, title: str = "") -> Job:
    """Record a job and ring the bell once the transaction is committed."""
    offer = job_kinds[kind]
    job = Job.objects.create(
        kind=kind,
        title=title or offer.title,
        queue=offer.extra.get("queue", "light"),
        config=config,
        created_by=actor,
    )
    if actor is not None:
        audit.record(actor, f"job.{kind}", job)
    transaction.on_commit(lambda: ring(job))
    return job


def ring(job: Job) -> None:
    from webapp.jobs.tasks import run_job

    Job.objects.filter(pk=job.pk).update(rung_at=timezone.now())
    try:
        run_job.apply_async((job.pk,), queue=job.queue, retry=False)
    except Exception:  # the row waits for the sweep, which rings again
        log.exception("the broker did not take job %s", job.uuid)


def cancel(actor: Account, job: Job) -> Job:
    """Ask a job to stop. A waiting one stops at once, a running one at its next progress report."""
    if job.created_by_id != actor.pk and not actor.is_one_of("admin"):
        raise NotAllowed("Only an admin or the one who started a job may cancel it.")
    with transaction.atomic():
        stopped = Job.objects.filter(pk=job.pk, state=State.QUEUED).update(
            state=State.CANCELLED, finished_at=timezone.now()
        )
        asked = stopped or Job.objects.filter(pk=job.pk, state=State.RUNNING).update(state=State.CANCELLING)
        if asked:
            audit.record(actor, "job.cancel", job)
    job.refresh_from_db()
    if not asked and job.state != State.CANCELLING:
        raise Conflict(f"The job is {job.state} already.", field="state")
    if stopped:
        _tell(job)
    return job


def retry(actor: Account, job: Job) -> Job:
    """Continue a failed or cancelled job from its last checkpoint."""
    if job.created_by_id != actor.pk and not actor.is_one_of("admin"):
        raise NotAllowed("Only an admin or the one who started a job may continue it.")
    changed = Job.objects.filter(pk=job.pk, state__in=(State.FAILED, State.CANCELLED)).update(
        state=State.QUEUED, error=None, finished_at=None
    )
    if not changed:
        raise Conflict("Only a failed or cancelled job can be continued.", field="state")
    job.refresh_from_db()
    ring(job)
    return job


def sweep() -> None:
    """Ring again for jobs that wait unheard; give back jobs whose worker fell silent."""
    now = timezone.now()
    silent = now - timedelta(seconds=settings.JOB_SILENCE_S)
    for job in Job.objects.filter(state=State.RUNNING, heartbeat_at__lt=silent):
        if Job.objects.filter(pk=job.pk, state=State.RUNNING, attempt=job.attempt, heartbeat_at__lt=silent).update(
            state=State.QUEUED
        ):
            JobLine.objects.create(job=job, text=f"The worker of attempt {job.attempt} fell silent; starting again.")
    for job in Job.objects.filter(state=State.CANCELLING, heartbeat_at__lt=silent):
        Job.objects.filter(pk=job.pk, state=State.CANCELLING).update(state=State.CANCELLED, finished_at=now)
        _tell(job)
    unheard = now - timedelta(seconds=2 * settings.JOB_SWEEP_S)
    for job in Job.objects.filter(state=State.QUEUED).filter(Q(rung_at=None) | Q(rung_at__lt=unheard)):
        ring(job)


def take(job_pk: int) -> Job | None:
    """Make a queued job ours, or return None when somebody else has it."""
    now = timezone.now()
    taken = Job.objects.filter(pk=job_pk, state=State.QUEUED).update(
        state=State.RUNNING, attempt=F("attempt") + 1, started_at=now, heartbeat_at=now
    )
    return Job.objects.select_related("created_by").get(pk=job_pk) if taken else None


def perform(job_pk: int) -> None:
    """Run one job to its end. Never raises for a failure of the work itself: the row carries it."""
    job = take(job_pk)
    if job is None:
        return
    work = Work(job)
    offer = job_kinds[job.kind]
    stop = threading.Event()
    if not connection.in_atomic_block:  # inside a test's transaction another connection sees nothing
        threading.Thread(target=_beat, args=(work, stop), daemon=True).start()
    try:
        result = offer.load()(work, offer.config.model_validate(job.config))
        _end(work, State.DONE, result=result)
    except Cancelled:
        _end(work, State.CANCELLED)
    except Superseded:
        log.warning("job %s was taken over by another worker", job.uuid)
    except Exception as error:
        _end(work, State.FAILED, error=_explain(error, offer))
    finally:
        stop.set()


def _explain(error: Exception, offer: Offer) -> dict[str, Any]:
    if isinstance(error, Refusal):
        return error.as_dict()
    if offer.extra.get("explains") and isinstance(error, ValueError | RuntimeError):
        return {"code": "failed", "status": 500, "detail": str(error)}
    log.error("job failed", exc_info=error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return {
        "code": "internal",
        "status": 500,
        "detail": f"{type(error).__name__}: {error}"[:500],
        "where": f"{Path(last.filename).name}:{last.lineno}",
    }


def _end(work: Work, state: str, *, result: Any = None, error: Any = None) -> None:
    now = timezone.now()
    news: dict[str, Any] = {"state": state, "result": result, "error": error, "finished_at": now, "heartbeat_at": now}
    if state == State.DONE:  # a step may need fewer rounds than planned: nothing is left to do
        news["done"] = F("total")
    with transaction.atomic():
        changed = work.mine().filter(state__in=(State.RUNNING, State.CANCELLING)).update(**news)
    if changed:
        work.job.refresh_from_db()
        _tell(work.job)


def _tell(job: Job) -> None:
    """Let the owner of the kind tidy up after an end that was not 'done'."""
    after: str = job_kinds[job.kind].extra.get("after", "")
    if after and job.state in FINISHED:
        Offer(name=job.kind, title="", target=after).load()(Job.objects.get(pk=job.pk))


def _beat(work: Work, stop: threading.Event) -> None:
    """Heartbeat from a thread of its own: long steps of libraries say nothing for minutes."""
    while not stop.wait(BEAT_S):
        try:
            work.mine().filter(state__in=(State.RUNNING, State.CANCELLING)).update(heartbeat_at=timezone.now())
        except Exception:
            log.exception("heartbeat of job %s failed", work.job.uuid)
    close_old_connections()
    connection.close()
