"""Templates: at a known chip's numbers they are it, columns equal rows one by one, bounds are bounds."""

from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.cost import evaluate
from dovetail.cost.gemm import gemm_cost
from dovetail.hardware import load_machine, machine_to_yaml
from dovetail.hardware.build import machine_from_text
from dovetail.hardware.chip_facts import chip_facts
from dovetail.hardware.machine import Machine
from dovetail.hardware.templates.template import TEMPLATES, Parameter, Variant, parameter
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe

CASES = [
    ("gpu-like", "Qwen/Qwen3-8B", "none"),
    ("gpu-like", "Qwen/Qwen3-8B", "w4a16-rtn"),
    ("gpu-like", "Qwen/Qwen3-30B-A3B", "none"),
    ("overlay", "Qwen/Qwen3-8B", "w8a8"),
    ("overlay", "Qwen/Qwen3-8B", "w4a16-rtn"),
    ("overlay integers", "Qwen/Qwen3-8B", "w8a8"),
    ("overlay integers", "Qwen/Qwen3-8B", "w4a8"),
    ("crossbar", "Qwen/Qwen3-8B", "none"),
    ("crossbar", "Qwen/Qwen3-30B-A3B", "w8a8"),
]
COSTS = ("area_mm2", "tdp_w", "idle_w", "usd_per_hour", "price_usd")


def drawn(template: str, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Columns of parameters, up to a factor of eight around their defaults."""
    found = {}
    for p in TEMPLATES[template.split()[0]].parameters:
        low, high = max(p.default / 8, p.least, 1.0), min(p.default * 8, p.most)
        values = np.exp(rng.uniform(np.log(low), np.log(high), count))
        found[p.name] = np.round(values) if p.whole else values
    return found


def variant_of(template: str) -> Variant:
    """A template by name, and the format of its array behind it."""
    name, *form = template.split()
    return Variant("it", name, {}, {"format": form[0]} if form else {})


def at(columns: dict[str, np.ndarray], row: int) -> dict[str, float]:
    return {name: float(values[row]) for name, values in columns.items()}


def graphs(model: str, recipe: str, batch: Any) -> list[Any]:
    """A prefill and a decode step."""
    found, how = Model.load(model), Recipe.load(recipe)
    return [how.rewrite(found.graph(batch=batch, tokens=t, context=c)) for t, c in ((700, 0), (1, 3000))]


@pytest.mark.parametrize("like", ["h100-sxm", "l40s"])
def test_at_a_chips_own_numbers_it_is_that_chip(like: str) -> None:
    chip = load_machine(like)
    own = {
        "sms": float(chip.cores), "bandwidth": float(chip.memory.bandwidth), "l2": float(chip.caches[0].capacity),
        "capacity": float(chip.memory.capacity), "link": float(chip.link),
    }  # fmt: skip
    made = Variant("it", "gpu-like", own, {"like": like}).machine()
    for name in ("area_mm2", "tdp_w", "idle_w", "usd_per_hour"):
        assert getattr(made, name) == pytest.approx(getattr(chip, name), rel=1e-9)
    for graph in graphs("Qwen/Qwen3-8B", "none", 7):
        assert evaluate(graph, made).time_s == pytest.approx(evaluate(graph, chip).time_s, rel=1e-12)
        assert evaluate(graph, made).energy_j == pytest.approx(evaluate(graph, chip).energy_j, rel=1e-9)
    assert made.source("peak.bf16").kind == "modelled"


def test_the_die_of_ad104_from_that_of_ad102() -> None:
    chip = load_machine("l4")
    own = {"sms": 60.0, "bandwidth": 504e9, "l2": 48e6, "link": 0.0}  # all of the die, as the largest product has it
    made = Variant("it", "gpu-like", own, {"like": "l40s"}).machine()
    assert made.area_mm2 == pytest.approx(chip.area_mm2, rel=0.1)


@pytest.mark.parametrize(("template", "model", "recipe"), CASES)
def test_columns_of_machines_are_those_machines_one_by_one(template: str, model: str, recipe: str) -> None:
    rng, count = np.random.default_rng(3), 12
    columns, batch = drawn(template, rng, count), rng.integers(1, 300, count).astype(float)
    variant = variant_of(template)
    for which in (0, 1):
        many = evaluate(graphs(model, recipe, batch)[which], variant.machine(columns))
        for row in range(count):
            one = evaluate(graphs(model, recipe, batch[row])[which], variant.machine(at(columns, row)))
            assert np.asarray(many.time_s)[row] == pytest.approx(one.time_s, rel=1e-12)
            assert np.asarray(many.energy_j)[row] == pytest.approx(one.energy_j, rel=1e-12)


@pytest.mark.parametrize(("template", "model", "recipe"), CASES)
def test_nothing_between_two_corners_beats_the_optimistic_machine(template: str, model: str, recipe: str) -> None:
    rng, count = np.random.default_rng(5), 4000
    one, other = drawn(template, rng, count), drawn(template, rng, count)
    low = {n: np.minimum(one[n], other[n]) for n in one}
    high = {n: np.maximum(one[n], other[n]) for n in one}
    share = {p.name: rng.random(count) for p in TEMPLATES[template.split()[0]].parameters}
    inside = {n: low[n] + (high[n] - low[n]) * share[n] for n in low}
    whole = [p.name for p in TEMPLATES[template.split()[0]].parameters if p.whole]
    inside |= {n: np.clip(np.round(inside[n]), low[n], high[n]) for n in whole}
    variant, batch = variant_of(template), rng.integers(1, 300, count).astype(float)
    ends, real = variant.optimistic(low, high), variant.machine(inside)
    for graph in graphs(model, recipe, batch):
        bounds, found = [evaluate(graph, best) for best in ends], evaluate(graph, real)
        for what in ("time_s", "energy_j"):
            least = np.minimum.reduce([np.asarray(getattr(bound, what)) for bound in bounds])
            assert (least <= np.asarray(getattr(found, what)) * (1 + 1e-12)).all(), what
    for name in COSTS:
        for best in ends:
            assert not (np.asarray(getattr(best, name)) > np.asarray(getattr(real, name)) * (1 + 1e-12)).any(), name
    assert any((np.asarray(best.memory.capacity) >= np.asarray(real.memory.capacity)).all() for best in ends)


def test_more_cores_write_a_small_result_more_slowly_which_the_bound_corrects() -> None:
    low, high = {"sms": 16.0}, {"sms": 512.0}
    variant = Variant("it", "gpu-like", {"bandwidth": 2e11})

    def compute_s(machine: Machine) -> float:
        assert machine.kernels is not None
        chip, constants = chip_facts(machine, "bf16"), machine.kernels.gemm["bf16"]
        return float(np.asarray(gemm_cost(64, 64, 64, chip, constants).compute_s))

    few, many = variant.machine(low), variant.machine(high)
    assert compute_s(many) > compute_s(few)
    (best,) = variant.optimistic(low, high)
    assert compute_s(best) <= compute_s(few)


@pytest.mark.parametrize("template", list(TEMPLATES))
def test_more_of_anything_never_costs_less(template: str) -> None:
    kind = TEMPLATES[template]
    for p in kind.parameters:
        for chosen in kind.choices[0].options if kind.choices else ("",):
            choice = {kind.choices[0].name: chosen} if chosen else {}
            columns = {p.name: np.linspace(max(p.least, p.default / 10), min(p.most, p.default * 10), 50)}
            made = Variant("it", template, {}, choice).machine(columns)
            for name in COSTS:
                steps = np.diff(np.broadcast_to(np.asarray(getattr(made, name), float), (50,)))
                assert not (steps < -1e-12).any(), (p.name, chosen, name)


def test_a_parameter_reads_its_unit_and_its_range() -> None:
    found = parameter("bandwidth")
    assert found is not None
    assert found.parse("2 TB/s") == 2e12
    for text, said in (("2 TB", "wrong unit"), ("1 kB/s", "it takes a value from"), ("fast", "not a number")):
        with pytest.raises(DovetailError, match=said):
            found.parse(text, "space: machines.0.bandwidth")
    with pytest.raises(DovetailError, match="whole number"):
        Parameter("sms", "", 1, 1, 9, "", whole=True).parse(2.5)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(DovetailError, match="did you mean 'gpu-like'"):
        Variant("it", "gpu-lik").machine()
    with pytest.raises(DovetailError, match="did you mean 'sms'"):
        Variant("it", "gpu-like", {"sm": 3.0}).machine()
    with pytest.raises(DovetailError, match="did you mean 'like'"):
        Variant("it", "gpu-like", {}, {"liek": "l4"}).machine()


def test_equal_names_mean_one_quantity_in_all_templates() -> None:
    seen: dict[str, str] = {}
    for template in TEMPLATES:
        for p in TEMPLATES[template].parameters:
            assert seen.setdefault(p.name, p.dimension) == p.dimension
            assert p.least <= p.default <= p.most


@pytest.mark.parametrize("template", list(TEMPLATES))
def test_a_machine_of_a_template_is_written_and_read_back(template: str) -> None:
    made = Variant("it", template).machine()
    again = machine_from_text(machine_to_yaml(made), "it.yaml")
    for graph in graphs("Qwen/Qwen3-8B", "w8a8", 3):
        assert evaluate(graph, again).time_s == pytest.approx(evaluate(graph, made).time_s, rel=1e-9)
        assert evaluate(graph, again).energy_j == pytest.approx(evaluate(graph, made).energy_j, rel=1e-9)
    assert again.usd_per_hour == pytest.approx(made.usd_per_hour, nan_ok=True)
    assert again.area_mm2 == pytest.approx(float(made.area_mm2))
