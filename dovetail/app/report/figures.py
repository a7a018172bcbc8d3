"""Which functions draw, tell and tabulate each kind of section."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dovetail.app.report import (
    amounts,
    blocks,
    columns,
    crossover,
    measured,
    memory,
    parallel,
    pareto,
    reasons,
    roofline,
    timeline,
    winners,
)
from dovetail.app.report.data import (
    Amounts,
    Blocks,
    Columns,
    Crossover,
    Measured,
    Memory,
    Parallel,
    Pareto,
    Reasons,
    Roofline,
    Table,
    Timeline,
    Winners,
)
from dovetail.app.report.markup import Raw


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of figure is shown: its charts, its sentence, all its data, and the few rows that answer."""

    charts: Callable[[Any, str], Raw]
    says: Callable[[Any], str]
    table: Callable[[Any], Table]
    brief: Callable[[Any], Table]
    answer_first: bool = False  # whether the few rows stand open under the chart


KINDS: dict[type, Kind] = {
    Roofline: Kind(roofline.charts, roofline.says, roofline.table, roofline.table),
    Pareto: Kind(pareto.charts, pareto.says, pareto.table, pareto.brief),
    Memory: Kind(memory.charts, memory.says, memory.table, memory.brief),
    Crossover: Kind(crossover.charts, crossover.says, crossover.table, crossover.brief, answer_first=True),
    Measured: Kind(measured.charts, measured.says, measured.table, measured.table, answer_first=True),
    Blocks: Kind(blocks.charts, blocks.says, blocks.table, blocks.table),
    Columns: Kind(columns.charts, columns.says, columns.table, columns.table),
    Parallel: Kind(parallel.charts, parallel.says, parallel.table, parallel.brief),
    Amounts: Kind(amounts.charts, amounts.says, amounts.table, amounts.table),
    Winners: Kind(winners.charts, winners.says, winners.table, winners.brief),
    Reasons: Kind(reasons.charts, reasons.says, reasons.table, reasons.table, answer_first=True),
    Timeline: Kind(timeline.charts, timeline.says, timeline.table, timeline.table),
}
