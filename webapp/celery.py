"""Where `celery -A webapp worker` finds the application, with the tasks of all apps."""

from webapp.jobs.celery_app import app

app.autodiscover_tasks(["webapp.jobs", "labeling"])
__all__ = ["app"]
