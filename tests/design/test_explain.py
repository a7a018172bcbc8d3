"""Trees that add up: every sum is the sum of its parts, every product the product, every leaf has a source."""

import math
from dataclasses import replace
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.core.quantity import Quantity
from dovetail.design import Estimate, estimate
from dovetail.design.explain import METRICS, explain
from dovetail.hardware import Efficiency, Machine, load_machine
from dovetail.model import Model
from dovetail.workload import Workload

WORK = Workload(prompt=128, output=32, batch=4)
CASES = [
    ("meta-llama/Llama-3.1-8B", "h100-sxm", "none"),
    ("meta-llama/Llama-3.1-8B", "2 x h100-sxm", "w4a16-rtn"),
    ("mistralai/Mixtral-8x7B-v0.1", "8 x h200-sxm", "none"),
    ("Qwen/Qwen2.5-0.5B", "host", "w4a16-rtn"),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[1]}-{case[2]}", scope="module")
def found(request: pytest.FixtureRequest) -> Estimate:
    model, machine, recipe = request.param
    return estimate(model, machine, WORK, recipe)


def parts(q: Quantity) -> dict[str, float]:
    return {name: part.value for name, part in q.parts}


def value_of(operator: Quantity) -> float:
    """The time of an operator, from the numbers that its tree shows."""
    p = parts(operator)
    if "kernel" in p:  # priced by the constants of its kernel
        return p["kernel"] + p["launches"]
    repeat = int(operator.formula.split(" x launch")[0].split()[-1])
    overlap = p.get("overlap", 1.0)
    busy = max(p["compute"], p["memory"]) + (1 - overlap) * min(p["compute"], p["memory"])
    return busy + p.get("unpacking", 0.0) + p.get("link", 0.0) + repeat * p["launch"]


def check_step(step: Quantity) -> None:
    assert sum(parts(step).values()) == pytest.approx(step.value, rel=1e-9)
    for name, operator in step.parts[:-1]:
        assert value_of(operator) == pytest.approx(operator.value, rel=1e-9), name
        if "kernel" in parts(operator):
            names = parts(dict(operator.parts)["kernel"])
            assert {"FLOPs", "main-memory bytes", "compute", "memory", "memory bandwidth"} <= names.keys()
            continue
        compute = dict(operator.parts)["compute"]
        p = parts(compute)
        rest = p.get("softmax", 0.0) + p.get("unpacking", 0.0)
        assert p["FLOPs"] / p["arithmetic"] + rest == pytest.approx(compute.value, rel=1e-9)
    assert step.parts[-1][0] == "step overhead"


def test_time_to_first_token_is_the_sum_of_its_operators(found: Estimate) -> None:
    root = explain(found, "ttft")
    assert root.value == found.ttft.value
    check_step(root)


def test_time_per_token_is_its_step_over_the_tokens_it_yields(found: Estimate) -> None:
    root = explain(found, "tpot")
    (_, step), (_, tokens) = root.parts
    assert step.value / tokens.value == pytest.approx(root.value, rel=1e-9)
    check_step(step)


def test_memory_is_the_sum_of_its_parts_down_to_the_tensors(found: Estimate) -> None:
    root = explain(found, "memory")
    assert root.value == found.metrics.memory.total
    assert sum(parts(root).values()) == pytest.approx(root.value, rel=1e-9)
    for name in ("weights", "kv_cache"):
        part = dict(root.parts)[name]
        assert sum(parts(part).values()) == pytest.approx(part.value, rel=1e-9)
        assert all(q.unit == "byte" for _, q in part.parts)


def test_throughput_and_price_follow_from_their_parts(found: Estimate) -> None:
    p = parts(explain(found, "throughput"))
    seconds = p["ttft"] + (p["output tokens"] - 1) * p["tpot"]
    assert p["batch"] * p["output tokens"] / seconds == pytest.approx(found.throughput.value, rel=1e-9)
    price, q = explain(found, "usd_per_mtok"), parts(explain(found, "usd_per_mtok"))
    assert q["rent of one chip"] * q["chips"] / q["throughput"] * 1e6 == pytest.approx(price.value, rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_every_leaf_has_a_source_and_every_branch_a_formula(found: Estimate, metric: str) -> None:
    for _, name, q in explain(found, metric).tree(metric):
        assert q.formula if q.parts else q.source, name
        assert q.source != "derived", name
        assert math.isfinite(q.value), name
        assert q.low <= q.value <= q.high


def test_constants_carry_the_sources_of_the_machine(toy: Machine, llama: Model) -> None:
    """What the machine's file says, at every constant of the trees; the rest are shapes, the question, the model."""
    own = {"shapes of the graph", "shapes and formats of the graph", "the recipe", "the question asked"}
    for metric in ("ttft", "energy_per_token", "usd_per_mtok"):
        for _, name, q in explain(estimate(llama, toy, WORK), metric).tree(metric):
            assert q.parts or q.source in own or q.source.startswith("a round number"), name
    chip = load_machine("h100-sxm")
    launch = {q.source for _, name, q in explain(estimate(llama, chip, WORK), "tpot").tree("tpot") if name == "launch"}
    assert launch == {chip.source("stack.launch").text, chip.source("kernels.gemm.bf16").text}


@pytest.mark.parametrize("efficiency", [{"overlap": 0.4}, {"attention": 0.2}, {"overlap": 0.0, "attention": 1.5}])
def test_constants_that_calibration_moves_appear_in_the_tree(toy: Machine, llama: Model, efficiency: Any) -> None:
    machine = replace(toy, efficiency=Efficiency(0.5, 0.8, **efficiency))
    found = estimate(llama, machine, WORK)
    root = explain(found, "ttft")
    check_step(root)
    names = {name for _, name, _ in root.tree("ttft")}
    assert ("overlap" in names) is ("overlap" in efficiency)
    assert ("attention's relative efficiency" in names) is ("attention" in efficiency)


def test_unknown_metrics_and_machines_without_rent_are_answered(toy: Machine, llama: Model) -> None:
    with pytest.raises(DovetailError, match="did you mean 'tpot'"):
        explain(estimate(llama, toy), "tpto")
    with pytest.raises(DovetailError, match="toy has no rent"):
        explain(estimate(llama, replace(toy, usd_per_hour=float("nan"))), "usd_per_mtok")
