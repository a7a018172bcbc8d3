"""Methods of speculation through both faces: what a graph says of a step, and what the decoder then executes."""

import csv
import os
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from dovetail.core.errors import DovetailError
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Linear
from dovetail.recipe.method import METHODS, OnDecoding
from dovetail.recipe.methods.eagle import Eagle
from dovetail.recipe.methods.medusa import Medusa
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.speculation.accuracy import as_accuracies, by_rank, tokens_per_step
from dovetail.recipe.speculation.guessing import chain_tokens
from dovetail.runtime.checkpoint import Checkpoint, payload
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.eagle import EagleLayer, EagleShape
from dovetail.runtime.decoding.lookup import PromptLookup
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.medusa import MedusaHeads
from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text, side_by_side
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Chooser, Sampling
from dovetail.runtime.decoding.speculation import Speculation
from dovetail.runtime.decoding.speculator import Speculator
from dovetail.runtime.decoding.tree import Tree
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.tensorfile import read_header

BATCH, CONTEXT, COLUMNS = 2, 8, (128, 256)
GUESSING = [name for name in METHODS if getattr(METHODS[name], "guesses", False)]
EXAMPLES = [example for name in GUESSING for example in METHODS[name].examples(COLUMNS)]
WEIGHTS = [METHODS["rtn"].examples(COLUMNS)[2], METHODS["fp8"].examples(COLUMNS)[0], METHODS["rotation"]()]


MODELS = ("llama", "qwen2", "stories260K")
EXECUTED = [
    pytest.param(model, example, id=f"{model}-{example}")
    for model, example in product(MODELS, EXAMPLES) if isinstance(example, OnDecoding)
]  # fmt: skip


def graph_of(folder: Path, recipe: Recipe, *, context: int = CONTEXT) -> Graph:
    return recipe.rewrite(Model.load(str(folder)).graph(batch=BATCH, tokens=1, context=context))


def with_heads(example: Any, folder: Path, out: Path) -> Any:
    """The example with heads that guess what the model says next, stored in `out`."""
    if isinstance(example, Eagle):
        return replace(example, heads=str(with_layer(folder, out)))
    if not isinstance(example, Medusa):
        return example
    hidden = Model.load(str(folder)).architecture.hidden
    accuracy = example.known()
    heads = MedusaHeads.new(len(accuracy), int(hidden))
    base = Checkpoint.open(folder).sha256()
    about = {"accuracy": [list(row) for row in accuracy]}
    Speculator("medusa", base, {"heads.weight": heads.weight}, about).save(out, "heads")
    return Medusa(example.nodes, heads=str(out))


def with_layer(folder: Path, out: Path) -> Path:
    """A draft layer that was right at 0.5, 0.4 and 0.25 of the places that it could be."""
    layer = EagleLayer.new(EagleShape.of(load(folder).model.config))
    layer = replace(layer, accuracy=((0.5, 0.1), (0.4, 0.1), (0.25, 0.1)))
    return layer.stored(Checkpoint.open(folder).sha256()).save(out, "a card\n")


def products(graph: Graph) -> float:
    """FLOPs of matrix products and attention: what torch's counter sees."""
    return float(sum(o.dense_flops * o.repeat for o in graph.operators if isinstance(o, Linear | Attention)))


def eager(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None, **_: Any
) -> torch.Tensor:  # fmt: skip
    """Attention as two products, which torch's counter sees; it does not see the fused kernel of CPUs."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    masked = (
        scores if mask is None else scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    )
    return masked.softmax(-1) @ v


@pytest.mark.parametrize(("model", "example"), EXECUTED)
def test_executed_flops_of_a_step_are_as_predicted(
    model_folder: Callable[[str], Path], tmp_path: Path, model: str, example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of the decoder, guessing included, by torch's counter."""
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", eager)
    monkeypatch.setattr("dovetail.runtime.kernels.dense.MOST", 0)  # the counter does not see kernels of ours
    monkeypatch.setattr("dovetail.runtime.decoding.medusa.rough_head", lambda _: None)
    folder = model_folder(model)
    example = with_heads(example, folder, tmp_path / "heads")
    graph, loaded = graph_of(folder, Recipe("one", (example,))), load(folder, attention="eager")
    proposer, runner = example.on_decoding(loaded, folder), runner_of(loaded)
    if hasattr(proposer, "sizing"):
        proposer.sizing.always = int(graph.tokens) - 1
    prompt = [5, 6, 7, 8] * (CONTEXT // 4)
    with torch.inference_mode():
        cache = KVCache(len(runner.layers), BATCH, device=runner.device)
        states = runner.forward(torch.tensor([prompt] * BATCH), cache)
        cache.keep([CONTEXT] * BATCH)
        texts = [Text(i, list(prompt), CONTEXT, Chooser(Sampling(), i), states[i, -1]) for i in range(BATCH)]
        for text in texts:
            proposer.observe(text, states[text.index, :-1])
        read = proposer.propose(texts)  # what drafts reads the prompt
        for text, guess in zip(texts, read, strict=True):
            text.tokens.append(guess.tokens[0] if guess.tokens else 5)
            proposer.observe(text, states[text.index, -1:])
        with FlopCounterMode(display=False) as counter:
            proposals = proposer.propose(texts)
            nodes, depths, visible = side_by_side(proposals, [5] * BATCH, runner.device)
            assert depths is not None
            runner.logits(runner.forward(nodes, cache, cache.positions(depths), visible))
    assert nodes.shape == (BATCH, int(graph.tokens))
    counts = counter.get_flop_counts()  # rotary angles, made by a product, aside
    angles = sum(sum(ops.values()) for module, ops in counts.items() if module.endswith("rotary_emb"))
    assert counter.get_total_flops() - angles == products(graph)


@pytest.mark.parametrize("example", [e for e in EXAMPLES if isinstance(e, Medusa)], ids=str)
@pytest.mark.parametrize("before", [(), *((w,) for w in WEIGHTS)], ids=str)
def test_stored_bytes_of_heads_and_model_are_as_predicted(
    model_folder: Callable[[str], Path], tmp_path: Path, example: Medusa, before: tuple[Any, ...]
) -> None:
    """Also of a model whose weights another method changed, whichever stands first in the recipe."""
    folder = model_folder("llama")
    example, out = with_heads(example, folder, tmp_path / "heads"), folder
    if before:
        out = Recipe.load(list(before)).apply(folder, tmp_path / "packed").path
    files = (out / "model.safetensors", tmp_path / "heads" / "model.safetensors")
    stored = sum(payload(read_header(file)) for file in files)
    for methods, context in product(((*before, example), (example, *before)), (0, CONTEXT)):
        assert graph_of(folder, Recipe("both", methods), context=context).weight_bytes() == stored


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
@pytest.mark.parametrize("changed", WEIGHTS, ids=str)
def test_what_guesses_is_the_same_in_any_order(model_folder: Callable[[str], Path], example: Any, changed: Any) -> None:
    folder = model_folder("llama")
    one, other = (graph_of(folder, Recipe("one", methods)) for methods in ((changed, example), (example, changed)))
    assert one == other
    plain = Recipe("plain", (changed,)).rewrite(Model.load(str(folder)).graph(batch=BATCH, tokens=1, context=CONTEXT))
    mine = {w.name: w for w, _ in one.weights()}
    assert all(mine[w.name] == w for w, _ in plain.weights())  # the model's weights are those of the other method


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_step_is_a_pass_over_all_guesses(model_folder: Callable[[str], Path], example: Any) -> None:
    """The operators of the model are those of its own graph with as many tokens and logits; prefill keeps its own."""
    model = Model.load(str(model_folder("llama")))
    step = example.rewrite(model.graph(batch=BATCH, tokens=1, context=CONTEXT))
    tokens = int(step.tokens)
    verified = model.graph(batch=BATCH, tokens=tokens, context=CONTEXT, logit_tokens=tokens)
    assert step.operators[: len(verified.operators)] == verified.operators
    assert step.caches[: len(verified.caches)] == verified.caches
    assert step.tokens_per_step > 1
    prefill = model.graph(batch=BATCH, tokens=16, context=0)
    assert example.rewrite(prefill).operators[: len(prefill.operators)] == prefill.operators
    assert example.rewrite(prefill).weight_bytes() == step.weight_bytes()
    assert example.rewrite(prefill).tokens_per_step == 1


def test_a_draft_is_counted_with_its_own_passes() -> None:
    """A model that drafts for itself: as many more passes as guesses, twice the weights and caches."""
    name = "HuggingFaceTB/SmolLM2-135M"
    model, draft = Model.load(name), METHODS["draft"](model=name, length=3)
    plain, step = model.graph(4, 1, 100), draft.rewrite(model.graph(4, 1, 100))
    wide = model.graph(4, 4, 100, 4)
    passes = sum(products(model.graph(4, 1, 100 + more)) for more in range(3))
    assert products(step) == products(wide) + passes
    assert step.weight_bytes() == 2 * plain.weight_bytes()
    kept = [float(c.batch * c.length * c.elements_per_token) for c in step.caches]
    assert sum(kept) == pytest.approx(kept[0] * (1 + 103 / 104))
    prefill = draft.rewrite(model.graph(4, 100, 0))
    assert products(prefill) == 2 * products(model.graph(4, 100, 0))


def test_an_early_exit_holds_no_weight_twice() -> None:
    model = Model.load("HuggingFaceTB/SmolLM2-135M")
    plain = model.graph(2, 1, 100)
    step = METHODS["early-exit"](layers=10, length=2, acceptance=0.5).rewrite(plain)
    assert step.weight_bytes() == plain.weight_bytes()
    layer = sum(o.dense_flops for o in plain.operators if isinstance(o, Linear) and o.layers)
    head = sum(o.dense_flops for o in plain.operators if isinstance(o, Linear) and not o.layers)
    attended = [
        next(o.dense_flops for o in model.graph(2, 1, 100 + n).operators if isinstance(o, Attention)) for n in (0, 1)
    ]
    extra = products(step) - products(model.graph(2, 3, 100, 3))
    assert extra == 2 * (10 * layer + head) + 10 * sum(attended)


@given(st.floats(0, 1), st.integers(1, 20))
def test_tokens_of_a_chain_are_the_sum_of_its_chances(acceptance: float, length: int) -> None:
    assert chain_tokens(acceptance, length) == pytest.approx(sum(acceptance**n for n in range(length + 1)), rel=1e-6)


@settings(max_examples=20)
@given(st.lists(st.lists(st.floats(0.01, 0.3), min_size=1, max_size=3), min_size=1, max_size=3), st.integers(1, 4))
def test_no_tree_of_as_many_guesses_is_right_more_often(chances: list[list[float]], nodes: int) -> None:
    """By trying every set of paths that holds the parents of its members."""
    rows = [sorted(row, reverse=True) for row in chances]
    paths = [p for depth in range(1, len(rows) + 1) for p in product(*(range(len(row)) for row in rows[:depth]))]
    chance = {p: float(np.prod([rows[head][rank] for head, rank in enumerate(p)])) for p in paths}

    def best(taken: frozenset[tuple[int, ...]], left: int) -> float:
        open_ = [p for p in paths if p not in taken and (len(p) == 1 or p[:-1] in taken)]
        return max((chance[p] + best(taken | {p}, left - 1) for p in open_), default=0.0) if left else 0.0

    assert tokens_per_step(chances, nodes)[-1] == pytest.approx(1 + best(frozenset(), nodes))


def test_tokens_of_a_tree_are_those_of_heads_that_guess_independently() -> None:
    """Steps drawn at random: heads right by rank with their accuracies, the longest path of the tree kept."""
    from dovetail.runtime.decoding.likeliest import likeliest

    accuracy, source = ((0.6, 0.15), (0.4, 0.1), (0.3,)), random.Random(5)
    tree, draws = likeliest(accuracy, 7), 40_000
    made = []
    for _ in range(draws):
        ranks = [source.choices([*range(len(row)), -1], [*row, 1 - sum(row)])[0] for row in accuracy]
        right, deepest = {0}, 0
        for node, (parent, (head, rank)) in enumerate(zip(tree.parents, tree.guesses, strict=True), 1):
            if parent in right and ranks[head] == rank:
                right.add(node)
                deepest = max(deepest, head + 1)
        made.append(1 + deepest)
    error = np.std(made) / draws**0.5
    assert abs(np.mean(made) - tokens_per_step(accuracy, 7)[-1]) < 4 * error


def test_given_the_measured_acceptance_steps_yield_what_is_predicted(model_folder: Callable[[str], Path]) -> None:
    """One guess in every step: the decoder's tokens a step are those of the graph."""
    folder = model_folder("llama")
    loaded = load(folder)

    class Counted(Proposer):
        right = steps = 0
        source = PromptLookup(1)

        def propose(self, texts: Any) -> list[Proposal]:
            found = [guess.first(1) for guess in self.source.guess(texts)]
            return [p if p.tokens else Proposal(Tree.chain(1), [0]) for p in found]

        def learn(self, texts: Any, kept: Any, seconds: float) -> None:
            self.right, self.steps = self.right + sum(kept) - len(kept), self.steps + len(kept)

    proposer = Counted()
    made = Loop(runner_of(loaded), 40, Sampling(), proposer=proposer).run([[5, 6, 7, 5, 6], [9, 9, 9, 9]])
    measured = proposer.right / proposer.steps
    predicted = graph_of(folder, Recipe("one", (METHODS["lookup"](1, measured),)))
    assert 0 < measured < 1
    assert made.tokens_per_step == pytest.approx(float(predicted.tokens_per_step), rel=0.05)  # the last step is cut


def test_published_trees_of_medusa() -> None:
    """Greedy trees of 63 guesses from the accuracies in Medusa's repository, and what 16 keep of them."""
    path = Path(os.environ.get("DOVETAIL_DATA", "")) / "papers" / "medusa_head_accuracy.csv"
    if not path.is_file():
        pytest.skip("no table of Medusa's accuracies here (DOVETAIL_DATA)")
    heads: dict[str, list[list[float]]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            heads.setdefault(row["vicuna"], []).append([float(row[f"top{n}"]) for n in range(1, 6)])
    for size, asked in {"7b": 2.38, "13b": 2.48, "33b": 2.52}.items():
        found = tokens_per_step(by_rank(heads[size]), 63)
        assert round(found[63], 2) == asked
        assert round(found[16] / found[63], 2) >= 0.93


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ([{"lookup": {"length": 0}}], "lookup.length"),
        ([{"lookup": {"acceptance": 1.5}}], "lookup.acceptance"),
        ([{"medusa": {"nodes": 0}}], "medusa.nodes"),
        ([{"medusa": {"accuracy": [[0.9, 0.2]]}}], "sum to 1.1"),
        ([{"medusa": {"accuracy": [[0.5], []]}}], "accuracies"),
        ([{"medusa": {"accuracy": 0.5}}], "accuracies"),
        (["draft"], "no draft is named"),
        ([{"early-exit": {"layers": 4}}], "no acceptance"),
        (["medusa", "lookup"], "two methods that guess"),
    ],
)
def test_bad_parameters_are_refused(recipe: list[Any], says: str) -> None:
    with pytest.raises(DovetailError, match=says):
        Recipe.load(recipe)


def test_a_draft_of_another_vocabulary_is_refused() -> None:
    graph = Model.load("meta-llama/Llama-3.1-8B").graph(1, 1, 10)
    with pytest.raises(DovetailError, match="another vocabulary"):
        METHODS["draft"](model="Qwen/Qwen3-0.6B").rewrite(graph)
    padded = Model.load("Qwen/Qwen2.5-7B").graph(1, 1, 10)  # 152,064 rows, the draft 151,936
    assert METHODS["draft"](model="Qwen/Qwen2.5-0.5B").rewrite(padded).tokens_per_step > 1
    with pytest.raises(DovetailError, match="an exit after 32 of 32"):
        METHODS["early-exit"](layers=32, acceptance=0.5).rewrite(graph)


def test_medusa_without_heads_says_how_to_make_them(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = model_folder("llama")
    loaded: Loaded = load(folder)
    with pytest.raises(DovetailError, match="medusa train"):
        Recipe.load("medusa").on_decoding(loaded)
    with pytest.raises(DovetailError, match="speculator"):
        Recipe.load([{"medusa": {"heads": str(tmp_path)}}]).rewrite(Model.load(str(folder)).graph())
    assert Recipe.load("none").on_decoding(loaded) is None


def test_eagle_is_as_right_as_its_layer_was(model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = model_folder("llama")
    loaded, heads = load(folder), with_layer(folder, tmp_path / "eagle")
    recipe = Recipe.load(f"eagle:length=4,heads={heads}")
    assert float(graph_of(folder, recipe).tokens_per_step) == pytest.approx(1 + 0.5 + 0.2 + 0.05 + 0.0125)
    proposer = recipe.on_decoding(loaded)
    assert isinstance(proposer, Speculation)
    proposer.sizing.always = 4
    prompts = [[5, 6, 7, 8], [9, 10]]
    made, plain = (Loop(runner_of(loaded), 20, Sampling(), proposer=p).run(prompts) for p in (proposer, None))
    assert made.tokens == plain.tokens
    with pytest.raises(DovetailError, match="--kind eagle"):
        Recipe.load("eagle").on_decoding(loaded)
    assert Recipe.load("eagle").on_decoding(loaded, tmp_path)  # beside other weights
    with pytest.raises(DovetailError, match="of kind 'eagle'"):
        Recipe.load(f"medusa:heads={heads}").rewrite(Model.load(str(folder)).graph())


@pytest.mark.parametrize("kind", ["medusa", "eagle"])
def test_heads_of_a_model_of_another_width(
    model_folder: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:  # fmt: skip
    folder, method = model_folder("llama"), METHODS[kind]()
    recipe = Recipe("one", (with_heads(method, folder, tmp_path / "heads"),))
    assert float(graph_of(folder, recipe).tokens_per_step) > 1
    with pytest.raises(DovetailError, match="the model 4096 wide") as caught:
        recipe.rewrite(Model.load("meta-llama/Llama-3.1-8B").graph(1, 1, 10))
    assert caught.value.where == str(tmp_path / "heads")


def test_a_method_is_a_recipe_by_its_name() -> None:
    """With the parameters it has; those that it needs are asked for."""
    assert Recipe.load("eagle:length=3").methods == (Eagle(3),)
    assert Recipe.load("eagle").methods == Recipe.load(["eagle"]).methods
    assert Recipe.load("early-exit:layers=2,acceptance=0.5").methods == (METHODS["early-exit"](2, acceptance=0.5),)
    assert Recipe.load("draft:model=Qwen/Qwen3-0.6B").guesser == "draft"
    assert Recipe.load("w4a16-rtn").guesser == ""
    assert not set(METHODS) & set(Recipe.names()) - {
        "medusa", "lookup", "fp8", "nvfp4", "nvfp4a16", "mxfp4", "snapkv", "kv-int8", "kv-int4",
    }  # fmt: skip
    for name, says in (("egale", "did you mean 'eagle'"), ("draft", "draft:model="), ("early-exit", "acceptance=0.6")):
        with pytest.raises(DovetailError, match=says):
            Recipe.load(name)


def test_accuracies_survive_being_written_and_read() -> None:
    recipe = Recipe.load([{"medusa": {"accuracy": [[0.5, 0.1], [0.25]]}}])
    assert Recipe.load(recipe.to_json()).methods == recipe.methods
    assert as_accuracies([[0.5, 0.1], [0.25]], "here") == ((0.5, 0.1), (0.25,))


@pytest.mark.parametrize("method", [METHODS["draft"](model="embedded", length=3), METHODS["early-exit"](2, 3, 0.5)])
def test_drafts_of_a_recipe_leave_the_text_as_it_is(method: Any) -> None:
    folder = weights_of(Model.load("embedded"))
    loaded = load(folder)
    prompts = [list(loaded.tokenizer("Once upon a time there was").input_ids)]
    proposer = Recipe("one", (method,)).on_decoding(loaded)
    assert isinstance(proposer, Speculation)
    proposer.sizing.always = 3  # also where it does not pay
    made, plain = (Loop(runner_of(loaded), 25, Sampling(), proposer=p).run(prompts) for p in (proposer, None))
    assert made.tokens == plain.tokens
    if method == METHODS["draft"](model="embedded", length=3):  # the model itself is always right
        assert made.tokens_per_step == 4
    assert made.tokens_per_step >= plain.tokens_per_step == 1
