"""Scans over chips in closed form: parameters, states and FLOPs of all chips are the whole's, and the copies named."""

import pytest

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear, Scan
from dovetail.system.tensor_parallel import tensor_parallel

# Hidden size; heads, channels, states, groups of the scan
MAMBA = {
    "AntonV/mamba2-130m-hf": (768, 24, 64, 128, 1), "nvidia/Nemotron-H-8B-Base-8K": (4096, 128, 64, 128, 8),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (2688, 64, 64, 128, 8),
}  # fmt: skip
# Hidden size; value heads, channels, key heads, channels
TINY = {
    "model_type": "qwen3_5_text", "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "linear_key_head_dim": 12, "linear_value_head_dim": 16,
}  # fmt: skip
DELTA = {
    "tiny": (32, 4, 16, 2, 12),
    "Qwen/Qwen3-Next-80B-A3B-Instruct": (2048, 32, 128, 16, 128),
    "Qwen/Qwen3.5-27B": (5120, 48, 128, 16, 128),
}
CASES = [
    *[(name, ways) for name, most in zip(MAMBA, (8, 16, 8), strict=True) for ways in (2, 4, most)],
    *[(name, ways) for name in DELTA for ways in (2, 4)], ("Qwen/Qwen3.5-27B", 8),
]  # fmt: skip


def scan_layer(graph: Graph) -> Scan:
    return next(o for o in graph.operators if isinstance(o, Scan))


def stored(graph: Graph) -> dict[str, float]:
    """Elements of each tensor of the first kind of layer with a scan, by role."""
    layers = scan_layer(graph).layers
    parts = (w for o in graph.operators if o.layers == layers for w in o.weights)
    return {w.name: float(w.elements) for w in parts if "mixer." in w.name or "linear_attn." in w.name}


def split(name: str, ways: int) -> tuple[Graph, Graph]:
    whole = Model.load(TINY if name == "tiny" else name).graph(3, 5, 70)
    return whole, tensor_parallel(whole, ways)


def shared(name: str) -> tuple[int, int, int]:
    """Hidden size, groups, and channels that belong to them: B and C, or queries and keys."""
    if name in MAMBA:
        hidden, _, _, state, groups = MAMBA[name]
        return hidden, groups, 2 * groups * state
    hidden, _, _, keys, width = DELTA[name]
    return hidden, keys, 2 * keys * width


@pytest.mark.parametrize(("name", "ways"), CASES)
def test_parameters_of_all_chips_are_the_wholes_and_the_copies(name: str, ways: int) -> None:
    """Copied: rows and taps of groups with fewer of them than chips, and a norm that all heads share."""
    whole, part = map(stored, split(name, ways))
    hidden, groups, channels = shared(name)
    copies = max(ways / groups, 1.0) - 1.0
    over = {key: ways * part[key] - size for key, size in whole.items()}
    kernel, bias = 4, name in MAMBA
    named = {"conv1d.weight": copies * channels * kernel, "conv1d.bias": copies * channels * bias}
    products = ("in_proj.weight", "in_proj_qkvz.weight", "in_proj_qkv.weight")
    named |= dict.fromkeys(products, copies * channels * hidden)
    named |= {"linear_attn.norm.weight": (ways - 1) * float(DELTA.get(name, (0, 0, 0))[2])}
    for key, extra in over.items():
        expected = next((size for end, size in named.items() if key.endswith(end)), 0.0)
        assert extra == pytest.approx(expected), key


@pytest.mark.parametrize(("name", "ways"), CASES)
def test_states_of_all_chips_are_the_wholes_and_the_copies(name: str, ways: int) -> None:
    whole, part = split(name, ways)
    _, groups, channels = shared(name)
    states = [[c for c in g.caches if c.kind == "state"] for g in (whole, part)]
    layers = len(scan_layer(whole).layers)
    over = sum(ways * b.elements_per_token - a.elements_per_token for a, b in zip(*states, strict=True))
    assert over == (max(ways / groups, 1.0) - 1.0) * channels * 4 * layers
    assert ways * scan_layer(part).state == scan_layer(whole).state


@pytest.mark.parametrize(("name", "ways"), CASES)
def test_flops_of_all_chips_are_the_wholes_and_the_copies(name: str, ways: int) -> None:
    """Copied: products that make a group, and a delta net's lengths of queries and keys (7 a channel)."""
    whole, part = split(name, ways)
    hidden, groups, channels = shared(name)
    copies = max(ways / groups, 1.0) - 1.0
    products = [
        sum(float(o.dense_flops) for o in g.operators if isinstance(o, Linear) and o.name.startswith("scan_in"))
        for g in (whole, part)
    ]
    assert ways * products[1] - products[0] == pytest.approx(copies * 2 * 15 * hidden * channels, rel=1e-12)
    scans = [float(scan_layer(g).dense_flops) for g in (whole, part)]
    once = 15 * 3.5 * channels if name in DELTA else 0.0
    assert ways * scans[1] - scans[0] == pytest.approx(copies * once, rel=1e-12)


def test_one_group_is_whole_on_each_chip() -> None:
    """Mamba 2 of 130M: 24 heads of 64 channels, one group of 128 states, on 8 chips: 3 heads and the group on each."""
    _, part = split("AntonV/mamba2-130m-hf", 8)
    conv, group, state = part.caches
    assert (conv.kv_heads, conv.head_dim) == (3, 64 * 4)
    assert (group.kv_heads, group.head_dim) == (1, 2 * 128 * 4)
    assert (state.kv_heads, state.head_dim) == (3, 64 * 128)
    tensors = {name.partition("mixer.")[2]: size for name, size in stored(part).items()}
    assert tensors["in_proj.weight"] == 768 * (2 * 192 + 256 + 3)
    assert tensors["conv1d.weight"] == (192 + 256) * 4
    assert (tensors["norm.weight"], tensors["A_log"], tensors["out_proj.weight"]) == (192, 3, 192 * 768)


@pytest.mark.parametrize(("name", "ways"), [("AntonV/mamba2-130m-hf", 5), ("AntonV/mamba2-130m-hf", 16)])
def test_heads_that_do_not_divide_are_refused(name: str, ways: int) -> None:
    with pytest.raises(DovetailError, match=rf"24 heads of a scan in 1 groups .* {ways} chips") as caught:
        split(name, ways)
    assert caught.value.exit_code == INFEASIBLE
