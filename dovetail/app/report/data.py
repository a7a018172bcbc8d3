"""What a report is made of: plain values, so that any verb can fill it and nothing here needs a model or a machine.

Numbers are SI; `unit` is a dimension of `dovetail.core.units` (``"s"``, ``"byte"``, ``"USD/Mtok"``), ``"%"`` for a
fraction shown in percent, ``"x"`` for a ratio, or a plain word. Infinite and missing (NaN) numbers are allowed
everywhere: they are left out of the drawing and shown in its table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Summary:
    """The first screen: what to do, what limits it, what it costs, how sure we are, and what to type next."""

    answer: str
    bottleneck: str
    price: str
    confidence: str
    next_command: str
    facts: Sequence[tuple[str, str]] = ()  # (name, value with unit), at most about eight


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """One operator: arithmetic intensity (flop/byte), attained flop/s, what bounds it, its share of the time."""

    name: str
    intensity: float
    flops_per_s: float
    bound: str  # "memory", "compute", "overhead"
    share: float | None = None  # in [0, 1]


@dataclass(frozen=True, slots=True)
class Roof:
    """Peaks by dtype (flop/s) and bandwidths by memory level (byte/s) of one machine."""

    name: str
    peaks: Mapping[str, float]
    bandwidths: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Roofline:
    """Figure: operators under the roof of one machine."""

    title: str
    roof: Roof
    points: Sequence[RooflinePoint]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """One design: two objectives, the group that colours it, and optional intervals (low, high) of each objective."""

    label: str
    x: float
    y: float
    group: str = ""
    on_front: bool = False
    winner: bool = False
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None
    broken: str = ""  # what a design that is not feasible is bound by; empty for a feasible one


@dataclass(frozen=True, slots=True)
class Pareto:
    """Figure: every design by two objectives, with the front and the winner; `of` designs, where not all are drawn."""

    title: str
    x_title: str
    x_unit: str
    y_title: str
    y_unit: str
    points: Sequence[ParetoPoint]
    x_better: Better = "lower"
    y_better: Better = "lower"
    note: str = ""
    of: int = 0
    front: int = 0  # designs of the front, where not all are drawn


@dataclass(frozen=True, slots=True)
class MemoryBar:
    """Bytes by part (weights, KV cache, activations …) against the bytes there are."""

    label: str
    parts: Mapping[str, float]
    capacity: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Figure: memory of each design, part by part, against its capacity."""

    title: str
    bars: Sequence[MemoryBar]
    note: str = ""


@dataclass(frozen=True, slots=True)
class CrossoverSeries:
    """Gain of one method (baseline time / its time) at one context length, for each batch."""

    method: str
    context: float
    batch: Sequence[float]
    gain: Sequence[float]


@dataclass(frozen=True, slots=True)
class Crossover:
    """Figure: at which batch does each method stop paying? `heat_method` is drawn as batch x context too."""

    title: str
    baseline: str
    series: Sequence[CrossoverSeries]
    heat_method: str = ""  # empty: the method whose answer changes most over batch and context
    note: str = ""


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """One prediction beside its measurement; `error` is predicted / measured - 1, worked out when ``None``."""

    what: str
    metric: str
    predicted: float
    low: float
    high: float
    measured: float
    unit: str
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Figure: predicted beside measured; `goal` is the error asked for (0.15 is 15 %)."""

    title: str
    rows: Sequence[MeasuredRow]
    goal: float = 0.15
    note: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a block diagram, and its place on a grid of four columns."""

    name: str
    note: str
    column: int
    row: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """Figure: the parts of a machine and what flows from which to which (by name)."""

    title: str
    blocks: Sequence[Block]
    flows: Sequence[tuple[str, str]]
    says: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A step of a timeline: its lane, its kind (which colours it), when it begins and ends."""

    name: str
    lane: str
    kind: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """Figure: what each engine is at, and when, in `unit`."""

    title: str
    unit: str
    bars: Sequence[Bar]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a chart of columns: its words, and the values that are stacked in it, by name."""

    label: str
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Columns:
    """Figure: stacked columns. Those after the first `limit` are beyond `beyond`, and a line parts them."""

    title: str
    x_title: str
    y_title: str
    unit: str
    columns: Sequence[Column]
    limit: int | None = None
    beyond: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One upright axis of parallel coordinates: a choice or an objective; names where it has `names`, else numbers."""

    name: str
    title: str
    unit: str = ""
    names: Sequence[str] = ()
    better: Better | None = None  # of an objective


@dataclass(frozen=True, slots=True)
class Strand:
    """One design in parallel coordinates: what it has on each axis, by the axis's name; an axis may be missing."""

    label: str
    values: Mapping[str, float | str]
    group: str = ""
    on_front: bool = False
    winner: bool = False


@dataclass(frozen=True, slots=True)
class Parallel:
    """Figure: designs across all choices and objectives, those of the front before the others."""

    title: str
    dimensions: Sequence[Dimension]
    strands: Sequence[Strand]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Amount:
    """One lying bar: its group, its words, its length, the part of it that is drawn solid, and what is said of it."""

    group: str
    label: str
    value: float
    part: float
    words: str


@dataclass(frozen=True, slots=True)
class Amounts:
    """Figure: lying bars in groups, all on one scale up to `full`; `whole` and `part` say what the lengths are."""

    title: str
    whole: str
    part: str
    full: float
    amounts: Sequence[Amount]
    says: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Won:
    """A cell of a map: what wins there, in lines of words (the first colours it), and by what value."""

    x: str
    y: str
    what: Sequence[str]
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Winners:
    """Figure: which design wins where two choices are fixed; cells without one are left empty."""

    title: str
    x_title: str
    y_title: str
    xs: Sequence[str]
    ys: Sequence[str]
    told: Sequence[str]  # what the lines of a cell are: recipe, machine
    metric: str
    unit: str
    cells: Sequence[Won]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a design is not chosen: how many times worse it is, by objective, than `against`; what would help."""

    asked: str
    design: str
    kind: Literal["breaks a constraint", "dominated", "on the front, not picked"]
    verdict: str
    factors: Mapping[str, float]
    against: str
    change: str


@dataclass(frozen=True, slots=True)
class Reasons:
    """Figure: designs that were not chosen, and why."""

    title: str
    reasons: Sequence[Reason]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A plain table; cells are text already formatted with units. Columns in `numeric` are set flush right.

    `more` counts the rows left out of `rows`, where there are too many to show.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[int] = ()
    note: str = ""
    more: int = 0


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands to copy: (what it does, command)."""

    title: str
    commands: Sequence[tuple[str, str]]
    note: str = ""


Section = (
    Roofline | Pareto | Memory | Crossover | Measured | Blocks | Timeline | Columns | Parallel | Amounts | Winners
    | Reasons | Table | Commands
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """One report: the summary first, then sections in the order given, then how it was made."""

    title: str
    summary: Summary
    sections: Sequence[Section] = ()
    manifest: Mapping[str, object] = field(default_factory=dict)
    subtitle: str = ""
