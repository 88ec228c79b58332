"""The Celery application: it only rings the bell, the job row is the truth.

It lives with the jobs, not beside the address book, so that whoever enqueues a job has it: without it a web process would
ring Celery's own default application, which is somebody else's broker.
"""

import os

from celery import Celery

from webapp.jobs import broker as broker  # the embedded broker is ours in every process

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
app = Celery("nearer")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
