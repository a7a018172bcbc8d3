"""The decode loop against transformers' own `generate`, token for token."""

import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.runtime.decode import cache_bytes, end_tokens, generate, new_cache, step
from dovetail.runtime.load import Loaded


def theirs(loaded: Loaded, prompt: list[int], max_new: int) -> list[int]:
    ids = torch.tensor([prompt])
    made = loaded.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new, do_sample=False, pad_token_id=0
    )
    return made[0, len(prompt) :].tolist()


@pytest.mark.parametrize("prompt", [[1], [1, 403, 407, 261, 378], [1, 7, 7, 9, 200, 31, 5, 5, 80]])
def test_greedy_equals_transformers_on_a_trained_model(trained: Loaded, prompt: list[int]) -> None:
    assert list(generate(trained, prompt, 40).tokens) == theirs(trained, prompt, 40)


def test_greedy_equals_transformers_to_the_end_of_the_context(tiny: Loaded) -> None:
    prompt = list(range(3, 23))
    assert list(generate(tiny, prompt, 44).tokens) == theirs(tiny, prompt, 44)


def test_an_end_token_ends_the_text(tiny: Loaded) -> None:
    free = generate(tiny, [5, 6], 20, stop=frozenset()).tokens
    assert len(free) == 20
    ended = generate(tiny, [5, 6], 20, stop=frozenset([free[4]])).tokens
    assert ended == free[: free.index(free[4]) + 1]
    assert end_tokens(tiny) == {2}


def test_what_is_counted_adds_up(tiny: Loaded) -> None:
    seen: list[int] = []
    made = generate(tiny, [5, 6, 7], 9, stop=frozenset(), on_token=seen.append)
    assert tuple(seen) == made.tokens
    assert made.steps == 8
    assert made.tokens_per_step == 1
    assert made.tokens_per_s == pytest.approx(8 / made.decode_s)
    layers, kv_heads, head_dim, held = 2, 2, 16, 3 + 8  # the last token is never fed back
    assert made.cache_bytes == 2 * layers * kv_heads * head_dim * held * 4


def test_sampling_repeats_with_its_seed_and_follows_the_model(tiny: Loaded) -> None:
    first = generate(tiny, [5], 12, temperature=1.0, seed=3, stop=frozenset()).tokens
    assert first == generate(tiny, [5], 12, temperature=1.0, seed=3, stop=frozenset()).tokens
    assert first != generate(tiny, [5], 12, temperature=1.0, seed=4, stop=frozenset()).tokens
    cold = generate(tiny, [5], 12, temperature=1e-4, seed=3, stop=frozenset()).tokens
    assert cold == generate(tiny, [5], 12, stop=frozenset()).tokens


def test_sampled_frequencies_follow_the_softmax(tiny: Loaded) -> None:
    with torch.inference_mode():
        logits, _ = step(tiny, torch.tensor([[5]]), new_cache(tiny))
    chances = torch.softmax(logits[0, -1].double(), -1)
    draws = [generate(tiny, [5], 1, temperature=1.0, seed=s).tokens[0] for s in range(120)]
    top = int(chances.argmax())
    assert abs(draws.count(top) / 120 - chances[top]) < 4 * float((chances[top] * (1 - chances[top]) / 120).sqrt())


@pytest.mark.parametrize(
    ("prompt", "max_new", "words"),
    [
        ([], 5, "no token"),
        ([1], 0, "cannot make 0"),
        ([1] * 60, 5, "--max-new 4"),
        ([1] * 70, 5, "65|75 tokens"),
        ([96], 1, "token 96 does not exist"),
        ([3, -1, 95], 1, "token -1 does not exist"),
    ],
)
def test_what_does_not_fit_is_refused(tiny: Loaded, prompt: list[int], max_new: int, words: str) -> None:
    with pytest.raises(DovetailError, match=words):
        generate(tiny, prompt, max_new)
    if prompt == [1]:
        with pytest.raises(DovetailError, match="temperature"):
            generate(tiny, prompt, 1, temperature=-1.0)


def test_an_empty_cache_holds_nothing(tiny: Loaded) -> None:
    assert cache_bytes(new_cache(tiny)) == 0
