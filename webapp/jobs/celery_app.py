"""The Celery application: it only notifies workers, the job row is the truth.

It lives with the jobs, not beside the address book, so that whoever enqueues a job has it: without it a web process would
notify through Celery's own default application, which is somebody else's broker.
"""

import os
import time

from celery import Celery
from celery.signals import worker_init

from webapp.jobs import broker as broker  # the embedded broker is ours in every process

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
app = Celery("nearer")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()


@worker_init.connect
def _let_people_go_first(**_: object) -> None:
    """Where web server and workers share a machine's cores, answers wait for no aggregation. A waiting job has the idle time all the same.

    Linux weighs whole sessions against each other first where it groups them (autogroup, the default): a worker that leads a
    session of its own has the share of the web server's whole session, however nice it is inside it. So the session is made
    as nice as the worker.
    """
    from django.conf import settings

    os.nice(settings.WORKER_NICE)
    if os.getsid(0) == os.getpid():
        _make_session_nice(os.getpriority(os.PRIO_PROCESS, 0))


def _make_session_nice(nice: int) -> None:
    """Linux takes one such wish in a tenth of a second, of all sessions: two workers that start together have to take turns."""
    for _ in range(20):
        try:
            with open("/proc/self/autogroup", "w") as group:
                group.write(str(nice))
            return
        except BlockingIOError:
            time.sleep(0.15)
        except OSError:
            return


@worker_init.connect
def _refuse_another_folder(**_: object) -> None:
    """Nothing of ours may be imported before Django is set up, which Celery has done by now."""
    from django.db import DatabaseError, connection

    from webapp.errors import Conflict
    from webapp.jobs import folder

    try:
        folder.check()
    except Conflict as error:
        raise SystemExit(str(error)) from None
    except DatabaseError:
        return  # it is away, or not migrated yet; jobs wait for it anyway
    finally:  # the pool's processes are forked after this: they must inherit no connection and no pool
        connection.close()
        if connection.vendor == "postgresql":
            connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's
