"""The first model: index expressions over constant loop bounds, evaluated without running anything.

A pipelined loop starts an iteration when the fullest bank of every array can serve the last one's accesses; loops
inside it are laid out unless a pragma keeps them rolled. Indices that depend on data count as conflicts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from types import CodeType
from typing import Any

from dovetail.hls.inject.performance.access import Access, accesses
from dovetail.hls.inject.performance.hints import LOOPS, Hints, hints, loops_of
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
from dovetail.hls.inject.syntax import Source, read, text

UNKNOWN_TRIP = 8
MOST = 4096
_ALLOWED = (
    ast.Expression,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.UnaryOp,
    ast.USub,
    ast.UAdd,
    ast.Invert,
    ast.BinOp,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.FloorDiv,
    ast.Mod,
    ast.LShift,
    ast.RShift,
    ast.BitAnd,
    ast.BitOr,
    ast.BitXor,
)


@dataclass(frozen=True, slots=True)
class _Nest:
    """A source with the values its loops run over and the expressions its integer locals stand for."""

    source: Source
    spans: dict[int, tuple[str, list[int]]]
    locals: dict[tuple[str, str], str]
    given: frozenset[tuple[str, str]]


def analytic(source: str, top: str) -> Profile:
    """The profile of a design by reasoning about its text."""
    parsed = read(source)
    asked, nest = hints(parsed), _nest(parsed)
    groups: dict[tuple[str, int | None], list[Access]] = {}
    for access in accesses(parsed):
        unit = unit_of(access.loops, access.array.function or parsed.function_of(access.node), asked)
        groups.setdefault((parsed.function_of(access.node), unit), []).append(access)
    intervals: dict[int, int] = {}
    copies: dict[int, int] = {}
    cycles = 0
    for (_, unit), group in groups.items():
        interval, wide, took = _unit(nest, asked, unit, group, top)
        cycles += took
        if unit is not None:
            intervals[unit], copies[unit] = interval, wide
    ports = {a.name: a for a in parsed.arrays if a.parameter and a.function == top}
    reached: dict[str, list[Access]] = {name: [] for name in ports}
    for access in accesses(parsed):
        where, name = _owner(parsed, parsed.function_of(access.node), access.array.name)
        if where == top and name in reached:
            reached[name].append(access)
    walks = {name: _walk(nest, reached[name]) for name in ports}
    return Profile(
        cycles,
        intervals,
        copies,
        {n: mean_run(w) for n, w in walks.items()},
        {n: order_of(w, _size(ports[n].shape)) for n, w in walks.items()},
        _carried(nest, asked),
        {place: _tasks(parsed, place) for place in asked.dataflow},
        {n: _size(a.shape) for n, a in ports.items()},
    )


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total


def _nest(source: Source) -> _Nest:
    canonical = {loop.node.start_byte: loop for loop in source.loops}
    spans = {}
    for number, node in enumerate(loops_of(source)):
        loop = canonical.get(node.start_byte)
        values = loop.values() if loop else []
        spans[number] = (loop.variable if loop else "", values or list(range(UNKNOWN_TRIP)))
    named: dict[tuple[str, str], str] = {}
    for node in source.of("init_declarator"):
        value, name = node.child_by_field_name("value"), text(node.child_by_field_name("declarator"))
        if value is not None and value.type not in ("initializer_list", "argument_list"):
            named[source.function_of(node), name] = text(value)
    for node in source.of("assignment_expression", "update_expression"):
        left = node.child_by_field_name("left") or node.child_by_field_name("argument")
        if node.parent is None or node.parent.type != "for_statement":
            named.pop((source.function_of(node), text(left)), None)
    given = {
        (source.function_of(n), text(n.child_by_field_name("declarator")))
        for n in source.of("parameter_declaration")
        if n.child_by_field_name("declarator") is not None and n.child_by_field_name("declarator").type == "identifier"
    }
    return _Nest(source, spans, named, frozenset(given))


@cache
def _code(expression: str) -> tuple[CodeType, tuple[str, ...]] | None:
    """A C++ integer expression as Python code and its names; None when it is more than arithmetic."""
    plain = re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", expression).replace("/", "//").strip()
    try:
        tree = ast.parse(plain, mode="eval")
    except SyntaxError:
        return None
    if not all(isinstance(node, _ALLOWED) for node in ast.walk(tree)):
        return None
    names = tuple(dict.fromkeys(n.id for n in ast.walk(tree) if isinstance(n, ast.Name)))
    return compile(tree, "<index>", "eval"), names


def _value(nest: _Nest, function: str, expression: str, env: Mapping[str, int], deep: int = 0) -> int | None:
    found = _code(expression)
    if found is None or deep > 6:
        return None
    code, names = found
    known: dict[str, int] = {}
    for name in names:
        value: int | None = env.get(name)
        if value is None:
            value = nest.source.constants.get(name)
        if value is None and (function, name) in nest.locals:
            value = _value(nest, function, nest.locals[function, name], env, deep + 1)
        if value is None and (function, name) in nest.given:
            value = 0  # a scalar parameter: the same for all iterations
        if value is None:
            return None
        known[name] = value
    try:
        result = eval(code, {"__builtins__": {}}, known)
    except (ZeroDivisionError, ValueError, OverflowError):
        return None
    return result if isinstance(result, int) and abs(result) < 1 << 40 else None


def _points(nest: _Nest, loops: tuple[int, ...]) -> Iterator[dict[str, int]]:
    """Values of the variables of these loops, the last one fastest, at most `MOST`."""
    spans = [nest.spans[n] for n in loops]
    for values in islice(product(*(span[1] for span in spans)), MOST):
        yield {name: value for (name, _), value in zip(spans, values) if name}


def _unit(nest: _Nest, asked: Hints, unit: int | None, group: list[Access], top: str) -> tuple[int, int, int]:
    """Interval, accesses of an iteration, and cycles of one pipeline (or of what is in none)."""
    if unit is None:
        return 0, 0, sum(ROLLED * _trips(nest, access.loops) for access in group)
    rolled = sorted({n for a in group for n in _inner(a, unit) if _kept_rolled(nest, asked, n)})
    worst, wide = 1, 0
    for shift in (0, 1, -1):
        served: dict[str, set[tuple[int, ...]]] = {}
        unknown: dict[str, int] = {}
        wide = 0
        for access in group:
            inner = tuple(n for n in _inner(access, unit) if n not in rolled)
            outer = {
                name: values[shift if len(values) > 1 else 0]
                for name, values in (nest.spans[n] for n in access.loops if n not in inner)
                if name and values
            }
            for point in _points(nest, inner):
                wide += 1
                index = tuple(
                    _value(nest, nest.source.function_of(access.node), i, {**outer, **point}) for i in access.indices
                )
                if None in index:
                    unknown[access.array.name] = unknown.get(access.array.name, 0) + 1
                else:
                    served.setdefault(access.array.name, set()).add(index)  # type: ignore[arg-type]
        worst = max(worst, *(_interval(nest, asked, access, served, unknown, top) for access in group))
    trips = _trips(nest, tuple(sorted({n for a in group[:1] for n in a.loops if n <= unit or unit < 0})))
    if rolled:
        trips *= _trips(nest, tuple(rolled))
        return worst, wide, trips * (worst + ROLLED)
    interval = max(worst, asked.pipelined.get(unit, 1))
    return interval, wide, trips * interval + DEPTH


def _interval(
    nest: _Nest,
    asked: Hints,
    access: Access,
    served: dict[str, set[tuple[int, ...]]],
    unknown: dict[str, int],
    top: str,
) -> int:
    array, function = access.array, nest.source.function_of(access.node)
    where, name = _owner(nest.source, function, array.name)
    splits = asked.splits.get((where, name), ()) or asked.splits.get((function, array.name), ())
    ports = ports_of(name, where == top, asked)
    return conflicts(served.get(array.name, ()), array.shape, splits, ports) + -(
        -unknown.get(array.name, 0) // ports
    ) * bool(unknown.get(array.name, 0) and not _registers(array.shape, splits))


def _registers(shape: tuple[int, ...], splits: tuple[Any, ...]) -> bool:
    from dovetail.hls.inject.performance.hints import bank_of

    return bank_of((0,) * len(shape), shape, splits) is None


def _owner(source: Source, function: str, name: str) -> tuple[str, str]:
    """The array of the caller that a parameter stands for, followed upwards along the first call found."""
    for _ in range(4):
        array = source.array(name, function)
        if array is None or not array.parameter:
            return function, name
        places = [text(p.child_by_field_name("declarator")) for p in _parameters(source, function)]
        place = next((i for i, t in enumerate(places) if re.search(rf"\b{re.escape(name)}\b", t)), -1)
        call = next(
            (n for n in source.of("call_expression") if text(n.child_by_field_name("function")) == function), None
        )
        if call is None or place < 0:
            return function, name
        arguments = call.child_by_field_name("arguments").named_children
        function, name = (
            source.function_of(call),
            text(arguments[place]).split("[")[0] if place < len(arguments) else name,
        )
    return function, name


def _parameters(source: Source, function: str) -> list[Any]:
    return [n for n in source.of("parameter_declaration") if source.function_of(n) == function]


def _inner(access: Access, unit: int) -> tuple[int, ...]:
    return access.loops if unit < 0 else tuple(n for n in access.loops[access.loops.index(unit) + 1 :])


def _kept_rolled(nest: _Nest, asked: Hints, loop: int) -> bool:
    factor = asked.unrolled.get(loop, 0)
    return 0 < factor < len(nest.spans[loop][1])


def _trips(nest: _Nest, loops: tuple[int, ...]) -> int:
    total = 1
    for n in loops:
        total *= len(nest.spans[n][1])
    return total


def _walk(nest: _Nest, group: list[Access]) -> list[int]:
    """Flat places in the order of time as far as the text tells: site by site, loops in order; unknown ones jump."""
    out: list[int] = []
    jump = 0
    for access in group:
        function = nest.source.function_of(access.node)
        for point in _points(nest, access.loops):
            flat = 0
            for expression, extent in zip(access.indices, access.array.shape):
                index = _value(nest, function, expression, point)
                if index is None:
                    jump += 1 << 20
                    index = jump
                flat = flat * max(1, extent) + index
            out.append(flat)
    return out


def _carried(nest: _Nest, asked: Hints) -> dict[tuple[int, str], int]:
    """For pipelined innermost loops: the least distance between a write of an element and a later read of it."""
    out: dict[tuple[int, str], int] = {}
    every = accesses(nest.source)
    for loop in asked.pipelined:
        here = [a for a in every if loop in a.loops]
        for write in (a for a in here if a.writes):
            for other in (a for a in here if a.reads and a.array.name == write.array.name):
                distance = _distance(nest, loop, write, other)
                key = (loop, write.array.name)
                if distance and distance < out.get(key, 1 << 30):
                    out[key] = distance
    return out


def _distance(nest: _Nest, loop: int, write: Access, other: Access) -> int:
    variable, values = nest.spans[loop]
    function = nest.source.function_of(write.node)
    fixed = {name: span[0] for name, span in (nest.spans[n] for n in write.loops if n != loop) if name and span}
    last: dict[tuple[int | None, ...], int] = {}
    least = 0
    for step, value in enumerate(values[:256]):
        env = {**fixed, variable: value} if variable else fixed
        at = tuple(_value(nest, function, i, env) for i in other.indices)
        if None in at:
            return 1 if None in (_value(nest, function, i, env) for i in write.indices) else 0
        if at in last and step > last[at]:
            least = min(least or 1 << 30, step - last[at])
        to = tuple(_value(nest, function, i, env) for i in write.indices)
        if None in to:
            return 1
        last[to] = step
    return least


def _tasks(source: Source, place: tuple[str, int]) -> int:
    """How many tasks a dataflow region has: calls and loops of its body, when it has nothing else that acts."""
    function, loop = place
    if loop == -2:
        return 0
    nodes = (
        loops_of(source)
        if loop >= 0
        else [n for n in source.of("function_definition") if source.function_of(n) == function]
    )
    body = (nodes[loop] if loop >= 0 else nodes[0]).child_by_field_name("body")
    known = {source.function_of(n) for n in source.of("function_definition")}
    count = 0
    for node in body.named_children:
        inner = node.named_children[-1] if node.type == "labeled_statement" else node
        if inner.type in LOOPS:
            count += 1
        elif inner.type == "expression_statement":
            call = inner.named_children[0] if inner.named_children else None
            if (
                call is None
                or call.type != "call_expression"
                or text(call.child_by_field_name("function")) not in known
            ):
                return 0
            count += 1
        elif inner.type in ("if_statement", "switch_statement"):
            return 0
    return count
