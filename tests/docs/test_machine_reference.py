"""The reference of machine files names every field there is, and no other."""

import re
from pathlib import Path

from pydantic import BaseModel

from dovetail.hardware import schema

PAGE = (Path(__file__).parents[2] / "docs" / "machines.md").read_text()


def fields(*names: str) -> set[str]:
    return {field for name in names for field in getattr(schema, name).model_fields}


def first_column(part: str) -> set[str]:
    return {name for cell in re.findall(r"^\| (`.*?) \|", part, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}


def test_fields_of_a_machine() -> None:
    assert first_column(PAGE.partition("## Fields")[2].partition("\n## ")[0]) == fields("MachineFile")


def test_fields_of_sections_are_mentioned() -> None:
    kinds = [
        k for k in vars(schema).values() if isinstance(k, type) and issubclass(k, BaseModel) and k is not BaseModel
    ]
    assert len(kinds) >= 10
    for kind in kinds:
        assert not [field for field in kind.model_fields if not re.search(rf"\b{field}\b", PAGE)], kind


def test_fields_of_a_stack() -> None:
    documented = first_column(PAGE.partition("## Stacks")[2])
    assert documented == fields("StackFile") - {"name", "title", "source"}
