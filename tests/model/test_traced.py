"""Models read from torch modules, against what the modules hold, and what torch counts of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="reading modules needs the torch extra")

from dovetail.core.errors import DovetailError  # noqa: E402
from dovetail.model import Model  # noqa: E402
from dovetail.model.graph import Graph  # noqa: E402
from dovetail.model.operators import Attention, Linear  # noqa: E402
from tests.model import written_modules as written  # noqa: E402

IDS = {"gpt", "gpt-eager", "shared", "last", "llama", "llama-repeated", "llama-einsum"}
MODULES: Mapping[str, Callable[[], Any]] = {
    "mlp": written.Mlp,
    "gpt": written.Gpt,
    "gpt-eager": lambda: written.Gpt(eager=True),
    "shared": written.SharedBlocks,
    "last": written.LastLogits,
    "llama": lambda: written.Llama("grouped"),
    "llama-repeated": lambda: written.Llama("repeated"),
    "llama-einsum": lambda: written.Llama("einsum"),
    "dense-experts": written.DenseExperts,
    "convolution": written.Convolution,
    "torch-attention": written.TorchAttention,
    "linear-attention": written.LinearAttention,
    "parameters": written.Parameters,
    "shared-cache": written.SharedCache,
}
# (batch, tokens): einsum drops a sum over one key, so that its second product is not counted at one token
SIZES = [(3, 7), (4, 12), (1, 1), (2, 1)]


@cache
def module(name: str) -> Any:
    return MODULES[name]().eval()


@cache
def traced(name: str) -> Model:
    return Model.from_module(module(name), None if name in IDS else torch.zeros(2, 11, written.WIDTH))


def counted(name: str, batch: int, tokens: int) -> int:
    """What torch counts of the module itself, attention as plain products."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    shape = (batch, tokens) if name in IDS else (batch, tokens, written.WIDTH)
    given = torch.zeros(shape, dtype=torch.long if name in IDS else torch.float32)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(name)(given)
    return int(counter.get_total_flops())


def product_flops(graph: Graph) -> Any:
    return sum(o.dense_flops * o.repeat for o in graph.operators if isinstance(o, Linear | Attention))


@pytest.mark.parametrize("name", MODULES)
def test_parameters_are_the_modules(name: str) -> None:
    named = {n: p.numel() for n, p in module(name).named_parameters()}
    stored = {n: w.elements for w, layers in traced(name).graph().weights() for n in w.tensors(layers)}
    assert stored == named
    assert traced(name).parameters == sum(named.values())


@pytest.mark.parametrize("name", MODULES)
def test_flops_are_what_torch_counts(name: str) -> None:
    sizes = SIZES[:2] if name == "llama-einsum" else SIZES
    batch, tokens = np.array(sizes).T
    arrays = traced(name).graph(batch=batch, tokens=tokens, logit_tokens=tokens)
    expected = [counted(name, *size) for size in sizes]
    assert np.array_equal(np.broadcast_to(product_flops(arrays), len(sizes)), expected)
    assert [product_flops(traced(name).graph(b, t, logit_tokens=t)) for b, t in sizes] == expected


def test_equal_layers_are_one_operator() -> None:
    graph = traced("gpt").graph()
    assert {o.layers for o in graph.operators} == {(), (0, 1, 2)}
    assert len({o.name for o in graph.operators}) == len(graph.operators)
    shared = traced("shared").graph()
    assert {o.layers for o in shared.operators if isinstance(o, Linear)} == {(), (2,)}
    assert sum(o.repeat for o in shared.operators if isinstance(o, Attention)) == 3


def test_experts_in_one_tensor() -> None:
    """Where all see the same rows they are one tall matrix; where each has its own, a matrix each."""
    _, up, down, _ = (o for o in traced("dense-experts").graph(2, 3).operators if isinstance(o, Linear))
    assert (up.weights[0].rows, up.weights[0].cols, up.experts, up.m) == (3 * 24, written.WIDTH, 1, 2 * 3)
    assert (down.weights[0].rows, down.weights[0].cols, down.experts, down.m) == (written.WIDTH, 24, 3, 2 * 3 * 3)


def test_caches_are_derived() -> None:
    for name in ("llama", "llama-repeated", "llama-einsum"):
        (kept,) = traced(name).graph(2, 1, 6).caches
        assert (kept.layers, kept.kv_heads, kept.head_dim, kept.length) == ((0, 1), 2, 8, 7)
        assert "derived" in traced(name).architecture.matched_by
    (kept,) = traced("shared-cache").graph(2, 1, 6).caches
    assert (kept.kv_heads, kept.head_dim) == (1, written.WIDTH)
    assert sum(isinstance(o, Attention) and o.causal for o in traced("shared-cache").graph().operators) == 2
    (inputs,) = traced("convolution").graph(2, 1, 6).caches
    assert (inputs.kind, inputs.elements_per_token) == ("state", 3 * written.WIDTH)


@pytest.mark.parametrize(
    ("kind", "causal", "window"), [("window", True, 5), ("bias", True, None), ("none", False, None)]
)
def test_masks_are_read(kind: str, causal: bool, window: int | None) -> None:
    graph = Model.from_module(written.Masked(kind)).graph(1, 9)
    (found,) = (o for o in graph.operators if isinstance(o, Attention))
    assert (found.causal, found.window) == (causal, window)
    assert len(graph.caches) == causal


@pytest.mark.parametrize(
    ("wrong", "shape", "words"),
    [
        (lambda: written.Masked("prefix"), None, "neither full, nor causal"),
        (lambda: written.Masked("padding"), None, "a mask of 'ids'"),
        (written.Fourier, (2, 11), "aten.fft_fft.default.*not an operator"),
        (written.Recurrent, (2, 11), "cannot trace.*specialized"),
        (written.ChosenExperts, (2, 11), "depends on the data"),
        (lambda: written.Convolution(stride=2), (2, 11), "taps: .*not a polynomial"),
        (written.Memory, (2, 11), "not those of the new tokens"),
        (lambda: written.Branching(0), (2, 11), "not the same for all batches"),
        (written.Mlp, (1, 11), "at least 2"),
        (written.Mlp, (4, 4), "two different numbers"),
    ],
)
def test_what_is_not_understood_is_refused(wrong: Callable[[], Any], shape: Any, words: str) -> None:
    inputs = None if shape is None else torch.zeros(*shape, written.WIDTH)
    with pytest.raises(DovetailError, match=words):
        Model.from_module(wrong(), inputs)


def test_a_step_that_is_not_known_is_refused() -> None:
    assert product_flops(traced("linear-attention").graph(2, 5)) > 0
    with pytest.raises(DovetailError, match="no step after the first"):
        traced("linear-attention").graph(2, 1, context=np.array([0, 5]))
    narrow = Model.from_module(written.Convolution(padding=0), torch.zeros(2, 11, written.WIDTH))
    with pytest.raises(DovetailError, match="4 or more"):
        narrow.graph(1, np.array([3, 4]))


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(DovetailError, match="not a torch module"):
        Model.from_module("llama")  # type: ignore[arg-type]
    with pytest.raises(DovetailError, match="unknown dtype 'bf61'"):
        Model.from_module(written.Mlp(), torch.zeros(2, 11, written.WIDTH), dtype="bf61")


def test_on_the_meta_device_nothing_changes() -> None:
    with torch.device("meta"):
        built = written.Gpt()
    assert Model.from_module(built).graph(2, 3, 4) == traced("gpt").graph(2, 3, 4)
    with torch.device("meta"):
        eager = written.Gpt(eager=True)
    with pytest.raises(DovetailError, match="whose values are not known"):
        Model.from_module(eager)


def test_names_dtypes_and_lengths() -> None:
    built = written.Gpt().train()
    found = Model.from_module(built, name="mine", dtype="bf16", max_context=32)
    assert built.training
    assert (found.name, found.architecture.family, found.max_context) == ("mine", "Gpt", 32)
    assert traced("gpt").max_context == written.POSITIONS
    assert Model.from_module(written.Branching(1), torch.zeros(2, 11, written.WIDTH)).max_context == 20
    assert found.graph().weight_bytes() == 2 * found.parameters
    assert traced("gpt").graph().weight_bytes() == 4 * found.parameters
    assert {o.act for o in found.graph().operators if isinstance(o, Linear)} == {"bf16"}
    assert Model.load(found) is found
    assert hash(found) == hash(Model.from_module(written.Gpt(), name="mine", dtype="bf16", max_context=32))


def test_training_has_a_backward_pass() -> None:
    forward = product_flops(traced("gpt").graph(2, 6, logit_tokens=6))
    assert product_flops(traced("gpt").training_graph(2, 6)) == 3 * forward
