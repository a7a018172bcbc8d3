"""The operator graph: what queries see, columns of points, kinds of layers, and what is rejected."""

from dataclasses import fields, is_dataclass, replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.model import Model
from dovetail.model.blocks.feed_forward import expected_experts
from dovetail.model.build import decoder_graph, layer_kinds, number
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Linear, Operator, Pointwise

WHOLE = st.integers(1, 60)


def seen(tokens: int, context: int, window: int | None) -> int:
    """Pairs of query and key, by looking at each."""
    pairs = product(range(context, context + tokens), range(context + tokens))
    return sum(key <= query and (window is None or query - key < window) for query, key in pairs)


@given(WHOLE, st.integers(0, 60), st.none() | WHOLE)
def test_executed_flops_are_the_pairs_within_the_mask(tokens: int, context: int, window: int | None) -> None:
    operator = Attention(
        "a", batch=3, tokens=tokens, kv_len=context + tokens, heads=4, kv_heads=2, head_dim=8, window=window
    )
    pairs = seen(tokens, context, window)
    # scores and weighted sum: a multiply and an add per channel each
    assert operator.executed_flops == pytest.approx(3 * 4 * pairs * 8 * 2 * 2)
    assert operator.executed_flops <= operator.dense_flops * (1 + 1e-12)


@given(WHOLE, WHOLE)
def test_a_prompt_whose_cache_is_cut_sees_at_most_the_cut(tokens: int, kept: int) -> None:
    graph = Model.load("Qwen/Qwen3-0.6B").graph(1, tokens, 0).with_kv_len(lambda kv: np.minimum(kv, kept))
    attention = next(o for o in graph.operators if isinstance(o, Attention))
    assert attention.visible == pytest.approx(sum(min(i, kept) for i in range(1, tokens + 1)) / tokens)


def numbers(value: Any) -> dict[str, Any]:
    """Every numeric leaf of a graph by its path, FLOPs included."""
    if isinstance(value, tuple):
        return {f"{i}.{k}": v for i, item in enumerate(value) for k, v in numbers(item).items()}
    if not is_dataclass(value):
        return {"": value} if isinstance(value, int | float | np.ndarray | np.generic) else {}
    leaves = {f"{f.name}.{k}": v for f in fields(value) if f.compare
              for k, v in numbers(getattr(value, f.name)).items()}  # fmt: skip
    if isinstance(value, Operator):
        leaves |= {"dense_flops": value.dense_flops, "executed_flops": value.executed_flops}
    return leaves


def assert_columns_are_points(columns: Graph, points: list[Graph]) -> None:
    stacked = numbers(columns)
    for index, point in enumerate(points):
        one = numbers(point)
        assert one.keys() == stacked.keys()
        for path, value in one.items():
            column = np.broadcast_to(stacked[path], (len(points),))
            assert column[index] == pytest.approx(value, rel=1e-12), path


POINTS = st.lists(st.tuples(WHOLE, WHOLE, st.integers(0, 5000), st.integers(1, 4)), min_size=1, max_size=4)


@settings(max_examples=12)
@given(POINTS)
@pytest.mark.parametrize("name", ["mistralai/Mistral-7B-v0.1", "mistralai/Mixtral-8x7B-v0.1", "openai-community/gpt2"])
def test_columns_equal_points_one_by_one(name: str, points: list[tuple[int, int, int, int]]) -> None:
    model = Model.load(name)
    assert_columns_are_points(
        model.graph(*(np.array(column) for column in zip(*points))), [model.graph(*point) for point in points]
    )


def test_widths_may_be_columns() -> None:
    base = Model.load("Qwen/Qwen3-8B").architecture
    spec = base.layers[0]

    def wider(hidden: Any, inner: Any, heads: Any) -> Any:
        layer = replace(
            spec,
            mixer=replace(spec.mixer, heads=heads),
            feed_forward=replace(spec.feed_forward, intermediate=inner),
        )
        return replace(base, hidden=hidden, layers=(layer,) * 4)

    widths = [(1024, 3072, 16), (2048, 6144, 32), (4096, 12288, 64)]
    columns = decoder_graph(wider(*(np.array(w) for w in zip(*widths))), 2, 3, 100)
    points = [decoder_graph(wider(*w), 2, 3, 100) for w in widths]
    assert_columns_are_points(columns, points)
    assert columns.parameters().tolist() == [p.parameters() for p in points]


def test_grids_broadcast() -> None:
    batch, context = np.array([[1], [8]]), np.array([[0, 10, 20]])
    graph = Model.load("Qwen/Qwen3-8B").graph(batch, 1, context)
    attention = next(o for o in graph.operators if isinstance(o, Attention))
    assert attention.executed_flops.shape == (2, 3)


def test_small_integers_do_not_overflow() -> None:
    graph = Model.load("Qwen/Qwen3-8B").graph(np.array([30_000], np.int16), np.array([30_000], np.int32), 0)
    down, activation = (next(o for o in graph.operators if o.name == name) for name in ("down", "activation"))
    assert down.dense_flops[0] == 2.0 * 30_000 * 30_000 * 12288 * 4096
    assert activation.written[0] == 30_000 * 30_000 * 12288


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 3))
def test_expected_experts_by_enumeration(experts: int, top_k: int, rows: int) -> None:
    top_k = min(top_k, experts)
    draws = list(product(combinations(range(experts), top_k), repeat=rows))
    mean = sum(len(set().union(*draw)) for draw in draws) / len(draws)
    assert expected_experts(experts, top_k, rows) == pytest.approx(mean)


def test_a_mixture_reads_more_experts_as_tokens_grow_and_never_more_than_there_are() -> None:
    graph = Model.load("Qwen/Qwen3-30B-A3B").graph(np.array([1, 2, 64, 10_000]), 1, 0)
    active = next(o for o in graph.operators if o.name == "experts_down").active
    assert active[0] == pytest.approx(8)
    assert np.all(np.diff(active) > 0)
    assert active[-1] <= 128


def test_equal_layers_share_an_operator_and_others_keep_their_order() -> None:
    spec = Model.load("Qwen/Qwen3-8B").architecture.layers[0]
    twin = replace(spec)  # equal, another object
    windowed = replace(spec, mixer=replace(spec.mixer, window=4))
    kinds = layer_kinds((spec, windowed, twin, windowed, spec))
    assert kinds == [(spec, (0, 2, 4)), (windowed, (1, 3))]


def test_operator_names_are_unique_and_say_their_first_layer_where_kinds_differ() -> None:
    shape = Model.load("Qwen/Qwen3-8B").architecture
    spec = shape.layers[0]
    mixed = replace(shape, layers=(spec, replace(spec, mixer=replace(spec.mixer, window=4)), spec))
    names = [o.name for o in decoder_graph(mixed, 1, 1, 0).operators]
    assert len(names) == len(set(names))
    assert {"qkv@0", "qkv@1", "embed", "lm_head"} <= set(names)
    assert sum(o.repeat for o in decoder_graph(mixed, 1, 1, 0).operators if isinstance(o, Attention)) == 3


def test_a_tied_head_is_one_tensor_read_twice() -> None:
    graph = Model.load("meta-llama/Llama-3.2-1B").graph()
    assert [w.name for w, _ in graph.weights()].count("model.embed_tokens.weight") == 1
    head = next(o for o in graph.operators if o.name == "lm_head")
    assert isinstance(head, Linear)
    assert (head.n, head.k) == (128256, 2048)
    assert head.weights[0].name == "model.embed_tokens.weight"
    assert not head.weights[0].linear


def test_shapes_of_stacked_weights_fit_their_product(tiny: Model) -> None:
    for operator in tiny.graph(2, 3, 4).operators:
        if isinstance(operator, Linear):
            matrices = [w for w in operator.weights if w.rows != 1]
            assert sum(w.rows for w in matrices) == operator.n
            assert {w.cols for w in matrices} == {operator.k}
            assert {w.experts for w in matrices} == {operator.experts}


def test_gather_reads_rows_and_not_the_table() -> None:
    embed = Model.load("Qwen/Qwen3-8B").graph(2, 3).operators[0]
    assert isinstance(embed, Pointwise)
    assert embed.read == embed.written == 2 * 3 * 4096


def test_only_matrices_of_linear_layers_may_be_quantised(tiny: Model) -> None:
    for weight, layers in tiny.graph().weights():
        matrix = any(part in weight.name for part in ("_proj.", ".c_", ".w1.", ".w2.", ".w3.", "lm_head"))
        assert weight.linear == (matrix and weight.name.endswith("weight")), (weight.name, layers)


def test_weight_bytes_follow_the_dtype() -> None:
    model = Model.load("Qwen/Qwen3-8B")
    assert model.graph().weight_bytes() == 2 * model.parameters
    fp32 = Model.load({**model.config, "torch_dtype": "float32"})
    assert fp32.graph().weight_bytes() == 4 * model.parameters


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch", 0), ("batch", -1), ("tokens", 0), ("context", -1), ("batch", np.array([1, 0])), ("logit_tokens", -1),
        ("context", float("nan")), ("tokens", float("inf")), ("context", np.array([1.0, np.nan])), ("batch", "many"),
        ("batch", np.array([])), ("batch", None),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_is_refused(argument: str, value: Any) -> None:
    with pytest.raises(DovetailError, match=argument):
        Model.load("Qwen/Qwen3-8B").graph(**{argument: value})


def test_numbers_become_wide_or_plain() -> None:
    assert type(number(np.int32(7))) is int
    assert number(np.array([1, 2], np.int32)).dtype == np.int64
    assert number([1, 2]).tolist() == [1, 2]


def test_graphs_hash_by_content() -> None:
    model = Model.load("Qwen/Qwen3-8B")
    assert model.graph(np.arange(1, 4)) == model.graph(np.arange(1, 4))
    assert hash(model.graph(np.arange(1, 4))) != hash(model.graph(np.arange(2, 5)))
    assert model == Model.load("Qwen/Qwen3-8B") != Model.load("Qwen/Qwen3-4B")
