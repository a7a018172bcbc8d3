"""The decode loop against transformers' `generate`: ragged batches, trees of guesses, families, sampling."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.overrides import TorchFunctionMode

from dovetail.core.errors import DovetailError
from dovetail.runtime.decoding.cache import KVCache, seen
from dovetail.runtime.decoding.llama import LlamaRunner
from dovetail.runtime.decoding.lookup import PromptLookup
from dovetail.runtime.decoding.loop import Decoded, Loop
from dovetail.runtime.decoding.modules import ModuleRunner, agrees
from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text, agreed, side_by_side
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Chooser, Sampling
from dovetail.runtime.decoding.sizing import PassTime, Sizing
from dovetail.runtime.decoding.speculation import Speculation
from dovetail.runtime.decoding.tree import Tree
from dovetail.runtime.load import Loaded

_SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.2, "head_dim": 16,
    "eos_token_id": None, "bos_token_id": None, "pad_token_id": 0,
}  # fmt: skip
_FAMILIES: dict[str, tuple[str, dict[str, Any], type]] = {
    "llama": ("LlamaConfig", {}, LlamaRunner),
    "llama3-rope": ("LlamaConfig", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}}, LlamaRunner),
    "mistral-window": ("MistralConfig", {"sliding_window": 7}, LlamaRunner),
    "qwen2": ("Qwen2Config", {}, LlamaRunner),
    "qwen2-windows": ("Qwen2Config", {
        "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}, LlamaRunner),
    "qwen3": ("Qwen3Config", {}, LlamaRunner),
    "gemma2": ("Gemma2Config", {"sliding_window": 6, "query_pre_attn_scalar": 16}, ModuleRunner),
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 6, "query_pre_attn_scalar": 16}, ModuleRunner),
    "gpt2": ("GPT2Config", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}, ModuleRunner),
}  # fmt: skip
PROMPTS = ([5], [7, 9, 11, 13, 17, 19, 23, 29, 31, 37], [3, 4, 5], [50, 60, 70, 80, 90])


@pytest.fixture(scope="module", params=_FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[Loaded, type]:
    kind, more, runner = _FAMILIES[request.param]
    torch.manual_seed(1)
    sizes = {
        k: v for k, v in _SIZES.items() if kind != "GPT2Config" or k in ("vocab_size", "eos_token_id", "bos_token_id")
    }
    config = getattr(transformers, kind)(**{**sizes, **more})
    attention = "eager" if kind == "Gemma2Config" else "sdpa"
    module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    return Loaded(module, None, Path(request.param)), runner


def theirs(loaded: Loaded, prompt: Sequence[int], max_new: int) -> list[int]:
    ids = torch.tensor([list(prompt)])
    made = loaded.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new, do_sample=False, pad_token_id=0
    )
    return made[0, len(prompt) :].tolist()


class Guesses(Proposer):
    """Guesses of a seed, some of them right: what was made once, with errors."""

    def __init__(self, made: Sequence[Sequence[int]], tree: Tree, right: float) -> None:
        self.made, self.tree, self.right, self.source = made, tree, right, random.Random(0)
        self.told: list[int] = []

    def propose(self, texts: Sequence[Text]) -> list[Proposal]:
        depths = self.tree.depths[1:]
        return [Proposal(self.tree, [self._guess(text, depth) for depth in depths]) for text in texts]

    def _guess(self, text: Text, depth: int) -> int:
        place, known = len(text.made) + depth - 1, self.made[text.index]
        right = place < len(known) and self.source.random() < self.right
        return known[place] if right else self.source.randrange(96)

    def learn(self, texts: Sequence[Text], kept: Sequence[int], seconds: float) -> None:
        assert seconds > 0
        self.told += kept


def decode(loaded: Loaded, max_new: int = 40, prompts: Sequence[Sequence[int]] = PROMPTS, **more: Any) -> Decoded:
    return Loop(runner_of(loaded), max_new, more.pop("sampling", Sampling()), **more).run(prompts)


def test_a_ragged_batch_is_what_transformers_makes_of_each_prompt(family: tuple[Loaded, type]) -> None:
    loaded, runner = family
    assert type(runner_of(loaded)) is runner
    made = decode(loaded)
    assert [list(tokens) for tokens in made.tokens] == [theirs(loaded, prompt, 40) for prompt in PROMPTS]
    assert made.steps == (39,) * 4
    assert made.tokens_per_step == 1


@pytest.mark.parametrize("tree", [Tree.chain(3), Tree((-1, 0, 0, 0, 1, 1, 2, 4, 4))], ids=["chain", "tree"])
def test_guesses_change_no_token_and_save_steps(family: tuple[Loaded, type], tree: Tree) -> None:
    loaded, _ = family
    plain = decode(loaded)
    guesses = Guesses(plain.tokens, tree, 0.7)
    found = decode(loaded, proposer=guesses)
    assert found.tokens == plain.tokens
    assert found.tokens_per_step > 1.5
    assert sum(found.steps) < sum(plain.steps)
    assert decode(loaded, proposer=Guesses(plain.tokens, tree, 0.0)).tokens == plain.tokens


def test_sampled_tokens_are_those_of_plain_sampling(family: tuple[Loaded, type]) -> None:
    loaded, _ = family
    sampling = Sampling(0.9, top_k=20, top_p=0.95, seed=5)
    plain = decode(loaded, sampling=sampling)
    found = decode(loaded, sampling=sampling, proposer=Guesses(plain.tokens, Tree((-1, 0, 0, 1, 1)), 0.7))
    assert found.tokens == plain.tokens
    assert found.tokens_per_step > 1.3
    alone = decode(loaded, sampling=sampling, prompts=PROMPTS[:1])
    assert alone.tokens[0] == plain.tokens[0]  # neighbours do not matter


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7, seed=3)], ids=["greedy", "sampled"])
def test_prompt_lookup_changes_no_token(family: tuple[Loaded, type], sampling: Sampling) -> None:
    loaded, _ = family
    prompts = [[5, 6, 7, 8] * 4, [9, 10, 11], [4, 4, 4, 4, 4]]
    plain = decode(loaded, 40, prompts, sampling=sampling)
    found = decode(loaded, 40, prompts, sampling=sampling, proposer=lookup())
    assert found.tokens == plain.tokens
    assert found.passes <= plain.passes


def test_prompt_lookup_saves_steps_where_text_repeats() -> None:
    """Without attention the next token follows from the newest alone, so a greedy text goes round."""
    torch.manual_seed(1)
    module = transformers.LlamaForCausalLM(transformers.LlamaConfig(**_SIZES)).eval()
    for layer in module.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    loaded = Loaded(module, None, Path("round"))
    plain = decode(loaded, 100, [[5]])
    found = decode(loaded, 100, [[5]], proposer=lookup())
    assert found.tokens == plain.tokens
    assert found.tokens_per_step > 1.5


def lookup(always: int = 4) -> Speculation:
    return Speculation([PromptLookup(shortest=2)], Sizing(PassTime(1.0, 0.01), always=always))


def test_prompt_lookup_finds_the_latest_place_of_the_longest_ending() -> None:
    def guess(tokens: list[int], length: int = 3) -> list[int]:
        text = Text(0, tokens, len(tokens), Chooser(Sampling(), 0), torch.empty(0))
        [found] = PromptLookup(length, longest=3, shortest=2).guess([text])
        assert found.tree == Tree.chain(len(found.tokens))
        return list(found.tokens)

    assert guess([1, 2, 3, 9, 8, 7, 2, 3, 5, 5, 5, 1, 2, 3]) == [9, 8, 7]  # of three, before the later one of two
    assert guess([2, 3, 9, 2, 3, 5, 6, 7, 2, 3]) == [5, 6, 7]
    assert guess([4, 4, 4]) == [4, 4, 4]  # goes round
    assert guess([1, 2, 3]) == []
    with pytest.raises(DovetailError, match="0 tokens"):
        PromptLookup(0)


def test_guesses_end_with_the_context(family: tuple[Loaded, type]) -> None:
    """Learned positions, as GPT-2's, have no place beyond it."""
    loaded, _ = family
    prompt, most = [5, 6, 7] * 36, loaded.max_context
    assert most == 128
    plain = decode(loaded, most - len(prompt), [prompt])
    for right in (0.0, 1.0):
        found = decode(loaded, most - len(prompt), [prompt], proposer=Guesses(plain.tokens, Tree.chain(9), right))
        assert found.tokens == plain.tokens
    assert found.tokens_per_step > 3


def test_a_tree_within_a_depth() -> None:
    assert Tree((-1, 0, 1, 0, 3, 2)).within(1) == (Tree((-1, 0, 0)), [0, 1, 3])
    assert Tree((-1, 0, 1, 0, 3, 2)).within(2) == (Tree((-1, 0, 1, 0, 3)), [0, 1, 2, 3, 4])
    assert Tree.chain(4).within(0) == (Tree(), [0])


def test_first_tokens_need_no_mask(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, runner = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]]), LlamaRunner(tiny.model)
    masked = runner.forward(ids, KVCache(2, 2), visible=torch.ones(5, 5, dtype=torch.bool).tril())
    monkeypatch.setattr("dovetail.runtime.decoding.cache.seen", None)  # a call fails
    assert torch.allclose(runner.forward(ids, KVCache(2, 2)), masked, atol=1e-5)


class _Devices(TorchFunctionMode):
    """Notes tensors that are made without a word on where."""

    def __init__(self) -> None:
        super().__init__()
        self.silent: set[str] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        makers = (torch.tensor, torch.arange, torch.zeros, torch.ones, torch.empty, torch.full, torch.randint)
        if func in makers and "device" not in (kwargs or {}):
            self.silent.add(func.__name__)
        return func(*args, **kwargs or {})


def test_what_a_step_makes_is_made_where_the_model_is(family: tuple[Loaded, type]) -> None:
    loaded, kind = family
    runner = runner_of(loaded)
    assert runner.device == loaded.device
    plain = decode(loaded, 12)
    for tree in (Tree.chain(2), Tree((-1, 0, 0, 1))):
        with _Devices() as seen_makers:
            fresh = kind(loaded.model)
            assert agrees(fresh, loaded.model)
            Loop(fresh, 12, Sampling(), proposer=Guesses(plain.tokens, tree, 0.7)).run(PROMPTS)
        assert not seen_makers.silent


def test_a_text_ends_for_itself(tiny: Loaded) -> None:
    free = decode(tiny, 30, [[5, 6], [7, 8, 9]])
    ends = frozenset([free.tokens[0][4]])
    made = decode(tiny, 30, [[5, 6], [7, 8, 9]], ends=ends)
    for ended, whole in zip(made.tokens, free.tokens):
        stop = next((i for i, token in enumerate(whole) if token in ends), 29)
        assert ended == whole[: stop + 1]
    short = decode(tiny, 30, [[5, 6]], ended=lambda tokens: len(tokens) == 7)
    assert short.tokens[0] == free.tokens[0][:7]


def test_more_guesses_than_are_wanted_make_no_token_too_many(tiny: Loaded) -> None:
    plain = decode(tiny, 10, [[5, 6]])
    told: list[tuple[int, int]] = []
    found = decode(
        tiny, 10, [[5, 6]], proposer=Guesses(plain.tokens, Tree.chain(6), 1.0),
        on_token=lambda index, token: told.append((index, token)),
    )  # fmt: skip
    assert found.tokens == plain.tokens
    assert told == [(0, token) for token in plain.tokens[0]]


def test_a_long_prompt_goes_in_pieces(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [list(range(3, 40)), [4], list(range(10, 30))]
    whole = decode(tiny, 20, prompts)
    monkeypatch.setattr("dovetail.runtime.decoding.loop.CHUNK", 8)
    assert decode(tiny, 20, prompts).tokens == whole.tokens


def test_drawn_tokens_follow_the_chances() -> None:
    """Chi-square over 100,000 draws, with and without limits to the likeliest."""
    logits = torch.randn(12, generator=torch.Generator().manual_seed(2)) * 2
    for sampling in (Sampling(0.8, seed=1), Sampling(0.8, top_k=5, seed=2), Sampling(1.3, top_p=0.8, seed=3)):
        choose, draws = Chooser(sampling, 0), 100_000
        counts = np.bincount([choose(logits) for _ in range(draws)], minlength=12)
        expected = _chances(logits.double().numpy(), sampling) * draws
        assert (counts[expected == 0] == 0).all()
        drawn = expected > 0
        square = ((counts[drawn] - expected[drawn]) ** 2 / expected[drawn]).sum()
        free = drawn.sum() - 1
        assert square < free + 3.1 * (2 * free) ** 0.5 + 6  # beyond it with a chance below 1 %


def _chances(logits: np.ndarray, sampling: Sampling) -> np.ndarray:
    """By the definition: likeliest first, until there are k, or their chances reach p."""
    chances = np.exp(logits / sampling.temperature)
    order, kept, reached = np.argsort(-chances), np.zeros(len(chances)), 0.0
    if sampling.top_k:
        chances[order[sampling.top_k :]] = 0
    chances /= chances.sum()
    for token in order:
        if reached < sampling.top_p:
            kept[token] = chances[token]
        reached += chances[token]
    return kept / kept.sum()


@pytest.mark.parametrize("temperature", [1e-310, 5e-324, 1e300])
def test_extreme_temperatures_give_chances(temperature: float) -> None:
    """Next to 0 the likeliest is certain, and ties are even; next to infinity all are alike."""
    found = Sampling(temperature, seed=-(2**63)).chances(torch.tensor([[3.0, -500.0, 700.0, 700.0]]))
    expected = [[0.25] * 4] if temperature > 1 else [[0.0, 0.0, 0.5, 0.5]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    assert Chooser(Sampling(temperature, seed=2**63 - 1), 999)(torch.tensor([3.0, -500.0, 700.0])) in range(3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5},
        {"seed": 99999999999999999999}, {"seed": 2**63}, {"seed": -(2**63) - 1},
    ],
)  # fmt: skip
def test_sampling_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(DovetailError):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_a_tree_sees_its_ancestors() -> None:
    tree = Tree((-1, 0, 0, 1, 2, 3))
    assert tree.depths == [0, 1, 1, 2, 2, 3]
    assert tree.visible().int().tolist() == [
        [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0], [1, 1, 0, 1, 0, 1],
    ]  # fmt: skip
    chosen = {0: 8, 2: 9, 4: 1}
    assert agreed(Proposal(tree, [5, 8, 6, 9, 3]), chosen.__getitem__) == ([0, 2, 4], [8, 9, 1])


def test_trees_of_a_batch_differ() -> None:
    proposals = [Proposal(Tree((-1, 0, 0)), [5, 6]), Proposal(Tree.chain(3), [7, 8, 9]), Proposal()]
    ids, depths, visible = side_by_side(proposals, [1, 2, 3], torch.device("cpu"))
    assert ids.tolist() == [[1, 5, 6, 0], [2, 7, 8, 9], [3, 0, 0, 0]]
    assert depths == [[0, 1, 1, 0], [0, 1, 2, 3], [0, 0, 0, 0]]
    assert visible is not None
    assert visible[0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    assert visible[1].int().tolist() == torch.ones(4, 4).tril().int().tolist()
    assert visible[2].int().tolist() == torch.eye(4).int().tolist()
    assert side_by_side([Proposal()] * 2, [1, 2], torch.device("cpu"))[1:] == (None, None)


class Mixed(Guesses):
    """Another tree for each sequence, and for each step."""

    def propose(self, texts: Sequence[Text]) -> list[Proposal]:
        trees = [Tree(), Tree.chain(2), Tree((-1, 0, 0, 1)), Tree((-1, 0, 1, 1, 0, 4))]
        found = []
        for text in texts:
            tree = trees[(text.index + text.steps) % 4]
            found.append(Proposal(tree, [self._guess(text, depth) for depth in tree.depths[1:]]))
        return found


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7, seed=4)], ids=["greedy", "sampled"])
def test_trees_that_differ_change_no_token(family: tuple[Loaded, type], sampling: Sampling) -> None:
    loaded, _ = family
    plain = decode(loaded, sampling=sampling)
    found = decode(loaded, sampling=sampling, proposer=Mixed(plain.tokens, Tree(), 0.7))
    assert found.tokens == plain.tokens
    assert found.tokens_per_step > 1.2


class Observer(Guesses):
    """Keeps the hidden states that it is told of."""

    observes = True

    def __init__(self, *rest: Any) -> None:
        super().__init__(*rest)
        self.states: dict[int, list[torch.Tensor]] = {}

    def observe(self, text: Text, states: torch.Tensor) -> None:
        self.states.setdefault(text.index, []).append(states.clone())


def test_hidden_states_of_all_tokens_in_the_cache_are_told(family: tuple[Loaded, type]) -> None:
    loaded, _ = family
    plain = decode(loaded)
    seen_states = Observer(plain.tokens, Tree((-1, 0, 0, 1, 1)), 0.7)
    made = decode(loaded, proposer=seen_states).tokens
    for index, prompt in enumerate(PROMPTS):
        found = torch.cat(seen_states.states[index])
        text = [*prompt, *made[index]][: len(found)]
        assert len(found) >= len(prompt) + len(made[index]) - 1
        with torch.inference_mode():
            expected = loaded.model.base_model(torch.tensor([text])).last_hidden_state[0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("lengths", [[2, 5, 0], [3, 3, 3]])
@pytest.mark.parametrize("own", [False, True], ids=["one tree", "a tree each"])
def test_masks_by_brute_force(window: int | None, lengths: list[int], own: bool) -> None:
    cache, tokens = KVCache(1, 3), 3
    cache.lengths = lengths
    visible = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
    if own:
        visible = torch.stack((visible, torch.ones(3, 3).tril().bool(), torch.eye(3).bool()))
    depths = [0, 1, 1]
    positions = torch.tensor([[n + d for d in depths] for n in cache.lengths])
    mask = seen(cache, tokens, visible, positions, window)
    assert mask is not None
    mask, each = mask.expand(3, -1, -1, -1), visible.expand(3, -1, -1)
    for row, length in enumerate(cache.lengths):
        for new in range(tokens):
            for key in range(cache.longest + tokens):
                held, at = key < length, key - length
                place = key if held else length + depths[at] if 0 <= at < tokens else -1
                sees = held or (0 <= at < tokens and bool(each[row, new, at]))
                near = window is None or place > length + depths[new] - window
                assert bool(mask[row, 0, new, key]) == (sees and near), (row, new, key)


def test_a_model_with_another_state_is_refused() -> None:
    config = transformers.Mamba2Config(
        vocab_size=96, hidden_size=32, num_hidden_layers=2, head_dim=16, num_heads=4, state_size=8, n_groups=1
    )
    module = transformers.AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(DovetailError, match="cannot be decoded here") as caught:
        runner_of(Loaded(module, None, Path("mamba")))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(("prompts", "most"), [([], 3), ([[1], []], 3), ([[1]], 0)])
def test_nothing_to_decode(tiny: Loaded, prompts: list[list[int]], most: int) -> None:
    with pytest.raises(DovetailError, match="prompts"):
        decode(tiny, most, prompts)
