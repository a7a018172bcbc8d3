"""How far predictions are known: links as well as they were measured, kernels less where another dtype's stand in."""

import pytest

from dovetail.cost import matmul
from dovetail.cost.operators import spread_of
from dovetail.design import estimate
from dovetail.design.operators import operators
from dovetail.design.trust import trust
from dovetail.hardware import load_machine
from dovetail.model import Model


@pytest.mark.parametrize(
    ("on", "ways", "wide"),
    [
        ("h100-sxm", 1, False), ("8 x h100-sxm", 8, False),  # NVLink is measured
        ("16 x h100-sxm", 16, True), ("2 x dgx-a100", 16, True),  # InfiniBand is not
        ("8 x h200-sxm", 8, True),  # nor the H200's NVLink, which takes the H100's constants
    ],
)  # fmt: skip
def test_a_time_with_unmeasured_links_in_it_has_a_wide_range(on: str, ways: int, wide: bool) -> None:
    machine, graph = load_machine(on), Model.load("meta-llama/Llama-3.1-8B").graph(batch=4, tokens=1, context=100)
    known = trust(graph, machine, ways)
    kernels = max(spread_of(model, machine) for model in known.models)
    assert known.factor("tpot") == 1 + (max(0.5, kernels) if wide else kernels)


@pytest.mark.parametrize(
    ("model", "on", "lent", "kind", "spread"),
    [
        ("openai/gpt-oss-20b", "h100-sxm", ("mixture",), "modelled", 0.7),  # weights of 4 bits, constants of bf16's
        ("mistralai/Mixtral-8x7B-v0.1", "h100-sxm", (), "calibrated", None),
        ("meta-llama/Llama-3.1-8B", "v100-sxm", (), "modelled", None),  # its fp16 kernels are what its bf16 ones are
    ],
)  # fmt: skip
def test_constants_of_another_dtype_make_a_wide_range(
    model: str, on: str, lent: tuple[str, ...], kind: str, spread: float | None
) -> None:
    machine = load_machine(on)
    known = trust(Model.load(model).graph(batch=4, tokens=1, context=100), machine, 1)
    own = max(spread_of(name, machine) for name in known.models)
    assert (known.lent, known.kind("tpot")) == (lent, kind)
    assert known.factor("tpot") == 1 + (own if spread is None else max(own, spread))


def test_rows_of_operators_say_the_same() -> None:
    found = estimate("openai/gpt-oss-20b", "h100-sxm")
    experts = [row for row in operators(found) if row.name.startswith("experts_")]
    assert {(row.time.kind, round(row.time.high / row.time.value, 9)) for row in experts} == {("modelled", 1.7)}
    others = [row for row in operators(found) if row.name in ("qkv", "attention")]
    assert others
    assert {row.time.kind for row in others} == {"calibrated"}


def test_a_product_by_another_dtypes_constants_has_a_range_as_wide_as_a_borrowed_one() -> None:
    own, lent = (matmul(64, 4096, 4096, machine="a100-sxm", weight=d, act=d) for d in ("int8", "int4"))
    assert lent.high / lent.time_s >= own.high / own.time_s > 1.35
