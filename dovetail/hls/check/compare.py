"""Whether two outputs are equal: bit for bit, or within what the contract and the type allow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dovetail.hls.design import Contract, Port
from dovetail.hls.harness import Outcome

RELATIVE = {"f": 1e-5, "d": 1e-9, "h": 2e-2}  # of the largest value on the port: another order of summation is no bug
FIXED = {"q": 0.0, "Q": 0.0}


@dataclass(frozen=True, slots=True)
class Difference:
    """The first element that differs: where, what came out and what should have."""

    port: str
    call: int
    element: int
    got: str
    expected: str
    count: int = 1

    def __str__(self) -> str:
        where = f"{self.port}[{self.element}]" if self.element >= 0 else self.port
        more = f"; {self.count} elements differ" if self.count > 1 else ""
        return f"{where} is {self.got}, the oracle says {self.expected}{more}"


def first_difference(got: Outcome, expected: Outcome, contract: Contract) -> Difference | None:
    """Where two runs of one test differ first, or None."""
    for call, (ours, theirs) in enumerate(zip(got.outputs, expected.outputs)):
        for place, port in _compared(contract):
            if place not in theirs:  # an oracle need not speak of every port
                continue
            found = difference(ours.get(place, ()), theirs.get(place, ()), port, call)
            if found is not None:
                return found
    if len(got.outputs) != len(expected.outputs):
        return Difference("the design", min(len(got.outputs), len(expected.outputs)), -1, "stopped", "an answer")
    return None


def _compared(contract: Contract) -> Iterator[tuple[int, Port]]:
    """Ports whose content after the call matters, by place; the returned value is -1."""
    if contract.returns != "void":
        yield -1, Port("return", contract.returns, direction="out")
    for place, port in enumerate(contract.ports):
        if port.written or port.kind == "stream":
            yield place, port


def difference(got: Sequence[str], expected: Sequence[str], port: Port, call: int = 0) -> Difference | None:
    """Where two outputs of a port differ first, or None."""
    if tuple(got) == tuple(expected):
        return None
    if len(got) != len(expected):
        at = min(len(got), len(expected))
        return Difference(port.name, call, at, f"{len(got)} elements", f"{len(expected)} elements")
    leaves = port.leaves or ("",)
    scale = max((abs(v) for v in map(number, expected) if math.isfinite(v)), default=0.0)
    wrong = [i for i, (a, b) in enumerate(zip(got, expected)) if a != b and not _near(a, b, port, leaves, i, scale)]
    if not wrong:
        return None
    scalar = port.kind in ("scalar", "pointer")
    return Difference(port.name, call, -1 if scalar else wrong[0], got[wrong[0]], expected[wrong[0]], len(wrong))


def _near(got: str, expected: str, port: Port, leaves: Sequence[str], index: int, scale: float) -> bool:
    a, b = number(got), number(expected)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if math.isinf(a) or math.isinf(b):
        return a == b
    leaf = leaves[index % len(leaves)]
    real = leaf in RELATIVE or (not leaf and port.ctype in ("float", "double", "half"))
    allowed = port.atol + port.rtol * abs(b)
    if real and not allowed:
        allowed = RELATIVE.get(leaf or {"float": "f", "double": "d", "half": "h"}[port.ctype], 0.0) * max(scale, 1e-30)
    return abs(a - b) <= allowed


def number(text: str) -> float:
    """An output as a number; not a number where it is none."""
    if text.startswith("#"):
        return float(int(text[1:].replace(",", ""), 16))
    try:
        return float(text)
    except ValueError:
        return math.nan
