"""The integer model against floating point, against itself token by token, and against Python's exact integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dovetail.accel.arithmetic.nibbles import decode
from dovetail.accel.golden.image import constants
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.golden.program import Attend, Format, Product
from dovetail.accel.golden.quality import quality
from dovetail.accel.golden.ranges import check, ranges
from dovetail.accel.lowering.folder import lower
from dovetail.accel.lowering.lower import Scheme
from dovetail.core.errors import DovetailError
from dovetail.runtime.corpus import held_out_text
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.perplexity import perplexity

ASKED = {"w8a8": 1.02, "w4a8": 1.10}  # of the perplexity in fp32
TEXT_BYTES = 16_000


def test_perplexity_of_the_embedded_model(lowered: IntegerModel, embedded: Loaded) -> None:
    text = held_out_text(TEXT_BYTES)
    exact = perplexity(embedded, text, lowered.context, lowered.context)
    found = quality(lowered, embedded, text, stride=lowered.context)
    assert found.tokens == exact.tokens
    assert found.perplexity <= ASKED[lowered.weights] * exact.perplexity


@pytest.mark.parametrize("weights", ASKED)
def test_perplexity_of_stories(weights: str, data_folder: Path) -> None:
    loaded = load(data_folder / "models/stories260K/hf")
    text = (data_folder / "corpora/tinystories/tinystories_train_first2MiB.txt").read_text()
    model = lower(loaded, Scheme(weights), context=256, text=text[:60_000])
    held_out = text[1_000_000 : 1_000_000 + TEXT_BYTES]
    exact = perplexity(loaded, held_out, 256, 256)
    assert quality(model, loaded, held_out, stride=256).perplexity <= ASKED[weights] * exact.perplexity


def test_tokens_one_by_one_are_tokens_at_once(lowered: IntegerModel) -> None:
    tokens = np.random.default_rng(0).integers(0, lowered.vocabulary, 40)
    whole = lowered.pass_over(tokens)
    values = lowered.pass_over(tokens[:17])
    for i in range(17, 40):
        values = lowered.pass_over(tokens[i : i + 1], values)
        for step in lowered.steps:
            wanted = whole.tensors[step.name][i]
            assert np.array_equal(values.tensors[step.name][0], wanted), step.name


def test_a_batch_is_its_sequences(lowered: IntegerModel) -> None:
    tokens = np.random.default_rng(1).integers(0, lowered.vocabulary, (3, 11))
    assert np.array_equal(lowered.run(tokens), np.stack([lowered.run(row) for row in tokens]))


def test_decoding_is_the_argmax_of_all_before(lowered: IntegerModel, embedded: Loaded) -> None:
    prompt = [0, *embedded.tokenizer("def add(a, b):\n", add_special_tokens=False).input_ids]
    found = lowered.decode(prompt, 12)
    read = [*prompt, *found]
    assert found == lowered.run(read[:-1]).argmax(axis=-1)[len(prompt) - 1 :].tolist()
    assert len(set(found)) > 3


def test_every_tensor_keeps_to_its_format(lowered: IntegerModel) -> None:
    tokens = np.random.default_rng(2).integers(0, lowered.vocabulary, 60)
    values = lowered.pass_over(tokens).tensors
    for step in lowered.steps:
        low, high = values[step.name].min(), values[step.name].max()
        top = 2 ** (step.form.bits - 1)
        assert -top <= low <= high < top, step.name
        assert step.form.bits > 8 or low >= -127
    assert len({step.name for step in lowered.steps}) == len(lowered.steps)


def test_four_bits_decode_to_what_is_multiplied(lowered: IntegerModel) -> None:
    products = [step for step in lowered.steps if isinstance(step, Product) and step.matrix.bits == 4]
    assert bool(products) == (lowered.weights == "w4a8")
    for step in products:
        codes, steps = (np.asarray(a, np.int64) for a in (step.matrix.codes, step.matrix.steps))
        assert -8 <= codes.min() <= codes.max() <= 7
        assert 1 <= steps.min() <= steps.max() <= 16
        assert np.array_equal(decode(codes, steps, step.matrix.group), step.matrix.values)


def test_the_bound_of_a_sum_is_reached(lowered: IntegerModel) -> None:
    bounds = {(r.tensor, r.what): r for r in ranges(lowered.steps, lowered.context)}
    product = next(step for step in lowered.steps if isinstance(step, Product))
    rows = product.matrix.values.astype(int)
    worst = max(sum(127 * abs(w) for w in row) for row in rows.tolist())
    assert bounds[product.name, "sums of products"].largest == worst
    attend = next(step for step in lowered.steps if isinstance(step, Attend))
    assert bounds[attend.name, "scores"].largest == 32 * 127 * 127
    assert bounds[attend.name, "weighted values"].largest == lowered.context * 127 * 127
    check(list(bounds.values()))


def test_overflow_is_found_before_it_happens(embedded: Loaded) -> None:
    with pytest.raises(DovetailError) as caught:
        lower(embedded, Scheme(accumulator_bits=20), context=64)
    assert caught.value.where.startswith("model.layers.0")
    assert "there are 20" in caught.value.why
    assert caught.value.exit_code == 3


def test_constants_are_all_there_and_fit(lowered: IntegerModel) -> None:
    image = constants(lowered)
    for name, constant in image.items():
        low = -(2 ** (constant.bits - 1)) if constant.signed else 0
        high = 2 ** (constant.bits - constant.signed) - 1
        assert low <= constant.values.min() <= constant.values.max() <= high, name
    stored = sum(constant.values.size for name, constant in image.items() if name.endswith((".values", ".codes")))
    assert stored == 4_196_608 - 9 * 256  # every parameter but the norms' once: the head is the embedding


def test_a_format_says_what_an_integer_is_worth(lowered: IntegerModel) -> None:
    assert lowered.steps[-1].form == Format(24, lowered.steps[-1].form.fraction)
    assert lowered.logit_unit() == 2.0 ** -lowered.steps[-1].form.fraction


@pytest.mark.parametrize(
    ("tokens", "message"), [([4096], "no token 4096"), ([-1], "no token -1"), ([0] * 193, "193 tokens")]
)
def test_tokens_that_cannot_be(lowered: IntegerModel, tokens: list[int], message: str) -> None:
    with pytest.raises(DovetailError, match=message):
        lowered.run(tokens)


def test_decoding_beyond_the_context(lowered: IntegerModel) -> None:
    with pytest.raises(DovetailError, match="does not fit"):
        lowered.decode([0] * 190, 4)
    with pytest.raises(DovetailError, match="empty prompt"):
        lowered.decode([], 4)


@pytest.mark.parametrize("bad", [{"weights": "w3a8"}, {"group": 48}, {"accumulator_bits": 8}])
def test_schemes_that_are_none(bad: dict[str, object]) -> None:
    with pytest.raises(DovetailError):
        Scheme(**bad)  # type: ignore[arg-type]
