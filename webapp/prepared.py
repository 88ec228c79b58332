"""Queries of the hot path, compiled once per process and run with new values.

Django compiles a queryset to SQL anew at every use, which costs several times what the database needs to answer it.
Here the queryset is written as usual, with a `Slot` wherever a value comes in later:

    by_name = Select(lambda: Account.objects.filter(username=Slot("name", CharField())))
    by_name.first(name="ada")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db import connection, models
from django.db.models import Field, Model, QuerySet, Value
from django.db.models.query import get_related_populators
from django.db.models.sql import UpdateQuery

M = TypeVar("M", bound=Model)


class Slot(Value):
    """A place for a value. `field` says how the database wants it (UUID, time, JSON)."""

    def __init__(self, name: str, field: Field[Any, Any]) -> None:
        super().__init__(name, output_field=field)

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]

    def fill(self, values: dict[str, Any]) -> Any:
        return self.output_field.get_db_prep_save(values[self.value], connection)


def _filled(parameters: tuple[Any, ...], values: dict[str, Any]) -> list[Any]:
    return [p.fill(values) if isinstance(p, Slot) else p for p in parameters]


@dataclass(frozen=True)
class _Plan:
    """What a compiled reading needs to be run: the SQL, its parameters, and how its columns become instances."""

    sql: str
    parameters: tuple[Any, ...]
    converters: list[tuple[int, list[Any], Any]]
    model: type[Model]
    start: int
    names: list[str]
    related: list[Any]
    annotations: dict[str, int]


@dataclass
class Select(Generic[M]):
    """A prepared reading of model instances (`select_related`, `annotate`, `defer`, `select_for_update` as usual)."""

    build: Callable[[], QuerySet[M]]

    @cached_property
    def _plan(self) -> _Plan:
        compiler = self.build().query.get_compiler(using=connection.alias)
        sql, parameters = compiler.as_sql()
        about, select = compiler.klass_info, compiler.select
        converters = compiler.get_converters(column[0] for column in select)
        return _Plan(
            sql,
            tuple(parameters),
            [(position, *converter) for position, converter in converters.items()],
            about["model"],
            about["select_fields"][0],
            [select[n][0].target.attname for n in about["select_fields"]],
            get_related_populators(about, select, connection.alias),  # type: ignore[call-arg]
            compiler.annotation_col_map,
        )

    def rows(self, **values: Any) -> list[M]:
        """Run with a value for every slot. Raises KeyError for a slot without one."""
        plan = self._plan
        with connection.cursor() as cursor:
            cursor.execute(plan.sql, _filled(plan.parameters, values))
            return [self._instance(plan, list(row)) for row in cursor.fetchall()]

    def tuples(self, **values: Any) -> list[tuple[Any, ...]]:
        """The rows as the database gives them, columns in the order of the model's fields: for many small ones."""
        plan = self._plan
        with connection.cursor() as cursor:
            cursor.execute(plan.sql, _filled(plan.parameters, values))
            return list(cursor.fetchall())

    def first(self, **values: Any) -> M | None:
        rows = self.rows(**values)
        return rows[0] if rows else None

    def _instance(self, plan: _Plan, row: list[Any]) -> Any:
        for position, convert_all, expression in plan.converters:
            for convert in convert_all:
                row[position] = convert(row[position], expression, connection)
        instance = plan.model.from_db(connection.alias, plan.names, row[plan.start : plan.start + len(plan.names)])
        for populator in plan.related:
            populator.populate(row, instance)
        for name, position in plan.annotations.items():
            setattr(instance, name, row[position])
        return instance


@dataclass
class Update:
    """A prepared change: rows to change, and the columns' new values (slots or expressions)."""

    build: Callable[[], tuple[QuerySet[Any], dict[str, Any]]]

    @cached_property
    def _compiled(self) -> tuple[str, tuple[Any, ...]]:
        rows, news = self.build()
        query: Any = rows.query.chain(UpdateQuery)
        query.add_update_values(news)
        sql, parameters = query.get_compiler(using=connection.alias).as_sql()
        return sql, tuple(parameters)

    def run(self, **values: Any) -> int:
        """The number of rows that were changed."""
        sql, parameters = self._compiled
        with connection.cursor() as cursor:
            cursor.execute(sql, _filled(parameters, values))
            return int(cursor.rowcount)


@dataclass
class Insert(Generic[M]):
    """A prepared insertion of one instance, whose primary key is set."""

    model: type[M]

    @cached_property
    def _compiled(self) -> tuple[str, list[Field[Any, Any]]]:
        fields = [
            f for f in self.model._meta.concrete_fields if not isinstance(f, models.AutoField | models.BigAutoField)
        ]
        quote: Callable[[Any], str] = connection.ops.quote_name
        columns = ", ".join(quote(f.column) for f in fields)
        sql = (
            f"INSERT INTO {quote(self.model._meta.db_table)} ({columns}) VALUES ({', '.join(['%s'] * len(fields))}) "  # noqa: S608
            f"RETURNING {quote(self.model._meta.pk.column)}"
        )
        return sql, fields

    def run(self, instance: M) -> M:
        sql, fields = self._compiled
        values = [f.get_db_prep_save(f.pre_save(instance, True), connection) for f in fields]
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            instance.pk = cursor.fetchone()[0]
        instance._state.adding, instance._state.db = False, connection.alias
        return instance
