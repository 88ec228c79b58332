"""One hour of 30 fps keypoints (108,000 frames, 17 joints): library time and memory, and the same as a Job with cancel and killed workers.

Part of `python -m benchmarks.video --parts hour`. Simulated detections of authored motion played forth and back; three untrained lifters of
the usual size stand for trained ones (they cost the same). The Job runs on a real site in a folder of its own (SQLite and its broker, or
DATABASE_URL and REDIS_URL): asked to stop once, continued, its worker killed with SIGKILL twice.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from labeling.skeletons import H36M_17
from tests.site import Site
from training.simulation import videos

FRAMES, FPS = 108_000, 30.0
LIBRARY_S, JOB_S, CANCEL_S, GROWN_MIB = 180.0, 360.0, 5.0, 200.0

LIBRARY = """
import json, os, resource, sys, time
import numpy as np
from pathlib import Path
from training.lifter.predict import load
from training.video import harvest
from training.video.clips import follow
from training.video.config import VideoConfig
from training.video.lifting import Ensemble
folder = Path(sys.argv[1])
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
people = np.load(folder / "people.npy", mmap_mode="r")
models = Ensemble([load(folder / f"{n}.safetensors") for n in range(3)])
config, seen = VideoConfig(), []
begun = time.perf_counter()
clips = follow(people, 30.0, config.clips).clips
video = harvest.Video(models.skeleton, clips, 30.0, (1000, 1000), people=people)
def progress(done, total, unit):
    with open("/proc/self/smaps_rollup") as said:
        private = sum(int(line.split()[1]) for line in said if line.startswith("Private_Dirty"))
    seen.append((done, private / 1024))
harvest.harvest(video, models.lift, config, folder / "out", progress=progress)
took = time.perf_counter() - begun
early = max(mib for done, mib in seen if done < 0.1 * video.rows)
print(json.dumps(dict(s=took, rows=video.rows, clips=len(clips), early_mib=early, most_mib=max(m for _, m in seen))))
"""
MODELS = """
import sys
from pathlib import Path
import numpy as np
from labeling.skeletons import H36M_17
from training.lifter import fit, export
from training.lifter.config import PRESETS, changed
from training.simulation.annotators import LabelConfig, label
from training.poses.mocap import Clip
from training.poses.views import Studio, project
motion = np.load(Path(sys.argv[1]) / "motion.npy")
views = label(project([Clip("a", motion, 10.0)], H36M_17, Studio(), 0), LabelConfig())
for seed in range(3):
    config = changed(PRESETS["nearer"], epochs=1, seed=seed)
    export.save(fit.fit(views, config, curves=False), Path(sys.argv[1]) / f"{seed}.safetensors")
"""
STORE = """
import hashlib, shutil, sys
from pathlib import Path
from django.conf import settings
from labeling.models import Campaign, AggregationRun, Release
from labeling.skeletons import H36M_17
from training.models import Model, Run
from webapp.accounts.models import Account
from webapp.jobs.models import Job
admin = Account.objects.get(username="ada")
campaign = Campaign.objects.get(name="Sample campaign")
release = Release.objects.filter(campaign=campaign).first()
if release is None:
    run = AggregationRun.objects.create(campaign=campaign, number=1, model="imported", votes_used=0, last_vote=0)
    release = Release.objects.create(campaign=campaign, aggregation_run=run, number=1)
for n in range(3):
    job = Job.objects.create(kind="train", title="bench", state="done", created_by=admin)
    run = Run.objects.create(name=f"bench {{n}}", release=release, method="lifter", config={{}}, job=job, created_by=admin)
    model = Model(name="bench", version=n + 1, run=run, sha256="0" * 64, bytes=1, keypoints=list(H36M_17.keypoints))
    target = Path(settings.MEDIA_ROOT) / model.path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path("{folder}") / f"{{n}}.safetensors", target)
    model.save()
"""
START = """
import io, sys
from pathlib import Path
from django.core.files.uploadedfile import SimpleUploadedFile
from training.harvests import uploads
from training.models import Model
from training.video.upload import VideoPlan
from webapp.accounts.models import Account
plan = VideoPlan(name="hour", models=[m.uuid for m in Model.objects.all()])
found = SimpleUploadedFile("d.npz", (Path("{folder}") / "d.npz").read_bytes())
harvest = uploads.receive(Account.objects.get(username="ada"), "video", plan, dict(detections=found))
print(harvest.uuid, harvest.job.uuid)
"""
TOKEN = """
from webapp.accounts import tokens
from webapp.accounts.models import Account
print(tokens.issue(Account.objects.get(username="ada"), name="bench", scopes=["read"])[1])
"""
KEPT = """
from training.models import Harvest
print(Harvest.objects.get(uuid="{harvest}").pseudo_labels.count())
"""
DO = """
from training.models import Harvest
from webapp.accounts.models import Account
from webapp.jobs import run
getattr(run, "{verb}")(Account.objects.get(username="ada"), Harvest.objects.get(uuid="{harvest}").job)
"""


def recorded(motion: NDArray[np.floating], folder: Path) -> None:
    """An hour of simulated detections of one person who walks forth and back through the motion."""
    rng = np.random.default_rng(0)
    smooth = np.repeat(motion, 3, axis=0).astype(np.float64)  # 10 to 30 frames a second, then between them
    smooth = (np.roll(smooth, 1, axis=0) + smooth + np.roll(smooth, -1, axis=0)) / 3
    forth = np.concatenate([smooth, smooth[::-1]])
    rows = np.resize(np.arange(len(forth)), FRAMES)
    truth = videos.seen_from(forth[rows], 45.0) + [0, 0, 5000]
    pixels = 1145 * truth[..., :2] / truth[..., 2:] + 500
    seen, score = videos.detected(pixels, H36M_17, videos.LIGHT, rng)
    people = np.concatenate([seen, score[..., None]], axis=-1).astype(np.float32)[:, None]
    np.save(folder / "people.npy", people)
    np.save(folder / "motion.npy", motion[:400].astype(np.float32))
    np.savez(folder / "d.npz", people=people, joint_names=np.array(H36M_17.keypoints), fps=FPS, image_size=[1000, 1000])


def hour(motion: NDArray[np.floating]) -> tuple[dict[str, Any], dict[str, bool]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recorded(motion, folder)
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        subprocess.run([sys.executable, "-c", MODELS, name], check=True, env=environment)
        done = subprocess.run(
            [sys.executable, "-c", LIBRARY, name], check=True, env=environment, stdout=subprocess.PIPE
        )
        measured = json.loads(done.stdout.splitlines()[-1])
        grown = measured["most_mib"] - measured["early_mib"]
        print(f"library: {measured['rows']} frames in {measured['clips']} clips, {measured['s']:.0f} s; memory of its own at most "
              f"{measured['most_mib']:.0f} MiB, {grown:+.0f} MiB since the first tenth", flush=True)  # fmt: skip
        (folder / "site").mkdir()
        site = Site(folder / "site", "hour")
        try:
            job = _job(site.start(), folder)
        finally:
            site.stop()
    bars = {
        f"an hour in {measured['s']:.0f} s of library time (bar {LIBRARY_S:.0f})": measured["s"] <= LIBRARY_S,
        f"memory grew by {grown:.0f} MiB (bar {GROWN_MIB:.0f})": grown <= GROWN_MIB,
        f"an hour in {job['whole_s']:.0f} s as a Job (bar {JOB_S:.0f})": job["whole_s"] <= JOB_S,
        f"stopped {job['cancel_s']:.1f} s after it was asked to (bar {CANCEL_S:.0f})": job["cancel_s"] <= CANCEL_S,
        f"killed twice: {job['kept_killed']} pseudo-labels, {job['kept']} undisturbed": job["kept_killed"]
        == job["kept"]
        > 0,
    }
    return {"library": measured, "job": job}, bars


def _job(site: Site, folder: Path) -> dict[str, Any]:
    def shell(code: str, **values: Any) -> str:
        out = site.manage("shell", "-v0", "-c", code.format(folder=folder, **values)).split("\n")
        return next((line for line in reversed(out) if line.strip()), "")

    shell(STORE)
    token = shell(TOKEN)

    def now(job: str) -> dict[str, Any]:
        asked = urllib.request.Request(f"{site.url}/api/v1/jobs/{job}/", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
        with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
            return dict(json.load(answer))

    def until(job: str, *states: str, past: float = -1.0, most_s: float = 1800.0) -> dict[str, Any]:
        deadline = time.monotonic() + most_s
        while True:
            state = now(job)
            harvesting = past < 0 or state["unit"] == "frames"  # not while people are followed
            if state["state"] in states and harvesting and (state["share_done"] or 0.0) >= past:
                return state
            if state["state"] in ("failed", "done") or time.monotonic() > deadline:
                raise RuntimeError(f"the Job is {state}")
            time.sleep(0.5)

    begun = time.monotonic()
    whole, job = shell(START).split()
    until(job, "done")
    took = time.monotonic() - begun
    kept = int(shell(KEPT, harvest=whole))
    print(f"Job: {took:.0f} s from upload to {kept} pseudo-labels", flush=True)
    disturbed, job = shell(START).split()
    until(job, "running", past=0.1)
    begun = time.monotonic()
    shell(DO, verb="cancel", harvest=disturbed)
    asked = time.monotonic()  # the command returns once the wish is in the database
    until(job, "cancelled")
    stopped = time.monotonic() - asked
    shell(DO, verb="retry", harvest=disturbed)
    for share in (0.3, 0.6):
        attempt = until(job, "running", past=share)["attempt"]
        for process in psutil.Process(site.process.pid).children(recursive=True):  # type: ignore[union-attr]
            try:
                if f"heavy-{site.port}@%h" in process.cmdline():
                    os.kill(process.pid, signal.SIGKILL)
            except (psutil.NoSuchProcess, ProcessLookupError):  # ended by itself, with its parent
                pass
        deadline = time.monotonic() + 120
        while now(job)["attempt"] <= attempt and time.monotonic() < deadline:
            time.sleep(0.5)
    again = until(job, "done")
    kept_killed = int(shell(KEPT, harvest=disturbed))
    print(f"Job: stopped {stopped:.1f} s after it was asked to ({asked - begun:.1f} s of command before it); continued, killed twice, "
          f"{kept_killed} pseudo-labels in attempt {again['attempt']}", flush=True)  # fmt: skip
    results = {"whole_s": took, "kept": kept, "cancel_s": stopped, "kept_killed": kept_killed}
    return results | {"attempts": again["attempt"]}
