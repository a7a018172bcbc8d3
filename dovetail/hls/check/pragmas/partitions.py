"""FND, DID, APT: factors, dimensions and types of partitions against the extents and the accesses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dovetail.hls.check.pragmas.findings import found
from dovetail.hls.check.pragmas.model import Array, Function, Pragma, inside
from dovetail.hls.check.pragmas.schedule import (
    Partition,
    Region,
    addresses,
    interval,
    partition_of,
    regions,
)
from dovetail.hls.check.report import Finding


def partition_factor(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """FND: a factor that does not divide the extent it splits; DID: a dimension that is not there."""
    for pragma, array, partition in _partitions(function):
        rank = len(array.extents)
        if partition.dim > rank:
            yield found("DID", pragma.line, f"'{array.name}' has {rank} dimensions, not {partition.dim}",
                         f"extents {array.extents}")  # fmt: skip
            continue
        twice = next((q for q, a, p in _partitions(function) if a is array and q.line < pragma.line
                      and p.dim == partition.dim), None)  # fmt: skip
        if twice is not None and twice.name == pragma.name:
            message = f"'{array.name}' is split along dimension {partition.dim} twice"
            yield found("DID", pragma.line, message, f"first at line {twice.line}")
            continue
        if partition.kind == "complete":
            continue
        if not partition.factor:
            yield found(
                "APT", pragma.line, f"a {partition.kind} partition of '{array.name}' without a factor", "no banks"
            )
            continue
        sizes = array.extents if partition.dim == 0 else (array.extents[partition.dim - 1],)
        uneven = next((size for size in sizes if size and size % partition.factor), 0)
        if uneven and not _window(function, array, partition):
            whole, rest = divmod(uneven, partition.factor)
            message = f"factor {partition.factor} does not divide '{array.name}', {uneven} long"
            yield found("FND", pragma.line, message, f"{uneven} = {whole} x {partition.factor} + {rest}")


def _window(function: Function, array: Array, partition: Partition) -> bool:
    """Whether one iteration takes as many neighbours along the dimension as there are banks: a sliding window."""
    for region in regions(function):
        along: set[int] = set()
        for access in function.accesses:
            if access.array == array.name and inside(access.node, region.scope):
                wanted = addresses(function, access, region, 1) or set()
                along |= {address[partition.dim - 1] for address in wanted if len(address) >= max(partition.dim, 1)}
        if len(along) == partition.factor and max(along) - min(along) == partition.factor - 1:
            return True
    return False


def unroll_factor(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """FND: an unroll factor that does not divide the trip count: every copy then checks for the end."""
    for pragma in function.pragmas:
        loop = function.loop_of(pragma.scope) if pragma.name == "unroll" else None
        factor = pragma.number("factor", function.known)
        values = loop.values(function.known) if loop is not None else None
        if factor and values and len(values) % factor and "skip_exit_check" not in pragma.flags:
            whole, rest = divmod(len(values), factor)
            message = f"factor {factor} does not divide the {len(values)} iterations of the loop"
            yield found("FND", pragma.line, message, f"{len(values)} = {whole} x {factor} + {rest}")


def _partitions(function: Function) -> Iterator[tuple[Pragma, Array, Partition]]:
    for pragma in function.pragmas:
        array = function.arrays.get(pragma.options.get("variable", ""))
        if pragma.name in ("array_partition", "array_reshape") and array is not None:
            yield pragma, array, partition_of(pragma, function.known)


def partition_shape(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """APT, DID: another type, or another dimension, would serve the parallel accesses that this one does not."""
    every_region = regions(function)
    places = [r for r in every_region if not any(o.scope != r.scope and inside(o.scope, r.scope) for o in every_region)]
    for pragma, array, partition in _partitions(function):
        if partition.dim > len(array.extents) or not all(array.extents):
            continue
        if partition.kind != "complete" and not partition.factor:
            continue
        others = tuple(p for q, a, p in _partitions(function) if a is array and q is not pragma)
        for region in places:
            now = interval(function, array, region, partition, *others)
            if now <= region.target:
                continue
            better = _better(function, array, region, partition, others, now)
            if better is not None:
                kind, what, then = better
                message = f"{_said(partition)} of '{array.name}' does not serve its accesses: {what}"
                yield found(kind, pragma.line, message,
                             f"initiation interval {now} at line {region.line}, {then} with {what}")  # fmt: skip
                break


def _said(partition: Partition) -> str:
    factor = f" factor {partition.factor}" if partition.kind != "complete" else ""
    return f"{partition.kind}{factor} along dimension {partition.dim}"


def _better(
    function: Function,
    array: Array,
    region: Region,
    partition: Partition,
    others: tuple[Partition, ...],
    now: int,
) -> tuple[str, str, int] | None:
    tries: list[tuple[int, int, str, str]] = []
    for dim in range(1, len(array.extents) + 1):
        if dim != partition.dim and partition.dim != 0 and all(dim != other.dim for other in others):
            other = Partition(partition.kind, partition.factor, dim)
            tries.append((interval(function, array, region, other, *others), 0, "DID", f"dimension {dim}"))
    for kind in ("cyclic", "block", "complete"):
        if kind != partition.kind:
            extent = array.extents[max(partition.dim, 1) - 1]
            other = Partition(kind, partition.factor or _wanted(extent), partition.dim)
            name = "complete" if kind == "complete" else f"{kind} factor {other.factor}"
            tries.append((interval(function, array, region, other, *others), 1 + (kind == "complete"), "APT", name))
    best = min(tries, default=None)
    return (best[2], best[3], best[0]) if best is not None and best[0] < now else None


def _wanted(extent: int) -> int:
    return next((f for f in (4, 2, 8) if extent % f == 0), 1)
