"""Where weights of a checkpoint in fp8 or NVFP4 run: in their own arithmetic, unpacked by kernels or at load."""

from __future__ import annotations

from typing import Any

import pytest

from dovetail.cost.memory import cache_bytes
from dovetail.cost.traffic import resident_bytes, traffic
from dovetail.design import estimate
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.model.operators import Linear
from dovetail.system.tensor_parallel import tensor_parallel
from dovetail.workload import Workload

BASE = Model.load("meta-llama/Llama-3.2-1B").config
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
NVFP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"], "kv_cache_quant_algo": "FP8"}
ELEMENTS = 2048 * 2048  # of the output projection


def model(quantization: dict[str, Any]) -> Model:
    return Model.load({**BASE, "quantization_config": quantization})


def output_projection(quantization: dict[str, Any], tokens: int = 64) -> Linear:
    return next(o for o in model(quantization).graph(1, tokens).operators if isinstance(o, Linear) and o.name == "o")


@pytest.mark.parametrize(
    ("quantization", "chip", "dtype", "unpacked"),
    [
        (FP8, "h100-sxm", "fp8", 0), (FP8, "mi300x", "fp8", 0), (FP8, "a100-sxm", "bf16", ELEMENTS),
        (NVFP4, "b200-sxm", "nvfp4", 0), (NVFP4, "h100-sxm", "bf16", ELEMENTS),
        (NVFP4, "a100-sxm", "bf16", ELEMENTS),
    ],
)  # fmt: skip
def test_products_run_in_the_dtype_of_their_inputs_where_the_chip_has_it(
    quantization: dict[str, Any], chip: str, dtype: str, unpacked: int
) -> None:
    operator, machine = output_projection(quantization), load_machine(chip)
    found = traffic(operator, machine)
    assert (found.dtype, found.unpacked) == (dtype, unpacked)
    scales = 4 * 16 * 16 if quantization is FP8 else 2048 * 2048 // 16 + 8
    payload = ELEMENTS + scales if quantization is FP8 else ELEMENTS // 2 + scales
    assert resident_bytes(operator.weights[0], machine) == found.streamed == payload


@pytest.mark.parametrize("quantization", [FP8, NVFP4], ids=["fp8", "nvfp4"])
def test_a_stack_that_unpacks_at_load_holds_and_multiplies_floats(quantization: dict[str, Any]) -> None:
    machine = load_machine("host")
    plain = Model.load(BASE)
    size = {"bf16": 2, "fp32": 4}[traffic(output_projection(quantization), machine).dtype]
    for weight, _ in model(quantization).graph().weights():
        assert resident_bytes(weight, machine) == weight.elements * size
    kept, cached = (
        sum(cache_bytes(c, machine) for c in m.graph(1, 1, 99).caches) for m in (plain, model(quantization))
    )
    assert cached == kept


def test_a_cache_in_fp8_takes_half_of_one_in_bf16() -> None:
    machine = load_machine("h100-sxm")
    kept, cached = (
        sum(cache_bytes(c, machine) for c in m.graph(1, 1, 99).caches) for m in (Model.load(BASE), model(NVFP4))
    )
    assert cached == kept / 2


@pytest.mark.parametrize(
    ("quantization", "chip", "why"),
    [
        (FP8, "mi210", "no kernel for fp8-128x128 weights on mi210"),
        (NVFP4, "mi300x", "no kernel for packed weights on mi300x"),
    ],
)
def test_weights_that_nothing_multiplies_or_unpacks_are_refused(
    quantization: dict[str, Any], chip: str, why: str
) -> None:
    found = estimate(model(quantization), chip, Workload())
    assert not found.feasible
    assert why in found.why[0]
    assert estimate(model(FP8), "mi300x", Workload()).feasible


def test_smaller_weights_decode_faster_and_fp8_prefills_faster() -> None:
    large = Model.load("meta-llama/Llama-3.1-70B").config  # where bytes count, not launches of kernels
    plain, eight, four = (
        estimate(Model.load({**large, **extra}), "b200-sxm", Workload(2048, 64, 1))
        for extra in ({}, {"quantization_config": FP8}, {"quantization_config": NVFP4})
    )
    assert float(four.tpot.value) < float(eight.tpot.value) < float(plain.tpot.value)
    assert float(four.ttft.value) < float(eight.ttft.value) < float(plain.ttft.value)


def test_outputs_are_floats_and_so_is_what_chips_send_each_other() -> None:
    """Inputs of one byte, outputs of two: of the product, and of the all-reduce after it."""
    machine = load_machine("h100-sxm")
    assert traffic(output_projection(FP8), machine).activations == 64 * (2048 * 1 + 2048 * 2)
    sent = {m.storage.rules != (): tensor_parallel(m.graph(1, 64), 2) for m in (Model.load(BASE), model(FP8))}
    plain, eight = (
        sum(traffic(o, machine).sent * o.repeat for o in sent[quantised].operators) for quantised in (False, True)
    )
    assert plain == eight > 0
