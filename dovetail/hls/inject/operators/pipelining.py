"""MLP, ILNU, DEP: pipelines within pipelines, loops inside kept rolled, dependences declared away."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dovetail.hls.inject.mutant import Mutant, change, operator
from dovetail.hls.inject.syntax import Edit, Loop, Pragma, Source, text


def _pipelined(source: Source) -> Iterator[tuple[Loop, Pragma]]:
    for loop in source.loops:
        for pragma in source.pragmas_of(loop.node):
            if pragma.directive == "pipeline" and not pragma.has("off"):
                yield loop, pragma


def _within(inner: Loop, outer: Loop) -> bool:
    return bool(outer.node.start_byte < inner.node.start_byte and inner.node.end_byte <= outer.node.end_byte)


@operator("pipeline-outer")
def outer(source: Source) -> Iterator[Mutant]:
    """A loop around a pipelined one is pipelined too, which lays the inner one out."""
    inner = [loop for loop, _ in _pipelined(source)]
    for loop in source.loops:
        below = [other for other in inner if other is not loop and _within(other, loop)]
        if below and loop not in inner and loop.body.type == "compound_statement":
            at = loop.body.start_byte + 1
            yield Mutant(
                "MLP",
                "pipeline-outer",
                (Edit(at, at, "\n#pragma HLS PIPELINE II=1"),),
                f"the loops over {loop.variable} and {below[0].variable} are both pipelined",
                source.line(at),
                loop.variable,
            )


@operator("unroll-partly")
def partly(source: Source) -> Iterator[Mutant]:
    """A loop inside a pipeline is unrolled by a factor only."""
    piped = [loop for loop, _ in _pipelined(source)]
    functions = {p.function for p in source.pragmas if p.directive == "pipeline"} - {loop.function for loop in piped}
    for loop in source.loops:
        pragma = next(
            (p for p in source.pragmas_of(loop.node) if p.directive == "unroll" and not p.has("factor")), None
        )
        held = any(_within(loop, outer) for outer in piped if outer is not loop) or loop.function in functions
        if pragma is None or not held or not loop.trip:
            continue
        for factor in [f for f in (1, 2, 4) if f < loop.trip and loop.trip % f == 0]:
            yield change(
                "ILNU",
                "unroll-partly",
                source,
                pragma.node,
                f"#pragma HLS UNROLL factor={factor}\n",
                f"the loop over {loop.variable} is unrolled by {factor} of {loop.trip}",
                loop.variable,
            )
        for factor in [f for f in (3, 5, 7) if f < loop.trip and loop.trip % f][:1]:
            yield change(
                "FND",
                "unroll-factor",
                source,
                pragma.node,
                f"#pragma HLS UNROLL factor={factor}\n",
                f"the loop over {loop.variable}: {loop.trip} steps by {factor}",
                loop.variable,
            )


@operator("dependence-false")
def dependence(source: Source) -> Iterator[Mutant]:
    """An array that one iteration writes and a later one reads is declared free of dependences."""
    for loop, pragma in _pipelined(source):
        known = {p.get("variable") for p in source.pragmas_of(loop.node) if p.directive == "dependence"}
        for array in source.arrays:
            written = re.search(
                rf"\b{re.escape(array.name)}(\[[^;=]*\])+\s*([-+*/|&^]?=(?!=)|\+\+|--)", text(loop.body)
            )
            if array.function == loop.function and written and array.name not in known:
                at = pragma.node.end_byte
                yield Mutant(
                    "DEP",
                    "dependence-false",
                    (Edit(at, at, f"#pragma HLS DEPENDENCE variable={array.name} inter false\n"),),
                    f"{array.name} is declared independent",
                    source.line(at - 1) + 1,
                    array.name,
                )


@operator("dependence-distance")
def distance(source: Source) -> Iterator[Mutant]:
    """A dependence of a known distance is declared to be none."""
    for pragma in source.pragmas:
        if pragma.directive == "dependence" and pragma.has("distance"):
            yield change(
                "DEP",
                "dependence-distance",
                source,
                pragma.node,
                f"#pragma HLS DEPENDENCE variable={pragma.get('variable')} inter false\n",
                f"{pragma.get('variable')} is declared independent",
                pragma.get("variable"),
            )
