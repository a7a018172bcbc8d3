"""Caches that hold less: the same tokens with room for all, exact attention over what is kept, speculation, batches."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dovetail.core.errors import DovetailError
from dovetail.model.kv_groups import KVGroups
from dovetail.recipe.method import METHODS
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.cache import attention
from dovetail.runtime.cache.held import HeldCache
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.cache.tokens import Tokens
from dovetail.runtime.decoding.cache import KVCache, View
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.decoding.tree import Tree
from dovetail.runtime.load import Loaded

from .conftest import decode

POLICIES = [name for name in METHODS if getattr(METHODS[name], "caches", "") == "policy"]
FORMATS = [name for name in METHODS if getattr(METHODS[name], "caches", "") == "format"]
SMALL = {"snapkv": "snapkv:keep=24,window=8,slack=8", "adakv": "adakv:keep=24,window=8,slack=8",
         "pyramidkv": "pyramidkv:keep=24,window=8,slack=8,steep=3.0", "h2o": "h2o:keep=24,slack=8",
         "observed-attention": "observed-attention:keep=24,recent=6,slack=8", "tova": "tova:keep=24,slack=8",
         "keynorm": "keynorm:keep=24,recent=6,slack=8", "kv-window": "kv-window:keep=21,sink=3,slack=8"}  # fmt: skip


def plan_of(recipe: str) -> CachePlan:
    found = Recipe.load(recipe).on_cache()
    assert found is not None
    return found


@pytest.fixture(params=["kernel", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By the kernel, and by torch alone."""
    if request.param == "torch":
        monkeypatch.setattr(attention, "MOST", 0)
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", [*POLICIES, None], ids=str)
def test_a_budget_for_all_changes_no_token(grouped: Loaded, prompts: list[list[int]], name: str | None) -> None:
    plan = plan_of(f"{name}:keep=200") if name else CachePlan()
    made, full = decode(grouped, prompts, plan=plan), decode(grouped, prompts)
    assert made.tokens == full.tokens
    assert made.cache_bytes == full.cache_bytes


class Masked(KVCache):
    """A cache of everything whose tokens see only what another holds: by the same keys, in float64."""

    held: HeldCache

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, view: View, window: int | None
    ) -> Tensor:
        every, sums = self.write(layer, keys, values)
        found = []
        for row, length in enumerate(self.lengths):
            shown = torch.zeros(every.shape[1], view.tokens, every.shape[2], dtype=torch.bool)
            for head in range(every.shape[1]):
                kept = self.held.at(layer, row).head(head)[0]
                same = (every[row, head, :length].unsqueeze(1) - kept).abs().amax(2) < 1e-3
                assert same.sum() == len(kept)  # each key is one of the text's
                shown[head, :, :length] = same.any(1)
                shown[head, :, length : length + view.tokens] = view.new(row)
            group = queries.shape[1] // every.shape[1]
            asked = queries[row].double() @ every[row].double().repeat_interleave(group, 0).transpose(1, 2)
            asked = asked * keys.shape[3] ** -0.5
            paid = asked.masked_fill(~shown.repeat_interleave(group, 0), -torch.inf).softmax(-1)
            found.append(paid @ sums[row].double().repeat_interleave(group, 0))
        return torch.stack(found).float().transpose(1, 2).flatten(2)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", POLICIES)
def test_steps_attend_exactly_what_is_held(grouped: Loaded, prompts: list[list[int]], name: str) -> None:
    """Steps of one token and of a tree, over a ragged batch, through several selections."""
    runner, plan = runner_of(grouped), plan_of(SMALL[name])
    source, oracle = torch.Generator().manual_seed(1), Masked(3, len(prompts))
    with torch.inference_mode():
        cache = plan.cache(runner)
        for prompt in prompts:
            cache.join(plan.prefilled(runner, torch.tensor(prompt))[0])
        _read(runner, oracle, prompts)
        oracle.held, sizes = cache, set()
        for step in range(14):
            tree = Tree((-1, 0, 0, 1, 2)) if step % 2 else Tree()
            ids = torch.randint(96, (len(prompts), len(tree)), generator=source)
            visible = tree.visible() if len(tree) > 1 else None
            positions = [list(tree.depths)] * len(prompts)
            cache.settle()
            found = runner.forward(ids, cache, cache.positions(positions), visible)
            wanted = runner.forward(ids, oracle, oracle.positions(positions), visible)
            torch.testing.assert_close(found, wanted, rtol=0, atol=2e-4)
            for row, path in enumerate(([0, 2, 4], [0, 1], [0]) if step % 2 else ([0], [0], [0])):
                cache.keep_path(row, path)
                oracle.keep_path(row, path)
            sizes.add(int(cache.held.sum()))
        assert cache.lengths == oracle.lengths
        assert len(sizes) > 3


def _read(runner: Any, cache: KVCache, prompts: list[list[int]]) -> None:
    """Prompts into a cache of everything."""
    width = max(map(len, prompts))
    whole = KVCache(3, len(prompts))
    runner.forward(torch.tensor([p + [0] * (width - len(p)) for p in prompts]), whole)
    cache.keys, cache.values, cache.capacity = whole.keys, whole.values, whole.capacity
    cache.keep([len(prompt) for prompt in prompts])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "recipe",
    [*SMALL.values(), "kv-int4:group=8"]
    + [
        f"{SMALL[name]}+kv-int4:group={size}"
        for name in ("snapkv", "adakv", "pyramidkv", "kv-window")
        for size in (4, 5)
    ],
)
def test_what_is_held_follows_from_the_length_alone(grouped: Loaded, prompts: list[list[int]], recipe: str) -> None:
    """Tokens, and bytes as `estimate` prices them; packed groups fit `slack` or not."""
    runner, plan = runner_of(grouped), plan_of(recipe)
    with torch.inference_mode():
        cache = plan.cache(runner)
        for prompt in prompts:
            cache.join(plan.prefilled(runner, torch.tensor(prompt))[0])
        for _ in range(20):
            cache.settle()
            for row, length in enumerate(cache.lengths):
                for layer in range(3):
                    most = length if plan.policy is None else int(plan.policy.kept(length, layer, 3))
                    assert cache.held[layer, row].sum() == 2 * most
            assert cache.bytes == sum(_told(plan, length) for length in cache.lengths)
            runner.forward(torch.full((len(prompts), 3), 7), cache)
            cache.keep([3, 1, 2])


def _told(plan: CachePlan, length: int) -> int:
    """Bytes of a text of the grouped model, by what the plan says of a length."""
    kept = [length if plan.policy is None else int(plan.policy.kept(length, layer, 3)) for layer in range(3)]
    return sum(2 * int(plan.groups.bytes(n, 16, 16, 4) if plan.groups else n * 2 * 16 * 4) for n in kept)


class Known(Proposer):
    """Guesses of which some are what was made once."""

    def __init__(self, made: tuple[tuple[int, ...], ...]) -> None:
        self.made = made

    def propose(self, texts: Any) -> list[Proposal]:
        return [self._of(text) for text in texts]

    def _of(self, text: Text) -> Proposal:
        come = [*self.made[text.index][len(text.made) :], 0, 0, 0]
        right = [come[0], come[1], come[2] if len(text.made) % 3 else 95]
        return Proposal(Tree((-1, 0, 0, 2, 3)), [(come[0] + 1) % 96, *right])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", POLICIES)
def test_guesses_over_a_cut_cache_change_no_token(grouped: Loaded, prompts: list[list[int]], name: str) -> None:
    """Prompts are cut; the next selection is beyond the output, as a step of several tokens would come to it late."""
    plan = plan_of(SMALL[name].replace("slack=8", "slack=45"))
    plain = decode(grouped, prompts[:1], 20, plan=plan)
    cut = int(plan.policy.kept(70, 0, 3)) if plan.policy else 70
    assert cut < 70
    made = decode(grouped, prompts[:1], 20, plan=plan, proposer=Known(plain.tokens))
    assert made.tokens == plain.tokens
    assert made.tokens_per_step > 2


@pytest.mark.parametrize(
    "recipe", ["snapkv:keep=24,window=8,slack=8+kv-int4:group=8", "h2o:keep=24,slack=8", "kv-int8:group=8"]
)
def test_a_sequence_is_the_same_alone_and_in_a_batch(grouped: Loaded, prompts: list[list[int]], recipe: str) -> None:
    """Also when it joins later than others, and after others have left."""
    runner, plan = runner_of(grouped), plan_of(recipe)
    alone = [decode(grouped, [prompt], 24, plan=plan).tokens[0] for prompt in prompts]
    assert list(decode(grouped, prompts, 24, plan=plan).tokens) == alone
    with torch.inference_mode():
        cache, rows, made = plan.cache(runner), [], [[], [], []]
        for turn in range(40):
            if turn % 5 == 0 and turn < 15:
                one, states = plan.prefilled(runner, torch.tensor(prompts[turn // 5]))
                cache.join(one)
                rows.append(turn // 5)
                made[turn // 5].append(int(runner.logits(states[-1]).argmax()))
            if not rows:
                break
            states = runner.forward(torch.tensor([[made[row][-1]] for row in rows]), cache)
            cache.keep([1] * len(rows))
            for row, token in zip(rows, runner.logits(states[:, -1]).argmax(-1).tolist(), strict=True):
                made[row].append(token)
            going = [place for place, row in enumerate(rows) if len(made[row]) < 24]
            if len(going) < len(rows):
                cache.drop(going)
                rows = [rows[place] for place in going]
    assert [tuple(tokens) for tokens in made] == alone


def test_dense_caches_join(grouped: Loaded, prompts: list[list[int]]) -> None:
    runner = runner_of(grouped)
    with torch.inference_mode():
        both, first, second = KVCache(3, 2), KVCache(3, 1), KVCache(3, 1, 8)
        _read(runner, both, prompts[:2])
        for cache, prompt in ((first, prompts[0]), (second, prompts[1])):
            runner.forward(torch.tensor([prompt]), cache)
            cache.keep([len(prompt)])
        first.join(second)
        assert first.lengths == both.lengths
        assert first.bytes == both.bytes
        ids = torch.tensor([[5, 6], [7, 8]])
        torch.testing.assert_close(runner.forward(ids, first), runner.forward(ids, both), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_packed_caches_come_near_whole_ones(grouped: Loaded, prompts: list[list[int]], name: str) -> None:
    """Near as a step of their integers; random weights this large attend sharply, which makes it far."""
    runner = runner_of(grouped)
    with torch.inference_mode():
        whole = KVCache(3, 1)
        _read(runner, whole, prompts[:1])
        wanted = runner.forward(torch.tensor([[5]]), whole)
        cache, _ = plan_of(f"{name}:group=8").prefilled(runner, torch.tensor(prompts[0]))
        far = float((runner.forward(torch.tensor([[5]]), cache) - wanted).norm() / wanted.norm())
    low, high = {"kv-int8": (1e-4, 0.02), "kv-int4": (0.02, 0.4)}[name]
    assert low < far < high


def test_memory_is_freed(grouped: Loaded, prompts: list[list[int]]) -> None:
    """Room for what is kept and for what comes until the next selection; a sequence that leaves takes its own along."""
    runner, plan = runner_of(grouped), plan_of("snapkv:keep=24,window=8,slack=8")
    with torch.inference_mode():
        one, _ = plan.prefilled(runner, torch.tensor(prompts[0]))
        token = 2 * 16 * 4
        queries = 3 * 8 * 6 * 16 * 4
        assert one.bytes == 3 * 2 * 30 * token  # 24 + (70 - 24) % 8 tokens
        assert one.allocated == 3 * 2 * (30 + 8) * token + queries
        cache = plan.cache(runner)
        cache.join(one)
        cache.join(plan.prefilled(runner, torch.tensor(prompts[1]))[0])
        cache.drop([1])
        assert cache.bytes == 3 * 2 * int(plan.policy.kept(33, 0, 3)) * token  # type: ignore[union-attr]


def test_what_cannot_be(grouped: Loaded, prompts: list[list[int]]) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

    runner, plan = runner_of(grouped), plan_of(SMALL["snapkv"])
    sizes = {"vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    windows = MistralForCausalLM(MistralConfig(**sizes, num_key_value_heads=2, intermediate_size=64, sliding_window=8))
    other = GPT2LMHeadModel(GPT2Config(vocab_size=96, n_embd=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0))
    for model, says in ((windows, "window"), (other, "Llama, Mistral or Qwen")):
        loaded = Loaded(model.eval(), None, grouped.folder)
        with pytest.raises(DovetailError, match=says):
            Loop(runner_of(loaded), 4, Sampling(), plan=plan).run([[5, 6, 7]])
    with torch.inference_mode():
        cache, _ = plan.prefilled(runner, torch.tensor(prompts[0]))
        with pytest.raises(DovetailError, match="two kinds"):
            cache.join(plan_of(SMALL["tova"]).prefilled(runner, torch.tensor(prompts[0]))[0])
        packed, _ = CachePlan(None, KVGroups(4, 8)).prefilled(runner, torch.tensor(prompts[0]))
        packed.shorten([68])
        with pytest.raises(DovetailError, match="beyond its floats"):
            packed.shorten([60])
    assert np.all(cache.held <= 31)


@pytest.mark.parametrize("recipe", [*SMALL.values(), "kv-int4", "kv-int8", "snapkv:keep=24,window=8,slack=8+kv-int4"])
def test_heads_together_attend_as_one_by_one(
    grouped: Loaded, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    """Hidden states of a tree of guesses behind a prompt, in float32, and what its tokens pay."""
    runner, tree, plan = runner_of(grouped), Tree((-1, 0, 0, 1)), plan_of(recipe)
    monkeypatch.setattr(attention, "MOST", 0)
    monkeypatch.setattr(runner, "_step", None)
    ids, together, found = torch.tensor([[5, 6, 7, 8]]), Tokens.level, []
    level: list[bool] = []

    def counted(tokens: Tokens, new: int) -> tuple[Tensor, Tensor] | None:
        level.append((one := together(tokens, new)) is not None)
        return one

    for how in (counted, lambda *_: None):
        monkeypatch.setattr(Tokens, "level", how)
        with torch.inference_mode():
            cache = plan.prefilled(runner, torch.tensor(prompts[0]))[0]
            states = runner.forward(ids, cache, cache.positions([tree.depths]), tree.visible())
        found.append((states, [one.clone() for one in cache._paid]))
    assert any(level) or recipe.startswith("adakv")
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
