"""Scans and hybrids against the modules transformers builds; the recurrence's FLOPs by counting each operation."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dovetail.design import estimate
from dovetail.model import Model
from dovetail.model.operators import Scan
from tests.model.oracle import contraction_flops, expected_tensors, inferring, kept, linear_flops, saved_parameters

_MAMBA = {
    "model_type": "mamba2", "vocab_size": 48, "hidden_size": 32, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 8,
    "state_size": 16, "n_groups": 2, "chunk_size": 8,
}  # fmt: skip
_HYBRID = {
    "model_type": "nemotron_h", "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "mamba_num_heads": 8,
    "mamba_head_dim": 8, "ssm_state_size": 16, "n_groups": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "n_routed_experts": 6, "moe_intermediate_size": 20, "num_experts_per_tok": 2, "n_shared_experts": 1,
    "moe_shared_expert_intermediate_size": 24, "chunk_size": 8, "n_group": 1, "topk_group": 1,
}  # fmt: skip
TINY: Mapping[str, dict[str, Any]] = {
    "mamba2": _MAMBA,
    "mamba2-bias-tied": {**_MAMBA, "use_bias": True, "use_conv_bias": False, "tie_word_embeddings": True},
    "nemotron_h": {**_HYBRID, "hybrid_override_pattern": "M*-ME", "moe_latent_size": 16, "num_hidden_layers": 5},
    "nemotron_h-listed": {**_HYBRID, "layers_block_type": ["moe", "mamba", "attention"], "mlp_bias": False},
}


@pytest.fixture(params=list(TINY), scope="module")
def tiny_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**TINY[request.param], "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}


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
    assert expected_tensors(tiny) == {**saved, **taps}  # a depthwise convolution is saved with one channel a filter


@pytest.mark.parametrize("tokens", [5, 9])
def test_cache_bytes_are_those_of_a_real_cache(tiny: Model, tiny_module: Any, tokens: int) -> None:
    caches = tiny.graph(2, tokens, 0, kv_dtype="fp32").caches
    assert kept(tiny_module, tokens) == sum(4 * 2 * c.length * c.elements_per_token for c in caches)


@pytest.mark.parametrize("tokens", [1, 8])
def test_flops_of_products_are_counted(tiny: Model, tiny_module: Any, tokens: int) -> None:
    import torch

    counted = linear_flops(tiny_module, tiny, input_ids=torch.randint(3, 48, (2, tokens)))
    assert contraction_flops(tiny.graph(2, tokens, 0, logit_tokens=tokens)) == counted


class Counted:
    """A number that counts the additions and multiplications it takes part in."""

    done = 0

    def __mul__(self, other: "Counted") -> "Counted":
        Counted.done += 1
        return Counted()

    __add__ = __mul__


def test_a_scans_flops_are_those_of_its_recurrence() -> None:
    """H = a h + (dt x) B; y = C h + D x, for one token, each head, channel and state by itself."""
    heads, channels, states = 2, 3, 5
    model = Model.load({**_MAMBA, "hidden_size": 3, "num_heads": heads, "head_dim": channels, "state_size": states})
    a, b, c, d, dt, x, h = (Counted() for _ in range(7))
    Counted.done = 0
    for _ in range(heads * channels):
        inputs, y = dt * x, d * x
        for _ in range(states):
            h = a * h + inputs * b
            y = y + c * h
    scans = [o for o in model.graph(1, 1, 0).operators if isinstance(o, Scan)]
    assert [o.dense_flops for o in scans] == [Counted.done]
    assert model.graph(3, 7, 0).operators[4].executed_flops == 21 * scans[0].dense_flops


def test_a_longer_context_takes_no_more_memory_and_time_of_a_scan() -> None:
    model = Model.load(_MAMBA)
    assert model.kv_bytes_per_token == 0
    first, later = (estimate(model, "h100-sxm", workload).metrics for workload in _works())
    assert first.memory.kv_cache == later.memory.kv_cache > 0
    assert first.tpot_s == later.tpot_s


def _works() -> Iterator[Any]:
    from dovetail.workload import Workload

    yield Workload(prompt=100, output=50)
    yield Workload(prompt=100_000, output=50)


def test_a_hybrid_is_estimated_and_shared_by_chips() -> None:
    one = estimate("nvidia/Nemotron-H-8B-Base-8K", "h100-sxm").metrics
    two = estimate("nvidia/Nemotron-H-8B-Base-8K", "2 x h100-sxm").metrics
    assert bool(one.fits)
    assert two.memory.weights < 0.6 * one.memory.weights
    assert two.tpot_s < one.tpot_s


@pytest.mark.parametrize("pattern", ["", "MX", 3])
def test_a_pattern_that_does_not_name_layers_is_refused(pattern: str | int) -> None:
    from dovetail.core.errors import DovetailError

    with pytest.raises(DovetailError, match="hybrid_override_pattern"):
        Model.load({**_HYBRID, "num_hidden_layers": 2, "hybrid_override_pattern": pattern})
