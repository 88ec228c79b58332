"""A configuration becomes a form and command-line options: what stands in it is what people see, and comes back typed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Literal

import pytest
from django.http import QueryDict
from django.template.loader import render_to_string
from pydantic import Field, ValidationError

from webapp.config import Config, shown
from webapp.errors import Invalid
from webapp.forms import USUAL, Form, add_options, options_given


class Box(Config):
    edge_mm: float = Field(2.5, ge=0, le=9, title="Edge (mm)", description="of the cube")
    cells: Literal[16, 32] = 16


class Plan(Config):
    name: str = Field(min_length=1, max_length=9, json_schema_extra=shown("Who", first=True))
    many: int | None = Field(None, ge=1)
    quick: bool = Field(True, json_schema_extra=shown("How"))
    joints: list[str] = Field([], json_schema_extra=shown("Who", wide=True))
    way: Literal["up", "down"] = Field("up", json_schema_extra=shown("How", choices={"up": "to the top"}))
    box: Box = Box()


def sent(text: str) -> QueryDict:
    return QueryDict(text)


def test_inputs_have_the_labels_bounds_and_choices_of_the_configuration() -> None:
    groups = dict(Form(Plan).groups())
    assert list(groups) == ["Who", "", "How"]
    name, joints = groups["Who"]
    assert (name.label, name.kind, name.longest, name.required) == ("Name", "text", 9, True)
    assert (joints.wide, joints.text) == (True, "")
    many, edge, cells = groups[""]
    assert (many.kind, many.step, many.least, many.text) == ("number", "1", 1, "")
    assert (edge.name, edge.label, edge.help, edge.largest, edge.text) == (
        "box.edge_mm",
        "Edge (mm)",
        "of the cube",
        9,
        "2.5",
    )
    assert cells.choices == [("16", "16"), ("32", "32")]
    quick, way = groups["How"]
    assert (quick.kind, quick.value) == ("check", True)
    assert way.choices == [("up", "to the top"), ("down", "down")]


def test_what_is_sent_comes_back_typed_and_empty_fields_keep_their_defaults() -> None:
    plan = Form(Plan, sent("name=a&joints=neck, hip&box.cells=32&box.edge_mm=")).read()
    assert plan == Plan(name="a", joints=["neck", "hip"], quick=False, box=Box(cells=32))


def test_every_wrong_field_has_its_own_error_and_keeps_what_was_typed() -> None:
    form = Form(Plan, sent("name=&many=0&box.edge_mm=12&way=left"))
    with pytest.raises(Invalid):
        form.read()
    assert set(form.errors) == {"name", "many", "box.edge_mm", "way"}
    assert form.unplaced == []
    page = render_to_string("ui/fields.html", {"inputs": form.inputs()})
    assert page.count('aria-invalid="true"') == 4
    assert 'value="12"' in page
    assert 'id="field-box-edge-mm-about">Input should be less than or equal to 9' in page


def test_a_refusal_of_no_field_stands_above_the_form_and_is_escaped() -> None:
    form = Form(Plan, sent("name=a"))
    form.note(Invalid("<b>No</b>.", field="elsewhere"))
    page = render_to_string("ui/form_errors.html", {"form": form})
    assert "&lt;b&gt;No&lt;/b&gt;." in page


def test_a_form_of_options_fills_nothing_in_and_says_what_empty_means() -> None:
    form = Form(Box, None, empty_is=USUAL)
    edge, cells = form.inputs()
    assert (edge.text, edge.placeholder) == ("", "2.5")
    assert cells.choices[0] == ("", "usual (16)")
    assert form.values() == {}
    assert Form(Plan, sent("quick=false&name=a"), empty_is=USUAL).values() == {
        "quick": "false",
        "name": "a",
        "joints": [],
    }


def test_the_command_line_has_an_option_for_each_field() -> None:
    parser = ArgumentParser()
    add_options(parser, Plan, leave_out=["way"])
    options = vars(parser.parse_args(["--name", "a", "--box-cells", "32", "--joints", "neck, hip"]))
    assert options_given(Plan, options) == {"name": "a", "joints": ["neck", "hip"], "box": {"cells": 32}}
    with pytest.raises(SystemExit):
        parser.parse_args(["--way", "up"])


def test_a_configuration_takes_no_infinity_and_no_unknown_field() -> None:
    for wrong in ({"edge_mm": float("inf")}, {"edge_mm": float("nan")}, {"corner": 1}):
        with pytest.raises(ValidationError):
            Box(**wrong)  # type: ignore[arg-type]
