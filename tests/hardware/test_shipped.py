"""Shipped files are read without the schema, so every one of them is held to it here."""

from __future__ import annotations

import pytest

from dovetail.hardware.build import load_stack, machine_from_text, shipped_machine, stack_names, zoo_files
from dovetail.hardware.checked import check
from dovetail.hardware.schema import StackFile
from dovetail.hardware.yamlfile import parse_yaml


@pytest.mark.parametrize("name", sorted(zoo_files("chips")))
def test_a_shipped_chip_is_what_the_schema_makes_of_it(name: str) -> None:
    text = zoo_files("chips")[name].read_text(encoding="utf-8")
    quick, strict = shipped_machine(text, name), machine_from_text(text, name)
    assert repr(quick) == repr(strict)


@pytest.mark.parametrize("name", stack_names())
def test_a_shipped_stack_is_what_the_schema_makes_of_it(name: str) -> None:
    data = parse_yaml(zoo_files("stacks")[name].read_text(encoding="utf-8"), name)
    file = check(data, StackFile, name)
    stack, sources = load_stack(name)
    assert (stack.launch_s, stack.step_s) == (file.launch, file.step)
    for field in set(StackFile.model_fields) - {"title", "launch", "step", "source"}:
        assert getattr(stack, field) == getattr(file, field), field
    assert set(sources) == set(file.source)
