"""Memory of an engine: texts that may become long share it, wait when it is full, and become what they would alone."""

from dataclasses import replace

import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.cache import forecast
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.load import Loaded
from dovetail.runtime.serving import room
from dovetail.runtime.serving.engine import Engine
from dovetail.runtime.serving.request import FAILED, Made, Request

from .test_serving import CLOSE, PROPOSERS, alone, asked, model, parted, tokens

TOKEN = 3 * 2 * 2 * 16 * 4  # layers, keys and values, heads, channels, fp32


@pytest.fixture(scope="module")
def llama() -> Loaded:
    return model("llama")


def taken(cache: KVCache) -> int:
    """Bytes that are allocated."""
    return sum(t.nbytes for t in (*cache.keys, *cache.values) if t is not None)


def driven(engine: Engine, requests: list[Request]) -> tuple[dict[int, list[Made]], int, int, int]:
    """What becomes of requests that are there from the beginning; most memory, most texts, how often one went back."""
    found, most, together, back = dict[int, list[Made]](), 0, 0, 0
    whole = engine._put_back

    def counted() -> None:
        nonlocal back
        back += 1
        whole()

    engine._put_back = counted  # type: ignore[method-assign]
    for request in requests:
        engine.submit(request)
    while engine.busy:
        for made in engine.step():
            found.setdefault(made.id, []).append(made)
        reading = 0 if engine._reading is None else taken(engine._reading.cache)
        whole_now = taken(engine._running.cache) + reading + engine.state.prefix_bytes
        most, together = max(most, whole_now), max(together, engine.state.running)
    return found, most, together, back


@pytest.mark.parametrize("how", PROPOSERS)
def test_texts_that_grow_beyond_memory_wait_and_become_the_same(
    llama: Loaded, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy and drawn ones, none of which says how long it will be; half of the memory that they might ask for."""
    monkeypatch.setattr(room, "EXPECTED", 8)
    limit = 500 * TOKEN
    requests = [replace(one, prompt=one.prompt[:20], most=100 - 7 * one.id, logprobs=1) for one in asked(9, 5)]
    engine = Engine(llama, PROPOSERS[how](llama), cache_bytes=limit, places=16)
    found, most, together, back = driven(engine, requests)
    assert most <= limit
    assert back > 0
    assert together > limit // (2 * 120 * TOKEN)  # as many as there would be with room for all they may ask for
    for request in requests:
        mine, theirs = tokens(found[request.id]), alone(llama, request)
        assert mine == theirs or (request.temperature == 0 and parted(llama, request, mine, theirs) < CLOSE), request
        assert sum(len(made.scored) for made in found[request.id]) == request.most
    assert not engine._order


def test_what_a_text_is_asked_for_at_most_takes_no_memory(llama: Loaded) -> None:
    """Sixteen that may fill the context run together where three such contexts fit."""
    requests = [Request(n, (5 + n,) * 4, 120) for n in range(16)]
    engine = Engine(llama, cache_bytes=16 * 60 * TOKEN, places=16)
    for request in requests:
        engine.submit(request)
        engine.step()
    assert engine.state.running < 8  # 256 tokens are expected of each, or all that it asks for
    short = Engine(llama, cache_bytes=16 * 60 * TOKEN, places=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "EXPECTED", 32)
        for request in requests:
            short.submit(request)
            short.step()
        assert short.state.running >= 14


@pytest.mark.parametrize(
    "recipe", ["snapkv:keep=32,window=8,slack=8", "snapkv:keep=32,window=8,slack=8+kv-int4:group=8", "kv-int4:group=8"]
)
def test_a_plan_is_asked_what_it_holds(llama: Loaded, recipe: str) -> None:
    """More texts fit than with everything kept, and never more than there is memory for."""
    plan, limit = Recipe.load(recipe).on_cache(), 400 * TOKEN
    requests = [Request(n, tuple(range(4, 64)), 40) for n in range(12)]
    engine, together = Engine(llama, plan=plan, cache_bytes=limit, places=16), 0
    found: dict[int, list[Made]] = {}
    for request in requests:
        engine.submit(request)
    while engine.busy:
        for made in engine.step():
            found.setdefault(made.id, []).append(made)
        together = max(together, engine.state.running)
        assert engine.state.cache_bytes <= limit
    assert together > 4  # texts of 100 tokens
    wanted = Loop(runner_of(llama), 40, Sampling(), plan=plan).run([requests[0].prompt]).tokens[0]
    assert all(tuple(tokens(found[request.id])) == wanted for request in requests)


def test_the_longest_text_of_a_plan_fits_and_one_more_token_does_not(llama: Loaded) -> None:
    plan = Recipe.load("snapkv:keep=16,window=4,slack=4").on_cache()
    limit = forecast.texts_bytes(runner_of(llama), plan, [90])
    engine = Engine(llama, plan=plan, cache_bytes=limit)
    assert engine.facts.longest == 90
    engine.submit(Request(0, (5,) * 50, 40))
    with pytest.raises(DovetailError, match=r"91 tokens.* 90 fit"):
        engine.submit(Request(1, (5,) * 51, 40))
    assert Engine(llama, cache_bytes=limit).facts.longest < 90


def test_a_prompt_waits_for_memory_that_others_hold(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free is asked before a prompt is read: alone one is refused with what fits, beside others it waits."""
    engine = Engine(llama)
    engine.submit(Request(0, (5,) * 8, 6))
    engine.step()
    monkeypatch.setattr(forecast, "free_bytes", lambda: 30 * TOKEN)
    engine.submit(Request(1, (6,) * 40, 3))
    engine.submit(Request(2, (7,) * 20, 3))
    over = {}
    while engine.busy:
        for made in engine.step():
            if made.reason:
                over[made.id] = made
            if made.id in (1, 2):
                assert 0 in over
    assert over[1].reason == FAILED
    assert "a text of 40 tokens" in over[1].why
    assert "30 tokens fit" in over[1].why
    assert over[2].reason != FAILED


def test_a_loop_is_refused_what_memory_does_not_hold(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "free_bytes", lambda: 100 * TOKEN)
    loop = Loop(runner_of(llama), 10, Sampling())
    loop.run([[5] * 10] * 5)
    with pytest.raises(DovetailError, match=r"6 texts of 20 tokens.*16 tokens fit"):
        loop.run([[5] * 10] * 6)


def test_a_cache_grows_no_further_than_it_may(llama: Loaded) -> None:
    """It doubles, as long as there is memory; then it has what it needs."""
    runner = runner_of(llama)
    cache = KVCache(3, 3, 16)
    cache.most = 3 * 50
    with torch.inference_mode():
        for _ in range(49):
            runner.forward(torch.full((3, 1), 7), cache)
            cache.keep([1, 1, 1])
            assert cache.capacity * 3 <= cache.most
        one = KVCache(3, 1, 16)
        runner.forward(torch.full((1, 30), 7), one)
        one.keep([30])
        cache.most = 4 * 50
        cache.join(one)
    assert taken(cache) <= 4 * 50 * TOKEN
    assert cache.lengths == [49, 49, 49, 30]
