"""The two Celery tasks of the whole product: do a job, and look for jobs that nobody does."""

from webapp.jobs import run
from webapp.jobs.bell import app


@app.task
def run_job(job_pk: int) -> None:
    run.perform(job_pk)


@app.task
def sweep() -> None:
    run.sweep()
