"""DeepSeek-V4 against the module transformers builds: windows, entries, index, residual streams."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.cost.memory import activation_bytes
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Linear, Pointwise
from dovetail.system.tensor_parallel import tensor_parallel
from tests.model.oracle import contraction_flops, counted_flops, expected_tensors, inferring, saved_parameters
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_parameters_are_the_modules,
    test_saved_folder_loads_as_the_same_architecture,
)
from tests.model.test_zoo import meta_parameters

_BASE = {
    "model_type": "deepseek_v4", "vocab_size": 48, "hidden_size": 32, "moe_intermediate_size": 20,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "q_lora_rank": 12,
    "qk_rope_head_dim": 4, "n_routed_experts": 6, "num_experts_per_tok": 2, "max_position_embeddings": 64,
    "o_groups": 2, "o_lora_rank": 6, "index_n_heads": 3, "index_head_dim": 10, "index_topk": 2, "sliding_window": 5,
    "hc_mult": 3, "num_hash_layers": 1, "compress_rate_csa": 3, "compress_rate_hca": 6,
}  # fmt: skip
_MIXED = {**_BASE, "compress_ratios": [0, 4, 128, 4, 0]}  # the last entry is of a multi-token-prediction layer
_WINDOW, _SPARSE, _HEAVY = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"
TINY: Mapping[str, dict[str, Any]] = {
    "mixed": _MIXED,
    "silent": {k: v for k, v in _BASE.items() if k not in ("num_hash_layers", "compress_rate_csa")},
    "listed": {**_BASE, "layer_types": [_HEAVY, _WINDOW, _SPARSE, _SPARSE], "compress_rates": {_SPARSE: 2, _HEAVY: 4}},
    "windows": {**_BASE, "layer_types": [_WINDOW] * 4, "mlp_layer_types": ["moe"] * 4, "hc_mult": 2},
    "tied": {**_MIXED, "tie_word_embeddings": True, "partial_rotary_factor": 0.5},
}  # fmt: skip
_CONFIGS = Path("configs") / "aiconfigurator_hf"


@pytest.fixture(params=list(TINY), scope="module")
def tiny_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**TINY[request.param], "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}


@pytest.fixture(scope="module")
def tiny(tiny_config: dict[str, Any]) -> Model:
    return Model.load(tiny_config)


@pytest.fixture(scope="module")
def tiny_module(tiny_config: dict[str, Any]) -> Any:
    return inferring(tiny_config)


def attentions(graph: Graph, name: str) -> list[Attention]:
    return [o for o in graph.operators if isinstance(o, Attention) and o.name.partition("@")[0] == name]


def test_tensors_are_those_on_disk(tiny: Model, tiny_module: Any, tmp_path: Path) -> None:
    """A bias that only corrects the choice of experts is a buffer, saved under another name than the module's."""
    saved = saved_parameters(tiny_module, tmp_path)
    assert expected_tensors(tiny) == {k: v for k, v in saved.items() if not k.endswith("ffn.gate.bias")}


def test_flops_of_prefill_decode_and_chunks(tiny: Model, tiny_module: Any) -> None:
    """The module mixes streams by a product, here pointwise, and sums scores of the index over heads without one."""
    import torch

    streams, hidden, heads = tiny.config["hc_mult"], tiny.config["hidden_size"], tiny.config["index_n_heads"]
    prompt, past = torch.randint(3, 48, (3, 8)), None
    for tokens, context in ((7, 0), (1, 7), (4, 8), (1, 12), (8, 13)):
        counted, output = counted_flops(tiny_module, input_ids=prompt[:, :tokens], past_key_values=past)
        past = output.past_key_values
        graph = tiny.graph(3, tokens, context, logit_tokens=tokens)
        mixing = 2 * 4 * 2 * 3 * tokens * streams * streams * hidden
        summing = sum(2 * 3 * tokens * heads * o.span * o.repeat for o in attentions(graph, "index_scores"))
        assert contraction_flops(graph) + mixing - summing == counted


def test_mixing_of_streams_is_counted_where_it_is_pointwise(tiny: Model) -> None:
    """A product over `hc_mult` streams (a multiply and an add each) and the placed output's multiply."""
    streams = tiny.config["hc_mult"]
    writes = [o for o in tiny.graph(2, 5).operators if o.name.startswith("streams_write")]
    assert sum(o.repeat for o in writes) == 2 * 4
    assert all(o.dense_flops == 2 * 5 * 32 * streams * (2 * streams + 1) for o in writes)


def bytes_held(tensors: Mapping[str, Any]) -> int:
    return sum(each.nbytes for each in tensors.values() if each is not None)


def test_window_and_entries_take_the_bytes_of_a_real_cache(tiny: Model, tiny_module: Any) -> None:
    """Values are the keys: held once, as engines do; transformers keeps equal copies where a layer has windows only."""
    import torch

    tokens = 13
    held = tiny_module(torch.randint(3, 48, (2, tokens)), use_cache=True).past_key_values.layers
    for cache in tiny.graph(2, tokens, kv_dtype="fp32").caches:
        for layer in cache.layers if cache.grows else ():
            ours = 4 * 2 * cache.length * cache.elements_per_token / len(cache.layers)
            if cache.window is not None:
                # transformers drops the oldest token of a full window before the step
                assert ours * (cache.window - 1) == held[layer].keys.nbytes * cache.length
                assert torch.equal(held[layer].keys, held[layer].values)
                continue
            name = "indexer" if cache.kind == "index" else "compressor"
            assert ours == held[layer].compressed_kv[name].nbytes


def test_state_has_room_for_what_a_real_cache_keeps_of_unfinished_windows(tiny: Model, tiny_module: Any) -> None:
    """Ours, `rate` tokens of each projection (with overlap twice as many, twice as wide), is the reference code's."""
    import torch

    tokens = 13
    held = tiny_module(torch.randint(3, 48, (2, tokens)), use_cache=True).past_key_values.layers
    room = dict.fromkeys(range(4), 0.0)
    for cache in tiny.graph(2, tokens).caches:
        for layer in cache.layers if not cache.grows else ():
            room[layer] += 4 * 2 * cache.elements_per_token / len(cache.layers)
    for layer, theirs in enumerate(held):
        kept = [
            bytes_held(getattr(theirs, f"{part}_{what}", {}))
            for part in ("buffer", "overlap")
            for what in ("kv", "gate")
        ]
        width, pooled = expected_state(tiny, layer)
        assert room[layer] == 4 * 2 * 2 * pooled * width
        rate = tiny.architecture.layers[layer].mixer.compressor.rate if pooled else 1
        overlap = rate * width // 2 if pooled == 2 * rate else 0
        assert sum(kept) == 4 * 2 * 2 * (tokens % rate * width + overlap)
        assert sum(kept) <= room[layer]


def expected_state(tiny: Model, layer: int) -> tuple[int, int]:
    """Channels of the projections of a layer's compressors together, and the tokens that an entry is made of."""
    mixer = tiny.architecture.layers[layer].mixer
    if mixer.compressor is None:
        return 0, 0
    if mixer.index is None:
        return 16, mixer.compressor.rate
    return 2 * (16 + 10), 2 * mixer.compressor.rate


@given(st.integers(1, 40), st.integers(0, 60), st.integers(2, 9), st.none() | st.integers(1, 6))
def test_entries_seen_counted_one_by_one(tokens: int, context: int, rate: int, selected: int | None) -> None:
    """A query at position i (from 0) sees entry w when all its tokens, up to ``rate (w + 1) - 1``, are at most i."""
    operator = Attention("a", tokens=tokens, kv_len=context + tokens, rate=rate, selected=selected)
    seen = [sum(rate * (w + 1) - 1 <= i for w in range(context + tokens)) for i in range(context, context + tokens)]
    picked = seen if selected is None else [min(each, selected) for each in seen]
    assert operator.span == max(seen)
    assert operator.visible == pytest.approx(sum(picked) / tokens)


def test_columns_equal_points_one_by_one(tiny: Model) -> None:
    batch, tokens, context = np.array([1, 3, 2]), np.array([1, 9, 4]), np.array([0, 6, 50])
    columns = tiny.graph(batch, tokens, context)
    for index in range(3):
        point = tiny.graph(int(batch[index]), int(tokens[index]), int(context[index]), absorb=False)
        for one, many in zip(point.operators, columns.operators, strict=True):
            assert one.executed_flops == pytest.approx(np.broadcast_to(many.executed_flops, 3)[index], rel=1e-12)
        for kept, column in zip(point.caches, columns.caches, strict=True):
            assert kept.length == np.broadcast_to(column.length, 3)[index]


FILES = (
    "deepseek-ai--DeepSeek-V4-Flash", "deepseek-ai--DeepSeek-V4-Pro", "nvidia--DeepSeek-V4-Flash-NVFP4",
    "nvidia--DeepSeek-V4-Pro-NVFP4", "sgl-project--DeepSeek-V4-Flash-FP8", "sgl-project--DeepSeek-V4-Pro-FP8",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_public_configs_hold_what_their_modules_hold(data_folder: Path, name: str) -> None:
    file = data_folder / _CONFIGS / f"{name}_config.json"
    assert Model.load(file).parameters == meta_parameters(json.loads(file.read_text()))


@pytest.mark.parametrize(("size", "total", "active"), [("Flash", "0.28", "13"), ("Pro", "1.57", "49")])
def test_totals_of_the_model_card(size: str, total: str, active: str) -> None:
    """Card: 284 billion, 13 of them active; 1.6 trillion, 49 active. A token reads one row of the embedding."""
    model = Model.load(f"deepseek-ai/DeepSeek-V4-{size}")
    assert f"{model.parameters / 1e12:.2f}" == total
    table = 129_280 * model.architecture.hidden
    assert f"{(model.active_parameters - table) / 1e9:.0f}" == active


def test_a_million_tokens_of_the_large_model_take_the_memory_its_engine_reports() -> None:
    """9.62 GiB in bf16, all caches, as vLLM announced with its support (24 April 2026)."""
    graph = Model.load("deepseek-ai/DeepSeek-V4-Pro").graph(1, 1, (1 << 20) - 1)
    growing = sum(2 * c.length * c.elements_per_token for c in graph.caches if c.grows)
    assert f"{growing / 2**30:.2f}" == "9.62"


def test_window_index_and_picked_entries_of_the_small_model() -> None:
    """64 heads of 512 channels, one key; 128 tokens, at most 512 of every 4th entry, all of every 128th."""
    context = np.array([126, 4095, 131_071])
    graph = Model.load("deepseek-ai/DeepSeek-V4-Flash").graph(2, 1, context)
    seen = {o.name: o.executed_flops / (2 * 2 * 64 * (512 + 512)) for o in attentions(graph, "attention_compressed")}
    kinds = {o.name.partition("@")[2]: o for o in attentions(graph, "attention")}
    assert [len(kinds[k].layers) for k in ("0", "2", "3")] == [2, 21, 20]
    assert seen["attention_compressed@2"].tolist() == [31, 512, 512]
    assert seen["attention_compressed@3"].tolist() == [0, 32, 1024]
    assert all(o.visible.tolist() == [127, 128, 128] for o in kinds.values())
    (index,) = attentions(graph, "index_scores")
    assert index.executed_flops.tolist() == [2 * 2 * 64 * n * (128 + 1) for n in (31, 1024, 32_768)]


def test_chips_share_heads_and_groups_and_copy_streams_keys_entries_and_index() -> None:
    whole = Model.load("deepseek-ai/DeepSeek-V4-Flash").graph(2, 1, 9999)
    part = tensor_parallel(whole, 8)
    for name in ("attention", "attention_compressed"):
        pairs = zip(attentions(whole, name), attentions(part, name), strict=True)
        assert all(a.executed_flops == 8 * b.executed_flops for a, b in pairs)
    assert [c.elements_per_token for c in part.caches] == [c.elements_per_token for c in whole.caches]
    named = [{o.name: o for o in graph.operators} for graph in (whole, part)]
    copied = [n for n in named[0] if n.startswith(("streams_", "kv", "q_a", "compress", "index_"))]
    assert len(copied) == 3 + 3 * (6 + 2 + 2) + 2 * 2 + 6
    assert all(named[0][n] == named[1][n] for n in copied)
    for name in ("o_a@2", "o_b@2", "q_b@2"):
        ours, theirs = named[0][name], named[1][name]
        assert isinstance(ours, Linear)
        assert ours.dense_flops == 8 * theirs.dense_flops
        assert sum(w.elements for w in ours.weights) == 8 * sum(w.elements for w in theirs.weights)
    reduced = [n for n in named[1] if n.endswith("all_reduce")]
    assert sum(n.startswith("o_b") for n in reduced) == 3
    assert named[1]["o_b@2.all_reduce"].elements == 2 * 4096


def test_groups_that_do_not_divide_over_the_chips_are_refused() -> None:
    graph = Model.load("deepseek-ai/DeepSeek-V4-Flash").graph()
    with pytest.raises(DovetailError, match="8 groups of heads in 'o_a' do not divide over 16 chips"):
        tensor_parallel(graph, 16)


def test_streams_are_held_beside_the_widest_place_of_a_block() -> None:
    """Four streams, embeddings and the normed input of 4096 channels; six experts' inputs and fused outputs a token."""
    graph = Model.load("deepseek-ai/DeepSeek-V4-Flash").graph(2, 32)
    widest = 6 * (4096 + 2 * 2048)
    assert activation_bytes(graph, load_machine("h100-sxm")) == 2 * 64 * ((4 + 2) * 4096 + widest)


def test_training_runs_twice_the_products_backwards(tiny: Model) -> None:
    forward = contraction_flops(tiny.graph(2, 9, logit_tokens=9, absorb=False))
    assert contraction_flops(tiny.training_graph(2, 9)) == 3 * forward
    assert all(not isinstance(o, Pointwise) or o.written >= 0 for o in tiny.training_graph(2, 2).operators)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"compress_ratios": [0, 4, 8, 4]}, "compress_ratios"),
        ({"compress_ratios": [0, 4]}, "compress_ratios"),
        ({"compress_ratios": "0 4"}, "compress_ratios"),
        ({"layer_types": [_WINDOW, "full_attention"] * 2}, "layer_types"),
        ({"mlp_layer_types": ["dense"] * 4}, "mlp_layer_types"),
        ({"num_key_value_heads": 2}, "num_key_value_heads"),
        ({"o_groups": 3}, "o_groups"),
        ({"n_shared_experts": 2}, "n_shared_experts"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"compress_rate_hca": 1}, "compress_rate_hca"),
        ({"compress_rates": {_SPARSE: 0}, "compress_rate_csa": None}, _SPARSE),
        ({"num_experts_per_tok": 7}, "num_experts_per_tok"),
        ({"qk_rope_head_dim": 17}, "qk_rope_head_dim"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor"),
        ({"model_type": "deepseek_ref"}, "architectures"),
        ({"model_type": "deepseek_ref", "architectures": ["DeepseekV3ForCausalLM"]}, "architectures"),
    ],
)  # fmt: skip
def test_what_is_not_this_family_is_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DovetailError, match=field) as caught:
        Model.load({**_MIXED, **change})
    assert "config" in str(caught.value)
