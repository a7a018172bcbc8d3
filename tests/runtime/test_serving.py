"""The engine: requests that come and go against the loop on each alone; places, memory, failures."""

import random
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from dovetail.core.errors import DovetailError
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.decode import end_tokens
from dovetail.runtime.decoding.batch import Batch
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.draft import early_exit
from dovetail.runtime.decoding.eagle import Eagle, EagleLayer, EagleShape
from dovetail.runtime.decoding.lookup import PromptLookup
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.modes import Given, speculation
from dovetail.runtime.decoding.proposal import Proposer, Text
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Chooser, Sampling
from dovetail.runtime.decoding.sizing import PassTime, Sizing
from dovetail.runtime.decoding.speculation import Speculation
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.serving.engine import Engine
from dovetail.runtime.serving.link import Link, serve
from dovetail.runtime.serving.request import CANCELLED, FAILED, LENGTH, STOP, Made, Request

CLOSE = 1e-4  # a gap of the two likeliest logits within which sums in another order may change a token


def model(kind: str) -> Loaded:
    """A random model of three layers, by the runner for Llamas or by its own modules."""
    torch.manual_seed(1)
    config: Any = {
        "llama": transformers.LlamaConfig(
            vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, eos_token_id=None,
        ),
        "gpt2": transformers.GPT2Config(vocab_size=96, n_embd=64, n_layer=3, n_head=4, n_positions=128),
    }[kind]  # fmt: skip
    module = transformers.AutoModelForCausalLM.from_config(config).eval()
    return Loaded(module, None, Path(kind))


@pytest.fixture(scope="module")
def llama() -> Loaded:
    return model("llama")


def lookup(loaded: Loaded) -> Proposer:
    return Speculation([PromptLookup(shortest=1)], Sizing(PassTime(1.0, 0.01), always=4))


def early(loaded: Loaded) -> Proposer:
    return early_exit(loaded, 2, deepest=3, ranks=2, always=3).alone()


def eagle(loaded: Loaded) -> Proposer:
    """A layer that hands the hidden state on, a little changed."""
    fresh = EagleLayer.new(EagleShape.of(loaded.model.config), seed=2)
    layer = replace(fresh, accuracy=((0.7, 0.1), (0.7, 0.1), (0.7, 0.1)))
    return Eagle.of(loaded, layer, always=3).alone()


PROPOSERS: dict[str, Callable[[Loaded], Proposer | None]] = {
    "plain": lambda _: None, "lookup": lookup, "exit": early, "eagle": eagle,
}  # fmt: skip


def asked(count: int, seed: int = 0, vocabulary: int = 96, most: int = 40) -> list[Request]:
    """Requests of all kinds: greedy ones and drawn ones of their own seeds, short and long."""
    source, found = random.Random(seed), []
    for index in range(count):
        prompt = tuple(source.choices(range(4, vocabulary), k=source.randint(1, 60)))
        drawn = {"temperature": 0.9, "top_k": 20, "top_p": 0.95, "seed": index} if index % 3 == 0 else {}
        found.append(Request(index, prompt, source.randint(1, most), **drawn))
    return found


def alone(loaded: Loaded, request: Request) -> list[int]:
    sampling = Sampling(request.temperature, request.top_k, request.top_p, request.seed)
    return list(Loop(runner_of(loaded), request.most, sampling, end_tokens(loaded)).run([request.prompt]).tokens[0])


def drive(engine: Engine, requests: Sequence[Request], seed: int = 0, at_once: int = 8) -> dict[int, list[Made]]:
    """What becomes of requests that arrive at random steps, so many at once."""
    source, waiting, found = random.Random(seed), list(requests), dict[int, list[Made]]()
    while waiting or engine.busy:
        while waiting and source.random() < 0.4 and engine.state.running + engine.state.waiting < at_once:
            engine.submit(waiting.pop(0))
        for made in engine.step():
            found.setdefault(made.id, []).append(made)
    return found


def tokens(made: Sequence[Made]) -> list[int]:
    return [token for one in made for token in one.tokens]


def parted(loaded: Loaded, request: Request, mine: list[int], theirs: list[int]) -> float:
    """The gap of the two likeliest logits where two texts part."""
    place = next(n for n, (one, other) in enumerate(zip(mine, theirs)) if one != other)
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([[*request.prompt, *theirs[:place]]])).logits[0, -1]
    best = logits.topk(2).values
    return float(best[0] - best[1])


@pytest.mark.parametrize("how", PROPOSERS)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_text_does_not_depend_on_what_it_shares_the_batch_with(kind: str, how: str) -> None:
    if (kind, how) == ("gpt2", "eagle"):
        pytest.skip("draft layers are for models with rotary angles")
    loaded, requests = model(kind), asked(24)
    engine = Engine(loaded, PROPOSERS[how](loaded), places=6, chunk=16)
    found = drive(engine, requests)
    assert found.keys() == {request.id for request in requests}
    for request in requests:
        mine, theirs = tokens(found[request.id]), alone(loaded, request)
        assert mine == theirs or (request.temperature == 0 and parted(loaded, request, mine, theirs) < CLOSE), request
        assert [one.reason for one in found[request.id]] == [None] * (len(found[request.id]) - 1) + [LENGTH]
    if how != "plain":
        assert engine.state.steps < sum(request.most for request in requests) / 2
        assert max(len(one.tokens) for made in found.values() for one in made) > 1


def test_the_embedded_model_with_its_heads() -> None:
    loaded = load(weights_of(Model.load("embedded")))
    requests = asked(12, 3, loaded.vocabulary, 24)
    engine = Engine(loaded, speculation(loaded, "medusa+lookup", Given(always=5)), places=5)
    found = drive(engine, requests)
    for request in requests:
        mine, theirs = tokens(found[request.id]), alone(loaded, request)
        assert mine == theirs or (request.temperature == 0 and parted(loaded, request, mine, theirs) < CLOSE), request
        assert found[request.id][-1].reason == (STOP if mine[-1] == 0 else LENGTH)


@pytest.mark.parametrize("how", ["plain", "lookup"])
@pytest.mark.parametrize("recipe", ["snapkv:keep=32,window=8", "kv-int8"])
def test_caches_that_hold_less_are_those_of_the_loop(llama: Loaded, recipe: str, how: str) -> None:
    plan, requests = Recipe.load(recipe).on_cache(), [one for one in asked(16, 8) if one.temperature == 0]
    engine = Engine(llama, PROPOSERS[how](llama), plan=plan, places=5)
    found = drive(engine, requests)
    for request in requests:
        proposer = PROPOSERS[how](llama)
        loop = Loop(runner_of(llama), request.most, Sampling(), end_tokens(llama), proposer=proposer, plan=plan)
        assert tokens(found[request.id]) == list(loop.run([request.prompt]).tokens[0])


def test_an_end_token_ends_a_text() -> None:
    """Of a model whose end token is made one that its texts have in their middle."""
    loaded, requests = model("llama"), asked(12, 5)
    loaded.model.generation_config.eos_token_id = end = alone(loaded, replace(requests[1], most=40))[7]
    found = drive(Engine(loaded), requests)
    for request in requests:
        mine = tokens(found[request.id])
        assert mine == alone(loaded, request)
        assert end not in mine[:-1]
        assert found[request.id][-1].reason == (STOP if mine[-1] == end else LENGTH)
    assert any(made[-1].reason == STOP for made in found.values())


def test_chances_are_those_of_the_model(llama: Loaded) -> None:
    requests = [replace(one, logprobs=3) for one in asked(6, 7)]
    found = drive(Engine(llama, lookup(llama)), requests)
    for request in requests:
        made = tokens(found[request.id])
        scored = [one for step in found[request.id] for one in step.scored]
        assert len(scored) == len(made)
        with torch.inference_mode():
            logits = llama.model(torch.tensor([[*request.prompt, *made]])).logits[0, len(request.prompt) - 1 : -1]
        chances = torch.log_softmax(logits.double(), -1)
        np.testing.assert_allclose([s.logprob for s in scored], chances[range(len(made)), made], atol=1e-4)
        best = chances.topk(3, -1)
        np.testing.assert_allclose([[value for _, value in s.top] for s in scored], best.values, atol=1e-4)
        assert all(len({token for token, _ in s.top}) == 3 for s in scored)


@pytest.mark.parametrize("how", ["plain", "lookup", "eagle"])
def test_who_leaves_frees_a_place_and_disturbs_nobody(llama: Loaded, how: str) -> None:
    engine = Engine(llama, PROPOSERS[how](llama), places=3, chunk=8)
    first, second, reading, waiting, last = (
        replace(one, most=30, prompt=one.prompt[:20] + (7,) * 20) for one in asked(5, 1)
    )
    for request in (first, second):
        engine.submit(request)
    while engine.state.running < 2:
        engine.step()
    made = {request.id: list[int]() for request in (first, second, reading, waiting, last)}
    reasons = {}
    for request in (reading, waiting, last):
        engine.submit(request)
    for request in (first, reading, waiting):
        engine.step()
        engine.cancel(request.id)
    engine.cancel(12345)  # is none
    everything = engine.step()
    assert {one.id for one in everything if one.reason == CANCELLED} >= {waiting.id}
    while engine.busy:
        everything += engine.step()
    for one in everything:
        made[one.id] += one.tokens
        reasons[one.id] = one.reason
    assert reasons[second.id] == reasons[last.id] == LENGTH
    assert made[last.id] == alone(llama, last)
    assert made[second.id] == alone(llama, second)[-len(made[second.id]) :]


def test_a_long_prompt_does_not_hold_others_up(llama: Loaded) -> None:
    engine = Engine(llama, chunk=8)
    short, long = Request(0, (5, 6), 60), Request(1, tuple(range(4, 84)), 4)
    engine.submit(short)
    engine.step()
    engine.submit(long)
    for _ in range(9):  # ten pieces of eight
        assert [(made.id, len(made.tokens)) for made in engine.step()] == [(0, 1)]
    assert {made.id for made in engine.step()} == {0, 1}


def test_what_cannot_be_held_is_refused_and_says_why(llama: Loaded) -> None:
    engine = Engine(llama)
    with pytest.raises(DovetailError, match="120 of the prompt and 9 new are 129 tokens, the model holds 128"):
        engine.submit(Request(0, (5,) * 120, 9))
    with pytest.raises(DovetailError, match="no token"):
        engine.submit(Request(0, (), 9))
    with pytest.raises(DovetailError, match="does not exist"):
        engine.submit(Request(0, (96,), 9))
    token = 3 * 2 * 2 * 16 * 4  # layers, keys and values, heads, channels, fp32
    small = Engine(llama, cache_bytes=2 * 64 * token)
    assert small.facts.longest == 64
    with pytest.raises(DovetailError, match=r"65 tokens, prompt and new, need more than .* keys and values; 64 fit"):
        small.submit(Request(0, (5,) * 60, 5))


def test_memory_bounds_what_runs_together(llama: Loaded) -> None:
    """Texts that may become long wait for each other; every one has its turn, and the cache stays in its bounds."""
    token = 3 * 2 * 2 * 16 * 4
    limit = (3 * 64 + 21) * token  # three texts of 64 tokens, and one that is read beside them
    engine, most, held = Engine(llama, cache_bytes=limit), 0, 0
    requests = [replace(one, prompt=one.prompt[:20], most=44) for one in asked(9, 2)]
    for request in requests:
        engine.submit(request)
    found: dict[int, list[int]] = {}
    while engine.busy:
        for made in engine.step():
            found.setdefault(made.id, []).extend(made.tokens)
        most = max(most, engine.state.running)
        cache = engine._running.cache
        held = max(held, sum(t.nbytes for t in (*cache.keys, *cache.values) if t is not None))
    assert most == 3
    assert held <= limit
    assert all(found[request.id] == alone(llama, request) for request in requests if request.temperature == 0)


@pytest.mark.parametrize("how", PROPOSERS)
def test_nothing_is_kept_of_those_who_left(llama: Loaded, how: str) -> None:
    proposer = PROPOSERS[how](llama)
    engine = Engine(llama, proposer, places=4)
    drive(engine, asked(12))
    drive(engine, [replace(one, id=100 + one.id) for one in asked(12, 1)])
    assert not engine._served
    assert not engine._waiting
    assert not engine.state.cache_bytes
    for source in proposer.sources if isinstance(proposer, Speculation) else ():
        for name in ("_seen", "_open", "_waiting"):
            assert not getattr(source, name, None)


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, ValueError])
def test_a_step_that_fails_takes_only_those_that_were_in_it(
    llama: Loaded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[Exception]
) -> None:
    """Faults of ours are shown to who runs the engine, too."""
    engine = Engine(llama, lookup(llama), places=2)
    requests = [replace(one, most=10) for one in asked(4, 4)]
    for request in requests:
        engine.submit(request)
    engine.step()
    whole = Batch.step

    def fails(batch: Batch) -> None:
        monkeypatch.setattr(Batch, "step", whole)
        raise kind("not enough memory: you tried to allocate 4 EB")

    monkeypatch.setattr(Batch, "step", fails)
    over = engine.step()
    assert [(made.id, made.reason) for made in over] == [(0, FAILED), (1, FAILED)]
    assert "4 EB" in over[0].why
    assert ("Traceback" in capsys.readouterr().err) is (kind is ValueError)
    found: dict[int, list[int]] = {}
    while engine.busy:
        for made in engine.step():
            found.setdefault(made.id, []).extend(made.tokens)
    assert found == {request.id: alone(llama, request) for request in requests[2:]}


def test_caches_joined_and_dropped_hold_what_they_were_given() -> None:
    """Against lists of what each sequence was given, in random order of joins, writes and drops."""
    source, layers = random.Random(0), 2
    cache, known = KVCache(layers, 0), list[list[torch.Tensor]]()
    for _ in range(120):
        move = source.random()
        if move < 0.4 and len(known) < 9:
            fresh, rows = KVCache(layers, source.randint(1, 3), 4), []
            rows = written(fresh, [[] for _ in fresh.lengths], source, source.randint(1, 150))
            if not known and source.random() < 0.5:
                cache = fresh
            else:
                cache.join(fresh)
            known += rows
        elif move < 0.7 and known:
            kept = source.sample(range(len(known)), source.randint(0, len(known)))
            cache.drop(kept)
            known = [known[row] for row in kept]
        elif known:
            known = written(cache, known, source, source.randint(1, 5))
        assert cache.lengths == [len(row) for row in known]
        for layer in range(layers):
            for row, expected in enumerate(known):
                held = cache.keys[layer]
                assert held is not None
                stored = held[row, 0, : len(expected), 0]
                assert torch.equal(stored, torch.stack(expected) + layer)


def written(
    cache: KVCache, known: Sequence[list[torch.Tensor]], source: random.Random, count: int
) -> list[list[torch.Tensor]]:  # fmt: skip
    """One pass of `count` new tokens of each sequence, of which each keeps some."""
    cache.reserve(count)
    new = torch.tensor([[source.random() for _ in range(count)] for _ in known])
    for layer in range(len(cache.keys)):
        keys, _ = cache.write(layer, (new + layer)[:, None, :, None], (new - layer)[:, None, :, None])
        for row, had in enumerate(known):
            assert torch.equal(keys[row, 0, len(had) : len(had) + count, 0], new[row] + layer)
    kept = [source.randint(1, count) for _ in known]
    cache.keep(kept)
    return [[*had, *row[:keep]] for had, row, keep in zip(known, new, kept, strict=True)]


def test_few_rows_move_when_one_leaves() -> None:
    cache, moved = KVCache(1, 5), []
    written(cache, [[] for _ in range(5)], random.Random(0), 3)
    batch = Batch(_Runner(), [text(i, done=i == 1) for i in range(5)], 4)
    batch.cache = cache
    cache.drop = lambda kept: moved.append(kept)  # type: ignore[method-assign]
    assert [one.index for one in batch.leave()] == [1]
    assert moved == [[0, 4, 2, 3]]
    assert [one.index for one in batch.texts] == [0, 4, 2, 3]


class _Runner:
    layers, device = range(1), torch.device("cpu")


def text(index: int, *, done: bool) -> Text:
    return Text(index, [5], 1, Chooser(Sampling(), 0), torch.empty(0), done=done)


def test_through_a_socket(llama: Loaded) -> None:
    """Requests and answers as they cross; what an engine refuses is answered, and a closed socket ends it."""
    mine, theirs = socket.socketpair()
    told: list[bool] = []
    thread = threading.Thread(target=serve, args=(Engine(llama), Link(theirs), lambda: told.append(True)))
    thread.start()
    link, found = Link(mine), dict[int, list[Made]]()
    assert link.receive(wait=True)[1].places == 64
    request = Request(3, (5, 6, 7), 8)
    link.send("serving", None)
    link.send("submit", request)
    link.send("submit", Request(4, (5,) * 200, 8))
    while len(found) < 2 or any(made[-1].reason is None for made in found.values()):
        _, every, state = link.receive(wait=True)
        for made in every:
            found.setdefault(made.id, []).append(made)
    assert told
    assert tokens(found[3]) == alone(llama, request)
    assert found[4][0].reason == FAILED
    assert "200 of the prompt" in found[4][0].why
    assert state.running == state.waiting == 0
    mine.close()
    thread.join(20)
    assert not thread.is_alive()
