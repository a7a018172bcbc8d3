"""Sliding-window perplexity against full forward passes in float64."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.perplexity import perplexity, token_nats

TEXT = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a "
    "big, red ball. She wanted to play with it, but it was too high. Mom said she could play with the ball later."
)


@pytest.fixture(scope="module")
def exact(stories: Path) -> Loaded:
    return load(stories, "fp64")


def full_nats(loaded: Loaded, ids: list[int]) -> np.ndarray:
    """Minus log softmax of one forward pass over all of `ids`, written out."""
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids])).logits[0, :-1].numpy()
    wide = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(wide).sum(1)) - wide[np.arange(len(ids) - 1), ids[1:]]


def test_one_window_is_one_forward_pass(trained: Loaded, exact: Loaded) -> None:
    ids = [1, *trained.tokenizer(TEXT, add_special_tokens=False).input_ids]
    expected = full_nats(exact, ids)
    found = perplexity(trained, TEXT, context=len(ids), stride=len(ids))
    assert found.tokens == len(ids) - 1
    assert found.nats_per_token == pytest.approx(expected.mean(), rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(expected.mean()), rel=1e-4)
    assert found.bits_per_byte == pytest.approx(expected.sum() / math.log(2) / len(TEXT.encode()), rel=1e-5)
    assert perplexity(exact, TEXT, len(ids), 8).nats_per_token == pytest.approx(expected.mean(), rel=1e-12)


@settings(max_examples=25)
@given(context=st.integers(1, 40), stride=st.integers(4, 40), length=st.integers(2, 64))
def test_every_token_is_scored_once_in_the_first_window_that_reaches_it(
    tiny: Loaded, context: int, stride: int, length: int
) -> None:
    stride = min(stride, context)
    ids = np.random.default_rng(length).integers(96, size=length).tolist()
    expected: dict[int, float] = {}
    for begin in range(0, length - 1, stride):
        for place, nats in enumerate(full_nats(tiny, ids[begin : begin + context + 1])):
            expected.setdefault(begin + place + 1, float(nats))
    found = token_nats(tiny, ids, context, stride)
    assert sorted(expected) == list(range(1, length))
    np.testing.assert_allclose(found, [expected[i] for i in range(1, length)], rtol=1e-4, atol=1e-4)


def test_documents_are_scored_apart_and_bound_the_mean(trained: Loaded) -> None:
    documents = [TEXT, TEXT[:80], "Tom had a red car. " * 6]
    apart = [perplexity(trained, d, 128, 64) for d in documents]
    together = perplexity(trained, documents, 128, 64)
    assert together.tokens == sum(q.tokens for q in apart)
    assert together.nats_per_token == pytest.approx(sum(q.nats_per_token * q.tokens for q in apart) / together.tokens)
    assert [t for _, t in together.documents] == [q.tokens for q in apart]
    means = [n / t for n, t in together.documents]
    assert min(means) <= together.low <= together.nats_per_token <= together.high <= max(means)
    assert together == perplexity(trained, documents, 128, 64)


def test_a_model_that_knows_nothing_has_the_vocabularys_perplexity(trained: Loaded, stories: Path) -> None:
    blank = load(stories)
    with torch.no_grad():
        blank.model.model.norm.weight.zero_()
    assert perplexity(blank, TEXT, 128, 64).perplexity == pytest.approx(512, rel=1e-5)
    assert perplexity(trained, TEXT, 128, 64).perplexity < 30


def test_without_a_begin_token_the_first_tokens_bytes_do_not_count(trained: Loaded) -> None:
    class NoBegin:
        bos_token_id = None

        def __call__(self, *given: object, **named: object) -> object:
            return trained.tokenizer(*given, **named)

        def decode(self, ids: list[int]) -> str:
            return str(trained.tokenizer.decode(ids))

    ids = trained.tokenizer(TEXT, add_special_tokens=False).input_ids
    found = perplexity(replace(trained, tokenizer=NoBegin()), TEXT, 256, 256)
    assert found.tokens == len(ids) - 1
    first = len(trained.tokenizer.decode(ids[:1]).encode())
    nats = found.nats_per_token * found.tokens
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / (len(TEXT.encode()) - first))


@pytest.mark.parametrize(
    ("text", "context", "stride", "words"),
    [("", 64, 64, "too short"), ([], 64, 64, "too short"), (TEXT, 513, 64, "holds 512"), (TEXT, 0, 1, "window of 0"),
     (TEXT, 64, 65, "65 tokens apart"), (TEXT, 64, 0, "0 tokens apart")],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(trained: Loaded, text: str, context: int, stride: int, words: str) -> None:
    with pytest.raises(DovetailError, match=words):
        perplexity(trained, text, context, stride)


def test_a_folder_without_tokenizer_is_refused(tiny: Loaded) -> None:
    with pytest.raises(DovetailError, match="no tokenizer"):
        perplexity(tiny, TEXT)
