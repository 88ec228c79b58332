"""A typed configuration becomes a form and command-line options. Names, bounds, choices and help stand in the configuration only.

A field's `title` is its label, its `description` the help below it. What a form needs besides stands in `json_schema_extra`
(`webapp.config.shown`).
"""

from __future__ import annotations

import types
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from django.http import HttpRequest, QueryDict
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from webapp.config import Config
from webapp.errors import Invalid, Refusal
from webapp.typed import read

C = TypeVar("C", bound=Config)
USUAL = "usual"  # `empty_is` of a form whose empty fields are the defaults of its configuration


@dataclass(frozen=True)
class Input:
    """One field as the template draws it. `kind`: text, number, url, area, check or select."""

    name: str
    label: str
    kind: str
    value: Any
    help: str = ""
    least: float | None = None
    largest: float | None = None
    step: str = "any"
    longest: int | None = None
    lines: int = 1
    required: bool = False
    choices: list[tuple[str, str]] = field(default_factory=list)
    wide: bool = False
    error: str = ""
    placeholder: str = ""

    @property
    def text(self) -> str:
        """The value as HTML has it: points in numbers, whatever the language."""
        return f"{self.value:g}" if isinstance(self.value, float) else str(self.value)

    @property
    def identity(self) -> str:
        return f"field-{self.name.replace('.', '-').replace('_', '-')}"


class Form(Generic[C]):
    """The form of one configuration: what it shows, what was sent, and what was wrong with it.

    `offered`: choices that the database knows, by field. `leave_out`: fields that the page does not ask. `empty_is`: what an
    empty field stands for where it is not the default (options of a preset); nothing is filled in then.
    """

    def __init__(
        self,
        config: type[C],
        sent: QueryDict | None = None,
        *,
        offered: Mapping[str, list[tuple[str, str]]] | None = None,
        leave_out: Iterable[str] = (),
        empty_is: str = "",
    ) -> None:
        self.config, self.sent, self.offered = config, sent, dict(offered or {})
        self.leave_out, self.empty_is = frozenset(leave_out), empty_is
        self.errors: dict[str, str] = {}

    def read(self, **more: Any) -> C:
        """The configuration that was sent, with `more` that no field holds. Raises Invalid; `errors` then names every field."""
        try:
            return read(self.config, self.values() | more)
        except Invalid as error:
            self.note(error)
            raise

    def note(self, error: Refusal) -> None:
        """Show a refusal at its field, also one that came from a verb."""
        rows = error.more.get("errors") or [{"field": error.field, "detail": error.detail}]
        fix = f" {error.fix[:1].upper()}{error.fix[1:]}." if error.fix and len(rows) == 1 else ""
        for row in rows:
            self.errors.setdefault(str(row["field"]), f"{row['detail']}{fix}")

    @property
    def unplaced(self) -> list[str]:
        """Errors of no field of this form."""
        names = {name for name, _ in self._fields()}
        return [text for name, text in self.errors.items() if name not in names]

    def values(self) -> dict[str, Any]:
        """What was sent, nested as the configuration is; empty fields are left out, so that they keep their defaults."""
        values: dict[str, Any] = {}
        sent = self.sent if self.sent is not None else QueryDict()
        for name, info in self._fields():
            text = sent.get(name, "").strip()
            kinds = _kinds(info.annotation)
            value: Any = text
            if bool in kinds and not self.empty_is:
                value = text == "on"
            elif not text and list not in kinds:
                continue
            where = values
            *path, last = name.split(".")
            for part in path:
                where = where.setdefault(part, {})
            where[last] = _typed(info, value)
        return values

    def groups(self) -> list[tuple[str, list[Input]]]:
        """Inputs by the group that their configuration names, in its order."""
        groups: dict[str, list[Input]] = {}
        for name, info in sorted(self._fields(), key=lambda one: not _how(one[1]).get("first", False)):
            groups.setdefault(_how(info).get("group", ""), []).append(self._input(name, info))
        return [(title, inputs) for title, inputs in groups.items()]

    def inputs(self) -> list[Input]:
        return [one for _, group in self.groups() for one in group]

    def names(self) -> list[str]:
        return [name for name, _ in self._fields()]

    def _fields(self) -> Iterator[tuple[str, FieldInfo]]:
        return ((name, info) for name, info in fields_of(self.config) if name not in self.leave_out)

    def _input(self, name: str, info: FieldInfo) -> Input:
        how, kinds, limits = _how(info), _kinds(info.annotation), _limits(info)
        label = info.title or name.rpartition(".")[2].replace("_", " ").capitalize()
        common: dict[str, Any] = {
            "name": name,
            "label": label,
            "value": self._value(name, info),
            "help": info.description or "",
            "wide": how.get("wide", False),
            "error": self.errors.get(name, ""),
            "required": info.is_required(),
            "placeholder": self._placeholder(info),
        }
        choices = self.offered.get(name) or _choices(info, how)
        if bool in kinds and not self.empty_is:
            return Input(kind="check", **common | {"required": False})
        if bool in kinds:
            choices = [("true", "yes"), ("false", "no")]
        if choices:
            first = [("", f"{self.empty_is} ({common['placeholder']})" if self.empty_is == USUAL else self.empty_is)]
            first = first if self.empty_is else []
            return Input(kind="select", choices=first + choices, **common)
        if kinds & {int, float}:
            step = "any" if float in kinds else "1"
            return Input(kind="number", least=limits.get("ge"), largest=limits.get("le"), step=step, **common)
        lines = how.get("lines", 1)
        kind = "area" if lines > 1 else "url" if name.endswith("_url") else "text"
        return Input(kind=kind, longest=limits.get("max_length"), lines=lines, **common)

    def _placeholder(self, info: FieldInfo) -> str:
        """What an empty field stands for, where that is the configuration's own default."""
        if self.empty_is != USUAL or info.is_required():
            return self.empty_is
        return str(info.get_default(call_default_factory=True))

    def _value(self, name: str, info: FieldInfo) -> Any:
        if bool in _kinds(info.annotation) and not self.empty_is:
            return self.sent.get(name) == "on" if self.sent else info.default is True
        if self.sent and name in self.sent:
            return self.sent[name]
        default = None if info.is_required() or self.empty_is else info.get_default(call_default_factory=True)
        return "" if default is None else ", ".join(map(str, default)) if isinstance(default, list) else default


def sent(request: HttpRequest) -> Mapping[str, str]:
    """What a form was sent with, so that a refused one keeps its values; empty where nothing was."""
    return defaultdict(str, {name: str(value) for name, value in request.POST.items()})


def fields_of(config: type[BaseModel], before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field, those of configurations inside by dotted names."""
    for name, info in config.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields_of(kind, f"{before}{name}.")
        else:
            yield f"{before}{name}", info


def _typed(info: FieldInfo, value: Any) -> Any:
    """Text as its configuration has it: a choice may be a number, a list is separated by commas."""
    if list in _kinds(info.annotation) and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if get_origin(info.annotation) is Literal:
        return next((one for one in get_args(info.annotation) if str(one) == value), value)
    return value


def _how(info: FieldInfo) -> dict[str, Any]:
    extra = info.json_schema_extra
    return dict(extra.get("x-form", {})) if isinstance(extra, dict) else {}  # type: ignore[arg-type]


def _kinds(annotation: Any) -> set[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return set().union(*(_kinds(part) for part in get_args(annotation)))
    return {get_origin(annotation) or annotation}


def _limits(info: FieldInfo) -> dict[str, Any]:
    kinds = ("ge", "le", "max_length")
    return {k: bound for part in info.metadata for k in kinds if (bound := getattr(part, k, None)) is not None}


def _choices(info: FieldInfo, how: dict[str, Any]) -> list[tuple[str, str]]:
    if get_origin(info.annotation) is not Literal:
        return []
    words = how.get("choices", {})
    return [(str(value), words.get(str(value), str(value))) for value in get_args(info.annotation)]


# --- the command line ---
def add_options(parser: ArgumentParser, config: type[BaseModel], *, leave_out: Iterable[str] = ()) -> None:
    """One option for each field of a configuration; nothing is filled in where one is not given."""
    for name, info in fields_of(config):
        if name not in set(leave_out):
            option = f"--{name.replace('_', '-').replace('.', '-')}"
            text, last = (info.description or "").replace("%", "%%"), name.rpartition(".")[2]
            parser.add_argument(option, dest=f"option.{name}", metavar=last.upper(), help=text)


def options_given(config: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Of a parsed command line what `add_options` added and somebody gave, nested as the configuration is."""
    nested: dict[str, Any] = {}
    for name, info in fields_of(config):
        value = options.get(f"option.{name}")
        if value is not None:
            where = nested
            *path, last = name.split(".")
            for part in path:
                where = where.setdefault(part, {})
            where[last] = _typed(info, value)
    return nested
