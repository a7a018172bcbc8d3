"""What policies keep: their scores from transformers' own attention weights, their budgets by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.recipe.method import METHODS
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.choosing import stepped
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.cache.policies.adakv import AdaKV
from dovetail.runtime.cache.policies.h2o import H2O
from dovetail.runtime.cache.policies.keynorm import KeyNorm
from dovetail.runtime.cache.policies.observed import ObservedAttention
from dovetail.runtime.cache.policies.pyramid import PyramidKV
from dovetail.runtime.cache.policies.snapkv import SnapKV
from dovetail.runtime.cache.policies.tova import TOVA
from dovetail.runtime.cache.policies.window import Window
from dovetail.runtime.cache.policy import Policy
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.load import Loaded

KEEP, WINDOW, RECENT = 24, 8, 6
BUDGET = Budget(KEEP, 4)  # texts of 70 tokens: 24 + (70 - 24) % 4 = 26 stay
HELD = 26


def weights(loaded: Loaded, prompt: list[int]) -> list[np.ndarray]:
    """By layer, attention (KV heads, group, queries, tokens) that transformers' eager module computes."""
    with torch.inference_mode():
        found = loaded.model(torch.tensor([prompt]), output_attentions=True).attentions
    assert all(layer is not None for layer in found)
    return [layer[0].double().numpy().reshape(2, 3, len(prompt), len(prompt)) for layer in found]


def top(scores: np.ndarray, count: int, stay: set[int]) -> set[int]:
    """The `count` best places, those that have to stay among them."""
    order = sorted(range(len(scores)), key=lambda place: (place not in stay, -scores[place]))
    return set(order[:count])


def newest(count: int, length: int) -> set[int]:
    return set(range(length - count, length))


def pooled(votes: np.ndarray, kernel: int) -> np.ndarray:
    half = kernel // 2
    return np.array([votes[max(0, at - half) : at + half + 1].max() for at in range(len(votes))])


def snap(paid: np.ndarray, length: int, group: str = "mean") -> np.ndarray:
    """SnapKV's votes (KV heads, tokens before the window)."""
    votes = paid[:, :, length - WINDOW :, : length - WINDOW].mean(2)
    each = np.array([[pooled(query, 5) for query in head] for head in votes])
    return np.asarray(each.mean(1) if group == "mean" else each.max(1))


def expected(policy: Policy, paid: np.ndarray, keys: np.ndarray, length: int, count: int) -> list[set[int]]:
    """Places that each head of a layer keeps."""
    if isinstance(policy, Window):
        return [{0, 1, 2, *range(length - count + 3, length)}] * 2
    if isinstance(policy, SnapKV):
        padded = np.pad(snap(paid, length, policy.group), ((0, 0), (0, WINDOW)))
        return [top(head, count, newest(WINDOW, length)) for head in padded]
    if isinstance(policy, TOVA):
        return [top(head[:, -1].mean(0), count, newest(1, length)) for head in paid]
    if isinstance(policy, KeyNorm):
        return [top(-np.linalg.norm(head, axis=1), count, newest(RECENT, length)) for head in keys]
    sums = paid.sum((1, 2))
    if isinstance(policy, ObservedAttention):
        sums = sums / np.arange(length, 0, -1)
    return [top(head, count, newest(RECENT, length)) for head in sums]


POLICIES = (
    SnapKV(BUDGET, WINDOW, 5), SnapKV(BUDGET, WINDOW, 5, "max"), H2O(BUDGET, RECENT), ObservedAttention(BUDGET, RECENT),
    TOVA(BUDGET), Window(BUDGET, 3), KeyNorm(BUDGET, RECENT), PyramidKV(BUDGET, WINDOW, 5, "mean", 4.0),
)  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_the_tokens_kept_of_a_prompt(grouped: Loaded, prompts: list[list[int]], policy: Policy) -> None:
    prompt, runner = prompts[0], runner_of(grouped)
    full = KVCache(3, 1)
    with torch.inference_mode():
        runner.forward(torch.tensor([prompt]), full)
        cache, _ = CachePlan(policy).prefilled(runner, torch.tensor(prompt))
    length = len(prompt)
    for layer, paid in enumerate(weights(grouped, prompt)):
        keys, values = (store[layer][0, :, :length] for store in (full.keys, full.values))  # type: ignore[index]
        count = int(policy.kept(length, layer, 3))
        wanted = expected(policy, paid, keys.double().numpy(), length, count)
        for head, places in enumerate(wanted):
            assert len(places) == count
            held = cache.at(layer, 0).head(head)
            for kept, whole in zip(held, (keys, values), strict=True):
                torch.testing.assert_close(kept, whole[head, sorted(places)], rtol=0, atol=1e-4)
    assert count == HELD or isinstance(policy, PyramidKV)


def test_ada_kv_shares_a_layer_by_its_votes(grouped: Loaded, prompts: list[list[int]]) -> None:
    """The 2 x 26 best votes of both heads, with a fifth of an equal share or the window to each."""
    prompt, runner, policy = prompts[0], runner_of(grouped), AdaKV(BUDGET, WINDOW, 5)
    length, counts = len(prompt), []
    with torch.inference_mode():
        cache, _ = CachePlan(policy).prefilled(runner, torch.tensor(prompt))
    for layer, paid in enumerate(weights(grouped, prompt)):
        votes = snap(paid, length)
        ranked = sorted(((votes[h, t], h, t) for h in range(2) for t in range(length - WINDOW)), reverse=True)
        wanted = [WINDOW + sum(h == head for _, h, _ in ranked[: 2 * (HELD - WINDOW)]) for head in range(2)]
        counts.append(wanted)
        assert cache.held[layer, 0].tolist() == wanted
        assert sum(wanted) == 2 * HELD
    assert any(one != other for one, other in counts)  # heads differ here, or this shows nothing


def test_ada_kv_guards_a_head_that_nobody_votes_for() -> None:
    policy = AdaKV(Budget(20, 1), 4, 5, safeguard=0.5)
    scores = [torch.arange(100.0), torch.arange(100.0) - 1000]
    assert policy.spread(scores, 20) == [30, 10]
    assert AdaKV(Budget(20, 1), 4, 5, safeguard=0.0).spread(scores, 20) == [36, 4]
    assert AdaKV(Budget(20, 1), 4, 5, safeguard=1.0).spread(scores, 20) == [20, 20]
    assert policy.spread([torch.arange(8.0), torch.arange(100.0)], 20) == [8, 32]  # a head that holds few


@pytest.mark.parametrize("layers", [1, 2, 3, 7, 30])
@pytest.mark.parametrize("steep", [1.0, 2.0, 20.0])
def test_a_pyramid_falls_in_equal_steps_and_adds_up(layers: int, steep: float) -> None:
    policy = PyramidKV(Budget(1024), 32, 7, "mean", steep)
    shares = [policy.share(layer, layers) for layer in range(layers)]
    assert sum(shares) == layers * (1024 - 32)
    assert shares == sorted(shares, reverse=True)
    if layers > 2:
        assert shares[-1] == pytest.approx(992 / steep, abs=2)
        assert np.ptp(np.diff(shares)) <= 2  # but for rounding
    assert [int(policy.kept(10_000, at, layers)) - 32 - (10_000 - 1024) % 64 for at in range(layers)] == shares


def test_a_budget_is_a_function_of_the_length() -> None:
    budget, held = Budget(10, 4), 0
    for length in range(1, 60):  # a token more each time, cut by as many as there are beyond
        held = 10 + (length - 10) % 4 if length >= 14 and held == 13 else held + 1
        assert int(budget.held(length)) == held
    assert budget.held(np.array([5, 13, 14, 15, 17, 18])).tolist() == [5, 13, 10, 11, 13, 10]


def test_what_is_not_enough_to_keep() -> None:
    for wrong, says in (("snapkv:keep=32", "32 tokens have to stay"), ("adakv:keep=16,window=16", "have to stay"),
                        ("h2o:keep=8,recent=1.0", "have to stay"), ("kv-window:keep=0", "have to stay"),
                        ("tova:keep=0", "a cache of 0"), ("snapkv:slack=0", "every 0"), ("snapkv:kernel=4", "odd"),
                        ("snapkv:group=sum", "mean, or max"), ("pyramidkv:steep=0.5", "1 or more"),
                        ("adakv:safeguard=2", "from 0 to 1"), ("snapkv:window=0", "at least|or more")):  # fmt: skip
        name, _, given = wrong.partition(":")
        values: dict[str, Any] = {k: _number(v) for k, v in (one.split("=") for one in given.split(","))}
        with pytest.raises(DovetailError, match=says):
            METHODS[name](**values)


def _number(text: str) -> Any:
    return text if text.isalpha() else float(text) if "." in text else int(text)


@given(counts=st.lists(st.integers(0, 80), min_size=2, max_size=5), step=st.integers(1, 9), low=st.integers(0, 20))
def test_heads_differ_by_whole_groups(counts: list[int], step: int, low: int) -> None:
    kept, counts = sum(counts) // len(counts), list(counts)
    counts[-1] -= sum(counts) - kept * len(counts)  # they add up
    assume(counts[-1] >= 0)
    bounds = [(min(low, kept), max(count, kept) + 3) for count in counts]
    found = stepped(counts, kept, step, bounds)
    assert sum(found) == sum(counts)
    if step > 1 and any(count != kept for count in counts):
        assert all((count - kept) % step == 0 for count in found)
        assert all(least <= count <= most for count, (least, most) in zip(found, bounds, strict=True))
