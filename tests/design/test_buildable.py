"""What an integer array can run is what the accelerator's planner makes: reasons, and columns equal rows one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.design.buildable import built, not_built
from dovetail.design.estimate import estimate
from dovetail.design.explain import explain
from dovetail.hardware import load_machine, machine_to_yaml
from dovetail.hardware.build import machine_from_text
from dovetail.hardware.machine import Machine
from dovetail.hardware.templates.template import Variant
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

MODEL = Model.load("embedded")
SIZES: dict[str, Any] = {"rows": 4.0, "columns": 16.0, "lanes": 4.0, "sram": 512e3, "clock": 5e8, "bandwidth": 8e9}
WORK = Workload(prompt=64, output=32, batch=1)


def array(**changes: Any) -> Machine:
    return Variant("it", "overlay", {}, {"format": "integers"}).machine({**SIZES, **changes})


def why(machine: Machine, recipe: str = "w8a8", work: Workload = WORK) -> str:
    return not_built(MODEL, machine, Recipe.load(recipe), work)


@pytest.mark.parametrize(
    ("changes", "recipe", "batch", "words"),
    [
        ({}, "w4a16-rtn", 1, "runs recipes w8a8 and w4a8, not w4a16-rtn"),
        ({}, "w8a8+lookup", 1, "not w8a8"),
        ({}, "w8a8", 2, "one sequence at a time, not 2"),
        ({"sram": 100e3}, "w8a8", 1, "its buffers need"),
        ({"rows": 1}, "w8a8", 1, "rows"),
        ({"columns": 24}, "w8a8", 1, "columns of 24"),
        ({"columns": 64}, "w8a8", 1, "heads of 32 channels leave columns idle"),
        ({"lanes": 32}, "w8a8", 1, "lanes"),
    ],
)
def test_what_is_not_made_says_why(changes: dict[str, Any], recipe: str, batch: int, words: str) -> None:
    work = Workload(prompt=64, output=32, batch=batch)
    assert words in why(array(**changes), recipe, work)
    found = estimate(MODEL, array(**changes), work, recipe)
    assert not found.feasible
    assert any(words in reason for reason in found.why)


def test_what_is_made_is_feasible_and_other_machines_are_not_asked() -> None:
    assert why(array()) == ""
    assert estimate(MODEL, array(), WORK, "w4a8").feasible
    assert not_built(MODEL, load_machine("l4"), Recipe.load("none"), WORK) == ""


def test_columns_are_rows_one_by_one() -> None:
    rng = np.random.default_rng(0)
    columns = {
        "rows": rng.choice([1.0, 2, 4], 40), "columns": rng.choice([8.0, 16, 24, 64], 40),
        "lanes": rng.choice([4.0, 8, 16], 40), "sram": rng.choice([200e3, 300e3, 600e3], 40),
    }  # fmt: skip
    batch, prompt = rng.choice([1.0, 2], 40, p=(0.8, 0.2)), rng.choice([64.0, 256], 40)
    many = built(MODEL, array(**columns), Recipe.load("w8a8"), Workload(prompt=prompt, output=32, batch=batch))
    for row in range(40):
        one = array(**{name: float(values[row]) for name, values in columns.items()})
        work = Workload(prompt=int(prompt[row]), output=32, batch=int(batch[row]))
        assert bool(many[row]) == (why(one, "w8a8", work) == "")
    assert 0 < int(np.sum(many)) < 40


@pytest.mark.parametrize("recipe", ["w8a8", "none"])
def test_workloads_of_any_shape_are_rows_one_by_one(recipe: str) -> None:
    batch, prompt = np.array([[1.0], [2.0]]), np.array([[32.0, 64, 512]])
    many = estimate(MODEL, array(), Workload(prompt=prompt, output=32, batch=batch), recipe).metrics.fits
    assert np.shape(many) == (2, 3)
    for i, j in np.ndindex(2, 3):
        work = Workload(prompt=int(prompt[0, j]), output=32, batch=int(batch[i, 0]))
        assert bool(many[i, j]) == estimate(MODEL, array(), work, recipe).feasible
    assert many.any() == (recipe == "w8a8")


def test_a_file_without_a_clock_is_refused() -> None:
    lines = machine_to_yaml(array()).splitlines()
    kept = [line for line in lines if not line.startswith("clock:")]
    at = kept.index("  clock:")
    with pytest.raises(DovetailError, match=r"clock is missing.*priced by its cycles.*500 MHz"):
        machine_from_text("\n".join(kept[:at] + kept[at + 3 :]), "it.yaml")


def test_the_tree_of_a_token_names_array_and_port() -> None:
    tree = explain(estimate(MODEL, array(), WORK, "w8a8"), "tpot")
    names = [name for _, name, _ in tree.tree("tpot")]
    assert {"array", "port", "between products"} <= set(names)


def test_its_file_comes_back() -> None:
    machine = array()
    again = machine_from_text(machine_to_yaml(machine), "it.yaml")
    assert again.integer_array == machine.integer_array
    once, more = (estimate(MODEL, each, WORK, "w8a8").metrics.tpot_s for each in (machine, again))
    assert float(once) == float(more)
