"""What may know what: no circle of files, and no heavy library behind any page or address of the API."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import grimp

from tests.site import ROOT, Site

HEAVY = ("torch", "crowdkit", "scipy", "sklearn", "pandas", "pyarrow")


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules each of which leads back to itself (strongly connected components; Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    closed: set[str] = set()
    groups: list[set[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        path.append(module)
        for other in sorted(imports[module] & imports.keys()):
            if other not in number:
                visit(other)
            if other not in closed:
                low[module] = min(low[module], low[other])
        if low[module] == number[module]:
            group = set(path[path.index(module) :])
            del path[path.index(module) :]
            closed.update(group)
            if len(group) > 1:
                groups.append(group)

    for module in sorted(imports):
        if module not in number:
            visit(module)
    return groups


def test_circles_are_found_in_a_graph_that_has_some() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert sorted(map(sorted, circles(graph))) == [["a", "b", "c"], ["d", "e"]]


def test_no_file_leads_back_to_itself() -> None:
    graph = grimp.build_graph("webapp", "labeling", "training", cache_dir=None)
    modules = {name for name in graph.modules if ".migrations" not in name}
    assert len(modules) > 250
    assert circles({name: set(graph.find_modules_directly_imported_by(name)) for name in modules}) == []


VISIT = """
import json, re, sys
from django.test import Client
from django.urls import URLPattern, get_resolver
from labeling.models import Campaign, Dataset, Image
from webapp.accounts.models import Account
ids = {"campaigns": Campaign.objects.get().uuid, "datasets": Dataset.objects.first().uuid, "images": Image.objects.first().uuid}
def routes(patterns, before=""):
    for one in patterns:
        if isinstance(one, URLPattern):
            yield before + str(one.pattern)
        else:
            yield from routes(one.url_patterns, before + str(one.pattern))
client = Client()
client.force_login(Account.objects.get(username="ada"))
visited = {}
for route in routes(get_resolver().url_patterns):
    path = "/" + route.replace("^", "").replace("$", "").replace("\\\\Z", "")
    kind = re.search(r"(campaigns|datasets|images)/[(<]", path)
    if kind:
        path = re.sub(r"<uuid:identity>|\\(\\?P<id>[^)]*\\)", str(ids[kind.group(1)]), path)
    if re.search(r"[<(?*\\\\]", path) or "logout" in path:
        continue
    visited[path] = client.get(path).status_code
heavy = [name for name in %r if name in sys.modules]
print(json.dumps({"visited": visited, "heavy": heavy}))
"""


def test_no_page_and_no_address_loads_a_heavy_library(tmp_path: Path) -> None:
    site = Site(tmp_path, "light")
    try:
        site.manage("collectstatic", "--noinput", "--verbosity", "0")
        site.manage("migrate", "--verbosity", "0")
        site.manage("load_sample")
        report = json.loads(site.manage("shell", "-v0", "-c", VISIT % (HEAVY,)).splitlines()[-1])
    finally:
        site.stop()
    good = {path for path, status in report["visited"].items() if status == 200}
    assert {"/campaigns/", "/campaigns/new/", "/datasets/", "/runs/", "/harvests/", "/api/v1/campaigns/"} <= good
    assert len(good) > 30
    assert not {path: status for path, status in report["visited"].items() if status >= 500}
    assert report["heavy"] == []


def test_the_package_of_every_harvester_and_crowd_model_is_behind_the_wall_of_numerical_packages() -> None:
    from labeling.catalogs import person_models, question_models
    from training.catalogs import harvesters

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    walled = next(c["source_modules"] for c in contracts if c["name"] == "Numerical packages know no web")
    for offer in (*question_models, *person_models, *harvesters):
        module = offer.target.partition(":")[0]
        assert any(f"{module}.".startswith(f"{package}.") for package in walled), f"list the package of {module}"
