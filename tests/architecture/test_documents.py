"""What is documented is tested: the guide's examples run, generated pages are current, links lead somewhere, pages are served."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from django.http import QueryDict
from django.test import Client

from labeling.crowd.votes import Votes
from labeling.importing.parsed import Limits, Report
from tests.site import ROOT
from training.management.commands.write_reference import pages, refusals
from webapp.documentation import CONTENTS
from webapp.errors import Invalid
from webapp.forms import Form

DOCS = sorted((ROOT / "docs").rglob("*.md"))


def examples() -> dict[str, ModuleType]:
    """The files that docs/how_to_add.md shows, run as they stand there."""
    modules = {}
    for block in re.findall(
        r"```python\n(# \S+\.py\n.*?)```", (ROOT / "docs" / "how_to_add.md").read_text(), flags=re.S
    ):
        name = Path(block.split()[1]).stem
        module = ModuleType(name)
        exec(compile(block, block.split()[1], "exec"), vars(module))  # noqa: S102  (our own document)
        modules[name] = module
    return modules


def test_the_crowd_model_of_the_guide_answers_by_the_first_vote() -> None:
    second = np.array([True, False, True, False, True])
    votes = Votes(np.array([2, 0, 0, 2, 0]), np.array([0, 1, 2, 1, 0]), second, 4, 3)
    result = examples()["first_answer"].fit(votes, None)
    assert result.p_second.tolist() == [0.1, 0.5, 0.9, 0.5]
    assert np.isnan(result.skill).all()


def test_the_import_format_of_the_guide_reads_names_and_reports_bad_rows(tmp_path: Path) -> None:
    path, report = tmp_path / "names.txt", Report()
    path.write_text("a.jpg\n\nfolder/b.jpg\nc.jpg\n")
    parsed = examples()["names"].read_names(path, None, Limits(), report)
    assert [entry.name for entry in parsed.entries] == ["a.jpg", "c.jpg"]
    assert (report.bad, report.rows[0]["row"]) == (1, "line 3")


def test_the_field_of_the_guide_is_in_the_form_with_its_help_and_its_bounds() -> None:
    plan = examples()["thanks"].ThankfulPlan
    groups = {title: inputs for title, inputs in Form(plan, None).groups()}
    field = next(i for i in groups["What annotators read"] if i.name == "thanks")
    assert (field.label, field.longest, field.wide) == ("Word of thanks", 200, True)
    assert field.help == "shown when a session is finished; empty: none"
    refused = Form(plan, QueryDict("name=a&thanks=" + 201 * "x"))
    with pytest.raises(Invalid):
        refused.read()
    assert "thanks" in refused.errors


@pytest.mark.parametrize("name", ["options.md", "errors.md", "data_model.md"])
def test_reference_pages_are_those_of_the_code(name: str) -> None:
    """`manage.py write_reference` writes them anew."""
    assert (ROOT / "docs" / "reference" / name).read_text() == pages()[name]


def test_every_refusal_says_what_it_means() -> None:
    text = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert len(refusals()) > 20
    for code in refusals():
        about = text.partition(f"`{code}`, status")[2].partition("\n\n")[0]
        assert len(about.partition(". ")[2]) > 10, code


def test_links_between_documents_lead_to_files_that_are_there() -> None:
    broken = []
    for path in [*DOCS, ROOT / "README.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text()):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_document_is_served_and_leads_to_others(db: None) -> None:
    client = Client()
    contents = client.get("/docs/").content.decode()
    names = [name for _, group in CONTENTS for name in group]
    assert {f"{p.relative_to(ROOT / 'docs').with_suffix('')}" for p in DOCS} >= set(names)
    for path in DOCS:
        name = str(path.relative_to(ROOT / "docs").with_suffix(""))
        assert f'href="/docs/{name}"' in contents, name
        page = client.get(f"/docs/{name}")
        assert page.status_code == 200, name
        assert "<script" not in page.content.decode().replace('<script type="module"', "")
    for bad in ("nothing", "../settings", "reference/../../README", "reference/errors.md", "a/b/c"):
        assert client.get(f"/docs/{bad}").status_code == 404


def test_the_type_of_a_problem_leads_to_its_explanation(db: None) -> None:
    problem = Client().get("/api/v1/campaigns/00000000-0000-0000-0000-000000000000/").json()
    page, _, anchor = problem["type"].partition("#")
    assert f'id="{anchor}"' in Client().get(page).content.decode()
