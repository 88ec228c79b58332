"""The walls of the house: migrations complete, no heavy library behind a page, settings documented, containers sane."""

from __future__ import annotations

import io
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command

from labeling import catalogs as labeling_catalogs
from tests.conftest import World
from training import catalogs as training_catalogs
from webapp.jobs.run import job_kinds

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "crowdkit", "scipy", "sklearn", "pandas", "pyarrow")


def test_migrations_are_complete(db: None) -> None:
    output = io.StringIO()
    call_command("makemigrations", "--check", "--dry-run", stdout=output)
    assert "No changes detected" in output.getvalue()


def test_every_address_is_reachable_without_a_heavy_library() -> None:
    script = f"import django; django.setup(); import webapp.urls, sys; print([m for m in {HEAVY} if m in sys.modules])"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "webapp.settings"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "catalog",
    [
        labeling_catalogs.import_formats,
        labeling_catalogs.crowd_models,
        labeling_catalogs.release_formats,
        training_catalogs.training_methods,
        job_kinds,
    ],
    ids=lambda c: c.kind,
)
def test_every_offer_can_be_loaded(catalog) -> None:
    for offer in catalog:
        assert callable(offer.load()), offer.name


def test_every_setting_is_described() -> None:
    source = (ROOT / "webapp" / "settings.py").read_text()
    names = set(re.findall(r'(?:_flag|_number|_names|environ\.get)\("([A-Z_]+)"', source))
    described = (ROOT / "docs" / "operations.md").read_text()
    assert {n for n in names if f"`{n}`" not in described} == set()


def test_every_command_is_described() -> None:
    described = "".join(p.read_text() for p in (ROOT / "docs").glob("*.md"))
    for app in ("webapp/accounts", "labeling", "training"):
        for path in (ROOT / app / "management" / "commands").glob("[a-z]*.py"):
            assert f"`manage.py {path.stem}" in described, path.stem


def test_production_settings_pass_djangos_own_check(tmp_path: Path) -> None:
    environment = os.environ | {
        "NEARER_PRODUCTION": "1",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ALLOWED_HOSTS": "nearer.example",
        "NEARER_VAR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SECRET_KEY", "short", "too weak"),
        ("SECRET_KEY", "a" * 60, "too weak"),
        ("SECRET_KEY", "", "SECRET_KEY is not set"),
        ("ALLOWED_HOSTS", "*", "'*' takes any"),
        ("ALLOWED_HOSTS", "", "name the hosts"),
        ("NEARER_DEBUG", "1", "leave it out in production"),
        ("EMAIL_URL", "mail.example", "write smtp://"),
        ("NEARER_RATE_HEAVY", "many", "120/hour"),
    ],
)
def test_production_refuses_settings_that_open_the_site(tmp_path: Path, name: str, value: str, words: str) -> None:
    environment = os.environ | {
        "NEARER_PRODUCTION": "1",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ALLOWED_HOSTS": "nearer.example",
        "NEARER_VAR": str(tmp_path),
        name: value,
    }
    command = [sys.executable, "-c", "import webapp.settings"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr


def test_compose_names_commands_that_exist_and_waits_for_health() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {"web", "worker", "gpu-worker", "postgres", "redis"} <= set(services)
    assert int(services["postgres"]["image"].partition(":")[2]) >= 15
    for name in ("web", "worker", "heavy-worker", "gpu-worker", "migrate"):
        assert services[name]["depends_on"]["postgres"]["condition"] == "service_healthy"
        program = services[name]["command"][0]
        done = subprocess.run(
            [Path(sys.executable).parent / program, "--version"], cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode == 0, program
    check = services["web"]["healthcheck"]["test"]
    compile(check[3], "healthcheck", "exec")


def test_the_health_page_answers(world: World, client) -> None:
    assert client.get("/healthz").content == b"ok"


def test_the_api_is_the_one_of_its_snapshot(tmp_path: Path) -> None:
    """A change of the API shows in the commit. `make api` writes the snapshot anew."""
    call_command("spectacular", "--file", str(tmp_path / "openapi.yaml"))
    assert (tmp_path / "openapi.yaml").read_text() == (ROOT / "docs" / "openapi.yaml").read_text()
