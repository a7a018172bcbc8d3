"""Codes of 4 bits in memory as the array decodes them, where heads leave lanes of a word empty."""

from __future__ import annotations

import numpy as np
import pytest

from dovetail.accel.compile.arrange import by_head, padded, place
from dovetail.accel.compile.image import block_words, lane_groups, matrix_words
from dovetail.accel.compile.shape import Shape
from dovetail.accel.lowering.weights import Matrix, in_four_bits
from dovetail.core.errors import DovetailError

SHAPE = Shape(2, 16, 8, context=64)


def decoded(words: np.ndarray, inputs: int, group: int) -> np.ndarray:
    """(columns, inputs) of one block without biases: after each word of steps the codes of 2 * lanes groups."""
    slices = words.reshape(len(words), SHAPE.columns, SHAPE.lanes).astype(int)
    at, found, left = 1, [], inputs
    while left > 0:
        steps = np.stack([slices[at] & 15, slices[at] >> 4], axis=-1).reshape(SHAPE.columns, -1) + 1
        at, run = at + 1, min(left, 2 * SHAPE.lanes * group)
        for first in range(0, run, SHAPE.lanes):
            code = slices[at] >> (4 if first // SHAPE.lanes % 2 else 0) & 15
            found.append((code - ((code & 8) << 1)) * steps[:, first // group, None])
            at += first // SHAPE.lanes % 2 or first + SHAPE.lanes >= run
        left -= run
    return np.concatenate(found, axis=1)


def _matrix(inputs: int) -> Matrix:
    return in_four_bits("m", np.random.default_rng(0).normal(size=(16, inputs)), 32)


@pytest.mark.parametrize(("channels", "heads"), [(96, 12), (640, 80), (96, 6), (96, 1), (600, 1)])
def test_every_lane_is_multiplied_by_the_weight_of_its_channel(channels: int, heads: int) -> None:
    matrix = _matrix(channels)
    columns = by_head(channels, heads, SHAPE.columns, False)
    words = matrix_words(matrix, None, padded(16, 16), columns, SHAPE)
    assert len(words) == block_words(matrix, False, len(columns), SHAPE)
    assert np.array_equal(decoded(words, len(columns), 32), place(matrix.values.astype(int), columns))


def test_lanes_of_two_groups_are_refused() -> None:
    with pytest.raises(DovetailError, match="do not fit the array") as error:
        lane_groups(_matrix(72), by_head(72, 12, 16, False))
    assert "two groups" in error.value.why
    assert error.value.exit_code == 3
