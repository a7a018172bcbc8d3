"""The performance model: which accesses meet in one cycle, on which bank, and the initiation interval that follows.

A pipelined loop starts an iteration every II cycles with all loops inside unrolled; a memory bank has two ports. The
interval an array forces is the largest number of distinct addresses that one iteration wants from one bank, halved.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dovetail.hls.check.pragmas.model import Access, Array, Function, Loop, Pragma
from dovetail.hls.check.pragmas.values import value_of
from dovetail.hls.signature import text, walk

PORTS = 2
COPIES = 4096  # unrolled copies of one access that are looked at


@dataclass(frozen=True, slots=True)
class Partition:
    """How an array is split: `kind` complete, cyclic or block, `factor` banks, along `dim` (1 the outermost, 0 all)."""

    kind: str
    factor: int
    dim: int

    def bank(self, address: Sequence[int], extents: Sequence[int]) -> tuple[int, ...]:
        """The bank an element lies in."""
        if self.dim == 0:
            return tuple(self._of(at, size) for at, size in zip(address, extents))
        if self.dim > len(address):
            return (0,)
        return (self._of(address[self.dim - 1], extents[self.dim - 1]),)

    def _of(self, index: int, size: int) -> int:
        if self.kind == "complete":
            return index
        if self.kind == "cyclic":
            return index % max(self.factor, 1)
        return index // max(-(-size // max(self.factor, 1)), 1)


def partition_of(pragma: Pragma, known: Mapping[str, int]) -> Partition:
    """What an ``array_partition`` or ``array_reshape`` asks for; the default is complete along the first dimension."""
    flags = pragma.flags | {pragma.options.get("type", "").lower()}
    kind = next((k for k in ("cyclic", "block", "complete") if k in flags), "complete")
    return Partition(kind, pragma.number("factor", known) or 0, _or(pragma.number("dim", known), 1))


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


@dataclass(frozen=True, slots=True)
class Region:
    """What one iteration of a pipelined or unrolled loop does at once; `target` is the interval asked for."""

    scope: Any
    line: int
    target: int
    pipelined: bool


def regions(function: Function) -> list[Region]:
    """Pipelined loops and functions, and unrolled loops outside of any of them."""
    out = []
    for pragma in function.pragmas:
        if pragma.name == "pipeline" and "off" not in pragma.flags:
            target = pragma.number("ii", function.known) or 1
            out.append(Region(pragma.scope, pragma.line, target, True))
    piped = [region.scope for region in out]
    for pragma in function.pragmas:
        loop = function.loop_of(pragma.scope) if pragma.name == "unroll" else None
        if loop is not None and not any(_holds(scope, loop.node) for scope in piped):
            out.append(Region(pragma.scope, pragma.line, 1, False))
    return out


def _holds(outer: Any, node: Any) -> bool:
    return bool(outer.start_byte <= node.start_byte and node.end_byte <= outer.end_byte)


def parallel_values(function: Function, loop: Loop, region: Region, known: Mapping[str, int]) -> list[int]:
    """The values a loop's counter takes at once: all in a pipelined region, `factor` of them when partly unrolled."""
    values = loop.values(known) or [0]
    unrolled = function.of(loop.node, "unroll")
    whole = region.pipelined and loop.node != region.scope and _holds(region.scope, loop.node)
    if unrolled:
        factor = unrolled[0].number("factor", function.known)
        return values[:factor] if factor else values
    return values if whole else values[:1]


def addresses(function: Function, access: Access, region: Region, shift: int = 0) -> set[tuple[int, ...]] | None:
    """The elements one access wants in one iteration; None when its indices depend on data."""
    known = dict(function.known)
    free: list[tuple[str, list[int]]] = []
    for loop in access.loops:
        if not loop.counter:
            continue
        together = parallel_values(function, loop, region, known)
        if len(together) > 1:
            free.append((loop.counter, together))
        else:
            values = loop.values(known) or [0]
            known[loop.counter] = values[min(shift, len(values) - 1)] if values else 0
    needed = resolved(function, access)
    spare = {name: 0 for index in access.indices for name in _names(index)
             if name not in known and name not in function.locals}  # fmt: skip
    out: set[tuple[int, ...]] = set()
    for combination in itertools.islice(itertools.product(*(values for _, values in free)), COPIES):
        here = {**spare, **known, **dict(zip((name for name, _ in free), combination))}
        _settle(here, needed)
        address = tuple(value_of(index, here) for index in access.indices)
        if any(at is None for at in address):
            return None
        out.add(tuple(int(at or 0) for at in address))
    return out


def resolved(function: Function, access: Access) -> list[tuple[str, Any]]:
    """Local variables an access's indices depend on, with their expressions, those needed first leading."""
    out: dict[str, Any] = {}

    def visit(node: Any, depth: int) -> None:
        for name in {text(n) for n in walk(node) if n.type == "identifier"}:
            if name in function.locals and name not in out and depth < 8:
                visit(function.locals[name], depth + 1)
                out[name] = function.locals[name]

    for index in access.indices:
        visit(index, 0)
    return list(out.items())


def _settle(known: dict[str, int], needed: Sequence[tuple[str, Any]]) -> None:
    for name, node in needed:
        value = value_of(node, known)
        if value is not None:
            known[name] = value


def _names(node: Any) -> Iterator[str]:
    for n in walk(node):
        if n.type == "identifier" and not any(c.type == "subscript_expression" for c in walk(node)):
            yield text(n)


def interval(function: Function, array: Array, region: Region, *partitions: Partition) -> int:
    """The initiation interval an array forces on a region; 1 when two ports of every bank are enough.

    Several partitions of one array split each other's banks.
    """
    inside = [a for a in function.accesses if a.array == array.name and _holds(region.scope, a.node)]
    worst = 1
    for shift in (0, 1):
        banks: dict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
        for access in inside:
            wanted = addresses(function, access, region, shift)
            for address in wanted if wanted is not None else {(0,) * max(len(array.extents), 1)}:
                if len(address) == len(array.extents):
                    bank = tuple(part for p in partitions for part in p.bank(address, array.extents))
                    banks[bank].add(address)
        most = max((len(held) for held in banks.values()), default=0)
        worst = max(worst, -(-most // PORTS))
    return worst


def order_of(function: Function, access: Access, limit: int = 4096, scope: Any = None) -> list[int] | None:
    """The flat addresses an access meets in the order of the program, at most `limit`; None when data decide them.

    Loops around `scope`, where one is given, stand at their first values.
    """
    extents = function.arrays[access.array].extents
    known = dict(function.known)
    needed = resolved(function, access)
    out: list[int] = []

    def descend(loops: Sequence[Loop], known: dict[str, int]) -> bool:
        if len(out) >= limit:
            return True
        if not loops:
            known = {**spare, **known}
            _settle(known, needed)
            address = [value_of(index, known) for index in access.indices]
            if any(at is None for at in address):
                return False
            flat = 0
            for at, size in zip(address, extents):
                flat = flat * max(size, 1) + int(at or 0)
            out.append(flat)
            return True
        values = loops[0].values(known)
        if values is None:
            if not loops[0].counter:
                return False
            values = list(range(16))  # a bound that the caller gives
        if scope is not None and not _holds(scope, loops[0].node):
            values = values[:1]
        return all(descend(loops[1:], {**known, loops[0].counter: at}) for at in values)

    spare = {name: 0 for index in access.indices for name in _names(index)
             if name not in known and name in function.scalars}  # fmt: skip
    return out if descend(access.loops, known) else None
