"""The shapes of litgpt as members of our families, counted anew from litgpt's own fields."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dovetail.model import Model
from dovetail.model.families import FAMILIES


@pytest.fixture(scope="module")
def bench(root: Path) -> ModuleType:
    """bench/litgpt_shapes.py, which reads the shapes and sums them."""
    spec = importlib.util.spec_from_file_location("litgpt_shapes", root / "bench" / "litgpt_shapes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shapes(bench: ModuleType, data_folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = bench.shapes(data_folder)
    return found


def test_every_shape_has_the_parameters_of_its_fields(bench: ModuleType, shapes: dict[str, Any]) -> None:
    wrong = {
        name for name, shape in shapes.items()
        if Model.load(bench.config(shape)).parameters != bench.expected(shape, shape["padded_vocab_size"], tied=False)
    }  # fmt: skip
    assert wrong == set()
    assert len(shapes) == 210
    assert {bench.family(shape) for shape in shapes.values()} <= set(FAMILIES)


def test_models_of_the_zoo_have_the_parameters_of_the_shape_under_their_hub_id(
    bench: ModuleType, shapes: dict[str, Any]
) -> None:
    pairs = list(bench.in_zoo(shapes))
    for shape, model in pairs:
        vocab, tied = int(model.architecture.vocab), model.architecture.tied
        assert model.parameters == bench.expected(shape, vocab, tied=tied), model.name
    assert len(pairs) > 40
