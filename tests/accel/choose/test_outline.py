"""Bounds before anything is read: an outline takes what the model takes; pruned arrays are those that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from dovetail.accel.choose.budget import parse_budget
from dovetail.accel.choose.candidates import candidate, shapes
from dovetail.accel.choose.choose import check, choose
from dovetail.accel.choose.outline import outline
from dovetail.accel.lowering.lower import Scheme
from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.hardware.target import load_target
from dovetail.model import Model
from tests.accel.simulate.models import CONTEXT, _module, small

ECP5 = load_target("ecp5-85")


def known(family: str, weights: str = "w8a8") -> Any:
    config = _module(family).config.to_dict()
    return outline(Model.load(config), CONTEXT, Scheme(weights))


@pytest.mark.parametrize(
    ("family", "weights"), [("llama", "w8a8"), ("llama", "w4a8"), ("qwen3", "w8a8"), ("gpt2", "w8a8")]
)
def test_an_outline_takes_what_the_model_takes(family: str, weights: str) -> None:
    """Every depth of every memory, for arrays of all kinds."""
    model, made, looked = small(family, weights), known(family, weights), 0
    assert list(shapes(model)) == list(shapes(made))
    for shape in list(shapes(model))[::7]:
        real, drawn = (candidate(each, shape, "ecp5", 1e9, 8e7, 1e-7) for each in (model, made))
        assert (real is None) == (drawn is None)
        if real is not None and drawn is not None:
            assert real.program.shape == drawn.program.shape
            assert real.resources == drawn.resources
            looked += 1
    assert looked >= 5


@pytest.mark.parametrize("budget", ["dsp<=20", "bram<=3", "dsp<=20,bram<=3", "lut<=9000,dsp<=20"])
def test_a_hopeless_budget_says_all_that_binds_and_what_would_do(budget: str) -> None:
    made = known("llama")
    with pytest.raises(DovetailError, match="binds") as error:
        check(made, ECP5, parse_budget(budget, ECP5))
    assert error.value.exit_code == INFEASIBLE
    short = [term.partition("<=")[0] for term in budget.split(",")]
    assert sorted(term.partition("<=")[0] for term in error.value.hint.split(",")) == sorted(short)
    assert all(f"{kind} binds" in error.value.why for kind in short)
    choose(small("llama"), ECP5, parse_budget(error.value.hint, ECP5))


@pytest.mark.parametrize("budget", ["bram<=24", "bram<=40,dsp<=130", "bram<=60"])
def test_what_is_not_looked_at_does_not_fit(budget: str) -> None:
    """Whether a budget can be met is what a look at all arrays says."""
    model, limits = known("llama"), parse_budget(budget, ECP5)
    each = [candidate(model, shape, "ecp5", 1e9, 8e7, 1e-7) for shape in shapes(model) if shape.macs <= 2048]
    fits = [made for made in each if made is not None and not any(made.resources.beyond(limits.limits))]
    try:
        check(model, ECP5, limits)
    except DovetailError:
        assert fits == []
    else:
        assert fits != []


def test_models_that_are_not_known_by_their_configuration_are_left_alone() -> None:
    assert outline(Model.load("openai/gpt-oss-20b"), 256, Scheme()) is None
