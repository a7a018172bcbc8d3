"""The second model: the design is run once, what it touches is written down, and hardware is replayed over that.

It never looks at an index expression or a loop bound. A pipeline's interval is the mean over its iterations of the
cycles that the fullest bank needed for the addresses really touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from shutil import copyfile
from typing import Any

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.hls.compile import Build, compile_to, link
from dovetail.hls.design import Design
from dovetail.hls.inject.batch import HERE, call_text, hoisted
from dovetail.hls.inject.inputs import drawn_for, packed
from dovetail.hls.inject.performance.access import accesses
from dovetail.hls.inject.performance.hints import LOOPS, Hints, hints
from dovetail.hls.inject.performance.profile import (
    DEPTH,
    ROLLED,
    Profile,
    conflicts,
    mean_run,
    order_of,
    ports_of,
    unit_of,
)
from dovetail.hls.inject.syntax import Array, Edit, Source, apply, read, text
from dovetail.hls.sandbox import Limits, run, workplace

BUILD = Build("-O0")
ITERATION, TOUCH, BORN, SIZE, ENTER, LEAVE = range(1, 7)


@dataclass(frozen=True, slots=True)
class Site:
    """A place of the text that touches an element: its function, its loops, what it does."""

    function: str
    loops: tuple[int, ...]
    reads: bool
    writes: bool


@dataclass(frozen=True, slots=True)
class Touch:
    """One element touched: by which site, of which array, where, and in which iteration of each loop around it."""

    site: int
    array: int
    place: int
    serials: tuple[int, ...]
    call: int


@dataclass(frozen=True, slots=True)
class Trace:
    """What was executed: touches in order, the arrays by number, and which functions ran inside which."""

    sites: tuple[Site, ...]
    arrays: tuple[Array, ...]
    touches: tuple[Touch, ...]
    inside: tuple[tuple[str, str], ...]
    rounds: tuple[tuple[int, int], ...]


def traced(design: Design, source: str) -> Profile:
    """The profile of a source that differs from the design in pragmas only, from the design's own run."""
    trace = trace_of(design) if _bare(source) == _bare(design.source) else trace_of(design.with_source(source))
    return replay(trace, read(source), design.contract.top)


def _bare(source: str) -> str:
    return " ".join(" ".join(line for line in source.splitlines() if not line.lstrip().startswith("#pragma")).split())


@cache
def trace_of(design: Design) -> Trace:
    """Run the design once under the tracer. Raises `DovetailError` when it does not compile or run."""
    source = read(design.source)
    sites = tuple(Site(source.function_of(a.node), a.loops, a.reads, a.writes) for a in accesses(source))
    test = drawn_for(design.contract, f"trace/{design.name}", 1)[-1:]
    with workplace() as work:
        for header in ("witness.h", "trace.h"):
            copyfile(HERE / header if header != "trace.h" else HERE / "performance" / header, work / header)
        (work / "t.cpp").write_text(_program(design, source))
        done = compile_to(work / "t.cpp", work / "t.o", BUILD)
        made = link([work / "t.o"], work / "t", BUILD) if done.output else done
        if made.output is None:
            why = made.errors[0].message if made.errors else ""
            raise DovetailError("cannot be traced", where=design.name or design.contract.top, why=why)
        ran = run([work / "t"], work, Limits(wall_s=30.0), stdin=packed(test))
        if not (work / "trace.bin").is_file():
            raise DovetailError("cannot be traced", where=design.name or design.contract.top, why=ran.err[-200:])
        events = np.fromfile(work / "trace.bin", dtype=np.uint64).reshape(-1, 2)
    return _trace(events, sites, tuple(source.arrays), _functions(source))


def _functions(source: Source) -> tuple[str, ...]:
    return tuple(dict.fromkeys(source.function_of(n) for n in source.of("function_definition")))


def _program(design: Design, source: Source) -> str:
    edits: list[Edit] = []
    for number, node in enumerate(source.of(*LOOPS)):
        body, note = node.child_by_field_name("body"), f"::dt::iteration({number});"
        if body.type == "compound_statement":
            edits.append(Edit(body.start_byte + 1, body.start_byte + 1, note))
        else:
            edits += [Edit(body.start_byte, body.start_byte, "{" + note), Edit(body.end_byte, body.end_byte, "}")]
    functions = _functions(source)
    for node in source.of("function_definition"):
        at = node.child_by_field_name("body").start_byte + 1
        edits.append(Edit(at, at, f"::dt::Scope dt_scope_({functions.index(source.function_of(node))});"))
    for number, array in enumerate(source.arrays):
        if not array.parameter and array.function:
            end = _statement(array.node).end_byte
            edits.append(Edit(end, end, f"::dt::born({number}, {array.name}, sizeof {array.name}, {_element(array)});"))
    for number, access in enumerate(accesses(source)):
        edits += [
            Edit(access.node.start_byte, access.node.start_byte, f"::dt::touch({number}, "),
            Edit(access.node.end_byte, access.node.end_byte, ")"),
        ]
    includes, body_text = hoisted(apply(source.source, edits))
    births = "".join(
        _birth(design, number, array)
        for number, array in enumerate(source.arrays)
        if array.function == design.contract.top and array.parameter
    )
    return "\n".join(
        [
            *includes,
            '#include "witness.h"',
            '#include "trace.h"',
            f"namespace m0 {{\n{body_text}\n}}",
            call_text(design, births),
            _MAIN % {"width": len(drawn_for(design.contract, "", 0)) and _width(design), "top": design.contract.top},
        ]
    )


def _statement(node: Any) -> Any:
    while node.type != "declaration":
        node = node.parent
    return node


def _element(array: Array) -> str:
    return f"sizeof({array.name}{'[0]' * len(array.shape)})"


def _birth(design: Design, number: int, array: Array) -> str:
    port = design.contract.port(array.name)
    return f"born({number}, p_{port.name}, sizeof({port.ctype}) * {port.elements}, sizeof({port.ctype}));"


def _width(design: Design) -> int:
    return design.contract.calls * sum(port.elements for port in design.contract.ports if port.read)


_MAIN = """
int main() {
    using namespace dt;
    shared = static_cast<Shared *>(calloc(1, sizeof(Shared)));
    std::vector<double> inputs(%(width)d + 1);
    if (fread(inputs.data(), sizeof(double), %(width)d, stdin) != %(width)d) return 2;
    Inputs in(inputs.data());
    call(&m0::%(top)s, in);
    save();
    return 0;
}
"""


def _trace(events: np.ndarray, sites: tuple[Site, ...], arrays: tuple[Array, ...], functions: tuple[str, ...]) -> Trace:
    serial: dict[int, int] = {}
    count = 0
    homes: dict[int, tuple[int, int, int]] = {}
    stack: list[str] = []
    touches: list[Touch] = []
    nested: dict[tuple[str, str], bool] = {}
    rounds: dict[int, int] = {}
    calls = pending = 0
    for what, value in events.tolist():
        kind, which = what & 255, what >> 8
        if kind == ITERATION:
            count += 1
            serial[which] = count
            rounds[which] = rounds.get(which, 0) + 1
        elif kind == TOUCH:
            site = sites[which]
            found = next(
                (
                    (a, (value - base) // size)
                    for a, (base, length, size) in homes.items()
                    if base <= value < base + length
                ),
                None,
            )
            if found:
                touches.append(Touch(which, found[0], found[1], tuple(serial.get(n, 0) for n in site.loops), calls))
        elif kind == BORN:
            pending, base_at = which, value
        elif kind == SIZE:
            homes.pop(pending, None)
            homes = {a: h for a, h in homes.items() if not (h[0] < base_at + value and base_at < h[0] + h[1])}
            homes[pending] = (base_at, value, which)
        elif kind == ENTER:
            calls += 1
            if stack:
                nested[stack[-1], functions[which]] = True
            stack.append(functions[which])
        elif stack:
            stack.pop()
    return Trace(sites, arrays, tuple(touches), tuple(nested), tuple(rounds.items()))


def replay(trace: Trace, source: Source, top: str) -> Profile:
    """What hardware with the pragmas of `source` makes of an execution."""
    asked = hints(source)
    units: dict[tuple[str, int | None], dict[object, list[Touch]]] = {}
    for touch in trace.touches:
        site = trace.sites[touch.site]
        unit = unit_of(site.loops, site.function, asked)
        units.setdefault((site.function, unit), {}).setdefault(_iteration(asked, site, touch, unit), []).append(touch)
    intervals, copies, cycles = {}, {}, 0
    for (_, unit), steps in units.items():
        if unit is None:
            cycles += sum(ROLLED * len(step) for step in steps.values())
            continue
        rolled = any(isinstance(key, tuple) and key[1] for key in steps)
        served = [_served(trace, asked, step, top) for step in steps.values()]
        intervals[unit] = max(served)
        copies[unit] = max(len(step) for step in steps.values())
        floor = asked.pipelined.get(unit, 1)
        cycles += sum(max(floor, s) for s in served) + DEPTH if not rolled else sum(s + ROLLED for s in served)
    return Profile(
        cycles,
        intervals,
        copies,
        *_ports(trace, top),
        _carried(trace, asked),
        {place: _overlap(trace, source, place) for place in asked.dataflow},
        _touched(trace, top),
    )


def _iteration(asked: Hints, site: Site, touch: Touch, unit: int | None) -> object:
    """Which step of its pipeline a touch belongs to; with a loop kept rolled inside, the step of that loop."""
    if unit is None:
        return touch.serials
    first = site.loops.index(unit) if unit >= 0 else -1
    inner = range(first + 1, len(site.loops))
    part = tuple(
        touch.serials[i] // asked.unrolled[site.loops[i]] for i in inner if asked.unrolled.get(site.loops[i], 0) > 0
    )
    return ((touch.serials[first] if unit >= 0 else touch.call), part)


def _served(trace: Trace, asked: Hints, step: list[Touch], top: str) -> int:
    by_array: dict[int, set[tuple[int, ...]]] = {}
    for touch in step:
        by_array.setdefault(touch.array, set()).add(_index(touch.place, trace.arrays[touch.array].shape))
    worst = 1
    for number, elements in by_array.items():
        array = trace.arrays[number]
        splits = asked.splits.get((array.function, array.name), ())
        worst = max(worst, conflicts(elements, array.shape, splits, ports_of(array.name, array.function == top, asked)))
    return worst


def _index(place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    out: list[int] = []
    for extent in reversed(shape[1:]):
        place, rest = divmod(place, max(1, extent))
        out.insert(0, rest)
    return (place, *out)


def _of_port(trace: Trace, top: str) -> Iterator[tuple[str, list[Touch], tuple[int, ...]]]:
    for number, array in enumerate(trace.arrays):
        if array.parameter and array.function == top:
            yield array.name, [t for t in trace.touches if t.array == number], array.shape


def _ports(trace: Trace, top: str) -> tuple[dict[str, float], dict[str, str]]:
    bursts, orders = {}, {}
    for name, touches, shape in _of_port(trace, top):
        places = [t.place for t in touches]
        extent = int(np.prod(shape)) if all(shape) else 0
        bursts[name], orders[name] = mean_run(places), order_of(places, extent)
    return bursts, orders


def _touched(trace: Trace, top: str) -> dict[str, int]:
    return {name: len({t.place for t in touches}) for name, touches, _ in _of_port(trace, top)}


def _carried(trace: Trace, asked: Hints) -> dict[tuple[int, str], int]:
    out: dict[tuple[int, str], int] = {}
    for loop in asked.pipelined:
        steps: dict[tuple[int, ...], dict[int, int]] = {}
        written: dict[tuple[object, int, int], int] = {}
        for touch in trace.touches:
            site = trace.sites[touch.site]
            if loop not in site.loops:
                continue
            at = site.loops.index(loop)
            round_ = (touch.call, *touch.serials[:at])
            step = steps.setdefault(round_, {}).setdefault(touch.serials[at], len(steps[round_]))
            before = written.get((round_, touch.array, touch.place))
            if site.reads and before is not None and step > before:
                key = (loop, trace.arrays[touch.array].name)
                out[key] = min(out.get(key, 1 << 30), step - before)
            if site.writes:
                written[round_, touch.array, touch.place] = step
    return out


def _overlap(trace: Trace, source: Source, place: tuple[str, int]) -> int:
    """Functions that ran directly under the region's function, and loops that ran in it outside any other loop."""
    function, loop = place
    if loop == -2:
        return 0
    called = {inner for outer, inner in trace.inside if outer == function}
    rounds = dict(trace.rounds)
    alone = 0
    for number, node in enumerate(source.of(*LOOPS)):
        outer = node.parent
        while outer is not None and outer.type not in (*LOOPS, "function_definition"):
            outer = outer.parent
        directly = outer is not None and (source.function_of(outer) == function and outer.type == "function_definition")
        alone += bool(directly and rounds.get(number))
    if loop >= 0:
        span = list(source.of(*LOOPS))[loop]
        return sum(name + "(" in text(span) for name in called)
    return len(called) + alone
