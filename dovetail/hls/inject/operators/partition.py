"""APT, FND, DID: array partitions of another type, by a factor that does not divide, along another dimension."""

from __future__ import annotations

from collections.abc import Iterator

from dovetail.hls.inject.mutant import Mutant, change, operator
from dovetail.hls.inject.syntax import Array, Pragma, Source, value_of


def _partitions(source: Source) -> Iterator[tuple[Pragma, Array, int, int]]:
    """Partition pragmas with their array, dimension (from 1; 0 all) and factor (0 for complete)."""
    for pragma in source.pragmas:
        array = source.array(pragma.get("variable"), pragma.function) if pragma.directive == "array_partition" else None
        if array is not None and all(array.shape):
            factor = 0 if pragma.kind == "complete" else value_of(pragma.get("factor", "0"), source.constants) or 0
            yield pragma, array, value_of(pragma.get("dim", "1"), {}) or 0, factor


def _text(array: Array, kind: str, factor: int, dim: int) -> str:
    return (
        f"#pragma HLS ARRAY_PARTITION variable={array.name} {kind}{f' factor={factor}' if factor else ''} dim={dim}\n"
    )


@operator("partition-type")
def kind(source: Source) -> Iterator[Mutant]:
    """Cyclic becomes block, block cyclic; complete becomes two blocks or two cyclic banks."""
    for pragma, array, dim, factor in _partitions(source):
        others = {
            "cyclic": [("block", factor)],
            "block": [("cyclic", factor)],
            "complete": [("block", 2), ("cyclic", 2)],
        }[pragma.kind]
        for new, count in others:
            if dim and array.shape[dim - 1] % count:
                continue
            yield change(
                "APT",
                "partition-type",
                source,
                pragma.node,
                _text(array, new, count, dim or 1),
                f"{array.name}: {new} for {pragma.kind}",
                array.name,
            )


@operator("partition-factor")
def factor(source: Source) -> Iterator[Mutant]:
    """A factor that does not divide the extent; of an unrolled loop, one that does not divide the trip count."""
    for pragma, array, dim, old in _partitions(source):
        if dim == 0 or dim > len(array.shape):
            continue
        extent = array.shape[dim - 1]
        for new in [f for f in (3, 5, 7, old + 1, old - 1) if 1 < f < extent and extent % f and f != old][:3]:
            kind = "cyclic" if pragma.kind == "complete" else pragma.kind
            yield change(
                "FND",
                "partition-factor",
                source,
                pragma.node,
                _text(array, kind, new, dim),
                f"{array.name}: {extent} elements over {new} banks",
                array.name,
            )


@operator("partition-dimension")
def dimension(source: Source) -> Iterator[Mutant]:
    """Another dimension than the one accessed in parallel, or one that the array does not have."""
    for pragma, array, dim, old in _partitions(source):
        for new in range(1, len(array.shape) + 2):
            if new == dim or (new > len(array.shape) and dim == 0):
                continue
            yield change(
                "DID",
                "partition-dimension",
                source,
                pragma.node,
                _text(array, pragma.kind, old, new),
                f"{array.name}: dim={new} for dim={dim}",
                array.name,
            )
