"""Lifting with a stored model: over the API at once and as a job, and from files of every format."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from labeling.releasing.reading import unlabelled
from labeling.skeletons import LSP_14
from tests.conftest import World
from tests.site import ROOT
from tests.training.lifter.test_lifter import SMALL, poses
from tests.training.runs.test_runs import QUICK, release  # noqa: F401
from training.lifter import export, keypoints
from training.lifter import fit as fitting
from training.lifter.predict import load, predict
from training.models import Model
from training.runs import launch, lifts
from webapp.errors import Invalid, NotAllowed
from webapp.jobs import run as jobs
from webapp.jobs.models import Job


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    export.save(fitting.fit(poses(), SMALL), path)
    return path


@pytest.fixture
def model(world: World, release) -> Model:  # noqa: F811
    run = launch.start(world.resi, release, options=QUICK)
    jobs.run_job(run.job.pk)
    return Model.objects.get()


def people(count: int, joints: int) -> list[dict]:
    rng = np.random.default_rng(3)
    return [{"name": f"p{n}", "keypoints": rng.uniform(0, 500, (joints, 2)).round(2).tolist()} for n in range(count)]


def test_a_small_batch_is_answered_at_once_and_equals_the_library(world: World, model: Model) -> None:
    asked = people(5, len(model.keypoints))
    asked[2]["keypoints"][3] = None
    answer = world.client(world.resi).post(
        f"/api/v1/models/{model.uuid}/predict/", {"people": asked}, content_type="application/json"
    )
    assert answer.status_code == 200, answer.content
    ours = np.array([p["pose_mm"] for p in answer.json()["people"]])
    weights = lifts.weights_of(model)
    expected = predict(weights, keypoints.from_people(asked, weights.skeleton, {}))
    assert np.abs(ours - expected).max() < 0.006
    assert answer.json()["joints"] == model.keypoints


def test_a_large_batch_becomes_a_job_whose_result_only_its_owner_and_admins_fetch(world: World, model: Model) -> None:
    asked = people(300, len(model.keypoints))
    client = world.client(world.resi)
    answer = client.post(f"/api/v1/models/{model.uuid}/predict/", {"people": asked}, content_type="application/json")
    assert answer.status_code == 202
    job = Job.objects.get(uuid=answer.json()["id"])
    place = f"/api/v1/models/{model.uuid}/predictions/{job.uuid}/"
    assert client.get(place).status_code == 409
    batch = Path(settings.VAR) / "lifts" / job.config["batch"]
    assert batch.exists()
    jobs.run_job(job.pk)
    assert not batch.exists()
    lifted = json.loads(b"".join(client.get(place).streaming_content))
    weights = lifts.weights_of(model)
    expected = predict(weights, keypoints.from_people(asked, weights.skeleton, {}))
    assert np.abs(np.array([p["pose_mm"] for p in lifted["people"]]) - expected).max() < 0.006
    assert world.client(world.ada).get(place).status_code == 200
    assert world.client(world.rea).get(place).status_code == 404
    assert world.client(world.eve).get(place).status_code == 404


def test_annotators_do_not_lift(world: World, model: Model) -> None:
    with pytest.raises(NotAllowed):
        lifts.lift(world.eve, model, {"people": people(1, len(model.keypoints))})


@pytest.mark.parametrize(
    ("person", "field"),
    [
        ("x", "people[0]"),
        ({"keypoints": [[1, 2]]}, "people[0].keypoints"),
        ({"keypoints": [[1, 2], ["a", 2], *[None] * 12]}, "people[0].keypoints[1]"),
        ({"keypoints": [[1, 2], [1, float("nan")], *[None] * 12]}, "people[0].keypoints[1]"),
        ({"keypoints": [None] * 14}, "people[0].keypoints"),
        ({"keypoints": {"tail": [1, 2]}}, "people[0].keypoints"),
        ({"keypoints": [[n, n] for n in range(14)], "focal_px": [0, 1]}, "focal_px"),
    ],
)
def test_bad_keypoints_are_named(person: object, field: str) -> None:
    with pytest.raises(keypoints.BadKeypoints) as bad:
        keypoints.from_people([person], LSP_14, {})
    assert bad.value.field == field


def test_too_many_or_no_people_are_refused(world: World, model: Model) -> None:
    for wrong in ([], "many", [{}] * (lifts.MOST + 1)):
        with pytest.raises(Invalid) as refused:
            lifts.lift(world.resi, model, {"people": wrong})
        assert refused.value.field == "people"


def write(path: Path, points: np.ndarray) -> Path:
    names = [f"p,{n}" for n in range(len(points))]
    some = np.where(np.isnan(points), None, points).tolist()
    listed = [[None if x is None else [x, y] for x, y in person] for person in some]
    if path.suffix == ".npz":
        np.savez(path, keypoints_px=points, names=np.array(names))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["name", *(f"{j}_{a}" for j in LSP_14.keypoints for a in "xy")])
            for name, person in zip(names, points):
                rows.writerow([name, *("" if np.isnan(v) else v for v in person.ravel())])
    else:
        people = [{"name": n, "keypoints": k} for n, k in zip(names, listed)]
        text = json.dumps({"people": people}) if path.suffix == ".json" else "\n".join(map(json.dumps, people))
        path.write_text(text)
    return path


def read_back(path: Path) -> tuple[list[str], np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path) as file:
            return file["names"].tolist(), file["poses_mm"]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        return [r[0] for r in rows], np.array([r[1:] for r in rows], dtype=float).reshape(len(rows), 14, 3)
    text = path.read_text()
    people = json.loads(text)["people"] if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    return [p["name"] for p in people], np.array([p["pose_mm"] for p in people])


@pytest.mark.parametrize("source", keypoints.FORMATS)
@pytest.mark.parametrize("target", keypoints.FORMATS)
def test_every_format_to_every_format(tmp_path: Path, weights: Path, source: str, target: str) -> None:
    points = np.random.default_rng(8).uniform(0, 400, (11, 14, 2)).round(2)
    points[4, 2] = np.nan
    source_file = write(tmp_path / f"in.{source}", points)
    call_command("lift", str(weights), str(source_file), str(tmp_path / f"out.{target}"), verbosity=0)
    names, points_read = read_back(tmp_path / f"out.{target}")
    model = load(weights)
    expected = predict(model, unlabelled(LSP_14, names, points))
    assert names == [f"p,{n}" for n in range(11)]
    assert np.abs(points_read - expected).max() < 0.006


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "can read"),
        ("a.json", b"{", "cannot be read"),
        ("a.json", b'{"people": 3}', "people"),
        ("a.csv", b"name,x\n", "right_ankle_x"),
        ("a.csv", b"", "right_ankle_x"),
        ("a.npz", b"PK", "cannot be read"),
        ("a.jsonl", b"", "nobody"),
    ],
)
def test_a_bad_file_is_named_and_nothing_is_written(
    tmp_path: Path, weights: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CommandError, match=says):
        call_command("lift", str(weights), str(tmp_path / name), str(tmp_path / "out.json"))
    assert not list(tmp_path.glob("*out*"))


MEASURE = """
import resource, sys
from pathlib import Path
from training.lifter.predict import load
from training.runs.lifts import lift_file
weights = load(Path(sys.argv[1]))
for source in sys.argv[2:]:
    lift_file(weights, Path(source), Path(source).with_suffix(".out.csv"))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_ten_times_the_people_take_no_more_memory(tmp_path: Path, weights: Path) -> None:
    rng = np.random.default_rng(1)
    for count in (9_000, 90_000):
        np.savez(tmp_path / f"{count}.npz", keypoints_px=rng.uniform(0, 400, (count, 14, 2)))
    script = "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'webapp.settings'; django.setup()\n" + MEASURE
    files = [str(tmp_path / f"{count}.npz") for count in (9_000, 90_000)]
    done = subprocess.run(
        [sys.executable, "-c", script, str(weights), *files], capture_output=True, text=True, check=True
    )
    few, many = map(int, done.stdout.split())
    assert many - few < 30, (few, many)


def test_the_guides_python_works_as_printed(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (ROOT / "docs" / "researchers.md").read_text()
    code = guide.split("```python\n")[1].split("```")[0]
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide" / "model.safetensors").write_bytes(weights.read_bytes())
    monkeypatch.chdir(tmp_path / "guide")
    points = np.random.default_rng(0).uniform(0, 300, (5, 14, 2))
    known: dict = {"names": list("abcde"), "keypoints_px": points}
    exec(code, known)  # noqa: S102
    assert known["poses_mm"].shape == (5, 14, 3)
