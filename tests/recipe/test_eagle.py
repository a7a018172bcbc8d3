"""Training of a draft layer: what it is trained on is what a draft does, the loss is what it says, training goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from dovetail.core.errors import DovetailError
from dovetail.recipe.speculation import eagle, learner
from dovetail.recipe.speculation.eagle import RANKS, EagleLearner, acceptance, unrolled, visible
from dovetail.recipe.speculation.learner import Schedule, Written, fit
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.eagle import Eagle, EagleLayer, EagleShape, guessed
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.load import Loaded

_PROMPT = 3


@pytest.fixture(scope="module")
def base() -> Loaded:
    """A random model without attention: what it says next follows from the newest token, and a layer can learn it."""
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=None, eos_token_id=None, initializer_range=0.2,
    )  # fmt: skip
    module = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for block in module.model.layers:
            block.self_attn.o_proj.weight *= 0
    return Loaded(module, None, Path("base"))


@pytest.fixture(scope="module")
def text(base: Loaded) -> Written:
    prompts = torch.randint(96, (160, _PROMPT), generator=torch.Generator().manual_seed(2)).tolist()
    made = Loop(runner_of(base), 25, Sampling()).run(prompts)
    return Written(torch.tensor([[*prompt, *new] for prompt, new in zip(prompts, made.tokens)]), _PROMPT)


def layer_of(base: Loaded, noise: float = 0.1) -> EagleLayer:
    fresh, source = EagleLayer.new(EagleShape.of(base.model.config)), torch.Generator().manual_seed(3)
    return replace(
        fresh, weights={n: t + noise * torch.randn(t.shape, generator=source) for n, t in fresh.weights.items()}
    )


def hidden_of(base: Loaded, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return base.model.base_model(ids, use_cache=False).last_hidden_state  # type: ignore[no-any-return]


def embedding_of(base: Loaded) -> Tensor:
    return base.model.get_input_embeddings().weight.detach()  # type: ignore[no-any-return]


def drafted(layer: EagleLayer, embedding: Tensor, ids: Tensor, hidden: Tensor, place: int, steps: int) -> list[Tensor]:
    """Guessed states of a draft over a cache that has read a text up to the token after `place`, then goes on."""
    cache, found = KVCache(1, 1), []
    states, newest = hidden[None, : place + 1], embedding[ids[None, 1 : place + 2]]
    for step in range(steps):
        states = guessed(layer, states, newest, cache)[:, -1:]
        cache.keep([newest.shape[1]])
        found.append(states[0, 0])
        newest = embedding[ids[None, place + 2 + step : place + 3 + step]]
    return found


def test_training_sees_what_a_draft_sees(base: Loaded, text: Written) -> None:
    layer, embedding, ids = layer_of(base), embedding_of(base), text.ids[:2]
    hidden = hidden_of(base, ids)
    steps = list(unrolled(layer, embedding, ids, hidden, 4))
    for row in range(2):
        for place in (0, 3, 11):
            for step, state in enumerate(drafted(layer, embedding, ids[row], hidden[row], place, 4)):
                torch.testing.assert_close(steps[step][row, place + step], state, rtol=1e-4, atol=1e-4)


def test_places_seen_by_brute_force() -> None:
    for step in (1, 2, 4):
        found = visible(step, 6, torch.device("cpu")).view(6, step, 6)
        for place in range(6):
            for made in range(1, step + 1):
                for key in range(6):
                    held = key <= place - step + 1  # read before the draft began, or by its first step
                    own = key == place - step + made  # by a later step of the draft
                    assert found[place, made - 1, key] == (held if made == 1 else own)


@pytest.mark.parametrize("chunk", [7, 512])
def test_the_loss_and_its_gradient(base: Loaded, text: Written, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the definition, all at once."""
    monkeypatch.setattr(eagle, "_CHUNK", chunk)
    ids, runner = text.ids[:3], runner_of(base)
    hidden, layer = hidden_of(base, ids), layer_of(base)
    base.model.zero_grad()
    found = EagleLearner(layer, embedding_of(base), runner.logits, steps=3, features=0.5, fading=0.7)
    loss = found.loss(ids, hidden, _PROMPT)
    slopes = {name: weight.grad.clone() for name, weight in layer.weights.items() if weight.grad is not None}
    assert slopes.keys() == layer.weights.keys()
    assert all(weight.grad is None for weight in base.model.parameters())

    for weight in layer.weights.values():
        weight.grad = None
    wanted, total = hidden[:, _PROMPT:], torch.zeros(())
    for step, guess in enumerate(unrolled(layer, embedding_of(base), ids, hidden, 3)):
        mine = guess[:, _PROMPT - 1 :]
        chances, says = runner.logits(wanted).softmax(-1), runner.logits(mine).log_softmax(-1)
        far = (mine - wanted).abs()
        near = torch.where(far < 1, 0.5 * far**2, far - 0.5).mean()
        total = total + 0.7**step * ((chances * (chances.log() - says)).sum(-1).mean() + 0.5 * near)
    total.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(loss, total.detach(), rtol=1e-5, atol=1e-5)
    for name, weight in layer.weights.items():
        torch.testing.assert_close(slopes[name], weight.grad, rtol=1e-3, atol=1e-5)


def test_acceptance_is_what_chains_of_a_draft_do(base: Loaded) -> None:
    """Against drafts from every place of every text, one by one; among five tokens, so that many are right."""
    few = Written(torch.randint(5, (40, 20), generator=torch.Generator().manual_seed(4)), _PROMPT)
    layer, embedding, right, tried = layer_of(base), embedding_of(base), torch.zeros(3, RANKS), torch.zeros(3)
    hidden, last = hidden_of(base, few.ids), few.ids.shape[1] - 2

    def logits(states: Tensor) -> Tensor:
        return runner_of(base).logits(states)[..., :5]

    for row, ids in enumerate(few.ids):
        for place in range(_PROMPT - 1, last):
            for step, state in enumerate(drafted(layer, embedding, ids, hidden[row], place, min(3, last - place))):
                hits = logits(state).topk(RANKS).indices == ids[place + 2 + step]
                right[step] += hits
                tried[step] += 1
                if not hits[0]:
                    break
    found = torch.tensor(acceptance(layer, base.model, logits, few, steps=3, rows=16))
    assert tried.min() > 4
    torch.testing.assert_close(found, right / tried.unsqueeze(1), rtol=0, atol=1e-5)


def test_training_makes_guesses_right(base: Loaded, text: Written, tmp_path: Path) -> None:
    train, held_out = Written(text.ids[:-16], _PROMPT), Written(text.ids[-16:], _PROMPT)
    runner, fresh = runner_of(base), EagleLayer.new(EagleShape.of(base.model.config))
    before = acceptance(fresh, base.model, runner.logits, held_out)
    trainer = EagleLearner(fresh, embedding_of(base), runner.logits, steps=2)
    first = float(trainer.loss(train.ids, hidden_of(base, train.ids), _PROMPT))
    for weight in trainer.parameters():
        weight.grad = None
    last = fit(trainer, base.model, train, Schedule(200, 8, 3e-3), tmp_path / "state", lambda line: None)
    after = acceptance(fresh, base.model, runner.logits, held_out)
    assert last < 0.1 * first
    assert all(now[0] > then[0] + 0.5 for then, now in zip(before[:3], after))
    weights = {name: weight.detach() for name, weight in fresh.weights.items()}
    draft = Eagle.of(base, EagleLayer(fresh.shape, weights, after), always=3)
    prompts = held_out.ids[:, :_PROMPT].tolist()
    made = Loop(runner, 25, Sampling(), proposer=draft.alone()).run(prompts)
    assert made.tokens == tuple(map(tuple, held_out.ids[:, _PROMPT:].tolist()))
    assert made.tokens_per_step > 3


class _Stops(EagleLearner):
    """Is stopped in its seventh step."""

    left = 6

    def loss(self, ids: Tensor, hidden: Tensor, prompt: int) -> Tensor:
        if _Stops.left == 0:
            raise KeyboardInterrupt
        _Stops.left -= 1
        return EagleLearner.loss(self, ids, hidden, prompt)


def test_training_goes_on_where_it_stopped(
    base: Loaded, text: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "_KEPT_EVERY_S", 0.0)
    runner, schedule, kept = runner_of(base), Schedule(10, 4, 1e-3), tmp_path / "stopped"

    def trained(kind: type[EagleLearner], state: Path) -> dict[str, Tensor]:
        layer = EagleLayer.new(EagleShape.of(base.model.config))
        fit(kind(layer, embedding_of(base), runner.logits), base.model, text, schedule, state, lambda line: None)
        return dict(layer.weights)

    whole = trained(EagleLearner, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(_Stops, kept)
    resumed = trained(EagleLearner, kept)
    assert all(torch.equal(whole[name], weight) for name, weight in resumed.items())
    assert not torch.equal(whole["qkv.weight"], EagleLayer.new(EagleShape.of(base.model.config)).weights["qkv.weight"])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"features": -1.0}, {"fading": 0.0}])
def test_training_that_cannot_be(base: Loaded, wrong: dict[str, Any]) -> None:
    with pytest.raises(DovetailError, match="3 steps"):
        EagleLearner(layer_of(base), embedding_of(base), runner_of(base).logits, **wrong)
