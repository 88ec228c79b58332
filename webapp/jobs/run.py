"""Long work: enqueue, take, report, cancel, resume.

Taking a job is an update that expects its state and raises `attempt`; every later write names its attempt, so a
worker that was thought dead can no longer write. A job may therefore run twice, and must do no harm when it does.

Progress and heartbeat are written by a thread with a connection of its own, under the database's clock: they are seen
while the job's code is in the middle of a transaction, and they never wait for one.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from functools import cached_property
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest, Now

from webapp import audit, clock
from webapp.accounts.models import Account
from webapp.catalog import load
from webapp.errors import Conflict, DiskFull, InputError, NotAllowed, Refusal, of_the_machine, without_paths
from webapp.jobs import leftovers
from webapp.jobs.kinds import job_kinds
from webapp.jobs.models import FINISHED, Job, JobLine, State

log = logging.getLogger(__name__)
BEAT_S = 2.0
REPORT_S = 0.25  # progress is written at most so often
ENDING_S = 60.0  # how long the end of a job waits for a database that is away
MOST_STOPS = 3  # workers that may end under a job one after the other without getting further
MOST_NOTIFY_WAIT_S = 600.0
ALIVE = (State.RUNNING, State.CANCELLING)


class Cancelled(Exception):
    """Raised by progress() when somebody asked for the job to stop."""


class Superseded(Exception):
    """Raised when another worker has taken the job over: this one must not write any more."""


class JobContext:
    """What the running code of a job sees: its configuration, a folder for checkpoints, and ways to report."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.actor: Account | None = job.created_by
        self._pulse = _Pulse(self) if not connection.in_atomic_block else None  # inside a test's transaction a second
        # connection sees nothing: there the job reports by its own

    @cached_property
    def folder(self) -> Path:
        """For checkpoints; kept while the job may be continued (`webapp.jobs.leftovers`)."""
        folder = leftovers.folder_of(self.job)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def mine(self) -> Any:
        return Job.objects.filter(pk=self.job.pk, attempt=self.job.attempt)

    def progress(self, done: int, total: int = 0, unit: str = "") -> None:
        """Report `done` of `total`. Raises Cancelled or Superseded."""
        news = {"done": done, "total": total, "unit": unit}
        if self._pulse is None:
            state = self.beat(news)
        else:
            state = self._pulse.note(news)
        if state is None:
            raise Superseded
        if state == State.CANCELLING:
            raise Cancelled

    def check(self) -> None:
        """Between short writes. Raises Cancelled or Superseded."""
        state = self.beat({}) if self._pulse is None else self._pulse.state
        if state is None:
            raise Superseded
        if state == State.CANCELLING:
            raise Cancelled

    def beat(self, news: dict[str, Any]) -> str | None:
        """Write the heartbeat, and progress if there is any; the job's state, or None if it is no longer ours."""
        if not self.mine().filter(state__in=ALIVE).update(heartbeat_at=Now(), **news):
            return None
        return str(Job.objects.values_list("state", flat=True).get(pk=self.job.pk))

    def say(self, text: str) -> None:
        JobLine.objects.create(job=self.job, text=without_paths(text)[:1000])

    def hold(self) -> None:
        """Inside a short transaction: lock the row and make sure that the job is still ours before results are written."""
        if not self.mine().select_for_update(no_key=True).filter(state__in=ALIVE).exists():
            raise Superseded

    def start(self) -> None:
        if self._pulse:
            self._pulse.start()

    def stop(self) -> None:
        if self._pulse:
            self._pulse.stop()


class _Pulse(threading.Thread):
    """Heartbeat and progress from a thread of its own: long steps say nothing for minutes, and hold transactions."""

    def __init__(self, context: JobContext) -> None:
        super().__init__(daemon=True, name=f"pulse of job {context.job.pk}")
        self.context = context
        self._news: dict[str, Any] = {}
        self.state: str | None = State.RUNNING
        self._guard = threading.Lock()
        self._something, self._end = threading.Event(), threading.Event()

    def note(self, news: dict[str, Any]) -> str | None:
        with self._guard:
            self._news = news
        self._something.set()
        return self.state

    def stop(self) -> None:
        self._end.set()
        self._something.set()
        self.join(30)

    def run(self) -> None:
        try:
            while True:
                self._something.wait(BEAT_S)
                self._something.clear()
                self._write()
                if self._end.is_set() or self.state is None:
                    return
                self._end.wait(REPORT_S)
        finally:
            connection.close()

    def _write(self) -> None:
        with self._guard:
            news, self._news = self._news, {}
        try:
            self.state = self.context.beat(news)
        except (DatabaseError, InterfaceError):
            log.warning("heartbeat of job %s failed", self.context.job.uuid, exc_info=True)
            with self._guard:
                self._news = news | self._news
            connection.close()


def enqueue(
    actor: Account | None, kind: str, config: dict[str, Any], *, title: str = "", subject: object = None
) -> Job:
    """Record a job and notify a worker once the transaction is committed. `subject`: uuid of what it is about."""
    offer = job_kinds[kind]
    job = Job.objects.create(
        kind=kind,
        title=title[:200] or offer.title,
        queue=offer.queue,
        subject=str(subject or config.get("campaign") or ""),
        config=config,
        created_by=actor,
    )
    if actor is not None:
        audit.record(actor, f"job.{kind}", job)
    transaction.on_commit(lambda: notify(job))
    return job


def notify(job: Job) -> None:
    from webapp.jobs.celery_app import app  # 27 MiB, which commands that enqueue nothing do without

    Job.objects.filter(pk=job.pk).update(notified_at=Now(), notifications=F("notifications") + 1)
    try:
        app.send_task("webapp.jobs.tasks.run_job", (job.pk,), queue=job.queue, retry=False)
    except Exception:  # the row waits for `requeue`, which notifies again
        log.exception("the broker did not take job %s", job.uuid)


def cancel(actor: Account, job: Job) -> Job:
    """Ask a job to stop. A waiting one stops at once, a running one at its next progress report."""
    if job.created_by_id != actor.pk and not actor.is_one_of("admin"):
        raise NotAllowed("Only an admin or the one who started a job may cancel it.")
    with transaction.atomic():
        stopped = Job.objects.filter(pk=job.pk, state=State.QUEUED).update(state=State.CANCELLED, finished_at=Now())
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
    with transaction.atomic():
        changed = Job.objects.filter(pk=job.pk, state__in=(State.FAILED, State.CANCELLED)).update(
            state=State.QUEUED, error=None, finished_at=None, stops=0, best=0, notifications=0
        )
        if not changed:
            raise Conflict("Only a failed or cancelled job can be continued.", field="state")
        audit.record(actor, "job.continue", job)
    job.refresh_from_db()
    notify(job)
    return job


def requeue() -> None:
    """Ring again for jobs that wait unheard; give back jobs whose worker fell silent. All by the database's clock."""
    silent = Q(heartbeat_at__lt=clock.ago(settings.JOB_SILENCE_S))
    for job in Job.objects.filter(silent, state=State.RUNNING):
        _give_back(job, f"The worker of attempt {job.attempt} fell silent", silent)
    for job in Job.objects.filter(silent, state=State.CANCELLING):
        if Job.objects.filter(silent, pk=job.pk, state=State.CANCELLING).update(
            state=State.CANCELLED, finished_at=Now()
        ):
            _tell(job)
    now = clock.now()
    for job in Job.objects.filter(state=State.QUEUED).order_by("pk")[:500]:
        # Each silence is twice as long as the last: a message is rarely lost, and a queue that is long already does not
        # grow by jobs that wait in it. A worker that ends a job notifications for the next one anyway.
        wait = min(2.0 * settings.JOB_REQUEUE_S * 2 ** max(job.notifications - 1, 0), MOST_NOTIFY_WAIT_S)
        if job.notified_at is None or (now - job.notified_at).total_seconds() > wait:
            notify(job)


def _give_back(job: Job, why: str, still: Q | None = None) -> None:
    """Queue a job again whose worker is gone; one that ends its workers without getting further has failed."""
    stops = 1 if job.done > job.best else job.stops + 1
    news: dict[str, Any] = {"stops": stops, "best": Greatest("best", "done"), "notifications": 0, "notified_at": None}
    mine = Job.objects.filter(still or Q(), pk=job.pk, state=State.RUNNING, attempt=job.attempt)
    if stops < MOST_STOPS:
        if mine.update(state=State.QUEUED, **news):
            JobLine.objects.create(job=job, text=f"{why}; starting again.")
        return
    error = {
        "code": "worker_stopped",
        "status": 500,
        "detail": f"{why}. {MOST_STOPS} workers were stopped at this job, and none got further than the one before.",
        "fix": "Is there enough memory? Make the job smaller or give the worker more, then continue it.",
    }
    if mine.update(state=State.FAILED, error=error, finished_at=Now(), **news):
        job.refresh_from_db()
        audit.record(None, "job.failed", job, code=error["code"])
        _tell(job)


def take(job_pk: int) -> Job | None:
    """Make a queued job ours, or return None when somebody else has it."""
    taken = Job.objects.filter(pk=job_pk, state=State.QUEUED).update(
        state=State.RUNNING,
        attempt=F("attempt") + 1,
        started_at=Now(),
        heartbeat_at=Now(),
        notifications=0,
        done=0,
        total=0,
    )
    return Job.objects.select_related("created_by").get(pk=job_pk) if taken else None


def run_job(job_pk: int) -> None:
    """Run one job to its end. Never raises for a failure of the work itself: the row carries it."""
    job = take(job_pk)
    if job is None:
        return
    context = JobContext(job)
    offer = job_kinds[job.kind]
    context.start()
    end: dict[str, Any] | None = None
    try:
        result = offer.load()(context, offer.config.model_validate(job.config))
        end = {"state": State.DONE, "result": result}
    except Cancelled:
        end = {"state": State.CANCELLED}
    except Superseded:
        log.warning("job %s was taken over by another worker", job.uuid)
    except Exception as error:
        end = {"state": State.FAILED, "error": _explain(error)}
        if isinstance(error, OperationalError | InterfaceError) and not connection.in_atomic_block:
            end = {"state": State.QUEUED}  # the database was away or chose this transaction to give way
            log.warning("job %s lost its database", job.uuid, exc_info=True)
    finally:
        context.stop()
    if end:
        _end(context, **end)
        _notify_next(job.queue)


def _notify_next(queue: str) -> None:
    """This worker is free: whoever waits longest in its queue is heard now."""
    waiting = Job.objects.filter(state=State.QUEUED, queue=queue).order_by("notifications", "pk").first()
    if waiting is not None and waiting.notified_at is not None:
        notify(waiting)


def _explain(error: Exception) -> dict[str, Any]:
    if isinstance(error, Refusal):
        return error.as_dict()
    if isinstance(error, InputError):
        return error.refusal().as_dict()
    if isinstance(of_the_machine(error), DiskFull):
        log.warning("job ran out of disk", exc_info=error)
        fix = "Free space on the site's disk, then continue the job."
        return DiskFull().as_dict() | {
            "detail": "The disk of this site is full. Nothing of this step was saved.",
            "fix": fix,
        }
    log.error("job failed", exc_info=error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return {
        "code": "internal",
        "status": 500,
        "detail": without_paths(f"{type(error).__name__}: {error}")[:500],
        "where": f"{Path(last.filename).name}:{last.lineno}",
    }


def _end(context: JobContext, state: str, *, result: Any = None, error: Any = None) -> None:
    """Write how it ended. A database that is away is waited for; `requeue` finds what could not be written."""
    deadline = time.monotonic() + ENDING_S
    while True:
        try:
            return _write_end(context, state, result, error)
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            connection.close()
            time.sleep(1.0)


def _write_end(context: JobContext, state: str, result: Any, error: Any) -> None:
    if state == State.QUEUED:
        job = Job.objects.get(pk=context.job.pk)
        if job.attempt == context.job.attempt:
            _give_back(job, f"The database went away under attempt {job.attempt}")
        return
    news: dict[str, Any] = {"state": state, "result": result, "error": error}
    if state == State.DONE:  # a step may need fewer rounds than planned: nothing is left to do
        news["done"] = F("total")
    with transaction.atomic():
        changed = context.mine().filter(state__in=ALIVE).update(finished_at=Now(), heartbeat_at=Now(), **news)
        if changed and (context.actor is not None or state == State.FAILED):
            audit.record(context.actor, f"job.{state}", context.job)
    if changed:
        context.job.refresh_from_db()
        _tell(context.job)


def _tell(job: Job) -> None:
    """Let the owner of the kind tidy up after a job has ended."""
    after = job_kinds[job.kind].after
    if after and job.state in FINISHED:
        load(after)(Job.objects.get(pk=job.pk))
