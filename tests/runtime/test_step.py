"""Whole passes in one call: against transformers in float64, row by row, and against the same runner layer by layer."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from dovetail.recipe.recipe import Recipe
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decoding import step as steps
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.likeliest import likeliest
from dovetail.runtime.decoding.llama import LlamaRunner
from dovetail.runtime.decoding.medusa import RANKS, Medusa, MedusaHeads
from dovetail.runtime.decoding.proposal import Text
from dovetail.runtime.decoding.sampling import Chooser, Sampling
from dovetail.runtime.decoding.tree import Tree
from dovetail.runtime.decoding.whole_guess import WholeGuess
from dovetail.runtime.kernels.dense import DenseProduct
from dovetail.runtime.kernels.library import Library, Missing, find
from dovetail.runtime.kernels.linear import PackedLinear
from dovetail.runtime.kernels.model import pack_linears, rounded

pytestmark = pytest.mark.skipif(not isinstance(find(), Library), reason="no kernels here")

_SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2, "head_dim": 24,
}  # fmt: skip
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"attention_bias": True}),
    "mistral-window": ("MistralConfig", {"sliding_window": 9}),
    "qwen2-windows": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {}),
}
_TREE = Tree((-1, 0, 0, 1, 2, 3))
_HELD = ([3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41], [2, 4, 8], [90])


def model_of(family: str) -> Any:
    """A random model whose norms and biases are not what they begin as."""
    kind, more = _FAMILIES[family]
    torch.manual_seed(3)
    module = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**{**_SIZES, **more}))
    for name, parameter in module.named_parameters():
        if "norm" in name or name.endswith("bias"):
            parameter.data.uniform_(0.5, 1.5)
    return module.eval().requires_grad_(False)


@pytest.fixture
def only_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes that go layer by layer fail."""
    monkeypatch.setattr(LlamaRunner, "_projected", lambda *_: pytest.fail("went layer by layer"))


def paths(tree: Tree) -> list[list[int]]:
    found: list[list[int]] = []
    for node, parent in enumerate(tree.parents):
        found.append([*(found[parent] if parent >= 0 else []), node])
    return found


def passed(runner: LlamaRunner, held: Sequence[Sequence[int]], ids: torch.Tensor, tree: Tree) -> torch.Tensor:
    """States of a tree behind texts of different lengths."""
    cache, width = KVCache(len(runner.layers), len(held)), max(map(len, held))
    runner.forward(torch.tensor([[*row, *[0] * (width - len(row))] for row in held]), cache)
    cache.keep([len(row) for row in held])
    return runner.forward(ids, cache, cache.positions([tree.depths] * len(held)), tree.visible())


@pytest.mark.usefixtures("only_whole")
@pytest.mark.parametrize("family", _FAMILIES)
def test_trees_behind_ragged_texts_are_what_transformers_says_in_float64(family: str) -> None:
    model = model_of(family)
    exact = copy.deepcopy(model).double()
    ids = torch.randint(96, (len(_HELD), len(_TREE)), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = passed(LlamaRunner(model), _HELD, ids, _TREE)
        for row, held in enumerate(_HELD):
            for node, path in enumerate(paths(_TREE)):
                text = torch.tensor([[*held, *ids[row, path].tolist()]])
                wanted = exact.model(text, use_cache=False).last_hidden_state[0, -1]
                torch.testing.assert_close(found[row, node].double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("arithmetic", ["exact", "int8", "int8-token"])
@pytest.mark.parametrize("bits", [4, 8])
def test_packed_weights_give_what_their_layers_give(
    bits: int, arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layer by layer the same kernels multiply; between them is torch."""
    model = model_of("qwen3")
    pack_linears(model, bits, 32, arithmetic)
    runner = LlamaRunner(model)
    ids = torch.randint(96, (len(_HELD), len(_TREE)), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        layered = copy.copy(runner)
        layered._step = None
        wanted = passed(layered, _HELD, ids, _TREE)
        monkeypatch.setattr(LlamaRunner, "_projected", lambda *_: pytest.fail("went layer by layer"))
        found = passed(runner, _HELD, ids, _TREE)
    loose = 1e-4 if arithmetic == "exact" else 0.05  # integers near a half may round the other way
    assert float((found - wanted).abs().max()) <= loose * float(wanted.abs().max())


@pytest.mark.usefixtures("only_whole")
@pytest.mark.parametrize("packed", [False, True])
def test_a_text_is_the_same_bits_alone_and_beside_others(packed: bool) -> None:
    model = model_of("llama")
    if packed:
        pack_linears(model, 8, 32, "exact")
    runner, rows = LlamaRunner(model), [[n, n + 1, n + 2][: 1 + n % 3] for n in range(13)]
    ids = torch.arange(13 * len(_TREE)).reshape(13, -1) % 96
    with torch.inference_mode():
        together = passed(runner, rows, ids, _TREE)
        for row, held in enumerate(rows):
            assert torch.equal(passed(runner, [held], ids[row : row + 1], _TREE)[0], together[row])


@pytest.mark.parametrize("recipe", ["snapkv:keep=24,window=8,slack=8", "h2o:keep=24,slack=8", "kv-int4:group=8",
                                    "snapkv:keep=24,window=8,slack=8+kv-int8:group=8"])  # fmt: skip
def test_cut_and_packed_caches_go_on_as_layer_by_layer(recipe: str) -> None:
    """The policy selects several times meanwhile: what it is told by whole passes makes it choose the same."""
    plan, tree = Recipe.load(recipe).on_cache(), Tree((-1, 0, 0, 1, 2))
    torch.manual_seed(3)
    sizes = {**_SIZES, "head_dim": 32}
    runner = LlamaRunner(transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).eval().requires_grad_(False))
    layered, source = copy.copy(runner), torch.Generator().manual_seed(1)
    layered._step = None
    prompt = torch.randint(96, (40,), generator=source)
    with torch.inference_mode():
        caches = [CachePlan.prefilled(plan, runner, prompt)[0] for _ in range(2)]  # type: ignore[arg-type]
        for _ in range(12):
            ids = torch.randint(96, (1, len(tree)), generator=source)
            for cache in caches:
                cache.settle()
            whole, parts = (
                one.forward(ids, cache, cache.positions([tree.depths]), tree.visible())
                for one, cache in zip((runner, layered), caches, strict=True)
            )
            torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-3)
            for cache in caches:
                cache.keep_path(0, [0, 2, 4])
    assert (caches[0].held == caches[1].held).all()


def test_a_token_that_is_none_is_refused_and_gradients_go_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = LlamaRunner(model_of("llama"))
    with torch.inference_mode(), pytest.raises(IndexError):
        runner.forward(torch.tensor([[96]]), KVCache(3, 1))
    runner.embedding.requires_grad_(True)
    assert runner.forward(torch.tensor([[5]]), KVCache(3, 1)).requires_grad
    monkeypatch.setattr(steps, "find", lambda: Missing("none", "none"))
    assert LlamaRunner(model_of("llama"))._step is None


def test_what_a_model_does_beside_is_left_to_its_layers() -> None:
    """Inputs that are watched or rounded, and other activations."""
    model = model_of("llama")
    pack_linears(model, 8, 32, "exact")
    model.model.layers[1].self_attn.o_proj.register_forward_pre_hook(lambda *_: None)
    assert LlamaRunner(model)._step is None
    other = model_of("llama")
    other.model.layers[2].mlp.act_fn = torch.nn.GELU()
    assert LlamaRunner(other)._step is None


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_heads_in_one_call_hold_likely_what_torch_says(count: int, packed: bool) -> None:
    runner, source = LlamaRunner(model_of("llama")), torch.Generator().manual_seed(5)
    weight = torch.randn(3, 64, 128, generator=source) / 8
    heads = MedusaHeads(weight, ((0.5,) * RANKS,) * 3, DenseProduct(weight.flatten(0, 1)))
    assert isinstance(runner.head, DenseProduct)
    head = PackedLinear(*rounded(runner.head.weight, 32), 8, 32) if packed else runner.head
    medusa = Medusa(heads, runner, runner.embedding, head, most=9)
    assert isinstance(medusa._whole, WholeGuess)
    choose = [Chooser(Sampling(), row) for row in range(count)]
    states = torch.randn(count, 64, generator=source)
    texts = [Text(row, [7 * row], 1, choose[row], states[row]) for row in range(count)]
    with torch.inference_mode():
        guesses = medusa.guess(texts)
        logits = head(heads.states(states, runner.embedding[[text.tokens[-1] for text in texts]])).double()
    for row, guess in enumerate(guesses):
        best = logits[row].softmax(-1).topk(RANKS, -1)
        wanted = likeliest(best.values.tolist(), 9)
        assert guess.tree.parents == (-1, *wanted.parents)
        assert list(guess.tokens) == [int(best.indices[at]) for at in wanted.guesses]
        assert list(guess.chances) == pytest.approx(wanted.chances, rel=1e-4)


def test_drawn_guesses_and_fixed_trees_are_made_by_torch(tmp_path: Path) -> None:
    runner, weight = LlamaRunner(model_of("llama")), torch.zeros(2, 64, 128)
    heads = MedusaHeads(weight, ((0.5,) * RANKS,) * 2, DenseProduct(weight.flatten(0, 1)))
    assert Medusa(heads, runner, runner.embedding, fixed=True)._whole is None
    medusa = Medusa(heads, runner, runner.embedding, most=4)
    medusa._whole = None if medusa._whole is None else _refusing
    text = Text(0, [5], 1, Chooser(Sampling(temperature=0.8), 0), torch.ones(64))
    with torch.inference_mode():
        assert len(medusa.guess([text])[0].tokens) == 4


class _Refusing:
    def takes(self, _: object) -> bool:
        return True

    def __call__(self, *_: object) -> list[Any]:
        pytest.fail("drawn guesses were asked of the kernels")


_refusing: Any = _Refusing()
