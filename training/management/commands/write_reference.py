"""Write docs/reference from the code: options of everything that can be chosen, error codes, tables of the database.

`manage.py write_reference` writes the pages; a test compares them with what it would write.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db.models import Field as Column
from django.db.models import Model
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import labeling
import training
import webapp
from labeling.campaigns.plan import CampaignPlan
from labeling.catalogs import crowd_models, import_formats, release_formats
from labeling.quality.forecast import PlanConfig
from training.catalogs import harvesters, training_methods
from training.heatmaps.config import HeatmapConfig
from webapp.catalog import Catalog
from webapp.errors import Refusal
from webapp.jobs.kinds import job_kinds

FOLDER = Path(settings.BASE_DIR) / "docs" / "reference"
NOTE = "This page is written by `manage.py write_reference`; change the code that it describes.\n"
OURS = ("accounts", "jobs", "labeling", "training")


class Command(BaseCommand):
    help = "write docs/reference from the code"

    def handle(self, *args: Any, **options: Any) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in pages().items():
            (FOLDER / name).write_text(text, encoding="utf-8")
            self.stdout.write(f"docs/reference/{name}")


def pages() -> dict[str, str]:
    """The text of each page by its file name."""
    return {"options.md": _options(), "errors.md": _errors(), "data_model.md": _data_model()}


# --- options ---
def _options() -> str:
    parts = [
        "# Options\n",
        NOTE,
        "Unknown options are errors, numbers are finite. Bounds are inclusive unless a sign says otherwise.\n",
        _config("A campaign", CampaignPlan),
        _config("The budget planner", PlanConfig),
        _config("Training a heatmap network (`manage.py personalise`)", HeatmapConfig),
    ]
    catalogs: tuple[Catalog[Any], ...] = (
        *(training_methods, harvesters, crowd_models, import_formats, release_formats, job_kinds),
    )
    for catalog in catalogs:
        kind = catalog.kind
        parts.append(f"## {kind[:1].upper()}{kind[1:]}s\n")
        parts.append("| name | what it is | source |\n|---|---|---|")
        parts += [f"| `{o.name}` | {o.title} | {o.source or '–'} |" for o in catalog]
        parts.append("")
        if catalog is not job_kinds:
            parts += [
                _config(f"{kind[:1].upper()}{kind[1:]} `{o.name}`", o.config, 3)
                for o in catalog
                if o.config.model_fields
            ]
    return "\n".join(parts)


def _config(title: str, config: type[BaseModel], level: int = 2) -> str:
    lines = [f"{'#' * level} {title}\n", "| option | type | default | bounds | meaning |", "|---|---|---|---|---|"]
    inner: list[tuple[str, type[BaseModel]]] = []
    for name, field in config.model_fields.items():
        lines.append(
            f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {_bounds(field)} | {_cell(field.description or '')} |"
        )
        inner += [(name, part) for part in _models_in(field.annotation)]
    text = "\n".join(lines) + "\n"
    for name, part in inner:
        text += "\n" + _config(f"`{name}` of {title[:1].lower()}{title[1:]}", part, min(level + 1, 4))
    return text


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join("empty" if part is type(None) else _type(part) for part in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f"`{value.value}`" for value in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "see below"
    words = {bool: "yes or no", int: "whole number", float: "number", str: "text"}
    if get_origin(annotation) is None:
        return words.get(annotation, str(getattr(annotation, "__name__", annotation)))
    inside = [_type(part) for part in get_args(annotation) if part is not Ellipsis]
    return f"{'list' if get_origin(annotation) is list else 'row'} of {', '.join(inside)}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "–"
    if value is None or value == "" or value == []:
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}
    limits = [f"{sign} {getattr(m, name)}" for m in field.metadata for name, sign in signs.items() if hasattr(m, name)]
    return _cell(", ".join(limits))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


# --- errors ---
def _modules() -> Iterator[str]:
    for package in (webapp, labeling, training):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not any(part in module.name for part in ("migrations", "management", ".asgi", ".wsgi")):
                yield module.name


def refusals() -> dict[str, type[Refusal]]:
    """Every refusal by its code. Raises ValueError where two of them share one."""
    for name in _modules():
        importlib.import_module(name)
    by_code: dict[str, type[Refusal]] = {}
    waiting = [Refusal]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        own_code = "code" in vars(kind) and kind is not Refusal
        if own_code and by_code.setdefault(kind.code, kind) is not kind:
            raise ValueError(f"{kind} and {by_code[kind.code]} share the code {kind.code}")
    return dict(sorted(by_code.items()))


MEANINGS = {
    "not_allowed": "Your role, or your part in this campaign, does not allow it.",
    "not_found": "There is no such thing, or it is not yours to see.",
    "campaign_not_open": "The campaign is a draft, paused or closed; nobody is asked.",
    "throttled": "Too much of one thing in a short time; `retry_after_ms` and the header say when to come back.",
    "conflict": "It does not fit the state that things are in; `fix` says what would.",
    "invalid": "`field` was not as it has to be; `fix` says how.",
    "too_large": "More was sent than this site takes.",
    "disk_full": "The disk of the site is full. Nothing was saved; send it again later.",
    "database_away": "The database did not answer. Nothing was saved; send it again in a moment.",
}


# Refusals of Django REST framework, which come before any code of ours.
FRAMEWORK = {
    "not_authenticated": (401, "Nobody is signed in. Send a token, or sign in."),
    "authentication_failed": (401, "The token is not known, was revoked, or its owner was switched off."),
    "parse_error": (400, "The body is not JSON, or holds text that no database can keep."),
    "method_not_allowed": (405, "This address does not take this method."),
    "not_acceptable": (406, "This address cannot answer in the wanted format."),
    "unsupported_media_type": (415, "The body has a content type that this address does not take."),
}


def _errors() -> str:
    lines = [
        "# Error codes\n",
        NOTE,
        "Every error of the API is a problem document (RFC 9457, `application/problem+json`) with `type`, `code`, `status` and",
        "`detail`, and where they apply `field`, `value` and `fix`. `type` leads to this page. `code` never changes; `detail` may.\n",
    ]
    for code, kind in refusals().items():
        about = MEANINGS.get(code) or inspect.cleandoc(kind.__doc__ or "")
        if not about or about.startswith("Base of"):
            about = _first_use(kind)
        lines += [f"## {code.replace('_', '-')}\n", f"`{code}`, status {kind.status}. {about}\n"]
    for code, (status, about) in FRAMEWORK.items():
        lines += [f"## {code.replace('_', '-')}\n", f"`{code}`, status {status}. {about}\n"]
    lines += [
        "## internal\n",
        "`internal`, status 500. Something of ours failed. Whoever runs the site finds it in the log.\n",
    ]
    return "\n".join(lines)


def _first_use(kind: type[Refusal]) -> str:
    """What the code says where it refuses so."""
    source = inspect.getsource(inspect.getmodule(kind) or kind)
    place = source.find(f"{kind.__name__}(", source.find(f"class {kind.__name__}(") + len(kind.__name__) + 7)
    text = source[place:].partition('"')[2].partition('"')[0] if place >= 0 else ""
    return text if text.endswith(".") else ""


# --- tables ---
def _data_model() -> str:
    lines = [
        "# Data model\n",
        NOTE,
        "Every table has a numeric `id`, which stays inside; addresses and files use `uuid`.\n",
    ]
    for label in OURS:
        config = apps.get_app_config(label)
        lines.append(f"## {config.name}\n")
        for model in config.get_models():
            lines += [f"### {model.__name__}\n", " ".join(inspect.cleandoc(_about(model)).split()) + "\n"]
            lines += ["| column | type | |", "|---|---|---|"]
            lines += [
                _column(field) for field in model._meta.get_fields() if isinstance(field, Column) and field.name != "id"
            ]
            rules = [*model._meta.constraints, *model._meta.indexes]
            lines.append("\nRules: " + ", ".join(f"`{rule.name}`" for rule in rules) + "\n" if rules else "")
    return "\n".join(lines)


def _about(model: type[Model]) -> str:
    text = model.__doc__ or ""
    return "" if text.startswith(f"{model.__name__}(") else text


def _column(field: Column[Any, Any]) -> str:
    kind = field.get_internal_type().removesuffix("Field")
    if field.related_model is not None:
        kind = f"→ {field.related_model.__name__}"
    notes = ["may be empty"] if field.null else []
    notes += ["unique"] if field.unique else []
    if field.choices:
        notes.append(" or ".join(f"`{value}`" for value, _ in field.flatchoices))
    return (
        f"| `{field.name}` | {kind} | {_cell(', '.join(notes) + (str(field.help_text) if field.help_text else ''))} |"
    )
