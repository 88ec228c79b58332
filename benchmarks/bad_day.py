"""A bad day: people answer while the database, the broker, the processes, the disk and a clock fail one after the other.

`python -m benchmarks.bad_day --json` as root on Linux with PostgreSQL's and Redis's programs: it starts its own of both, on ports of
its own, and the site (`manage.py serve`, started again when it dies, as a service manager does) on a disk of its own of 96 MiB.
16 simulated annotators send an answer again, unchanged, until it is acknowledged, as the browser does. With libfaketime a
further worker is 40 s ahead. Exits non-zero when a bar does not hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import requests

from benchmarks import harness
from benchmarks.at_work import upload
from tests.site import ROOT, free_port

ANNOTATORS = 16
PAUSE_S = 0.3  # between two answers of one person
BACK_S = 2.0  # after so long a service that is back must serve
DISK = "96m"
MAKE = """
from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan, PairPolicy
from labeling.models import Dataset
from webapp.accounts import people, tokens
from webapp.accounts.models import Account
from webapp.jobs import run
ada = Account.objects.get(username="ada")
dataset = Dataset.objects.select_related("skeleton").get(name="Sample people")
plan = CampaignPlan(name="bad day", votes_per_pair=16, delay_ms=0, tutorial_questions=0, session_length=500, gold_share=0.1,
    probe_share=0.1, pair_policy=PairPolicy(per_person=91))
campaign, job = lifecycle.create(ada, dataset, plan)
run.run_job(job.pk)
lifecycle.move(ada, campaign, "open")
print(campaign.uuid)
print(tokens.issue(ada, name="bench", scopes=["read", "write"])[1])
for n in range({annotators}):
    account = people.create(None, username=f"stormy-{{n}}", role="annotator", simulated=True)
    print(tokens.issue(account, name="bench", scopes=["annotate"])[1])
"""
STATE = """
import json
from django.db.models import Count, F
from labeling.models import Answer, Pair
from webapp.jobs.models import Job
keys = [str(k) for k in Answer.objects.values_list("key", flat=True)]
jobs = [(j.kind, j.state, j.attempt, (j.error or {}).get("code"), (j.error or {}).get("detail", "")) for j in Job.objects.order_by("pk")]
over = Pair.objects.filter(votes_counted__gt=F("votes_needed")).count()
wrong = sum(p.votes_counted != p.n for p in Pair.objects.annotate(n=Count("votes")))
print(json.dumps(dict(keys=keys, jobs=jobs, pairs_over=over, pairs_miscounted=wrong)))
"""
TIDY = """
from webapp.jobs import leftovers
print(leftovers.remove(in_flight_s=0))
"""


@dataclass
class Outages:
    """When which service was away: an answer of 5xx is excused if its request began then, or up to `BACK_S` later."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def during(self, what: str) -> Any:
        number = len(self.spans)
        self.spans.append((what, time.monotonic(), float("inf")))
        try:
            yield
        finally:
            self.spans[number] = (what, self.spans[number][1], time.monotonic())
            print(f"{what}: away {self.spans[number][2] - self.spans[number][1]:.1f} s", file=sys.stderr, flush=True)

    def excused(self, began: float, ended: float) -> bool:
        return any(began < end + BACK_S and ended > start for _, start, end in self.spans)


def wait_for(ready: Callable[[], bool], most_s: float = 60) -> None:
    deadline = time.monotonic() + most_s
    while True:
        with contextlib.suppress(Exception):
            if ready():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(getattr(ready, "__name__", "a service"))
        time.sleep(0.1)


class Machine:
    """Database, broker, disk and site of this benchmark alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.pg_port, self.redis_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.var = folder / "var"
        self.environment = os.environ | {
            "NEARER_VAR": str(self.var),
            "NEARER_DEMO": "1",
            "NEARER_PORT": str(self.port),
            "NEARER_JOB_SILENCE_S": "8",
            "NEARER_JOB_REQUEUE_S": "2",
            "NEARER_TORCH_THREADS": "1",
            "NEARER_RATE_HEAVY": "999999/hour",
            "NEARER_JUDGE_EVERY_S": "10",
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.pg_port}/postgres",
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
        }
        self.site: subprocess.Popen[bytes] | None = None
        self.extra: subprocess.Popen[bytes] | None = None
        self.redis: subprocess.Popen[bytes] | None = None
        self.ending = False
        self.log = (folder / "site.log").open("wb")

    def start(self) -> None:
        self.var.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "nearer-bad-day", str(self.var)], check=True)
        self.data = self.folder / "pg"
        self.data.mkdir()
        self.folder.chmod(0o755)
        shutil.chown(self.data, "postgres")
        self.bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self._postgres("initdb", "-D", str(self.data), "-A", "trust", "-U", "postgres")
        self.postgres_start()
        self.redis_start()
        self.manage("migrate", "--verbosity", "0")
        self.manage("collectstatic", "--noinput", "--verbosity", "0")
        self.manage("load_sample", "--verbosity", "0")

    def _postgres(self, program: str, *arguments: str) -> None:
        command = [
            "setpriv",
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            str(self.bin / program),
            *arguments,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def postgres_start(self) -> None:
        options = f"-p {self.pg_port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=100"
        self._postgres("pg_ctl", "-D", str(self.data), "-l", str(self.data / "log"), "-o", options, "-w", "start")

    def postgres_stop(self, how: str) -> None:
        self._postgres("pg_ctl", "-D", str(self.data), "-m", how, "-w", "stop")

    def redis_start(self) -> None:
        self.redis = subprocess.Popen(
            ["redis-server", "--port", str(self.redis_port), "--save", "", "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )
        wait_for(self._redis_answers)

    def _redis_answers(self) -> bool:
        import redis

        return bool(redis.Redis(port=self.redis_port).ping())

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
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        return done.stdout

    def serve(self) -> None:
        command = [sys.executable, "-u", "manage.py", "serve"]
        self.site = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=self.log, stderr=self.log, start_new_session=True
        )
        wait_for(self.healthy, 120)

    def keep_serving(self) -> None:
        """What a service manager does: start it again a second after it died."""

        def loop() -> None:
            while not self.ending:
                if self.site is not None and self.site.poll() is not None:
                    time.sleep(1)
                    with contextlib.suppress(TimeoutError):
                        self.serve()
                time.sleep(0.2)

        threading.Thread(target=loop, daemon=True).start()

    def serve_ahead(self, seconds: int) -> bool:
        """One further worker whose clock is ahead."""
        library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
        if library is None:
            return False
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "celery",
            "--quiet",
            "-A",
            "webapp",
            "worker",
            "--loglevel",
            "ERROR",
        ]
        command += [
            "--without-gossip",
            "--without-mingle",
            "-Q",
            "light,clock",
            "-c",
            "1",
            "-n",
            f"ahead-{self.port}@%h",
        ]
        environment = self.environment | {
            "LD_PRELOAD": str(library),
            "FAKETIME": f"+{seconds}s",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.extra = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=self.log, stderr=self.log, start_new_session=True
        )
        return True

    def healthy(self) -> bool:
        return requests.get(f"{self.url}/healthz", timeout=2).status_code == 200

    def processes(self) -> dict[int, str]:
        """Processes of this site, by the folder in their environment."""
        pids = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"NEARER_VAR={self.var}".encode() in (path / "environ").read_bytes().split(b"\0"):
                    pids[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:120].strip()
        return pids

    def of(self, *words: str) -> list[int]:
        return [pid for pid, line in self.processes().items() if all(word in line for word in words)]

    def stop(self) -> dict[int, str]:
        """End the site as a service manager does; which of its processes are left."""
        self.ending = True
        for process in (self.site, self.extra):
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (self.site, self.extra):
            if process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(60)
        time.sleep(2)
        return self.processes()

    def clear(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.redis:
            self.redis.kill()
        with contextlib.suppress(subprocess.CalledProcessError):
            self.postgres_stop("immediate")
        time.sleep(0.5)
        subprocess.run(["umount", "-l", str(self.var)], check=False)


@dataclass
class Tally:
    """What the annotators saw. `late`: answers of 5xx and broken connections that no outage excuses."""

    acknowledged: list[str] = field(default_factory=list)
    again: int = 0
    excused: int = 0
    late: list[str] = field(default_factory=list)


async def annotate(
    machine: Machine, campaign: str, token: str, end: threading.Event, outages: Outages, tally: Tally
) -> None:
    base = f"{machine.url}/api/v1/annotate/{campaign}/"

    async def ask(web: aiohttp.ClientSession, verb: str, body: Any) -> tuple[int, Any]:
        began = time.monotonic()
        try:
            async with web.post(base + verb, json=body, timeout=aiohttp.ClientTimeout(40)) as answer:
                status, data = answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            status, data = 599, {"detail": type(error).__name__}
        if status >= 500:
            await asyncio.sleep(0.05)
            if outages.excused(began, time.monotonic()):
                tally.excused += 1
            else:
                tally.late.append(f"{verb} {status} {str(data)[:120]}")
        return status, data

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as web:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                if (await web.get(base)).status == 200:
                    break
            await asyncio.sleep(1)
        while not end.is_set():
            status, question = await ask(web, "next/", {"have": []})
            if status != 200:
                await asyncio.sleep(0.5)
                continue
            vote = {"token": question["token"], "closer": "first", "key": str(uuid.uuid4()), "by": "simulated"}
            while True:
                status, _ = await ask(web, "vote/", vote)
                if status == 200:
                    tally.acknowledged.append(vote["key"])
                    break
                if 400 <= status < 500:  # a lease that ran out meanwhile, or the like: refused in words
                    break
                tally.again += 1
                await asyncio.sleep(0.5)
            await asyncio.sleep(PAUSE_S)


class Jobs(threading.Thread):
    """Aggregations, releases and imports, a new one of each as soon as the last has ended."""

    def __init__(self, machine: Machine, campaign: str, token: str) -> None:
        super().__init__(daemon=True)
        self.machine, self.campaign, self.token = machine, campaign, token
        self.end, self.started = threading.Event(), 0

    def run(self) -> None:
        api, number = f"{self.machine.url}/api/v1", 0
        running: dict[str, str] = {}
        while not self.end.is_set():
            for kind in ("aggregate", "release", "import"):
                with contextlib.suppress(requests.RequestException, ValueError, KeyError):
                    web = requests.Session()  # a new one: connections of the last one may be dead
                    web.headers["Authorization"] = f"Bearer {self.token}"
                    job = running.get(kind)
                    if job and web.get(f"{api}/jobs/{job}/", timeout=60).json()["state"] in (
                        "queued",
                        "running",
                        "cancelling",
                    ):
                        continue
                    number += 1
                    if kind == "import":
                        form = {"dataset": f"bad day {number % 6}", "format": "json"}
                        answer = web.post(f"{api}/imports/", data=form, files=upload(number % 6), timeout=60)
                    else:
                        answer = web.post(f"{api}/campaigns/{self.campaign}/{kind}/", json={}, timeout=60)
                    if answer.status_code == 202:
                        running[kind] = answer.json()["id"]
                        self.started += 1
            time.sleep(1)


def faults(machine: Machine, outages: Outages, calm_s: float) -> None:
    """One after the other, with calm between them."""

    def kill(what: str, *words: str) -> None:
        for pid in machine.of(*words):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)

    time.sleep(calm_s)
    with outages.during("PostgreSQL restarted"):
        machine.postgres_stop("fast")
        machine.postgres_start()
    time.sleep(calm_s)
    with outages.during("Redis stopped for 30 s"):
        assert machine.redis is not None
        machine.redis.kill()
        machine.redis.wait()
        time.sleep(30)
        machine.redis_start()
    time.sleep(calm_s)
    with outages.during("Redis flushed"):
        import redis

        redis.Redis(port=machine.redis_port).flushall()
    time.sleep(calm_s)
    with outages.during("PostgreSQL crashed"):
        machine.postgres_stop("immediate")
        machine.postgres_start()
    time.sleep(calm_s)
    with outages.during("web killed"):
        web = [pid for pid in machine.of("serve") if machine.site is None or pid != machine.site.pid]
        for pid in web:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
        wait_for(machine.healthy)
    time.sleep(calm_s)
    kill("workers", "celery", f"-{machine.port}@")
    time.sleep(calm_s)
    with outages.during("supervisor killed"):
        assert machine.site is not None
        machine.site.kill()
        machine.site.wait()
        time.sleep(3)
        wait_for(machine.healthy, 120)
    time.sleep(calm_s)
    filler = machine.var / "filler"
    with outages.during("disk full for 20 s"):
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65536)
        time.sleep(20)
        filler.unlink()
    time.sleep(calm_s)


def bad_day(calm_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        try:
            machine.start()
            lines = machine.manage("shell", "-v0", "-c", MAKE.format(annotators=ANNOTATORS), timeout=900).split()
            campaign, admin, tokens = lines[0], lines[1], lines[2:]
            machine.serve()
            machine.keep_serving()
            ahead = machine.serve_ahead(40)
            outages, tally, end = Outages(), Tally(), threading.Event()

            async def everybody() -> None:
                await asyncio.gather(*(annotate(machine, campaign, t, end, outages, tally) for t in tokens))

            crowd = threading.Thread(target=lambda: asyncio.run(everybody()))
            jobs = Jobs(machine, campaign, admin)
            crowd.start()
            jobs.start()
            try:
                faults(machine, outages, calm_s)
            finally:
                end.set()
                jobs.end.set()
                crowd.join(120)
                jobs.join(120)
            deadline = time.monotonic() + 240
            state: dict[str, Any] = {}
            while time.monotonic() < deadline:
                state = json.loads(machine.manage("shell", "-v0", "-c", STATE).splitlines()[-1])
                if not any(job[1] in ("queued", "running", "cancelling") for job in state["jobs"]):
                    break
                time.sleep(3)
            left = machine.stop()
            swept = int(machine.manage("shell", "-v0", "-c", TIDY).split()[-1])
            kept = {
                str(p.relative_to(machine.var))
                for name in ("uploads", "jobs", "media/staged")
                for p in (machine.var / name).glob("*")
            }
            parts = [str(p.relative_to(machine.var)) for p in machine.var.rglob("*.part")]
            log = (machine.folder / "site.log").read_text(errors="replace")
        finally:
            machine.ending = True
            machine.clear()
    stored: dict[str, int] = {}
    for key in state["keys"]:
        stored[key] = stored.get(key, 0) + 1
    unfinished = [job for job in state["jobs"] if job[1] in ("queued", "running", "cancelling")]
    failed = [job for job in state["jobs"] if job[1] == "failed"]
    may_go_on = len(failed) + sum(job[1] == "cancelled" for job in state["jobs"])
    report = {
        "faults": [what for what, _, _ in outages.spans],
        "worker_40_s_ahead": ahead,
        "acknowledged": len(tally.acknowledged),
        "acknowledged_lost": sum(stored.get(key, 0) != 1 for key in tally.acknowledged),
        "stored": len(state["keys"]),
        "sent_again": tally.again,
        "errors_excused": tally.excused,
        "errors_late": tally.late[:20],
        "errors_late_count": len(tally.late),
        "pairs_over": state["pairs_over"],
        "pairs_miscounted": state["pairs_miscounted"],
        "jobs_started": jobs.started,
        "jobs": {s: sum(job[1] == s for job in state["jobs"]) for s in sorted({job[1] for job in state["jobs"]})},
        "jobs_failed": [f"{kind}: {code}: {detail[:100]}" for kind, _, _, code, detail in failed],
        "jobs_unfinished": unfinished,
        "most_attempts": max((job[2] for job in state["jobs"]), default=0),
        "swept": swept,
        "files_kept_for_jobs_that_may_go_on": sorted(kept),
        "parts_left": parts,
        "processes_left": list(left.values()),
        "tracebacks_in_log": log.count("Traceback (most recent call last)"),
    }
    bars = {
        "acknowledged answers lost or doubled": report["acknowledged_lost"],
        "errors for requests begun 2 s after the service was back": len(tally.late),
        "pairs over their votes or miscounted": report["pairs_over"] + report["pairs_miscounted"],
        "jobs that did not end": len(unfinished),
        "jobs that failed without a word": sum(not job[4] for job in failed),
        "stray files": len(parts) + max(0, len([k for k in kept if k.startswith("media")]) + len(kept) - 2 * may_go_on),
        "processes left behind": len(left),
    }
    return report | {"broken": [f"{bar}: {count}" for bar, count in bars.items() if count]}


def main() -> int:
    parser = harness.options(__doc__)
    parser.add_argument("--calm-s", type=float, default=12.0, help="calm before and after each fault")
    options = parser.parse_args()
    report = bad_day(options.calm_s)
    print(json.dumps(report, indent=1))
    return harness.conclude(options, report, report["broken"])


if __name__ == "__main__":
    sys.exit(main())
