"""Inputs for witnesses: a few corners of the contract, then values drawn inside it.

The generator is the witness side's own (SplitMix64); what checks designs draws elsewhere.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from itertools import islice

from dovetail.hls.design import Contract, Port

Test = tuple[tuple[float, ...], ...]  # for each call and each port that is read: its elements
CORNERS = ("low", "high", "ramp", "ends")
DRAWN = 10
_MASK = (1 << 64) - 1


def stream_of(seed: str) -> Iterator[float]:
    """Uniform numbers in [0, 1), the same for the same text."""
    state = int.from_bytes(hashlib.sha256(f"witness:{seed}".encode()).digest()[:8], "little")
    while True:
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        yield ((z ^ (z >> 31)) >> 11) / (1 << 53)


def drawn_for(contract: Contract, seed: str, drawn: int = DRAWN) -> tuple[Test, ...]:
    """The corners of a contract and `drawn` random tests, the same for the same seed."""
    kinds = (*CORNERS, *(f"drawn{i}" for i in range(drawn)))
    return tuple(_test(contract, kind, stream_of(f"{seed}/{kind}")) for kind in kinds)


def read_ports(contract: Contract) -> tuple[Port, ...]:
    """The ports that hold something before a call."""
    return tuple(port for port in contract.ports if port.read)


def _test(contract: Contract, kind: str, draw: Iterator[float]) -> Test:
    return tuple(_elements(port, kind, draw) for _ in range(contract.calls) for port in read_ports(contract))


def _elements(port: Port, kind: str, draw: Iterator[float]) -> tuple[float, ...]:
    low, high = port.low if port.low is not None else 0.0, port.high if port.high is not None else 1.0
    count, whole = port.elements, _whole(port.ctype)
    raw = _raw(kind, count, draw)
    if port.values:
        return tuple(port.values[min(int(u * len(port.values)), len(port.values) - 1)] for u in raw)
    if port.order == "permutation":
        drawn = list(islice(draw, count))
        return tuple(low + i for i in sorted(range(count), key=lambda i: (drawn[i], i)))
    values = [_between(low, high, u, whole) for u in raw]
    if port.order == "sorted":
        values.sort()
    if port.order == "distinct":
        values = _distinct(values, low, high)
    return tuple(values)


def _raw(kind: str, count: int, draw: Iterator[float]) -> list[float]:
    if kind == "low":
        return [0.0] * count
    if kind == "high":
        return [1.0] * count
    if kind == "ramp":
        return [i / max(1, count - 1) for i in range(count)]
    drawn = list(islice(draw, count))
    return [round(u) * 1.0 for u in drawn] if kind == "ends" else drawn


def _between(low: float, high: float, u: float, whole: bool) -> float:
    if whole:
        return float(min(int(high), int(low) + int(u * (int(high) - int(low) + 1))))
    return struct.unpack("f", struct.pack("f", low + u * (high - low)))[0]  # type: ignore[no-any-return]


def _distinct(values: list[float], low: float, high: float) -> list[float]:
    seen: set[float] = set()
    out = []
    for value in values:
        while value in seen and len(seen) <= high - low:
            value = low if value + 1 > high else value + 1
        seen.add(value)
        out.append(value)
    return out


def _whole(ctype: str) -> bool:
    return not any(part in ctype for part in ("float", "double", "half", "fixed"))


def packed(tests: tuple[Test, ...]) -> bytes:
    """The tests as the witness program reads them: little-endian doubles, one after the other."""
    flat = [value for test in tests for elements in test for value in elements]
    return struct.pack(f"<{len(flat)}d", *flat)
