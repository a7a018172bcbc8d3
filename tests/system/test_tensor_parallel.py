"""A graph split over chips is the same work: bytes, FLOPs, caches of all chips together; two all-reduces a layer."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Collective, Linear, Weight
from dovetail.system.tensor_parallel import tensor_parallel

LLAMA, GPT2, MIXTRAL = "meta-llama/Llama-3.1-8B", "openai-community/gpt2", "mistralai/Mixtral-8x7B-v0.1"
SPLITS = [(LLAMA, 2), (LLAMA, 8), ("Qwen/Qwen2.5-7B", 2), ("Qwen/Qwen3-0.6B", 4), (GPT2, 3), (MIXTRAL, 8)]


def graphs(name: str, ways: int, **shape: Any) -> tuple[Graph, Graph]:
    whole = Model.load(name).graph(**(shape or {"batch": 3, "tokens": 5, "context": 70}))
    return whole, tensor_parallel(whole, ways)


def tables(graph: Graph) -> dict[str, tuple[Weight, int]]:
    return {weight.name: (weight, len(layers) or 1) for weight, layers in graph.weights()}


@pytest.mark.parametrize(("name", "ways"), SPLITS)
def test_matrices_of_all_chips_sum_to_the_whole(name: str, ways: int) -> None:
    """Routers, norms, and the biases that are added after the sum are on every chip."""
    whole, part = map(tables, graphs(name, ways))
    assert whole.keys() == part.keys()
    for key, (weight, _) in whole.items():
        share = float(part[key][0].payload_bytes) / float(weight.payload_bytes)
        copied = "router" in key or ".gate.weight" in key or "norm" in key or ".ln_" in key or "c_proj.bias" in key
        assert share == pytest.approx(1.0 if copied else 1 / ways), key


@pytest.mark.parametrize(("name", "ways"), SPLITS)
def test_each_chip_does_its_share_of_every_product_and_of_attention(name: str, ways: int) -> None:
    whole, part = graphs(name, ways)
    split = {o.name: o for o in part.operators}
    for operator in whole.operators:
        if isinstance(operator, Linear | Attention):
            share = split[operator.name].executed_flops / operator.executed_flops
            assert share == pytest.approx(1.0 if operator.name == "router" else 1 / ways)


@pytest.mark.parametrize(("name", "ways"), SPLITS)
def test_two_all_reduces_of_the_residual_stream_a_layer(name: str, ways: int) -> None:
    whole, part = graphs(name, ways)
    added = [o for o in part.operators if isinstance(o, Collective)]
    reduced = [o for o in added if o.kind == "all_reduce"]
    assert sum(o.repeat for o in reduced if o.layers) == 2 * Model.load(name).layers
    assert {float(o.elements) for o in reduced} == {float(3 * 5 * whole.hidden)}
    assert {o.ways for o in added} == {ways}
    assert not any(isinstance(o, Collective) for o in whole.operators)


@pytest.mark.parametrize(("name", "ways"), SPLITS)
def test_looked_up_tokens_are_reduced_and_logits_gathered_once_a_step(name: str, ways: int) -> None:
    _, part = graphs(name, ways)
    once = {o.name: o for o in part.operators if isinstance(o, Collective) and not o.layers}
    assert set(once) == {"embed.all_reduce", "lm_head.all_gather"}
    head = next(o for o in part.operators if o.name == "lm_head")
    assert isinstance(head, Linear)
    assert once["lm_head.all_gather"].kind == "all_gather"
    assert float(once["lm_head.all_gather"].elements) == pytest.approx(float(head.m) * float(head.n) * ways)


def test_sums_of_narrow_activations_travel_in_sixteen_bits() -> None:
    graph = Model.load(LLAMA).graph(batch=2)
    narrow = graph.map_operators(lambda o: replace(o, act="int8") if isinstance(o, Linear) else o)
    part = tensor_parallel(narrow, 4)
    assert {o.act for o in part.operators if isinstance(o, Collective)} == {"bf16"}


@pytest.mark.parametrize(("name", "ways"), SPLITS)
def test_caches_of_all_chips_sum_to_the_whole(name: str, ways: int) -> None:
    whole, part = graphs(name, ways)
    for a, b in zip(whole.caches, part.caches, strict=True):
        assert b.elements_per_token * ways == a.elements_per_token


def test_fewer_kv_heads_than_chips_are_copied_with_their_projections() -> None:
    """Llama-3.1-8B has 8 KV heads of 128: on each of 16 chips, one whole head, of which there are two copies."""
    whole, part = graphs(LLAMA, 16)
    assert part.caches[0].kv_heads == 1
    weights = {name.split(".")[-2]: weight for name, (weight, _) in tables(part).items()}
    assert (weights["q_proj"].rows, weights["k_proj"].rows, weights["v_proj"].rows) == (256, 128, 128)
    split = {o.name: o for o in part.operators}
    assert (split["qkv"].n, split["attention"].heads, split["attention"].kv_heads) == (512, 2, 1)
    assert (
        split["attention"].executed_flops * 16
        == next(o for o in whole.operators if o.name == "attention").executed_flops
    )


def test_biases_follow_the_outputs_of_their_matrix() -> None:
    _, part = graphs("Qwen/Qwen2.5-7B", 4)
    biases = {n.split(".")[-2]: float(w.cols) for n, (w, _) in tables(part).items() if n.endswith("bias")}
    assert biases == {"q_proj": 28 * 128 / 4, "k_proj": 128, "v_proj": 128}


@pytest.mark.parametrize(("name", "ways"), [(LLAMA, 3), (GPT2, 8), ("Qwen/Qwen2.5-7B", 8), ("Qwen/Qwen2.5-0.5B", 4)])
def test_heads_that_do_not_divide_are_refused(name: str, ways: int) -> None:
    with pytest.raises(DovetailError, match=f"attention heads.*do not divide over {ways} chips") as error:
        graphs(name, ways)
    assert error.value.exit_code == INFEASIBLE


def test_kv_heads_that_neither_divide_nor_are_divided_are_refused() -> None:
    config = {
        "model_type": "llama", "hidden_size": 48, "num_attention_heads": 12, "num_key_value_heads": 6,
        "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 32, "max_position_embeddings": 64,
    }  # fmt: skip
    graph = Model.load(config).graph()
    with pytest.raises(DovetailError, match="6 KV heads do not divide over 4 chips"):
        tensor_parallel(graph, 4)
    assert tensor_parallel(graph, 12).caches[0].kv_heads == 1


def test_one_chip_is_the_graph_itself_and_arrays_split_like_points() -> None:
    graph = Model.load(LLAMA).graph(batch=np.array([1, 4]), tokens=1, context=np.array([9, 99]))
    assert tensor_parallel(graph, 1) is graph
    split = tensor_parallel(graph, 4)
    for i, (batch, context) in enumerate([(1, 9), (4, 99)]):
        alone = {o.name: o for o in graphs(LLAMA, 4, batch=batch, tokens=1, context=context)[1].operators}
        for operator in split.operators:
            flops = np.broadcast_to(operator.executed_flops, (2,))
            assert flops[i] == pytest.approx(alone[operator.name].executed_flops)
