"""The two Celery tasks of the whole product: do a job, and look for jobs that nobody does."""

from celery import shared_task

from webapp.jobs import run


@shared_task
def run_job(job_pk: int) -> None:
    run.perform(job_pk)


@shared_task
def sweep() -> None:
    run.sweep()
