"""The catalogue of harvesters under its contract, and a third one, which returns zeros, all the way to its page."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.architecture.test_documents import examples
from tests.conftest import World
from tests.site import ROOT
from training.catalogs import HarvesterOffer, UploadedPart, harvesters  # noqa: F401  (the guide's entry)
from training.harvest import arrays
from training.harvest.arrays import BadArrays, Outcome, Size
from training.harvest.harvester import Harvester, HarvestPlan
from training.harvests import uploads
from training.models import Harvest
from webapp.catalog import load
from webapp.config import NoOptions  # noqa: F401  (the guide's entry)
from webapp.errors import Invalid, NotFound
from webapp.jobs import run as jobs

F, J = 7, 14


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The harvester of docs/how_to_add.md, listed as it says there."""
    monkeypatch.setitem(sys.modules, "training.zeros.harvester", examples()["harvester"])
    section = (ROOT / "docs" / "how_to_add.md").read_text().partition("## A harvester")[2].partition("\n## ")[0]
    entry = section.rpartition("```python\n")[2].partition("```")[0]
    exec(compile(entry, "offers.py", "exec"), globals())  # noqa: S102  (our own document)
    yield harvesters["zeros"]
    del harvesters._own["zeros"]


def test_the_harvester_of_the_guide_has_page_job_and_review(world: World, offered: HarvesterOffer) -> None:
    client = world.client(world.ada)
    assert "A line for each frame" in client.get("/harvests/new/zeros/").content.decode()
    assert "/harvests/new/zeros/" in client.get("/harvests/").content.decode()
    sent = {"name": "nothing", "fps": "12.5", "notes": SimpleUploadedFile("n.txt", b"frame\n" * F)}
    created = client.post("/harvests/new/zeros/", sent)
    harvest = Harvest.objects.select_related("job").get()
    assert (created.status_code, created["Location"]) == (302, f"/harvests/{harvest.uuid}/")
    jobs.run_job(harvest.job.pk)
    harvest = Harvest.objects.select_related("job").get()
    assert harvest.job.state == "done", harvest.job.error
    assert (harvest.source, harvest.frames, harvest.fps) == ("zeros", F, 12.5)
    assert harvest.pseudo_labels.count() == F * J
    assert f"{F * J:,}" in client.get(f"/harvests/{harvest.uuid}/").content.decode().replace(" ", ",")
    frame = client.get(f"/api/v1/harvests/{harvest.uuid}/frames/3/").json()
    assert [j["outcome"] for j in frame["joints"]] == ["found"] * J
    assert client.get(f"/harvests/{harvest.uuid}/review/").status_code == 200


@pytest.mark.parametrize(
    ("file", "field"),
    [(None, "notes"), (("n.txt", b""), "notes"), (("n.zip", b"person"), "notes"), (("n.txt", b" "), "notes")],
)
def test_a_wrong_file_is_refused_and_leaves_nothing_behind(
    world: World, offered: HarvesterOffer, settings: Any, file: tuple[str, bytes] | None, field: str
) -> None:
    before = sorted(Path(settings.FILE_UPLOAD_TEMP_DIR).glob("*"))
    files = {"notes": SimpleUploadedFile(*file) if file else None}
    with pytest.raises(Invalid) as refused:
        uploads.receive(world.ada, "zeros", HarvestPlan(name="x"), files)
    assert refused.value.field == field
    assert sorted(Path(settings.FILE_UPLOAD_TEMP_DIR).glob("*")) == before
    assert not Harvest.objects.exists()


def test_an_unknown_harvester_is_answered_with_those_that_there_are(world: World) -> None:
    assert world.client(world.ada).get("/harvests/new/none/").status_code == 404
    with pytest.raises(NotFound) as refused:
        uploads.receive(world.ada, "none", HarvestPlan(name="x"), {})
    assert "multiview, video" in refused.value.fix


def test_every_harvester_has_the_signature_of_the_protocol() -> None:
    asked = list(inspect.signature(Harvester.__call__).parameters)[1:]
    for offer in harvesters:
        assert list(inspect.signature(offer.load()).parameters) == asked, offer.name
        assert list(inspect.signature(load(offer.check)).parameters) == ["files", "plan"], offer.name
        assert issubclass(offer.plan, HarvestPlan)


def test_arrays_go_on_only_with_the_same_input(tmp_path: Path) -> None:
    first = arrays.start(tmp_path, Size(F, 3, J), ["a", 1], notes={"lengths_mm": [1.5]})
    first.append(0, {"position": np.full((2, J, 3), 4.0), "seen": np.ones((2, 3, J), dtype=bool)})
    first.advance(2)
    again = arrays.start(tmp_path, Size(F, 3, J), ["a", 1])
    assert (again.done, float(again.arrays.position[1].mean()), float(again.arrays.position[2].mean())) == (2, 4.0, 0.0)
    other = arrays.start(tmp_path, Size(F, 3, J), ["b", 1])
    assert (other.done, float(np.abs(other.arrays.position).max())) == (0, 0.0)


def test_what_was_written_reads_back_and_what_is_none_is_refused(tmp_path: Path) -> None:
    writing = arrays.start(tmp_path, Size(F, 2, J), [], extra=["before"], notes={"lengths_mm": [2.5]})
    offset = np.random.default_rng(0).normal(size=(F, 2, J, 2)).astype(np.float32)
    writing.append(0, {"offset_px": offset, "before": np.full((F, J, 3), 2.0), "outcome": np.full((F, J), 2)})
    kept = np.zeros((F, J), dtype=bool)
    kept[3, 4] = True
    writing.keep(kept)
    back = arrays.read(tmp_path)
    np.testing.assert_array_equal(back.kept, kept)
    np.testing.assert_allclose(back.error_px, np.hypot(offset[..., 0], offset[..., 1]), rtol=1e-6)
    assert (sorted(back.extra), float(back.extra["before"].mean())) == (["before"], 2.0)
    assert arrays.counts(back.outcome) == {arrays.WORDS[Outcome.FOUND]: 0, arrays.WORDS[Outcome.INFERRED]: F * J}
    assert arrays.notes_of(tmp_path) == {"lengths_mm": [2.5]}
    (tmp_path / "kept.npy").write_bytes(b"nothing")
    with pytest.raises(BadArrays, match="this is no harvest"):
        arrays.read(tmp_path)
