"""The rules: each looks at one kind of pragma and says what does not fit, with the schedule that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dovetail.hls.check.pragmas.bursts import bursts
from dovetail.hls.check.pragmas.dependences import false_dependences
from dovetail.hls.check.pragmas.interfaces import interface_modes
from dovetail.hls.check.pragmas.model import Function
from dovetail.hls.check.pragmas.nests import inner_loops, nested_pipelines
from dovetail.hls.check.pragmas.orders import fifo_order
from dovetail.hls.check.pragmas.partitions import partition_factor, partition_shape, unroll_factor
from dovetail.hls.check.pragmas.tasks import dataflow_place
from dovetail.hls.check.report import Finding

Rule = Callable[[Function, Sequence[Function]], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    interface_modes, partition_factor, unroll_factor, partition_shape, dataflow_place, fifo_order, bursts,
    nested_pipelines, inner_loops, false_dependences,
)  # fmt: skip


def lint(functions: Sequence[Function]) -> list[Finding]:
    """Everything the rules say about a text's functions; at most one finding per line and class."""
    out: dict[tuple[str, int], Finding] = {}
    for function in functions:
        for rule in RULES:
            for finding in rule(function, functions):
                out.setdefault((finding.kind, finding.line), finding)
    return list(out.values())
