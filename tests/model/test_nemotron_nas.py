"""Llama-Nemotron's blocks against a Llama of transformers whose layers are built one by one, some blocks taken out."""

from collections.abc import Iterator
from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from tests.model.oracle import contraction_flops, counted_flops, expected_tensors

_BLOCKS = [
    {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 5.25}},
    {"attention": {"no_op": True}, "ffn": {"ffn_mult": 13.0}},
    {"attention": {"n_heads_in_group": 4, "window_length": None}, "ffn": {"no_op": True, "ffn_mult": None}},
    {"attention": {"n_heads_in_group": 1}, "ffn": {"ffn_mult": 24.0}},
]
_SHAPE = {
    "vocab_size": 48, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "mlp_bias": True,
    "max_position_embeddings": 64,
}  # fmt: skip
CONFIG = {"model_type": "nemotron-nas", **_SHAPE, "block_configs": _BLOCKS, "dtype": "float32"}
KV_HEADS, INNER = (2, None, 1, 4), (256, 512, None, 512)  # two thirds of mult x 32, up to the next multiple of 256


@pytest.fixture(scope="module")
def tiny() -> Model:
    return Model.load(CONFIG)


@pytest.fixture(scope="module")
def module() -> Iterator[Any]:
    torch = pytest.importorskip("torch", reason="the oracle needs the torch extra")
    transformers = pytest.importorskip("transformers", reason="the oracle needs the torch extra")
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    class NoAttention(torch.nn.Module):
        def forward(self, hidden_states: Any, **_: Any) -> Any:
            return torch.zeros_like(hidden_states), None

    class NoBlock(torch.nn.Module):
        def forward(self, hidden_states: Any) -> Any:
            return torch.zeros_like(hidden_states)

    def config(kv_heads: int, inner: int) -> Any:
        return transformers.LlamaConfig(
            **_SHAPE, num_key_value_heads=kv_heads, intermediate_size=inner, attn_implementation="eager"
        )

    with torch.inference_mode():
        found = transformers.LlamaForCausalLM(config(4, 8)).eval()
        for i, (kv_heads, inner) in enumerate(zip(KV_HEADS, INNER, strict=True)):
            layer = LlamaDecoderLayer(config(kv_heads or 4, inner or 8), i).eval()
            if kv_heads is None:
                layer.input_layernorm, layer.self_attn = torch.nn.Identity(), NoAttention()
            if inner is None:
                layer.post_attention_layernorm, layer.mlp = torch.nn.Identity(), NoBlock()
            found.model.layers[i] = layer
        yield found


def test_tensors_are_the_modules(tiny: Model, module: Any) -> None:
    assert expected_tensors(tiny) == {name: list(p.shape) for name, p in module.named_parameters()}


def test_flops_of_prefill_a_chunk_and_decode(tiny: Model, module: Any) -> None:
    import torch

    prompt, past = torch.randint(3, 48, (2, 9)), None
    for tokens, context in ((7, 0), (4, 7), (1, 11)):
        counted, output = counted_flops(module, input_ids=prompt[:, :tokens], past_key_values=past)
        past = output.past_key_values
        assert contraction_flops(tiny.graph(2, tokens, context, logit_tokens=tokens)) == counted


def test_cache_bytes_are_those_of_a_real_cache(tiny: Model, module: Any) -> None:
    import torch

    cache = module(torch.randint(3, 48, (2, 9)), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if layer.is_initialized)
    assert held == 2 * tiny.kv_bytes_per_token * 2 * 9  # the module's cache is fp32
    assert tiny.kv_bytes_per_token == 2 * 2 * 8 * (2 + 1 + 4)


def test_published_model_caches_in_49_of_80_layers() -> None:
    model = Model.load("nvidia/Llama-3_3-Nemotron-Super-49B-v1")
    assert model.kv_bytes_per_token == 49 * 2 * 2 * 8 * 128


@pytest.mark.parametrize(("part", "field", "value", "what"), [
    ("attention", "replace_with_linear", True, "not described"), ("attention", "window_length", 64, "not described"),
    ("attention", "n_heads_in_group", 3, "groups of 3"), ("ffn", "sparsify", [1], "not described"),
    ("ffn", "ffn_mult", None, "missing"), ("ffn", "ffn_mult", -1.0, "not a positive number"),
])  # fmt: skip
def test_a_block_that_is_not_described_is_refused(part: str, field: str, value: Any, what: str) -> None:
    first = {**_BLOCKS[0], part: {**_BLOCKS[0][part], field: value}}
    with pytest.raises(DovetailError, match=what) as caught:
        Model.load({**CONFIG, "block_configs": [first, *_BLOCKS[1:]]})
    assert f"block_configs[0]: {part}: {field}" in str(caught.value)


@pytest.mark.parametrize("value", [None, [], _BLOCKS[:3], "no list", [1, 2, 3, 4]])
def test_every_layer_needs_a_block(value: Any) -> None:
    with pytest.raises(DovetailError, match="block_configs"):
        Model.load({**CONFIG, "block_configs": value})
