"""Steps of the loop rehearsed with known texts: what is timed, and what of it is whose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from dovetail.runtime.decoding.lookup import PromptLookup
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text
from dovetail.runtime.decoding.rehearsal import Scripted, TimedStep
from dovetail.runtime.decoding.runner import Runner, runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.decoding.sizing import PassTime, Sizing
from dovetail.runtime.decoding.speculation import Speculation
from dovetail.runtime.load import Loaded

PROMPTS = ([5, 6, 7], [7, 9, 11, 13], [3, 4, 5, 3, 4])


class Clock:
    """Goes on when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A runner that takes one second and a tenth for each token of each sequence."""

    def __init__(self, runner: Runner, clock: Clock) -> None:
        self.runner, self.clock = runner, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)

    def forward(self, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        self.clock.now += 1.0 + 0.1 * ids.numel()
        return self.runner.forward(ids, *rest)


class Asked(Proposer):
    """Takes three seconds for guesses, and a half to learn; counts what it is told."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.steps = clock, 0

    def propose(self, texts: Sequence[Text]) -> list[Proposal]:
        self.clock.now += 3.0
        return [Proposal()] * len(texts)

    def learn(self, texts: Sequence[Text], kept: Sequence[int], seconds: float) -> None:
        self.clock.now += 0.5
        self.steps += 1


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    torch.manual_seed(2)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, head_dim=16, eos_token_id=None,
        bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    module = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    return Loaded(module, None, Path("tiny"))


@pytest.fixture
def timed(tiny: Loaded, monkeypatch: pytest.MonkeyPatch) -> tuple[TimedStep, Clock]:
    clock = Clock()
    monkeypatch.setattr("dovetail.runtime.decoding.rehearsal.clock_of", lambda _: clock)
    return TimedStep(Slow(runner_of(tiny), clock), PROMPTS, new=24), clock


def test_a_step_is_its_pass_and_asking_is_apart(timed: tuple[TimedStep, Clock]) -> None:
    steps, clock = timed
    for batch, guesses in ((1, 0), (1, 4), (4, 3), (8, 1)):
        assert steps.seconds(batch, guesses) == pytest.approx(1.0 + 0.1 * batch * (1 + guesses))
    assert steps.seconds(3, 2) == pytest.approx(1.9)  # between 2 and 4
    assert steps.seconds(5, 2) == pytest.approx(2.5)
    inner = Asked(clock)
    assert steps.asking(4, 3, inner) == pytest.approx(3.5)
    assert inner.steps > 10
    assert steps.asking(4, 3, None) == 0
    assert steps.seconds(4, 3) == pytest.approx(2.6)  # as before


def test_scripted_guesses_change_no_token_and_are_right_as_often_as_wanted(tiny: Loaded) -> None:
    rows = [[5 + at, 6, 7 + at] for at in range(16)]
    plain = Loop(runner_of(tiny), 60, Sampling()).run(rows)
    for right in (0.0, 0.6, 1.0):
        script = Scripted(plain.tokens, 1, right, lambda: 0.0)
        found = Loop(runner_of(tiny), 60, Sampling(), proposer=script).run(rows)
        assert found.tokens == plain.tokens
        assert found.tokens_per_step == pytest.approx(1 + right, abs=0.08)
    deep = Loop(runner_of(tiny), 60, Sampling(), proposer=Scripted(plain.tokens, 4, 1.0, lambda: 0.0)).run(rows)
    assert deep.tokens == plain.tokens
    assert 3 < deep.tokens_per_step < 5  # chains of two to four


def test_a_source_is_told_of_the_texts_that_become(tiny: Loaded) -> None:
    source = PromptLookup(length=2)
    inner = Speculation([source], Sizing(PassTime(1.0, 0.1), always=2))
    TimedStep(runner_of(tiny), PROMPTS, new=24).asking(2, 2, inner)
    assert any(every > 2 for _, every in source._right.values())  # it counted its own guesses
