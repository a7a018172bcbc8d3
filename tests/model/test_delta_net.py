"""Gated delta nets between layers of gated attention, against the modules transformers builds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.design import estimate
from dovetail.model import Model
from dovetail.model.config import read_fields
from dovetail.model.find import zoo
from dovetail.model.operators import Linear, Pointwise, Scan
from tests.model.oracle import (
    contraction_flops,
    expected_tensors,
    inferring,
    kept,
    linear_flops,
    module_of,
    saved_parameters,
)
from tests.model.test_zoo import meta_parameters

_HYBRID = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 4, "linear_value_head_dim": 6, "linear_conv_kernel_dim": 3,
}  # fmt: skip
_MIXTURE = {
    "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "shared_expert_intermediate_size": 24,
}  # fmt: skip
_NEXT = {"model_type": "qwen3_next", **_HYBRID, **_MIXTURE}
TINY: Mapping[str, dict[str, Any]] = {
    "qwen3_next": _NEXT,
    "qwen3_next-dense-some": {**_NEXT, "mlp_only_layers": [0], "decoder_sparse_step": 2, "full_attention_interval": 2},
    "qwen3_5_text": {"model_type": "qwen3_5_text", **_HYBRID, "tie_word_embeddings": True, "attention_bias": True},
    "qwen3_5_moe_text": {
        "model_type": "qwen3_5_moe_text", **_HYBRID, **_MIXTURE, "num_hidden_layers": 2,
        "layer_types": ["full_attention", "linear_attention"],
    },
}  # fmt: skip


@pytest.fixture(params=list(TINY), scope="module")
def tiny_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**TINY[request.param], "dtype": "float32"}


@pytest.fixture(scope="module")
def tiny(tiny_config: dict[str, Any]) -> Model:
    return Model.load(tiny_config)


@pytest.fixture(scope="module")
def tiny_module(tiny_config: dict[str, Any]) -> Any:
    return inferring(tiny_config)


def test_parameters_and_tensors_are_the_modules(tiny: Model, tiny_module: Any, tmp_path: Path) -> None:
    assert tiny.parameters == sum(p.numel() for p in tiny_module.parameters())
    saved = saved_parameters(tiny_module, tmp_path)
    taps = {name: [shape[0], shape[2]] for name, shape in saved.items() if name.endswith("conv1d.weight")}
    assert taps
    assert expected_tensors(tiny) == {**saved, **taps}  # a depthwise convolution is saved with one channel a filter


@pytest.mark.parametrize("tokens", [5, 9])
def test_cache_bytes_are_those_of_a_real_cache(tiny: Model, tiny_module: Any, tokens: int) -> None:
    caches = tiny.graph(2, tokens, 0, kv_dtype="fp32").caches
    assert kept(tiny_module, tokens) == sum(4 * 2 * c.length * c.elements_per_token for c in caches)


def test_the_state_is_wider_than_the_checkpoint(tiny_config: dict[str, Any]) -> None:
    """Of a bf16 model the convolution's inputs, keys and values are bf16, the scan's state is fp32."""
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    fields = {**tiny_config, "dtype": "bfloat16"}
    with torch.inference_mode():
        held = kept(module_of(fields), 5)
    caches = Model.load(fields).graph(2, 5, 0, kv_dtype="bf16").caches
    width = {"bf16": 2, "fp32": 4}
    assert held == sum(width[c.format] * 2 * c.length * c.elements_per_token for c in caches)


@pytest.mark.parametrize(("tokens", "context"), [(1, 0), (8, 0), (1, 7)])
def test_flops_of_products_are_counted(tiny: Model, tiny_module: Any, tokens: int, context: int) -> None:
    import torch

    past = tiny_module(torch.randint(3, 48, (2, context)), use_cache=True).past_key_values if context else None
    counted = linear_flops(tiny_module, tiny, input_ids=torch.randint(3, 48, (2, tokens)), past_key_values=past)
    assert contraction_flops(tiny.graph(2, tokens, context, logit_tokens=tokens)) == counted


class Counted:
    """A number that counts the operations it takes part in."""

    done = 0

    def __mul__(self, other: "Counted") -> "Counted":
        Counted.done += 1
        return Counted()

    __add__ = __sub__ = __mul__


def test_a_scans_flops_are_those_of_its_recurrence() -> None:
    """One token, each head, channel and element of the state by itself; sums start from zero."""
    heads, key_heads, keys, values = 4, 2, 3, 5
    zero, q, k, v, a, b, s = (Counted() for _ in range(7))
    Counted.done = 0
    for _ in range(key_heads):
        for vector in (q, k):
            square = zero
            for _ in range(keys):
                square = square + vector * vector
            for _ in range(keys):
                vector = vector * square  # the root's reciprocal
        for _ in range(keys):
            q = q * zero  # one over the root of the width
    for _ in range(heads * values):
        read = out = zero
        for _ in range(keys):
            s = a * s
            read = read + s * k
        delta = (v - read) * b
        for _ in range(keys):
            s = s + k * delta
            out = out + s * q
    fields = {"linear_key_head_dim": keys, "linear_value_head_dim": values}
    model = Model.load({**_NEXT, **fields})
    (scan,) = (o for o in model.graph(1, 1, 0).operators if isinstance(o, Scan))
    assert scan.dense_flops == Counted.done
    assert scan.state == heads * keys * values
    (many,) = (o for o in model.graph(3, 7, 0).operators if isinstance(o, Scan))
    assert many.executed_flops == 21 * scan.dense_flops


def test_only_attention_layers_cache_more_for_a_longer_sequence() -> None:
    caches = Model.load(_NEXT).graph(1, 1, 10).caches
    assert {(c.layers, c.grows) for c in caches} == {((0, 1, 2), False), ((3,), True)}


@pytest.mark.parametrize(("fields", "share"), [({}, 0.25), ({"rope_parameters": {"partial_rotary_factor": 0.5}}, 0.5)])
def test_a_share_of_each_head_turns(fields: Mapping[str, Any], share: float) -> None:
    (rotary,) = (
        o for o in Model.load({**_NEXT, **fields}).graph(1, 1, 0).operators
        if isinstance(o, Pointwise) and o.name.startswith("rotary")
    )  # fmt: skip
    assert rotary.written == share * (4 + 2) * 16  # query and key heads of 16 channels


def test_one_projection_or_several_multiply_alike() -> None:
    """Qwen3-Next and Qwen3.5 differ in how tensors are cut, not in what is computed."""
    fused, apart = (
        Model.load({**_NEXT, "model_type": kind}).graph(2, 3, 0) for kind in ("qwen3_next", "qwen3_5_moe_text")
    )
    shapes = [[(o.name, o.m, o.n, o.k) for o in graph.operators if isinstance(o, Linear)] for graph in (fused, apart)]
    assert shapes[0] == shapes[1]
    assert fused.parameters() == apart.parameters()


@pytest.mark.parametrize("name", [f"Qwen/Qwen3.5-{size}" for size in ("27B", "35B-A3B", "122B-A10B", "397B-A17B")])
def test_a_language_model_out_of_a_larger_config(name: str) -> None:
    fields = read_fields(zoo()[name])["text_config"]
    assert Model.load(fields).parameters == meta_parameters(fields)


def test_it_is_estimated_and_shared_by_chips() -> None:
    two, four = (estimate("Qwen/Qwen3-Next-80B-A3B-Instruct", f"{n} x h100-sxm").metrics for n in (4, 8))
    assert bool(two.fits)
    assert four.memory.weights < 0.6 * two.memory.weights
    assert four.tpot_s < two.tpot_s


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"linear_num_value_heads": 3}, "linear_num_value_heads"),
        ({"layer_types": ["linear_attention"]}, "layer_types"),
        ({"layer_types": ["mamba"] * 4}, "layer_types"),
        ({"num_experts_per_tok": 7}, "num_experts_per_tok"),
    ],
)
def test_what_does_not_fit_is_refused(fields: Mapping[str, Any], field: str) -> None:
    with pytest.raises(DovetailError, match=field):
        Model.load({**_NEXT, **fields})
