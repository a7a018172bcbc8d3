"""Beginnings that prompts share: read once, the same texts, memory within its bounds."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from dovetail.recipe.recipe import Recipe
from dovetail.runtime.decoding.batch import Batch
from dovetail.runtime.load import Loaded
from dovetail.runtime.serving.engine import Engine
from dovetail.runtime.serving.prefixes import common
from dovetail.runtime.serving.request import Request

from .test_room import TOKEN, driven, taken
from .test_serving import CLOSE, PROPOSERS, alone, model, parted, tokens


@pytest.fixture(scope="module")
def llama() -> Loaded:
    return model("llama")


def prompts(beginnings: Sequence[int], count: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Prompts of which each begins with one of several beginnings, of such lengths, and goes on by itself."""
    source = random.Random(seed)
    begun = [[source.randrange(4, 96) for _ in range(length)] for length in beginnings]
    return [(*begun[n % len(begun)], *(source.randrange(4, 96) for _ in range(1 + n % 9))) for n in range(count)]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("how", ["plain", "lookup"])
def test_texts_are_those_of_prompts_that_were_read_whole(kind: str, how: str) -> None:
    loaded = model(kind)
    requests = [
        Request(n, prompt, 12, 0.9 if n % 4 == 0 else 0.0, seed=n) for n, prompt in enumerate(prompts((40, 60, 20), 24))
    ]
    engine = Engine(loaded, PROPOSERS[how](loaded), places=5, chunk=16)
    found = driven(engine, requests)[0]
    for request in requests:
        mine, theirs = tokens(found[request.id]), alone(loaded, request)
        assert mine == theirs or (request.temperature == 0 and parted(loaded, request, mine, theirs) < CLOSE), request
    assert engine.state.reused == 6 * 40 + 6 * 60  # all but the first two of each; twenty tokens are too few
    assert engine.state.prefix_bytes == (40 + 60) * TOKEN if kind == "llama" else engine.state.prefix_bytes > 0


def test_tokens_that_are_known_are_not_read(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    whole = Batch.read

    def counted(batch: Batch, most: int) -> None:
        before = batch.unread
        whole(batch, most)
        read.append(before - batch.unread)

    monkeypatch.setattr(Batch, "read", counted)
    engine = Engine(llama)
    for n, prompt in enumerate(prompts((50,), 4)):
        engine.submit(Request(n, prompt, 2))
        while engine.busy:
            engine.step()
    assert read == [51, 52, 3, 4]
    engine.submit(Request(9, prompts((50,), 4)[3], 2))  # the same as before: its last tokens are read nevertheless
    while engine.busy:
        engine.step()
    assert read[4:] == [4]
    assert engine._prefixes.tokens == 54  # and are now known
    engine.submit(Request(10, prompts((50,), 4)[3], 2))
    while engine.busy:
        engine.step()
    assert read[5:] == [1]


def test_what_is_kept_is_what_a_prompt_makes(llama: Loaded) -> None:
    """Keys and values by the model's own module, and none of those of the text behind."""
    engine = Engine(llama)
    for n, prompt in enumerate(prompts((33,), 2)):
        engine.submit(Request(n, prompt, 3))
        while engine.busy:
            engine.step()
    ((ids, cache),) = engine._prefixes._kept
    assert ids.tolist() == list(prompts((33,), 1)[0][:33])
    assert taken(cache) == 33 * TOKEN == engine.state.prefix_bytes
    with torch.inference_mode():
        wanted = llama.model(torch.tensor([ids.tolist()]), use_cache=True).past_key_values
    for layer in range(3):
        torch.testing.assert_close(cache.keys[layer], wanted.layers[layer].keys, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(cache.values[layer], wanted.layers[layer].values, rtol=1e-5, atol=1e-5)


def test_memory_is_shared_with_texts_and_bounded(llama: Loaded) -> None:
    """Many beginnings, the ones not used for longest leave; those who run keep within what is left."""
    limit = 400 * TOKEN
    requests = [
        Request(n, prompt, 20) for n, prompt in enumerate(2 * prompts((40, 41, 42, 43), 12) + prompts((44,), 6, 1))
    ]
    engine = Engine(llama, cache_bytes=limit, places=8)
    found, most, _, _ = driven(engine, requests)
    assert set(found) == {request.id for request in requests}
    assert 0 < engine.state.prefix_bytes <= limit // 4
    assert most <= limit
    assert len(engine._prefixes._kept) == 2  # of five
    assert engine._prefixes._kept[-1][0].tolist()[:44] == list(prompts((44,), 1, 1)[0][:44])


@pytest.mark.parametrize(("how", "recipe"), [("eagle", "none"), ("plain", "snapkv:keep=32,window=8")])
def test_what_needs_whole_prompts_reads_them(llama: Loaded, how: str, recipe: str) -> None:
    """Guesses that look at hidden states of the prompt, and caches that are cut."""
    engine = Engine(llama, PROPOSERS[how](llama), plan=Recipe.load(recipe).on_cache())
    driven(engine, [Request(n, prompt, 3) for n, prompt in enumerate(prompts((50,), 4))])
    assert engine.state.reused == engine.state.prefix_bytes == 0


def test_what_two_texts_have_in_common() -> None:
    source = random.Random(3)
    for _ in range(200):
        one, other = ([source.randrange(2) for _ in range(source.randrange(6))] for _ in range(2))
        wanted = next((n for n, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
        assert common(np.array(one, int), np.array(other, int)) == wanted
