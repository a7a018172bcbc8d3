"""Each unit of the arithmetic against float64, or against Python's exact integers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.accel.arithmetic import gate, rsqrt, softmax
from dovetail.accel.arithmetic.block import quantise
from dovetail.accel.arithmetic.choose import argmax
from dovetail.accel.arithmetic.multiplier import factor, multiplier
from dovetail.accel.arithmetic.nibbles import decode
from dovetail.accel.arithmetic.norm import Norm, normalise
from dovetail.accel.arithmetic.product import accumulate, requantise
from dovetail.accel.arithmetic.rotary import rotate
from dovetail.accel.arithmetic.rounding import bit_length, round_shift, saturate


@given(st.integers(-(2**61), 2**61), st.integers(0, 60))
def test_shift_rounds_to_nearest_and_ties_up(value: int, shift: int) -> None:
    assert round_shift(value, shift) == (value + (1 << shift >> 1)) >> shift


@given(st.integers(0, 2**62))
def test_bit_length(value: int) -> None:
    assert bit_length(np.array([value]))[0] == value.bit_length()


@pytest.mark.parametrize("power", range(63))
def test_bit_length_at_powers(power: int) -> None:
    below, at = bit_length(np.array([2**power - 1, 2**power]))
    assert (below, at) == (power, power + 1)


def test_saturate_keeps_what_fits() -> None:
    assert saturate(np.array([-129, -128, 0, 127, 128]), 8).tolist() == [-128, -128, 0, 127, 127]


@given(st.floats(1e-12, 1e12))
def test_multiplier_is_near(value: float) -> None:
    found = multiplier(value)
    assert 2**14 <= found.mantissa < 2**15
    assert abs(float(factor(found)) / value - 1) <= 2.0**-15


def test_multiplier_of_nothing() -> None:
    assert multiplier(0.0).mantissa == 0


@given(st.lists(st.integers(-(2**23), 2**23 - 1), min_size=1, max_size=9))
def test_operands_stand_for_their_vector(values: list[int]) -> None:
    x = np.array(values, np.int64)
    operands, exponent = quantise(x)
    assert np.abs(operands).max() <= 127
    error = np.abs((operands << exponent) - x)
    clipped = round_shift(np.abs(x), exponent) > 127
    assert (error <= np.where(clipped, 2**exponent, 2**exponent >> 1)).all()
    assert exponent == 0 or np.abs(operands).max() >= 64


def test_sums_are_exact_beyond_single_precision() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.integers(-127, 128, (3, 5000)), rng.integers(-128, 128, (4, 5000))
    x[0], weight[0] = 127, -128
    wanted = [[sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) for column in weight] for row in x]
    assert accumulate(x, weight).tolist() == wanted


def test_requantise_adds_before_it_saturates() -> None:
    sums, mantissa = np.array([[1000, -1000, 2**30, 3]]), np.full(4, 2**14)
    assert requantise(sums, mantissa, 14, 16).tolist() == [[1000, -1000, 32767, 3]]
    assert requantise(sums, mantissa, 15, 16, bias=np.arange(4)).tolist() == [[500, -499, 32767, 5]]
    assert requantise(sums, mantissa, 14, 24, add=np.full((1, 4), -(2**30))).tolist()[0][2] == 0
    assert requantise(np.array([-(2**20)]), np.array([2**14]), 14, 8).tolist() == [-127]


def test_nibbles_decode_to_bytes() -> None:
    codes, steps = np.array([[-8, 7, 1, -1, 5]]), np.array([[16, 3, 2]])
    assert decode(codes, steps, 2).tolist() == [[-128, 112, 3, -3, 10]]


def test_inverse_root_over_all_mantissas() -> None:
    m = np.arange(2**14, 2**16)
    root, half = rsqrt.rsqrt(m)
    error = np.abs(np.ldexp(root.astype(float), -(15 + half)) * np.sqrt(m) - 1)
    assert error.max() <= rsqrt.ERROR
    assert root.min() >= 2**15 - 4
    assert root.max() <= 2**16


@given(st.integers(1, 2**62))
def test_inverse_root_of_any_integer(value: int) -> None:
    root, half = rsqrt.rsqrt(np.array([value]))
    assert abs(int(root[0]) / 2 ** (15 + int(half[0])) * math.sqrt(value) - 1) <= rsqrt.ERROR


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("spread", [3, 1e3, 1e6])
def test_norm_against_float64(mean: bool, spread: float) -> None:
    rng = np.random.default_rng(1)
    n, fraction = 96, 10
    x = rng.normal(0.5 * spread if mean else 0, spread, (20, n)).round().astype(np.int64)
    gamma, beta = rng.uniform(-2, 2, n), rng.normal(0, 1, n)
    shift = 20 - fraction + 10
    weight = np.round(gamma * math.sqrt(n) * 2.0 ** (shift - 20 + fraction)).astype(np.int64)
    one = multiplier(1 / n)
    norm = Norm(weight, shift, 1 << 10, np.round(beta * 2**fraction).astype(np.int64),
                (int(one.mantissa), int(one.shift)) if mean else None)  # fmt: skip
    centred = x - x.mean(axis=1, keepdims=True) if mean else x
    wanted = centred / np.sqrt(((centred**2).sum(1, keepdims=True) + 2**10) / n) * gamma + beta
    error = np.abs(normalise(x, norm) / 2**fraction - wanted)
    of_mean = (0.5 / spread) * np.abs(gamma) * 2 if mean else 0  # the mean is a whole unit of x
    assert (error <= np.abs(wanted) * 2.0**-11 + 2 * 2.0**-fraction + of_mean).all()


def test_rotary_against_float64() -> None:
    rng = np.random.default_rng(2)
    x, angle = rng.integers(-20000, 20000, (50, 8)), rng.uniform(0, 7, (50, 4))
    cosine, sine = (np.round(f(angle) * 2**14).astype(np.int64) for f in (np.cos, np.sin))
    turned = (x[:, :4] + 1j * x[:, 4:]) * np.exp(1j * angle)
    wanted = np.clip(np.concatenate([turned.real, turned.imag], 1), -32768, 32767)
    assert np.abs(rotate(x, cosine, sine) - wanted).max() <= 0.5 + 2 * 20000 * 2.0**-15


def test_softmax_against_float64() -> None:
    rng = np.random.default_rng(3)
    logs = rng.normal(0, 600, (40, 200)).astype(np.int64)
    seen = rng.random((40, 200)) < 0.8
    seen[:, 0] = True
    found = softmax.weights(logs, seen)
    shown = np.where(seen, logs, -np.inf)
    exact = np.exp2((shown - shown.max(1, keepdims=True)) / 256)
    assert np.abs(found / 127 - exact).max() <= 0.5 / 127 + 2.0**-15
    assert (found.max(axis=1) == 127).all()


def test_weights_vanish_from_eight_powers_on() -> None:
    far = np.arange(0, 3000)
    found = softmax.weights(-far, np.ones(3000, bool))
    assert found[0] == 127
    assert (np.diff(found) <= 0).all()
    assert found[7 * 256] == 1
    assert (found[8 * 256 :] == 0).all()


@given(st.integers(127, 127 * 2**17))
def test_division_is_within_its_bound(total: int) -> None:
    r, _bits = softmax.reciprocal(np.array([total]))
    assert 2**15 < r[0] <= 2**16
    for value in (-127, -1, 1, 100):  # constant values come back
        found = softmax.divide(np.array([[value * total]]), np.array([total]))[0, 0]
        assert abs(found - value * 256) <= 0.5 + abs(value) * 256 * 2.0**-15


@pytest.mark.parametrize("kind", gate.RANGE_BITS)
@pytest.mark.parametrize("fraction", [3, 8, 11, 15])
def test_gate_over_all_halves(kind: str, fraction: int) -> None:
    x = np.arange(-(2**15), 2**15)
    exact = np.array([gate.gate_function(kind, v) for v in np.clip(x / 2**fraction, -60, 60)])
    slope = 0.5 if kind != "silu" else 0.25
    floor = slope * 2.0 ** gate.RANGE_BITS[kind] / 2**16
    error = np.abs(gate.gate(x, fraction, kind) / gate.ONE - exact).max()
    assert error <= gate.ERROR[kind] + floor + 2.0**-15
    active = gate.activate(x, fraction, kind)
    assert np.abs(active - x * exact).max() <= 0.5 + np.abs(x).max() * (gate.ERROR[kind] + floor + 2.0**-15)


def test_gate_of_an_unknown_kind() -> None:
    with pytest.raises(Exception, match="no table for 'swish'"):
        gate.table("swish")


def test_first_of_equal_logits_wins() -> None:
    assert argmax(np.array([[1, 7, 7, 0], [3, 3, 3, 3]])).tolist() == [1, 0]
