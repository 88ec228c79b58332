"""A real site in a folder of its own: gunicorn, two Celery workers, the schedule, on SQLite or PostgreSQL and Redis."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable") if (p := shutil.which(n))),
    None,
)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Site:
    """Start with `start()`, stop with `stop()`. `environment` is what its processes see."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
        self.environment |= {
            "NEARER_VAR": str(folder / "var"),
            "NEARER_DEMO": "1",
            "NEARER_PORT": str(self.port),
            "NEARER_JOB_SILENCE_S": "8",
            "NEARER_JOB_REQUEUE_S": "2",
            "NEARER_TORCH_THREADS": "1",
        }
        self.database = ""
        if os.environ.get("DATABASE_URL"):
            self.database = f"nearer_{name}_{os.getpid()}"
            parts = urlsplit(os.environ["DATABASE_URL"])
            self._sql(f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)', f'CREATE DATABASE "{self.database}"')
            self.environment["DATABASE_URL"] = urlunsplit(parts._replace(path=f"/{self.database}"))
        if os.environ.get("REDIS_URL"):
            parts = urlsplit(os.environ["REDIS_URL"])
            worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
            self.environment["REDIS_URL"] = urlunsplit(parts._replace(path=f"/{13 - worker}"))
            import redis

            redis.Redis.from_url(self.environment["REDIS_URL"]).flushdb()
        self.process: subprocess.Popen[str] | None = None
        self.web: subprocess.Popen[bytes] | None = None
        self.log = folder / "site.log"

    def _sql(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def manage(self, *arguments: str, timeout: float = 300) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> Site:
        self.manage("collectstatic", "--noinput", "--verbosity", "0")
        out = self.log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-u", "manage.py", "serve", "--demo"],
            cwd=ROOT,
            env=self.environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 90
        while "is ready" not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)
        return self

    def web_only(self, *, threads: int = 4) -> subprocess.Popen[bytes]:
        """The production web server alone, without workers or schedule; ended by `stop()`."""
        flags = {"--bind": f"127.0.0.1:{self.port}", "--workers": "2", "--threads": str(threads)}
        flags |= {"--worker-class": "webapp.serving.Worker", "--log-level": "critical"}
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "gunicorn",
            "webapp.wsgi",
            *(t for f in flags.items() for t in f),
        ]
        self.web = subprocess.Popen(command, cwd=ROOT, env=self.environment, start_new_session=True)
        return self.web

    @property
    def password(self) -> str:
        return (self.folder / "var" / "demo_password").read_text()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(
                signal.SIGTERM
            )  # what a shell starts with & ignores SIGINT, and so do its children
            self.process.wait(120)  # workers end what they do; on a busy machine that takes its time
        if self.web and self.web.poll() is None:
            os.killpg(self.web.pid, signal.SIGKILL)
            self.web.wait(30)
        if self.database:
            self._sql(f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)')
