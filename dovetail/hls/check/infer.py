"""A contract found by probing: run under sanitizers, and shrink ranges and extents until nothing complains."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.hls.check.shrink import Test
from dovetail.hls.check.stimulus import LEAF, leaf_range, stimuli
from dovetail.hls.design import ARRAY_MODES, ELEMENTS, SCALAR_MODES, Contract, Kind, Port
from dovetail.hls.harness import RUN, Call, Outcome, Program, Shape
from dovetail.hls.sandbox import Ran
from dovetail.hls.signature import Parameter

OPEN_EXTENT = 1024  # where the text does not say how much a pointer points to
PROBE_STEPS = 4_000_000
PROBING_S = 25.0  # seconds of runs after which a contract is taken as it is
SIZES = (
    (-64.0, 64.0),
    (0.0, 64.0),
    (1.0, 64.0),
    (0.0, 16.0),
    (1.0, 16.0),
    (1.0, 8.0),
    (1.0, 4.0),
    (0.0, 1.0),
    (1.0, 1.0),
)
INDICES = ((0.0, 255.0), (0.0, 63.0), (0.0, 15.0), (0.0, 7.0), (0.0, 3.0), (0.0, 1.0), (0.0, 0.0))
_INTERFACE = re.compile(r"#\s*pragma\s+HLS\s+INTERFACE\s+(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Probed:
    """A contract with what could not be settled about it."""

    contract: Contract
    doubts: tuple[str, ...] = ()


def interfaces(source: str) -> dict[str, tuple[str, int]]:
    """Mode and depth of every port that an interface pragma names; depth 0 when it says none."""
    out: dict[str, tuple[str, int]] = {}
    for match in _INTERFACE.finditer(source):
        words = re.sub(r"\s*=\s*", "=", match[1]).split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        modes = [word for word in (options.get("mode", ""), *words) if word.lower() in (*SCALAR_MODES, *ARRAY_MODES)]
        depth = options.get("depth", "0")
        if "port" in options and modes:
            out[options["port"]] = (modes[0].lower(), int(depth) if depth.isdigit() else 0)
    return out


def draft(program: Program, shapes: Sequence[Shape], source: str, call: str = "") -> Contract:
    """What the text and the compiler say, before anything ran."""
    told = interfaces(source)
    large = next((shape.elements for shape in shapes if shape.elements > ELEMENTS), 0)
    if large:
        raise DovetailError("a port is too large to try", where=program.signature.name,
                            why=f"{large:,} elements; at most {ELEMENTS:,} can be tried",
                            hint="a contract with a smaller shape")  # fmt: skip
    ports = tuple(
        _port(parameter, shape, *told.get(parameter.name, ("", 0)))
        for parameter, shape in zip(program.signature.parameters, shapes)
    )
    return Contract(program.signature.name, ports, program.signature.returns or "void", call=call)


def _port(parameter: Parameter, shape: Shape, mode: str, depth: int) -> Port:
    kind: Kind = {"A": "array", "S": "stream"}.get(shape.kind, "scalar")  # type: ignore[assignment]
    if kind == "scalar" and parameter.reference and not parameter.const:
        kind = "pointer"
    extents = {"array": (shape.elements or depth or OPEN_EXTENT,), "stream": (0,)}.get(kind, ())
    fixed = parameter.const or kind == "scalar"
    leaves = tuple(leaf for leaf in shape.leaves if LEAF.fullmatch(leaf)) or ("s32",)
    return Port(parameter.name, parameter.ctype, kind, "in" if fixed else "inout", extents, mode=mode, leaves=leaves)


def open_ended(program: Program, shapes: Sequence[Shape], source: str) -> set[str]:
    """Ports whose extent neither the text nor a depth gives."""
    told = interfaces(source)
    return {p.name for p, s in zip(program.signature.parameters, shapes)
            if s.kind == "A" and not s.elements and not told.get(p.name, ("", 0))[1]}  # fmt: skip


def infer(program: Program, shapes: Sequence[Shape], source: str, call: str = "") -> Probed:
    """A contract under which the program runs clean, with its doubts.

    Integer scalars, then integer arrays are narrowed until no sanitizer complains; streams get as many elements as
    are read; a pointer's extent becomes the smallest that is clean; what a call changes is an output, and an output
    whose former content does not matter is one only.
    """
    contract = draft(program, shapes, source, call)
    probe, doubts = Timed(**{name: getattr(program, name) for name in Program.__dataclass_fields__}), []
    probe.began.append(time.monotonic())
    try:
        contract = _streams(probe, contract)
        contract, clean = _narrowed(probe, contract)
        if not clean:
            doubts.append("no range of inputs was found on which it runs clean; the widest one is used")
        elif loose := open_ended(program, shapes, source):
            contract = _tightened(probe, contract, loose)
        contract = _directed(probe, contract)
    except Late:
        doubts.append(f"probing was stopped after {PROBING_S:g} s: what it had not come to is as the text says")
    return Probed(contract, tuple(doubts))


class Late(Exception):  # noqa: N818 # no error: there is a contract, only a rougher one
    """Probing has taken long enough."""


@dataclass(frozen=True, slots=True)
class Timed(Program):
    """A program that may be run for `PROBING_S` seconds in all."""

    began: list[float] = field(default_factory=list)

    def run(self, tests: Sequence[Sequence[Call]], **more: Any) -> tuple[list[Outcome], Ran]:
        """As `Program.run`; raises `Late` when the time is up."""
        left = PROBING_S - (time.monotonic() - self.began[0])
        if left <= 0:
            raise Late
        ran = Program.run(self, tests, limits=replace(RUN, wall_s=min(RUN.wall_s, left)), **more)
        if ran[1].stopped == "time":
            raise Late
        return ran


def good(outcome: Outcome) -> bool:
    """Whether a probe ended as a call should."""
    return outcome.end == "done"


def _ends(program: Program, contracts: Sequence[Contract], tests: int = 6) -> list[list[Outcome]]:
    """Each contract's tests, all in one run."""
    every = [stimuli(contract, tests, seed=7) for contract in contracts]
    flat = [test for tests_ in every for test in tests_]
    outcomes, _ = program.run(flat, budget=PROBE_STEPS, seconds=2.0, symbols=False)
    found = {outcome.index: outcome for outcome in outcomes}
    out, at = [], 0
    for tests_ in every:
        out.append([found[i] for i in range(at, at + len(tests_)) if i in found])
        at += len(tests_)
    return out


def _first_clean(program: Program, contracts: Sequence[Contract]) -> Contract | None:
    for contract, outcomes in zip(contracts, _ends(program, contracts)):
        if outcomes and all(good(outcome) for outcome in outcomes):
            return contract
    return None


def _streams(program: Program, contract: Contract) -> Contract:
    """Streams with as many elements as are read from them: doubled while one starves, for at most 4,096."""
    if not any(port.kind == "stream" for port in contract.ports):
        return contract
    small = _ranged(contract, _integer_scalar, (1.0, 16.0))
    for _ in range(14 * 3):
        outcomes = _ends(program, [small], 4)[0]
        hungry = {name for o in outcomes for kind, _, name in o.events if kind == "read-empty"}
        grown = [p for p in small.ports if p.kind == "stream" and p.name in hungry and p.shape[0] < 4096]
        if not grown:
            break
        for port in grown:
            small = small.with_port(replace(port, shape=(max(1, 2 * port.shape[0]),)))
    for port in small.ports:
        if port.kind == "stream" and port.shape[0] > 1:
            small = _trimmed(program, small, port)
    for port in small.ports:
        if port.kind == "stream" and port.shape[0] == 0:
            small = _offered(program, small, port)
    for port in small.ports:
        contract = contract.with_port(replace(contract.port(port.name), shape=port.shape, direction=port.direction))
    return contract


def _trimmed(program: Program, contract: Contract, port: Port) -> Contract:
    low, high = port.shape[0] // 2, port.shape[0]
    while high - low > 1:
        steps = sorted({low + (high - low) * k // 9 for k in range(1, 9)} - {low, high}) or [(low + high) // 2]
        tried = [contract.with_port(replace(port, shape=(n,))) for n in steps]
        starved = [
            any(e[0] == "read-empty" for o in outcomes for e in o.events) for outcomes in _ends(program, tried, 4)
        ]
        fits = [n for n, bad in zip(steps, starved) if not bad]
        high = min(fits) if fits else high
        low = max([n for n, bad in zip(steps, starved) if bad and n < high], default=low)
        if len(steps) == 1 and high != steps[0]:
            low = steps[0]
    return contract.with_port(replace(port, shape=(high,)))


def _offered(program: Program, contract: Contract, port: Port) -> Contract:
    """A stream that does not starve when empty: an output, or an input that is read while it lasts."""
    place = [p.name for p in contract.ports].index(port.name)
    offered = contract.with_port(replace(port, shape=(16,)))
    for outcome in _ends(program, [offered], 2)[0]:
        if outcome.end == "done" and outcome.outputs and len(outcome.outputs[0].get(place, ())) < 16 * len(port.leaves):
            return contract.with_port(replace(port, shape=(16,), direction="in"))
    return contract.with_port(replace(port, direction="out"))


def _integer_scalar(port: Port) -> bool:
    return port.kind == "scalar" and _integers(port)


def _integer_array(port: Port) -> bool:
    return port.kind in ("array", "stream", "pointer") and port.read and _integers(port)


def _integers(port: Port) -> bool:
    return any(leaf[0] in "sui" or leaf[0] == "I" for leaf in port.leaves)


def _ranged(contract: Contract, which: Callable[[Port], bool], limits: tuple[float, float]) -> Contract:
    ports = []
    for port in contract.ports:
        if which(port):
            low, high, _ = leaf_range(next(leaf for leaf in port.leaves if leaf[0] in "suiI"))
            port = replace(port, low=max(low, limits[0]), high=min(high, limits[1]))
        ports.append(port)
    return replace(contract, ports=tuple(ports))


def _narrowed(program: Program, contract: Contract) -> tuple[Contract, bool]:
    """The widest ranges of integers that run clean: scalars first, then arrays, then both; whether there are any."""
    if all(good(o) for o in _ends(program, [contract])[0]):
        return contract, True
    tried = [_ranged(contract, _integer_scalar, limits) for limits in SIZES]
    if any(map(_integer_scalar, contract.ports)) and (found := _first_clean(program, tried)):
        return found, True
    if not any(map(_integer_array, contract.ports)):
        return contract, False
    if found := _first_clean(program, [_ranged(contract, _integer_array, limits) for limits in INDICES]):
        return found, True
    for sizes in SIZES[2::2]:
        if found := _first_clean(program, [_ranged(_ranged(contract, _integer_scalar, sizes), _integer_array, limits)
                                           for limits in INDICES[::2]]):  # fmt: skip
            return found, True
    return contract, False


def _tightened(program: Program, contract: Contract, loose: set[str]) -> Contract:
    """Pointers with the smallest extents that stay clean."""
    for name in sorted(loose):
        port = contract.port(name)
        high, low = port.elements, 0
        while high - low > 1:
            steps = sorted({low + max(1, (high - low) * k // 13) for k in range(1, 13)} - {high})
            tried = [contract.with_port(replace(port, shape=(n,))) for n in steps]
            clean = [bool(os) and all(map(good, os)) for os in _ends(program, tried, 4)]
            high = min([n for n, ok in zip(steps, clean) if ok], default=high)
            low = max([n for n, ok in zip(steps, clean) if not ok and n < high], default=low)
            if not steps:
                break
        contract = contract.with_port(replace(port, shape=(high,)))
    return contract


def _directed(program: Program, contract: Contract) -> Contract:
    """Ports with the direction that two runs show: one as drawn, one with other content in the port."""
    tests = stimuli(contract, 6, seed=11)
    base, _ = program.run(tests, budget=PROBE_STEPS, seconds=2.0, symbols=False)
    for place, port in enumerate(contract.ports):
        if port.direction != "inout" or port.kind == "stream":
            continue
        other = stimuli(contract, 6, seed=13)
        changed = [[{**call, port.name: new[port.name]} for call, new in zip(*pair)] for pair in zip(tests, other)]
        again, _ = program.run(changed, budget=PROBE_STEPS, seconds=2.0, symbols=False)
        runs = [(a, b) for a, b in zip(base, again) if good(a) and good(b)]
        contract = contract.with_port(_direction(port, place, tests, changed, runs))
    return contract


def _direction(
    port: Port, place: int, first: Sequence[Test], second: Sequence[Test], runs: Sequence[tuple[Outcome, Outcome]]
) -> Port:
    written = read = False
    for a, b in runs:
        before = [first[a.index][0][port.name], second[b.index][0][port.name]]
        after = [o.outputs[0].get(place, ()) for o in (a, b)]
        touched = [i for i in range(min(map(len, after)))
                   if any(not _same(held[i], came[i]) for held, came in zip(before, after))]  # fmt: skip
        written |= bool(touched)
        read |= any(after[0][i] != after[1][i] for i in touched)
        read |= any(a.outputs[0][other] != b.outputs[0].get(other) for other in a.outputs[0] if other != place)
    if not written:
        return replace(port, direction="in")
    return replace(port, direction="inout" if read else "out")


def _same(value: object, text: str) -> bool:
    try:
        return bool(np.isclose(float(str(value)), float(text), rtol=1e-6, atol=0))
    except ValueError:
        return str(value) == text
