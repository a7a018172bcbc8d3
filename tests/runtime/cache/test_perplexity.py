"""Perplexity over a cut cache: against the module's own logits, and against one token at a time."""

import numpy as np
import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.model.kv_groups import KVGroups
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.perplexity import cached_nats, cached_perplexity
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.cache.policies.h2o import H2O
from dovetail.runtime.cache.policies.snapkv import SnapKV
from dovetail.runtime.cache.policies.window import Window
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.load import Loaded

IDS = torch.randint(96, (150,), generator=torch.Generator().manual_seed(2)).tolist()
PLANS = (
    CachePlan(SnapKV(Budget(24, 7), 8)),
    CachePlan(H2O(Budget(24, 9), 12)),
    CachePlan(None, KVGroups(4, 8, 16)),
    CachePlan(SnapKV(Budget(30, 10), 4), KVGroups(8, 6, 16)),
)


def test_with_everything_kept_it_is_the_modules_own(grouped: Loaded) -> None:
    with torch.inference_mode():
        logits = grouped.model(input_ids=torch.tensor([IDS])).logits[0].double()
    own = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(IDS[1:]), reduction="none")
    np.testing.assert_allclose(cached_nats(grouped, IDS, 70), own[69:].numpy(), atol=1e-4)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_passes_of_many_tokens_are_as_one_token_at_a_time(grouped: Loaded, plan: CachePlan) -> None:
    runner, found = runner_of(grouped), []
    with torch.inference_mode():
        cache, states = plan.prefilled(runner, torch.tensor(IDS[:61]))
        for token in IDS[61:]:
            found.append(float(torch.nn.functional.cross_entropy(runner.logits(states[-1:]), torch.tensor([token]))))
            states = runner.forward(torch.tensor([[token]]), cache)[0]
            cache.keep([1])
            cache.settle()
    np.testing.assert_allclose(cached_nats(grouped, IDS, 61, plan), found, atol=2e-4)


def test_a_window_forgets_what_the_text_needs(trained: Loaded) -> None:
    line = "the quick value of an unlikely name is zarquon-7731; "
    text = "".join(f"{line}{number} " for number in range(40))
    whole = cached_perplexity(trained, [text], length=384, read=256)
    few = cached_perplexity(trained, [text], CachePlan(Window(Budget(8, 1), 1)), length=384, read=256)
    assert whole.tokens == few.tokens
    assert whole.tokens % 128 == 0
    assert whole.nats_per_token < few.nats_per_token
    assert whole.bits_per_byte == pytest.approx(whole.nats_per_token / few.nats_per_token * few.bits_per_byte)


@pytest.mark.parametrize(("length", "read", "words"), [(512, 512, "512 tokens read"), (300, None, "nothing to score")])
def test_what_cannot_be_measured_is_said(trained: Loaded, length: int, read: int | None, words: str) -> None:
    with pytest.raises(DovetailError, match=words):
        cached_perplexity(trained, ["a few words"], length=length, read=read)
