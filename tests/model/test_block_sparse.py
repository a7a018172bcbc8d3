"""MiniMax-M3 against the module transformers builds, and keys picked by blocks counted one by one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention
from dovetail.system.tensor_parallel import tensor_parallel
from tests.model.oracle import contraction_flops, counted_flops, inferring
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_parameters_are_the_modules,
    test_saved_folder_loads_as_the_same_architecture,
    test_tensors_are_those_on_disk,
)
from tests.model.test_zoo import meta_parameters

_BASE = {
    "model_type": "minimax_m3_vl_text", "vocab_size": 48, "hidden_size": 32, "intermediate_size": 20,
    "dense_intermediate_size": 28, "shared_intermediate_size": 12, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "partial_rotary_factor": 0.5, "num_local_experts": 6,
    "num_experts_per_tok": 2, "max_position_embeddings": 64,
}  # fmt: skip
_INDEX = {
    "sparse_attention_freq": [0, 1, 1, 0], "sparse_num_index_heads": 2, "sparse_index_dim": 6, "sparse_block_size": 4,
    "sparse_topk_blocks": 2, "sparse_local_block": 1,
}  # fmt: skip
_MIXED = {**_BASE, "moe_layer_freq": [0, 1, 1, 0], "sparse_attention_config": _INDEX}
TINY: Mapping[str, dict[str, Any]] = {
    "mixed": _MIXED,
    "silent": _BASE,
    "listed": {
        **_BASE, "layer_types": ["minimax_m3_sparse"] * 4, "mlp_layer_types": ["sparse", "dense"] * 2,
        "index_n_heads": 4, "index_head_dim": 6, "index_block_size": 3, "index_topk_blocks": 2,
        "tie_word_embeddings": True,
    },
}  # fmt: skip


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


def test_flops_of_prefill_decode_and_a_chunk(tiny: Model, tiny_module: Any) -> None:
    import torch

    prompt, past = torch.randint(3, 48, (3, 9)), None
    for tokens, context in ((9, 0), (1, 9), (4, 10)):
        counted, output = counted_flops(tiny_module, input_ids=prompt[:, :tokens], past_key_values=past)
        past = output.past_key_values
        assert contraction_flops(tiny.graph(3, tokens, context, logit_tokens=tokens)) == counted


def test_cache_bytes_are_those_of_a_real_cache(tiny: Model, tiny_module: Any) -> None:
    import torch

    held = tiny_module(torch.randint(3, 48, (2, 9)), use_cache=True).past_key_values.layers
    for cache in tiny.graph(2, 9, kv_dtype="fp32").caches:
        for layer in cache.layers:
            parts = ("idx_keys",) if cache.kind == "index" else ("keys", "values")
            theirs = sum(getattr(held[layer], part).nbytes for part in parts)
            assert 4 * 2 * cache.length * cache.elements_per_token == theirs * len(cache.layers)


def kept_keys(module: Any, ids: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """(batch, heads, queries, keys) of each sparse layer: whether the module's mask lets a query see a key."""
    masks: list[Any] = []
    indexers = [layer.self_attn.indexer for layer in module.model.layers if layer.self_attn.indexer is not None]
    for kind in {type(each) for each in indexers}:
        made = kind.build_block_mask
        monkeypatch.setattr(kind, "build_block_mask", lambda *args, made=made: masks.append(made(*args)) or masks[-1])
    module(ids, use_cache=True)
    return [mask == 0 for mask in masks]


def test_keys_a_query_sees_are_those_of_the_modules_mask(
    tiny: Model, tiny_module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    tokens = 23
    masks = kept_keys(tiny_module, torch.randint(3, 48, (2, tokens)), monkeypatch)
    ours = [o for o in attentions(tiny.graph(2, tokens), "attention") if o.selected is not None for _ in o.layers]
    assert len(ours) == len(masks)
    for each, mask in zip(ours, masks, strict=True):
        assert mask.sum().item() == 2 * 4 * tokens * each.visible


@given(st.integers(1, 40), st.integers(0, 60), st.integers(2, 7), st.integers(1, 4))
def test_keys_picked_by_blocks_counted_one_by_one(tokens: int, context: int, block: int, picked: int) -> None:
    """A query sees the keys of its own block up to itself, and at most ``picked - 1`` whole blocks before it."""
    operator = Attention("a", tokens=tokens, kv_len=context + tokens, selected=picked * block, block=block)
    seen = [min(i // block, picked - 1) * block + i % block + 1 for i in range(context, context + tokens)]
    assert operator.visible == pytest.approx(sum(seen) / tokens)


def test_a_prompt_whose_cache_is_cut_sees_at_most_the_cut() -> None:
    operator = Attention("a", tokens=20, kv_len=5, selected=8, block=4)
    assert operator.visible == sum(min(i, 5) for i in range(1, 21)) / 20


def test_public_config_holds_what_its_module_holds(data_folder: Path) -> None:
    file = data_folder / "configs" / "aiconfigurator_hf" / "MiniMaxAI--MiniMax-M3_config.json"
    model = Model.load(file)
    assert model.parameters == meta_parameters(json.loads(file.read_text()))
    assert model.kv_bytes_per_token == 60 * 4 * (128 + 128) * 2 + 57 * 128 * 2
    (sparse,) = [o for o in attentions(model.graph(1, 1, np.array([99, 99_999])), "attention") if o.selected]
    assert sparse.visible.tolist() == [100, 15 * 128 + 99_999 % 128 + 1]


def test_chips_share_heads_and_each_runs_the_whole_index(data_folder: Path) -> None:
    file = data_folder / "configs" / "aiconfigurator_hf" / "MiniMaxAI--MiniMax-M3_config.json"
    whole = Model.load(file).graph(2, 1, 9999)
    part = tensor_parallel(whole, 4)
    assert attentions(whole, "index_scores") == attentions(part, "index_scores")
    both = zip(attentions(whole, "attention"), attentions(part, "attention"), strict=True)
    assert all(a.executed_flops == 4 * b.executed_flops for a, b in both)
    kept = {(c.kind, c.kv_heads) for c in part.caches}
    assert kept == {("kv", 1), ("index", 1)}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"layer_types": ["sliding_attention"] * 4}, "layer_types"),
        ({"mlp_layer_types": ["dense"]}, "mlp_layer_types"),
        ({"sparse_attention_config": {**_INDEX, "sparse_attention_freq": [0, 2, 1, 1]}}, "sparse_attention_freq"),
        ({"sparse_attention_config": {**_INDEX, "sparse_num_index_heads": 3}}, "index_n_heads"),
        ({"sparse_attention_config": {**_INDEX, "sparse_block_size": 0}}, "sparse_block_size"),
        ({"attention_output_gate": True}, "attention_output_gate"),
        ({"n_shared_experts": 2}, "n_shared_experts"),
        ({"num_experts_per_tok": 7}, "num_experts_per_tok"),
    ],
)
def test_what_is_not_this_family_is_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DovetailError, match=field):
        Model.load({**_MIXED, **change})
