"""Inputs for a contract: corners, ramps, single impulses and random values, the same on every run."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from dovetail.hls.design import Contract, Port
from dovetail.hls.harness import Elements, Value

WIDE = 1 << 20  # a 32-bit integer nobody limited is tried up to here, and at its ends
TOKENS = 60_000  # values in all tests together


def leaf_range(leaf: str) -> tuple[float, float, float]:
    """Smallest and largest value of a leaf type, and its step: 1 for integers, 0 for floats.

    Leaves are written as the test driver does: ``s32 u8 b f d h``, ``i12`` and ``I12`` for `ap_int` and `ap_uint`,
    ``q16.4`` and ``Q16.4`` for `ap_fixed<16, 4>` and `ap_ufixed`.
    """
    if leaf in ("f", "d", "h"):
        return -8.0, 8.0, 0.0
    if leaf == "b":
        return 0, 1, 1
    signed = leaf[0] in "siq"
    width, integer = (int(part) for part in [*leaf[1:].split("."), leaf[1:]][:2])
    step = 2.0 ** (integer - width)
    low = -(2.0 ** (integer - 1)) if signed else 0.0
    return low, 2.0 ** (integer - signed) - step, step


def bounds(port: Port, leaf: str) -> tuple[float, float, float]:
    """What one leaf of a port may be: the type's range within the contract's."""
    low, high, step = leaf_range(leaf)
    if port.low is not None:
        low = port.low if step == 0 else max(low, port.low)
    if port.high is not None:
        high = port.high if step == 0 else min(high, port.high)
    return low, max(high, low), step


Values = np.ndarray[Any, np.dtype[np.float64]]
Fill = Callable[[np.random.Generator, int, float, float], Values]


def _uniform(rng: np.random.Generator, n: int, low: float, high: float) -> Values:
    return rng.uniform(low, high, n)


def _small(rng: np.random.Generator, n: int, low: float, high: float) -> Values:
    near = min(max(0.0, low), high)
    reach = min(high - low, 16.0)
    return np.asarray(np.clip(near + rng.uniform(-reach, reach, n), low, high))


def _scales(rng: np.random.Generator, n: int, low: float, high: float) -> Values:
    """Every order of magnitude equally often, both signs."""
    most = max(abs(low), abs(high), 1.0)
    values = rng.choice((-1.0, 1.0), n) * np.exp2(rng.uniform(-2, np.log2(most) + 1, n))
    return np.asarray(np.clip(values, low, high))


def _impulse(rng: np.random.Generator, n: int, low: float, high: float) -> Values:
    values = np.full(n, min(max(0.0, low), high))
    if n:
        values[rng.integers(n)] = rng.choice((low, high))
    return values


def _ramp(rng: np.random.Generator, n: int, low: float, high: float) -> Values:
    start = min(max(1.0, low), high)
    return np.asarray(low + np.mod(start - low + np.arange(n), max(high - low, 1.0) + 1e-9))


def _turns(rng: np.random.Generator, n: int, low: float, high: float) -> Values:
    return np.where(np.arange(n) % 2 == int(rng.integers(2)), low, high)


def _corners(rng: np.random.Generator, n: int, low: float, high: float) -> Values:
    return rng.choice((low, high, min(max(0.0, low), high), min(max(1.0, low), high)), n)


def _all(end: int) -> Fill:
    def fill(rng: np.random.Generator, n: int, low: float, high: float) -> Values:
        return np.full(n, (low, min(max(0.0, low), high), high)[end])

    return fill


FILLS: tuple[Fill, ...] = (
    _small, _uniform, _all(2), _all(0), _ramp, _scales, _impulse, _turns, _all(1), _corners, _uniform, _small,
    _scales, _uniform, _impulse, _corners,
)  # fmt: skip
SCALARS: tuple[Fill, ...] = (
    _all(2), _uniform, _all(2), _all(0), _small, _scales, _uniform, _all(2), _uniform, _corners, _small, _all(2),
    _uniform, _corners, _scales, _uniform,
)  # fmt: skip


def stimuli(contract: Contract, tests: int = 32, seed: int = 1) -> list[list[dict[str, Elements]]]:
    """Tests for a contract: lists of calls, each giving every port its elements.

    What an output holds before the call is part of the test: anything its type can hold.
    """
    per_test = contract.calls * sum(max(port.elements, 1) * max(len(port.leaves), 1) for port in contract.ports)
    tests = max(4, min(tests, TOKENS // max(per_test, 1)))
    return [[_call(contract, test, call, seed) for call in range(contract.calls)] for test in range(tests)]


def _call(contract: Contract, test: int, call: int, seed: int) -> dict[str, Elements]:
    name = zlib.crc32(contract.top.encode())
    rng = np.random.default_rng((seed, name, test, call))
    return {port.name: fill(port, rng, test + call) for port in contract.ports}


def fill(port: Port, rng: np.random.Generator, test: int) -> Elements:
    """The elements of one port in one test."""
    count = port.elements if port.kind in ("array", "stream") else 1
    leaves = port.leaves or ("s32",)
    if port.kind == "stream" and not port.read:
        return Elements.of((), len(leaves))
    scheme = (SCALARS if port.kind in ("scalar", "pointer") else FILLS)[test % len(FILLS)]
    columns = [_leaf(port, leaf, scheme, rng, count) for leaf in leaves]
    if len(columns) == 1:
        return Elements.of(columns[0], 1)
    return Elements.of([value for row in zip(*columns) for value in row], len(leaves))


def _leaf(port: Port, leaf: str, scheme: Fill, rng: np.random.Generator, count: int) -> list[Value]:
    low, high, step = bounds(port, leaf) if port.read else leaf_range(leaf)
    if port.values and port.read:
        return _typed(rng.choice(port.values, count), step)
    if port.order in ("distinct", "permutation") and port.read:
        span = count if port.order == "permutation" else int(min(high - low + 1, max(4 * count, 1)))
        return _typed(low + rng.permutation(max(span, count))[:count].astype(float), step)
    if not port.read:  # garbage, yet such that neither zero nor the fill pattern of the compiler is met
        return _typed(_uniform(rng, count, max(low, -WIDE), min(high, WIDE)), step)
    wide = leaf[0] in "sui" and leaf[1:].isdigit() and int(leaf[1:]) > 31
    reach = (max(low, -WIDE), min(high, WIDE)) if wide and scheme in (_uniform, _small, _ramp) else (low, high)
    values = scheme(rng, count, *reach)
    return _typed(np.sort(values) if port.order == "sorted" else values, step)


def _typed(values: np.ndarray, step: float) -> list[Value]:
    if step == 0:
        return [float(value) for value in values.astype(np.float32)]
    if step == 1:
        return [int(value) for value in np.rint(np.clip(values, -(2.0**63), 2.0**63))]
    return [float(value) for value in np.rint(values / step) * step]


def limited(port: Port, low: float, high: float) -> Port:
    """The port with its values kept within `low .. high`."""
    return replace(port, low=low, high=high)


LEAF = re.compile(r"[sub]\d*|[fdh]|[iI]\d+|[qQ]\d+\.-?\d+")
