"""Divergence from the original against full forward passes in float64, and what the numbers must obey."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.runtime.bootstrap import RESAMPLES, interval, resampled
from dovetail.runtime.comparison import compare
from dovetail.runtime.corpus import held_out_documents, held_out_text
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.perplexity import perplexity

TEXT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
DOCUMENTS = [TEXT * 3, "Tom had a red car. " * 9, "One day, she saw a big, red ball. Mom said no."]


@pytest.fixture(scope="module")
def noisy(stories: Path) -> Callable[[float, str], Loaded]:
    """The trained model with noise of a relative size on every matrix."""

    def make(size: float, dtype: str = "fp64") -> Loaded:
        loaded, source = load(stories, dtype), torch.Generator().manual_seed(5)
        with torch.no_grad():
            for weight in loaded.model.parameters():
                weight += size * weight.std() * torch.randn(weight.shape, generator=source).to(weight)
        return loaded

    return make


def log_probabilities(loaded: Loaded, ids: list[int]) -> np.ndarray:
    """Natural logarithms (tokens, vocabulary) of one forward pass, written out."""
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids])).logits[0, :-1].double().numpy()
    top = logits.max(1, keepdims=True)
    found: np.ndarray = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
    return found


@pytest.mark.parametrize(("dtype", "rel"), [("fp64", 1e-10), ("fp32", 2e-4)])
def test_it_is_the_divergence_of_full_forward_passes(
    stories: Path, noisy: Callable[..., Loaded], dtype: str, rel: float
) -> None:
    original, changed = load(stories, dtype), noisy(0.1, dtype)
    exact = load(stories, "fp64"), noisy(0.1)
    found = compare(original, changed, DOCUMENTS, 512, 512)
    sums = np.zeros(5)
    for document in DOCUMENTS:
        ids = [1, *original.tokenizer(document, add_special_tokens=False).input_ids]
        p, q = (log_probabilities(model, ids) for model in exact)
        sums += [(np.exp(p) * (p - q)).sum(), (np.exp(q) * (q - p)).sum(), (p.argmax(1) == q.argmax(1)).sum(),
                 -q[np.arange(len(q)), ids[1:]].sum(), len(p)]  # fmt: skip
    expected = sums[:4] / sums[4]
    assert found.kl[0] == pytest.approx(expected[0], rel=rel)
    assert found.kl_back[0] == pytest.approx(expected[1], rel=rel)
    assert found.top1[0] == pytest.approx(expected[2], rel=1e-12)
    assert found.after.nats_per_token == pytest.approx(expected[3], rel=rel)
    assert found.after.tokens == sums[4]


def test_perplexities_are_those_measured_alone_also_over_windows(stories: Path, noisy: Callable[..., Loaded]) -> None:
    original, changed = load(stories), noisy(0.1, "fp32")
    for text in (DOCUMENTS, DOCUMENTS[0]):
        found = compare(original, changed, text, 48, 16)
        for side, model in ((found.before, original), (found.after, changed)):
            alone = perplexity(model, text, 48, 16)
            assert side.tokens == alone.tokens
            assert [t for _, t in side.documents] == [t for _, t in alone.documents]
            assert side.nats_per_token == pytest.approx(alone.nats_per_token, rel=1e-5)
            assert side.bits_per_byte == pytest.approx(alone.bits_per_byte, rel=1e-5)


def test_a_model_does_not_differ_from_itself_and_noise_makes_it(stories: Path, noisy: Callable[..., Loaded]) -> None:
    original = load(stories, "fp64")
    same = compare(original, original, DOCUMENTS)
    assert (same.kl, same.kl_back, same.ratio, same.top1) == ((0, 0, 0), (0, 0, 0), (1, 1, 1), (1, 1, 1))
    little, much = (compare(original, noisy(size), DOCUMENTS) for size in (0.02, 0.2))
    assert 0 < little.kl[0] < much.kl[0]
    assert 0 < little.kl_back[0] < much.kl_back[0]
    assert 1 > little.top1[0] > much.top1[0] > 0
    for found in (little, much):
        for value, low, high in (found.kl, found.kl_back, found.top1, found.ratio):
            assert low <= value <= high
        turned = compare(noisy(0.02 if found is little else 0.2), original, DOCUMENTS)
        assert turned.kl[0] == pytest.approx(found.kl_back[0], rel=1e-9)
        assert turned.ratio[0] == pytest.approx(1 / found.ratio[0], rel=1e-9)


def test_tokens_that_both_models_exclude_add_nothing(stories: Path) -> None:
    from dovetail.runtime.comparison import _of_rows

    one, two = torch.randn(3, 5), torch.randn(3, 5)
    wide = [torch.cat([x, torch.full((3, 1), -float("inf"))], 1) for x in (one, two)]
    wanted = torch.tensor([0, 1, 2])
    np.testing.assert_allclose(_of_rows(*wide, wanted), _of_rows(one, two, wanted), rtol=1e-6)


def test_vocabularies_that_differ_are_refused(trained: Loaded, tiny: Loaded) -> None:
    with pytest.raises(DovetailError, match="different vocabularies"):
        compare(trained, tiny, TEXT)


def test_a_model_that_overflows_is_refused_and_not_reported(trained: Loaded, stories: Path) -> None:
    broken = load(stories)
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("inf"))
    for act in (lambda: compare(trained, broken, TEXT), lambda: perplexity(broken, TEXT)):
        with pytest.raises(DovetailError, match="logits are not finite") as caught:
            act()
        assert caught.value.exit_code == 4


def test_the_bootstrap_draws_whole_documents() -> None:
    """Against the spread of a mean of independent documents of one size: its standard error."""
    source = np.random.default_rng(1)
    sums = source.normal(3.0, 1.0, 400) * 10
    draws = resampled(sums[:, None], np.full(400, 10.0), lambda means: means[:, 0])
    assert draws.shape == (RESAMPLES,)
    low, high = interval(draws, float(sums.mean() / 10))
    error = (sums / 10).std() / 20
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_blocks_of_draws_are_those_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    sums, tokens = np.random.default_rng(2).random((30, 2)), np.arange(1.0, 31)

    def both(means: Any) -> Any:
        return means

    whole = resampled(sums, tokens, both)
    monkeypatch.setattr("dovetail.runtime.bootstrap._AT_ONCE", 30 * 2 * 7)
    np.testing.assert_array_equal(resampled(sums, tokens, both), whole)


def test_held_out_documents_are_pieces_of_many_files() -> None:
    pieces, whole = held_out_documents(60_000), held_out_text()
    share = 60_000 // len(pieces)
    assert len(pieces) > 10
    assert all(piece in whole and 0 < len(piece.encode()) <= share for piece in pieces)
    assert sum(len(piece.encode()) for piece in pieces) > 0.7 * 60_000
    assert all(whole[whole.index(piece) - 1] == "\n" for piece in pieces[1:])
