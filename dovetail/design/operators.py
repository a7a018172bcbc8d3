"""Where the time of an estimate goes: its operators, what binds each, and how far each is from the speed of light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dovetail.core.quantity import Kind, Quantity, exact
from dovetail.cost import GraphCost, OperatorCost
from dovetail.cost.gpu import lent
from dovetail.cost.light import speed_of_light_s
from dovetail.design.estimate import MODEL, Estimate
from dovetail.design.trust import Trust
from dovetail.model.graph import Graph
from dovetail.model.host_transfer import HostTransfer
from dovetail.model.operators import Collective, Operator

OVERHEAD = "step overhead"
_SAME = 9  # digits to which calls of two kinds of layer take the same time


@dataclass(frozen=True, slots=True)
class Row:
    """Equal calls of one step: the same operator in all layers where it takes the same time.

    Parameters
    ----------
    phase : str
        ``images``, ``prefill`` or ``decode``.
    count : int
        Calls in one step.
    time : Quantity
        Seconds of all of them, with the range of what priced them.
    share : float
        Of the step's time.
    bound : str
        ``compute``, ``memory``, ``link`` or ``launch``; ``host`` for the step's own fixed time.
    light : Quantity or None
        Seconds at the speed of light; None for what does no work on the chip.
    model, source : str
        What priced them (family and entry of the kernel constants, or ``roofline``), and where its constants are from.
    """

    phase: str
    name: str
    count: int
    time: Quantity
    share: float
    bound: str
    light: Quantity | None
    model: str
    source: str

    @property
    def of_light(self) -> float | None:
        """Speed over the speed of light; above 1 where operands stay in a cache."""
        return self.light.value / self.time.value if self.light and self.time.value else None

    def to_json(self) -> dict[str, Any]:
        """The row of ``dovetail estimate --explain operators --json``."""
        return {
            "phase": self.phase, "name": self.name, "count": self.count, "time": self.time.to_json(),
            "share": self.share, "bound": self.bound, "of_light": self.of_light,
            "speed_of_light": self.light.to_json() if self.light else None, "model": self.model, "source": self.source,
        }  # fmt: skip


def operators(estimate: Estimate) -> tuple[Row, ...]:
    """Rows of each phase of a scalar estimate, in the order of `phases`, the longest first.

    The rows of a phase add up to its time: images and prefill to ``ttft``, decode to the step that ``tpot`` is of.
    """
    return tuple(
        row
        for phase, (graph, cost) in phases(estimate).items()
        for row in sorted(_rows(estimate, phase, graph, cost), key=lambda row: -row.time.value)
    )


def phases(estimate: Estimate) -> dict[str, tuple[Graph, GraphCost]]:
    """The graph and the cost of every phase."""
    found, steps = {}, estimate.steps
    if steps.image_graph is not None and steps.images is not None:
        found["images"] = (steps.image_graph, steps.images)
    return found | {"prefill": (steps.prefill_graph, steps.prefill), "decode": (steps.decode_graph, steps.decode)}


def _rows(estimate: Estimate, phase: str, graph: Graph, cost: GraphCost) -> Iterator[Row]:
    whole, machine = float(cost.time_s), estimate.machine
    groups: dict[tuple[Any, ...], list[tuple[Operator, OperatorCost]]] = {}
    on_path = (pair for pair in zip(graph.operators, cost.operators, strict=True) if pair[1].repeat)
    for operator, priced in on_path:
        each = f"{float(priced.time_s) / priced.repeat:.{_SAME}e}"
        key = (operator.name.partition("@")[0], _suffix(operator), priced.model, priced.dtype, priced.bound, each)
        groups.setdefault(key, []).append((operator, priced))
    kinds = {key[:2]: sum(other[:2] == key[:2] for other in groups) for key in groups}
    for key, members in groups.items():
        name = members[0][0].name if kinds[key[:2]] > 1 else "".join(key[:2])
        yield _row(estimate, phase, name, members, whole)
    source = machine.source("stack.step")
    fixed = Quantity(
        *_range(float(machine.stack.step_s * cost.passes), estimate.trust.factor("tpot")), "s", source.kind, source.text
    )
    if fixed.value:
        yield Row(
            phase, OVERHEAD, round(float(cost.passes)), fixed, fixed.value / whole, "host", None, "stack", source.text
        )


def _suffix(operator: Operator) -> str:
    """What follows the kind of layer: the collective after a product."""
    after = operator.name.partition("@")[2].partition(".")[2]
    return f".{after}" if after else ""


def _row(
    estimate: Estimate, phase: str, name: str, members: list[tuple[Operator, OperatorCost]], whole: float
) -> Row:  # fmt: skip
    operator, priced = members[0]
    machine, model = estimate.machine, priced.model
    time_s = sum(float(cost.time_s) for _, cost in members)
    light_s = sum(float(speed_of_light_s(each, machine)) * (cost.repeat / each.repeat) for each, cost in members)
    ways = estimate.plan.group(machine, estimate.model) if isinstance(operator, Collective) else 1
    hosted, others = isinstance(operator, HostTransfer), tuple(filter(None, [lent(operator, machine)]))
    known = Trust(machine, ways, (priced.dtype,), (model,), others, hosted)
    text = machine.source(_constants(operator, model, ways)).text
    time = Quantity(*_range(time_s, known.factor("tpot")), "s", known.kind("tpot"), f"{MODEL}, {model}: {text}")
    light = (
        None
        if hosted
        else exact(light_s, "s", _peaks(estimate, priced.dtype), "FLOPs at dense peak or bytes at full bandwidth")
    )
    count = sum(cost.repeat for _, cost in members)
    return Row(phase, name, count, time, time_s / whole, priced.bound, light, _priced_by(operator, model), text)


def _constants(operator: Operator, model: str, ways: int) -> str:
    """The path of the constants that a time rests on."""
    if isinstance(operator, Collective) and ways > 1:
        return "fabric"
    if isinstance(operator, HostTransfer):
        return "host_link"
    return "efficiency" if model == "roofline" else f"kernels.{model}"


def _priced_by(operator: Operator, model: str) -> str:
    if isinstance(operator, HostTransfer):
        return "host_link"
    return "fabric" if isinstance(operator, Collective) else model


def _peaks(estimate: Estimate, dtype: str) -> Kind:
    return estimate.machine.source(f"peak.{dtype}").kind


def _range(value: float, factor: float) -> tuple[float, float, float]:
    return value, value / factor, value * factor
