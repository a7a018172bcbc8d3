"""Codes, slices and what they ask of converters, against closed forms and plain loops."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.crossbar.cells import CELL_BITS, ENCODINGS, Cells, balanced_digits
from dovetail.crossbar.codes import Codes, FixedPoint, range_exponent
from dovetail.crossbar.columns import Arrays, needed_bits, statistics


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("cell", CELL_BITS)
@pytest.mark.parametrize("bits", [1, 3, 4, 7, 8])
def test_all_codes_come_back(encoding: str, cell: int, bits: int) -> None:
    grid, cells = FixedPoint(bits), Cells(cell, encoding)
    values = np.arange(-grid.top, grid.top + 1, dtype=np.int32)[None]
    digits = cells.split(Codes(values, np.ones((1, 1)), grid))
    assert np.array_equal(cells.join(digits, bits), values)
    assert np.abs(digits).max() <= cells.levels
    assert (digits >= 0).all() or encoding == "sign-magnitude"
    by_hand = sum(
        sign * int(digits[p, s, 0, 0]) * 2 ** (cell * s)
        for p, sign in enumerate(cells.polarities) for s in range(digits.shape[1])
    )  # fmt: skip
    assert by_hand == -grid.top + (2**bits if encoding == "offset" else 0)


@given(st.floats(1e-30, 1e30))
def test_the_range_is_the_power_of_two_at_or_above(largest: float) -> None:
    exponent = int(range_exponent(np.array([largest]))[0])
    assert Fraction(2) ** (exponent - 1) < Fraction(largest) <= Fraction(2) ** exponent


def test_a_weight_at_the_end_of_the_range_is_clamped() -> None:
    codes = FixedPoint(8).codes([[1.0, -1.0, 0.5, 0.9999]])
    assert codes.values.tolist() == [[255, -255, 128, 255]]
    assert codes.steps.tolist() == [[1 / 256]]


@pytest.mark.parametrize("grid", [FixedPoint(8), FixedPoint(6, "row"), FixedPoint(8, "group", 5)])
def test_codes_are_the_nearest(grid: FixedPoint) -> None:
    weights = np.random.default_rng(3).normal(size=(7, 13))
    codes = grid.codes(weights)
    for row in range(7):
        for column in range(13):
            members = {"layer": weights, "row": weights[row],
                       "group": weights[row, column // 5 * 5 : column // 5 * 5 + 5]}[grid.per]  # fmt: skip
            step = 2.0 ** (math.ceil(math.log2(np.abs(members).max())) - grid.bits)
            best = min(range(-grid.top, grid.top + 1), key=lambda code: abs(code * step - weights[row, column]))
            assert codes.values[row, column] == best
            assert codes.weights()[row, column] == best * step


def test_zeros_are_codes() -> None:
    codes = FixedPoint(8, "group", 2).codes(np.zeros((2, 5)))
    assert not codes.values.any()
    assert not codes.weights().any()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("grid", [FixedPoint(8), FixedPoint(8, "group", 6)])
def test_statistics_are_those_of_plain_loops(encoding: str, grid: FixedPoint) -> None:
    cells, arrays = Cells(2, encoding), Arrays(4, 4)
    codes = grid.codes(np.random.default_rng(5).normal(size=(3, 15)))
    found, digits = statistics(codes, cells, arrays), cells.split(codes)
    tiles = (
        [(0, 4), (4, 8), (8, 12), (12, 15)] if grid.per == "layer" else [(0, 4), (4, 6), (6, 10), (10, 12), (12, 15)]
    )
    assert found.highest.shape == (len(cells.polarities), cells.slices(8), len(tiles), 3)
    for plane, slice_, tile, output in np.ndindex(found.highest.shape):
        line = [int(digits[plane, slice_, output, i]) for i in range(*tiles[tile])]
        sums = {sum(d for k, d in enumerate(line) if on >> k & 1) for on in range(1 << len(line))}
        assert (found.lowest[plane, slice_, tile, output], found.highest[plane, slice_, tile, output]) == (
            min(sums), max(sums),
        )  # fmt: skip
        bits = found.bits[plane, slice_, tile, output]
        fits = (lambda n, s: -(2 ** (n - 1)) <= s < 2 ** (n - 1)) if min(sums) < 0 else (lambda n, s: 0 <= s < 2**n)
        assert all(fits(int(bits), s) for s in sums)
        assert bits == 0 or not all(fits(int(bits) - 1, s) for s in sums)


def test_needed_bits_at_the_edges() -> None:
    assert needed_bits(np.array([0, 1, 3, 4, 255, 256])).tolist() == [0, 1, 2, 3, 8, 9]
    assert needed_bits(np.array([0, 3, 4]), np.array([-1, -4, -4])).tolist() == [1, 3, 4]


def test_group_scales_fill_the_top_slice() -> None:
    """Each group stretches its own largest weight over the range: fewer zeros above than one scale a layer leaves."""
    weights = np.random.default_rng(0).normal(size=(512, 1024))
    top = {per: statistics(FixedPoint(8, per, 128).codes(weights)).nonzero_slices[-1] for per in ("layer", "group")}
    assert top["group"] > 1.8 * top["layer"]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: FixedPoint(0), "bits"),
        (lambda: FixedPoint(13), "bits"),
        (lambda: FixedPoint(8, "rows"), "did you mean 'row'"),
        (lambda: FixedPoint(8, "group", 0), "group"),
        (lambda: Cells(3), "cell"),
        (lambda: Cells(2, "differental"), "did you mean 'differential'"),
        (lambda: Arrays(0, 128), "rows"),
        (lambda: FixedPoint().codes([[1.0, float("nan")]], "fc1"), r"fc1: .*\[0, 1\]: nan"),
        (lambda: FixedPoint().codes([[float("inf")]]), "inf"),
        (lambda: FixedPoint().codes([1.0, 2.0]), "matrices"),
        (lambda: FixedPoint().codes(np.zeros((0, 4))), "matrices"),
    ],
)
def test_bad_input_says_why(make: object, word: str) -> None:
    with pytest.raises(DovetailError, match=word):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(("bits", "cell"), [(8, 2), (7, 2), (5, 1), (8, 4)])
def test_balanced_digits_conduct_least_of_all_ways(bits: int, cell: int) -> None:
    slices = -(-bits // cell)
    base = 2**cell
    least: dict[int, int] = {}
    ways = np.array(np.meshgrid(*[np.arange(1 - base, base)] * slices, indexing="ij")).reshape(slices, -1)
    for value, levels in zip(base ** np.arange(slices) @ ways, np.abs(ways).sum(0)):
        least[int(value)] = min(int(levels), least.get(int(value), 10**9))
    found = balanced_digits(bits, cell)
    assert [int(base ** np.arange(slices) @ row) for row in found] == list(range(2**bits))
    assert [int(np.abs(row).sum()) for row in found] == [least[m] for m in range(2**bits)]


def test_balanced_digits_need_smaller_converters() -> None:
    codes = FixedPoint(8).codes(np.random.default_rng(0).normal(size=(64, 256)))
    usual, balanced = (statistics(codes, Cells(2, name)) for name in ("differential", "balanced"))
    assert balanced.highest[:, :2].mean() < 0.75 * usual.highest[:, :2].mean()
