"""Memory of a prompt, forecast: against what a prefill holds, and refused where it is not there."""

from pathlib import Path

import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.model.kv_groups import KVGroups
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.forecast import check_prompt, free_bytes, prompt_bytes
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
    check_prompt(runner, None, 70, free)
    check_prompt(runner, None, 10**9, None)
    with pytest.raises(DovetailError, match=r"71 tokens .*70 tokens fit.*snapkv"):
        check_prompt(runner, None, 71, free)
    check_prompt(runner, CUT, 71, prompt_bytes(runner, CUT, 71))
    with pytest.raises(DovetailError, match="shorter text"):
        check_prompt(runner, CUT, 200, prompt_bytes(runner, CUT, 71))


def test_decoding_asks_before_it_begins(grouped: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dovetail.runtime.cache.forecast.free_bytes", lambda: 1000)
    with pytest.raises(DovetailError, match="a text of 42 tokens"):
        generate(grouped, list(range(40)), 2)


def test_free_memory_is_read_from_the_kernel(tmp_path: Path) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 9 kB\nMemAvailable:     7 kB\n")
    assert free_bytes(told) == 7168
    assert free_bytes(tmp_path / "none") is None
