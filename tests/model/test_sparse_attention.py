"""Sparse attention against the modules transformers builds: the index, whose layers share it, what is read and kept."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.graph import Cache, Graph
from dovetail.model.operators import Attention, Linear
from dovetail.system.tensor_parallel import tensor_parallel
from tests.model.oracle import contraction_flops, counted_flops, inferring
from tests.model.test_against_transformers import (  # noqa: F401  (collected here with this module's fixtures)
    test_parameters_are_the_modules,
    test_saved_folder_loads_as_the_same_architecture,
    test_tensors_are_those_on_disk,
)
from tests.model.test_zoo import meta_parameters

_BASE = {
    "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 64, "q_lora_rank": 12, "kv_lora_rank": 16,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6, "n_routed_experts": 6, "n_shared_experts": 1,
    "moe_intermediate_size": 20, "num_experts_per_tok": 2, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
    "index_n_heads": 3, "index_head_dim": 10, "index_topk": 5,
}  # fmt: skip
_GLM = {"model_type": "glm_moe_dsa", **_BASE}
TINY: Mapping[str, dict[str, Any]] = {
    "deepseek_v32": {"model_type": "deepseek_v32", **_BASE},
    "deepseek_v32-listed": {
        "model_type": "deepseek_v32", **_BASE, "mlp_layer_types": ["dense", "sparse", "dense", "sparse"],
    },
    "glm_moe_dsa": _GLM,
    "glm_moe_dsa-periodic": {**_GLM, "index_topk_freq": 2, "index_skip_topk_offset": 2},
    "glm_moe_dsa-spelt": {**_GLM, "index_topk_pattern": "FSSF"},
    "glm_moe_dsa-listed": {**_GLM, "indexer_types": ["full", "full", "shared", "shared"]},
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


def test_expanded_flops_of_prefill_decode_and_a_chunk(tiny: Model, tiny_module: Any) -> None:
    """The module scores all keys and masks those not picked; it caches expanded keys, so it expands new ones only."""
    import torch

    prompt, past = torch.randint(3, 48, (3, 7)), None
    for tokens, context in ((7, 0), (1, 7), (4, 8)):
        counted, output = counted_flops(tiny_module, input_ids=prompt[:, :tokens], past_key_values=past)
        past = output.past_key_values
        graph = tiny.graph(3, tokens, context, logit_tokens=tokens, absorb=False)
        expanded_before = 4 * (2 * 3 * context * 16 * 4 * (8 + 6))
        assert contraction_flops(graph) - expanded_before == counted


def caches(graph: Graph, kind: str) -> list[Cache]:
    return [cache for cache in graph.caches if cache.kind == kind]


def test_index_cache_bytes_are_those_of_a_real_cache(tiny: Model, tiny_module: Any) -> None:
    """Layers that use another's choice keep no keys of an index; all keep latents."""
    import torch

    held = tiny_module(torch.randint(3, 48, (2, 9)), use_cache=True).past_key_values.layers
    graph = tiny.graph(2, 9, kv_dtype="fp32")
    ours = {layer: 4 * 2 * c.length * c.head_dim for c in caches(graph, "index") for layer in c.layers}
    keys = {i: layer.indexer_keys for i, layer in enumerate(held)}
    assert ours == {i: each.nbytes for i, each in keys.items() if each is not None}
    assert sorted(layer for c in caches(graph, "latent") for layer in c.layers) == [0, 1, 2, 3]


def attentions(graph: Graph, name: str) -> list[Attention]:
    return [o for o in graph.operators if isinstance(o, Attention) and o.name.partition("@")[0] == name]


def test_a_query_attends_to_what_is_picked_and_the_index_scores_all() -> None:
    """DeepSeek-V3.2: 2048 keys of 576 channels for 128 heads; the index: 64 heads of 128 channels over every key."""
    context = np.array([999, 4095, 131_071])
    graph = Model.load("deepseek-ai/DeepSeek-V3.2").graph(2, 1, context)
    for each in attentions(graph, "attention"):
        assert np.all(each.executed_flops == 2 * 2 * 128 * np.minimum(context + 1, 2048) * (576 + 512))
    for each in attentions(graph, "index_scores"):
        assert np.all(each.executed_flops == 2 * 2 * 64 * (context + 1) * (128 + 1))
    assert len(attentions(graph, "attention")) == len(attentions(graph, "index_scores")) == 2


def test_picked_keys_of_a_prompt_counted_one_by_one(tiny: Model) -> None:
    for each in attentions(tiny.graph(1, 11, 3), "attention"):
        assert 11 * each.visible == sum(min(position + 1, 5) for position in range(3, 14))


@pytest.mark.parametrize(
    ("name", "bytes_"), [("deepseek-ai/DeepSeek-V3.2", 61 * 704 * 2), ("zai-org/GLM-5", 78 * 1408)]
)
def test_a_token_takes_a_latent_and_a_key_of_the_index(name: str, bytes_: int) -> None:
    assert Model.load(name).kv_bytes_per_token == bytes_


def test_chips_share_heads_and_each_runs_the_whole_index() -> None:
    whole = Model.load("deepseek-ai/DeepSeek-V3.2").graph(2, 1, 9999)
    part = tensor_parallel(whole, 8)
    both = zip(attentions(whole, "attention"), attentions(part, "attention"), strict=True)
    assert all(a.executed_flops == 8 * b.executed_flops for a, b in both)
    assert attentions(whole, "index_scores") == attentions(part, "index_scores")
    index = [[o for o in g.operators if isinstance(o, Linear) and o.name.startswith("index_")] for g in (whole, part)]
    assert index[0] == index[1]
    assert len(index[0]) == 6
    assert [c.elements_per_token for c in part.caches] == [c.elements_per_token for c in whole.caches]


@pytest.mark.parametrize("name", ["zai-org--GLM-5.1", "zai-org--GLM-5.2", "deepseek-ai--DeepSeek-V3.2"])
def test_public_configs_hold_what_their_modules_hold(data_folder: Path, name: str) -> None:
    file = data_folder / "configs" / "aiconfigurator_hf" / f"{name}_config.json"
    assert Model.load(file).parameters == meta_parameters(json.loads(file.read_text()))


def test_three_of_four_late_layers_share_an_index(data_folder: Path) -> None:
    """GLM-5.2 against GLM-5.1: 57 of 78 layers without the tensors and the cached key of an index."""
    older, newer = (
        Model.load(data_folder / "configs" / "aiconfigurator_hf" / f"zai-org--GLM-5.{minor}_config.json")
        for minor in (1, 2)
    )
    index = 32 * 128 * 2048 + 128 * 6144 + 2 * 128 + 32 * 6144
    assert older.parameters - newer.parameters == 57 * index
    assert older.kv_bytes_per_token - newer.kv_bytes_per_token == 57 * 128 * 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"q_lora_rank": None}, "q_lora_rank"),
        ({"indexer_types": ["shared"] * 4}, "indexer_types"),
        ({"index_topk_pattern": "FX"}, "indexer_types"),
        ({"index_topk": 0}, "index_topk"),
    ],
)
def test_what_makes_no_index_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DovetailError, match=field):
        Model.load({**_GLM, **change})
