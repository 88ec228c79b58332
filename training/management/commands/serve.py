"""Run the whole site in the foreground: web server, Celery workers and the schedule. Ctrl-C ends all of it."""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from webapp.accounts import people
from webapp.accounts.models import Account

Process = subprocess.Popen[bytes] | BaseProcess
LOGINS = (("ada", "admin"), ("rea", "reviewer"), ("resi", "researcher"), ("ann", "annotator"), ("ben", "annotator"))


ENDING_S = 15.0  # so long an earlier start may take to end: its web process answers what it has begun


def wait_for_port(host: str, port: int, say: Callable[[str], object], most_s: float = ENDING_S) -> None:
    """Return once the port is free. A service manager starts the site again while the web process of the one that died still ends.

    Raises CommandError where it stays in use.
    """
    deadline = time.monotonic() + most_s
    for attempt in itertools.count():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                return
            except OSError:
                if time.monotonic() >= deadline:
                    break
        if attempt == 0:
            say(f"{host}:{port} is in use; waiting {most_s:.0f} s at most for an earlier start of this site to end")
        time.sleep(0.2)
    raise CommandError(
        f"{host}:{port} is in use. If an earlier start of this site still runs, end it first: two must not share one folder. "
        "Another site's port? Choose one with NEARER_PORT=8001"
    )


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = ()  # a second start is ready in seconds; `manage.py check` is there for the rest

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--demo", action="store_true", help="load the sample campaign and print demo log-ins")
        parser.add_argument("--host", default=settings.SITE_HOST)
        parser.add_argument("--port", type=int, default=settings.SITE_PORT)

    def handle(self, **options: Any) -> None:
        host, port = options["host"], options["port"]
        wait_for_port(host, port, self.stderr.write)
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", verbosity=0, interactive=False)
        if options["demo"]:
            if not settings.DEMO:
                raise CommandError("the demo needs NEARER_DEMO=1 and is never run in production")
            call_command("load_sample", verbosity=0)
        # Asked before the fork: afterwards this process holds no connection, whose pool it would have to wait for at its end.
        first = "" if people.has_admin() else people.first_admin_link()
        signal.signal(signal.SIGTERM, _interrupt)
        commands = self._commands(host, port)
        running: dict[str, Process] = {"web": _fork_web(commands["web"])}
        try:
            self._wait_for_page(host, port, running["web"])
            self._welcome(host, port, options["demo"], first)
            for name in ("light", "clock", "heavy"):  # after the page: starting them takes both cores
                running[name] = self._start(commands[name])
            self._watch(running, commands)
        except KeyboardInterrupt:
            self.stdout.write("\nStopping …")
        finally:
            _stop(running)

    def _commands(self, host: str, port: int) -> dict[str, list[str]]:
        python = sys.executable
        worker = [
            python,
            "-W",
            "ignore::UserWarning",
            "-m",
            "celery",
            "--quiet",
            "-A",
            "webapp",
            "worker",
            "--loglevel",
            "WARNING",
            "--without-gossip",
            "--without-mingle",
            "--concurrency",
            "1",
            "--pool",
            "prefork",
        ]
        return {
            "web": [
                "webapp.wsgi",
                "--bind",
                f"{host}:{port}",
                "--workers",
                str(settings.WEB_PROCESSES),
                "--threads",
                str(settings.WEB_THREADS),
                "--worker-class",
                "webapp.serving.Worker",
                "--timeout",
                "120",
                "--log-level",
                "warning",
                "--preload",
            ],
            "clock": [*worker[:-2], "--pool", "solo", "-Q", "clock", "-n", f"clock-{port}@%h", "-B"],
            "light": [*worker, "-Q", "light", "-n", f"light-{port}@%h"],
            "heavy": [*worker, "-Q", "heavy", "-n", f"heavy-{port}@%h"],
        }

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
        return subprocess.Popen(
            command, cwd=settings.BASE_DIR, env=environment, start_new_session=True, preexec_fn=_end_with_parent
        )

    def _wait_for_page(self, host: str, port: int, web: Process) -> None:
        for _ in range(600):
            if _ended(web) is not None:
                raise CommandError("the web server did not start; its message is above")
            try:
                urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=2).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise CommandError("the web server does not answer")

    def _welcome(self, host: str, port: int, demo: bool, first: str) -> None:
        self.stdout.write(f"\n  Nearer is ready: http://{host}:{port}/\n")
        if demo:
            self.stdout.write("\n  Demo log-ins (name / password):")
            for name, role in LOGINS:
                self.stdout.write(f"    {name:5} / {demo_password()}   {role}")
        if first:
            link = f"http://{host}:{port}{first}"
            self.stdout.write(f"\n  There is no admin yet. Make the first one here (once, within a day):\n    {link}\n")
        self.stdout.write("\n  Ctrl-C stops everything.\n")
        self.stdout.flush()

    def _watch(self, running: dict[str, Process], commands: dict[str, list[str]]) -> None:
        while True:
            time.sleep(0.5)
            for name, process in running.items():
                if (code := _ended(process)) is not None:
                    self.stderr.write(f"{name} ended with {code}; starting it again")
                    time.sleep(1)
                    running[name] = _fork_web(commands[name]) if name == "web" else self._start(commands[name])


def _fork_web(arguments: list[str]) -> BaseProcess:
    """gunicorn as a fork of this process, which has imported Django already."""
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's
    process = multiprocessing.get_context("fork").Process(target=_web, args=(arguments,))
    process.start()
    return process


def _end_with_parent() -> None:
    """In a child: be asked to end when the supervisor is gone, however it went. Linux only; elsewhere Ctrl-C does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _web(arguments: list[str]) -> None:
    from gunicorn.app.wsgiapp import run

    os.setsid()
    _end_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.argv = ["gunicorn", *arguments]
    run()


def _ended(process: Process) -> int | None:
    return process.exitcode if isinstance(process, BaseProcess) else process.poll()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _stop(running: dict[str, Process]) -> None:
    for process in running.values():
        if process.pid is not None and _ended(process) is None:
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline and any(_ended(p) is None for p in running.values()):
        time.sleep(0.05)
    for process in running.values():
        if process.pid is not None and _ended(process) is None:
            os.killpg(process.pid, signal.SIGKILL)


def demo_password() -> str:
    """One random password for the demo accounts of this copy, kept beside its database."""
    path = settings.VAR / "demo_password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(f"closer-{secrets.token_hex(4)}")
    return path.read_text()


def make_logins() -> None:
    known = set(Account.objects.values_list("username", flat=True))
    fresh = [people.create(None, username=name, role=role) for name, role in LOGINS if name not in known]
    if fresh:  # one password, hashed once: that takes a second or two
        Account.objects.filter(pk__in=[a.pk for a in fresh]).update(password=make_password(demo_password()))
