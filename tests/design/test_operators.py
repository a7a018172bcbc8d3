"""Operators of an estimate: they add up to it, equal layers are one row, and each row is bound by what it says."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.quantity import KINDS
from dovetail.design import Estimate, Plan, estimate
from dovetail.design.operators import OVERHEAD, Row, operators, phases
from dovetail.workload import Images, Workload

CASES = [
    ("Qwen/Qwen3-8B", "h100-sxm", "none"), ("Qwen/Qwen3-8B", "l40s", "w4a16-rtn"), ("embedded", "host", "w8a16"),
    ("google/gemma-3-27b-it", "h200-sxm", "none"), ("mistralai/Mixtral-8x7B-v0.1", "8 x h100-sxm", "none"),
    ("deepseek-ai/DeepSeek-V2-Lite", "2 x a100-sxm", "none"), ("Qwen/Qwen3-8B", "tpu-v6e", "none"),
]  # fmt: skip


def found(model: str, on: str, recipe: str, batch: int = 4, prompt: int = 700, output: int = 50) -> Estimate:
    return estimate(model, on, Workload(prompt=prompt, output=output, batch=batch), recipe)


def of(rows: tuple[Row, ...], phase: str) -> list[Row]:
    return [row for row in rows if row.phase == phase]


@given(st.sampled_from(CASES), st.integers(1, 300), st.integers(1, 5000), st.integers(1, 2000))
def test_rows_add_up_to_the_estimate(case: tuple[str, str, str], batch: int, prompt: int, output: int) -> None:
    design = found(*case, batch, prompt, output)
    rows, tokens = operators(design), float(design.steps.decode_graph.tokens_per_step)
    assert sum(r.time.value for r in of(rows, "prefill")) == pytest.approx(design.ttft.value, rel=1e-12)
    assert sum(r.time.value for r in of(rows, "decode")) == pytest.approx(design.tpot.value * tokens, rel=1e-12)
    for phase in ("prefill", "decode"):
        assert sum(r.share for r in of(rows, phase)) == pytest.approx(1.0, rel=1e-12)
        times = [r.time.value for r in of(rows, phase)]
        assert times == sorted(times, reverse=True)


def test_images_are_a_phase_of_the_first_token() -> None:
    work = Workload(prompt=100, output=10, batch=2, images=Images(2, 448, 448))
    design = estimate("Qwen/Qwen2.5-VL-7B-Instruct", "h100-sxm", work)
    rows = operators(design)
    assert list(dict.fromkeys(row.phase for row in rows)) == ["images", "prefill", "decode"]
    first = sum(r.time.value for r in rows if r.phase != "decode")
    assert first == pytest.approx(design.ttft.value, rel=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_call_of_the_graph_is_in_one_row(case: tuple[str, str, str]) -> None:
    design = found(*case)
    rows = operators(design)
    for phase, (graph, _) in phases(design).items():
        named = [row.name for row in of(rows, phase)]
        assert len(named) == len(set(named))
        assert sum(r.count for r in of(rows, phase) if r.name != OVERHEAD) == sum(o.repeat for o in graph.operators)


def test_layers_that_differ_are_apart_and_equal_ones_together() -> None:
    """Gemma 3: 52 layers of 62 see a window; their attention is shorter beyond it, everything else is the same."""
    decode = {r.name: r.count for r in of(operators(found(*CASES[3], prompt=9000)), "decode")}
    assert (decode["attention@0"], decode["attention@5"], decode["gate_up"]) == (52, 10, 62)
    short = {r.name: r.count for r in of(operators(found(*CASES[3], prompt=100)), "decode")}
    assert short["qkv"] == 62


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_binds_is_the_largest_cause(case: tuple[str, str, str]) -> None:
    design = found(*case)
    rows = operators(design)
    for phase, (_, cost) in phases(design).items():
        for row, operator in itertools.product(of(rows, phase), cost.operators):
            if row.name == operator.name:
                causes = {c: getattr(operator, f"{c}_s") for c in ("compute", "memory", "link", "launch")}
                assert causes[row.bound] == max(causes.values())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_row_says_how_it_is_known(case: tuple[str, str, str]) -> None:
    for row in operators(found(*case)):
        assert row.time.low < row.time.value < row.time.high
        assert row.time.kind in KINDS
        assert row.source
        assert row.model == "stack" if row.name == OVERHEAD else row.of_light is not None
        assert row.to_json()["time"]["value"] == row.time.value


def test_ranges_and_sources_are_those_of_what_priced_the_row() -> None:
    here = {r.name: r for r in of(operators(found("Qwen/Qwen3-8B", "h100-sxm", "w4a16-rtn")), "decode")}
    assert (here["qkv"].model, here["qkv"].time.kind) == ("gemm.w4a16", "modelled")  # no such kernel measured on it
    assert (here["lm_head"].model, here["lm_head"].time.kind) == ("gemm.bf16", "calibrated")
    assert here["qkv"].time.high / here["qkv"].time.value > here["lm_head"].time.high / here["lm_head"].time.value
    assert here["norm_in"].model == "roofline"
    other = {r.name: r for r in of(operators(found("Qwen/Qwen3-8B", "l40s", "none")), "decode")}
    assert "a100-sxm" in other["qkv"].source
    assert other["qkv"].time.kind == "modelled"


def test_a_large_decode_is_near_the_light_of_memory_and_a_small_operator_far_below() -> None:
    rows = {r.name: r for r in of(operators(found("Qwen/Qwen3-8B", "h100-sxm", "none", batch=1)), "decode")}
    assert rows["gate_up"].bound == "memory"
    assert 0.6 < rows["gate_up"].of_light <= 1.0
    assert rows["norm_in"].bound == "launch"
    assert rows["norm_in"].of_light < 0.05
    weights = 2 * 4096 * 2 * 12288 * 36
    assert rows["gate_up"].light.value == pytest.approx(weights / 3.35e12, rel=1e-2)


def test_collectives_are_priced_by_the_fabric() -> None:
    design = estimate("Qwen/Qwen3-8B", "8 x h100-sxm", Workload(prompt=4000, output=20, batch=32), plan=Plan(tp=8))
    rows = {r.name: r for r in of(operators(design), "prefill")}
    assert (rows["o.all_reduce"].model, rows["o.all_reduce"].bound) == ("fabric", "link")
    assert "NCCL" in rows["o.all_reduce"].source
