"""Memory of a prompt, forecast: against what a prefill holds, and refused where it is not there."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.model.kv_groups import KVGroups
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.forecast import check_texts, free_bytes, prompt_bytes, texts_bytes
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.cache.policies.snapkv import SnapKV
from dovetail.runtime.decode import generate
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.load import Loaded

CUT = CachePlan(SnapKV(Budget(24, 7), 8))


@pytest.mark.parametrize("plan", [CachePlan(), CUT, CachePlan(None, KVGroups(4, 8, 16))], ids=str)
def test_what_is_kept_is_part_of_it(grouped: Loaded, plan: CachePlan) -> None:
    runner = runner_of(grouped)
    with torch.inference_mode():
        cache, states = plan.prefilled(runner, torch.arange(90))
    one_layer = 90 * 2 * 2 * 16 * 4
    assert prompt_bytes(runner, plan, 90) == cache.bytes + one_layer + 2 * states.nbytes


def test_a_prompt_beyond_memory_is_refused_with_what_fits(grouped: Loaded) -> None:
    runner = runner_of(grouped)
    free = prompt_bytes(runner, None, 70)
    check_texts(runner, None, [70], free)
    check_texts(runner, None, [10**9], None)
    with pytest.raises(DovetailError, match=r"71 tokens .*70 tokens fit.*snapkv"):
        check_texts(runner, None, [71], free)
    check_texts(runner, CUT, [71], texts_bytes(runner, CUT, [71]))
    with pytest.raises(DovetailError, match="shorter text"):
        check_texts(runner, CUT, [200], texts_bytes(runner, CUT, [71]))


@given(st.lists(st.integers(1, 120), min_size=1, max_size=4))
def test_texts_together_take_the_most_that_each_comes_to(grouped: Loaded, lengths: list[int]) -> None:
    """Of a cache that is cut every seven tokens: the largest of all lengths on the way, by the budget's own words."""
    runner, token = runner_of(grouped), 2 * 2 * 16 * 4
    most = [max(n if n < 24 + 7 else 24 + (n - 24) % 7 for n in range(length + 1)) for length in lengths]
    passing = max(lengths) * (token + 2 * 96 * 4)
    assert texts_bytes(runner, CUT, lengths) == 3 * token * sum(most) + passing
    assert texts_bytes(runner, None, lengths) == 3 * token * len(lengths) * max(lengths)


def test_decoding_asks_before_it_begins(grouped: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dovetail.runtime.cache.forecast.free_bytes", lambda: 1000)
    with pytest.raises(DovetailError, match="a text of 42 tokens"):
        generate(grouped, list(range(40)), 2)


def test_free_memory_is_read_from_the_kernel(tmp_path: Path) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 9 kB\nMemAvailable:     7 kB\n")
    assert free_bytes(told) == 7168
    assert free_bytes(tmp_path / "none") is None
