"""Modules of each type through the front end and in integers, against the modules themselves; and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dovetail.accel import floating
from dovetail.accel import graph as g
from dovetail.accel.frontend.read import read_features, read_language_model
from dovetail.accel.lowering.calibrate import observe
from dovetail.accel.lowering.equalise import equalise
from dovetail.accel.lowering.lower import Scheme, lower_graph
from dovetail.core.errors import DovetailError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {
    "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 100, "initializer_range": 0.1,
}  # fmt: skip


def _gpt2(**more: Any) -> Any:
    sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 100, "n_positions": 64, "initializer_range": 0.1}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**sizes, **more}))


MODELS = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)),
    "llama-tied": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SIZES)),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SIZES, head_dim=16)),
    "gpt2": _gpt2,
    "gpt2-erf": lambda: _gpt2(activation_function="gelu"),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    made = MODELS[request.param]().eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 1:  # norms and biases start as ones and zeros, which hide mistakes
                parameter.copy_(
                    torch.rand_like(parameter) + 0.5 if "weight" in name else torch.randn_like(parameter) / 4
                )
    return made


def _samples(count: int, tokens: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 100, (2, tokens)) for _ in range(count)]


def test_graph_computes_what_the_module_does(model: Any) -> None:
    graph = read_language_model(model, 32)
    (ids,) = _samples(1, 20)
    with torch.no_grad():
        wanted = model(torch.from_numpy(ids)).logits.double().numpy()
    found = floating.evaluate(graph, ids)[graph.nodes[-1].name]
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_scaled_keys_and_values_change_nothing(model: Any) -> None:
    graph = read_language_model(model, 32)
    samples = _samples(3, 24)
    scaled = equalise(graph, observe(graph, samples))
    for ids in samples:
        wanted, found = (floating.evaluate(each, ids)[graph.nodes[-1].name] for each in (graph, scaled))
        assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    seen = observe(scaled, samples)
    for node in scaled.of(g.Attention):
        for name in node.inputs[1:]:
            top = seen.top(name)
            assert 126 <= top * 2.0 ** np.floor(np.log2(127.4 / top)) <= 127.4


@pytest.mark.parametrize(("weights", "error"), [("w8a8", 0.08), ("w4a8", 0.4)])
def test_integers_are_near_the_module(model: Any, weights: str, error: float) -> None:
    lowered = lower_graph(read_language_model(model, 32), _samples(8, 32), Scheme(weights))
    ids = np.random.default_rng(7).integers(0, 100, (1, 32))
    with torch.no_grad():
        wanted = model(torch.from_numpy(ids)).logits.double().numpy()
    found = lowered.run(ids) * lowered.logit_unit()
    assert np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean()) <= error


def test_tied_heads_are_stored_once() -> None:
    graph = read_language_model(MODELS["llama-tied"]().eval(), 16)
    lowered = lower_graph(graph, _samples(1, 16), Scheme())
    assert lowered.steps[0].matrix is lowered.steps[-1].matrix  # type: ignore[attr-defined]


def _cnn() -> Any:
    n = torch.nn
    return n.Sequential(
        n.Conv2d(1, 4, 3, padding=1), n.BatchNorm2d(4), n.ReLU(), n.MaxPool2d(2), n.Conv2d(4, 8, 3, stride=2), n.GELU(),
        n.AvgPool2d(2), n.Flatten(), n.Linear(8 * 3 * 3, 10),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 5)), (20,)),
        (lambda: torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.SiLU(), torch.nn.Linear(64, 5)), (20,)),
        (_cnn, (1, 28, 28)),
    ],
)
def test_models_without_tokens(make: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    module = make()
    module(torch.randn(64, *shape))  # the batch norm sees some images
    graph = read_features(module.eval(), torch.randn(1, *shape))
    images = torch.randn(40, *shape)
    lowered = lower_graph(graph, [images.reshape(40, -1).numpy()], Scheme())
    with torch.no_grad():
        wanted = module(images).numpy()
    found = lowered.infer(images.reshape(40, -1).numpy())
    assert np.sqrt(((found - wanted) ** 2).mean() / (wanted**2).mean()) <= 0.03


@pytest.mark.parametrize(
    ("layer", "nearest"), [("Hardswish", "silu"), ("ELU", "relu"), ("Tanh", "gelu"), ("LogSigmoid", "")]
)
def test_operators_outside_the_set(layer: str, nearest: str) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(6, 8), getattr(torch.nn, layer)())
    with pytest.raises(DovetailError) as caught:
        read_features(module.eval(), torch.randn(1, 6))
    assert f"aten.{layer.lower()}"[:9] in caught.value.what.replace("_", "")
    assert caught.value.where == "1"
    assert nearest in caught.value.hint
    assert caught.value.hint


def test_windows_of_attention_are_refused() -> None:
    config = transformers.MistralConfig(**SIZES, sliding_window=8)
    with pytest.raises(DovetailError, match="causal") as caught:
        read_language_model(transformers.MistralForCausalLM(config).eval(), 32)
    assert caught.value.where == "model.layers.0.self_attn"
    read_language_model(transformers.MistralForCausalLM(config).eval(), 8)  # a context within the window


def test_contexts_beyond_the_model() -> None:
    with pytest.raises(DovetailError, match="a context of 65 tokens"):
        read_language_model(_gpt2().eval(), 65)
