"""What workers do for the whole product: a job, the look for jobs that nobody does, and the removal of what nobody needs."""

from django.core.management import call_command

from webapp.accounts import throttle
from webapp.jobs import leftovers, run
from webapp.jobs.celery_app import app


@app.task
def run_job(job_pk: int) -> None:
    run.run_job(job_pk)


@app.task
def requeue() -> None:
    run.requeue()


@app.task
def tidy() -> int:
    """Files that no job needs, sessions that ended, counted attempts that are old."""
    throttle.forget_old()
    call_command("clearsessions")
    return leftovers.remove()
