"""How the operators of an estimate look in a terminal: a table for each phase, and where its constants are from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.app.output import folded
from dovetail.app.table import table
from dovetail.core.units import show

if TYPE_CHECKING:
    from dovetail.core.quantity import Quantity
    from dovetail.design import Estimate
    from dovetail.design.operators import Row

_SMALL = 0.01  # shares below are added up in one row
_HEADER = ["", "calls", "time", "range", "share", "bound by", "of light", "priced by"]


def operators_screen(found: Estimate, rows: tuple[Row, ...]) -> None:
    """Each phase's operators, the longest first, with its total; then what the columns rest on."""
    for phase in dict.fromkeys(row.phase for row in rows):
        _phase(found, phase, [row for row in rows if row.phase == phase])
    print(folded("of light    speed over that of FLOPs at dense peak or operands once at full bandwidth, caches aside"))
    texts: dict[str, list[str]] = {}
    for row in rows:
        texts.setdefault(row.source, []).append(row.model)
    for text, models in texts.items():
        print(folded(f"priced by   {', '.join(sorted(set(models)))}: {text}"))


def _phase(found: Estimate, phase: str, rows: list[Row]) -> None:
    large = [row for row in rows if row.share >= _SMALL]
    small = [row for row in rows if row.share < _SMALL]
    if len(small) == 1:
        large, small = rows, []
    cells = [_cells(row) for row in large]
    if small:
        cells.append(_others(small))
    whole = sum(row.time.value for row in rows)
    light = sum(row.light.value for row in rows if row.light)
    total = found.quantity(whole, "s")
    cells.append(
        ["total", "", show(whole, "s"), _interval(total), "100%", "", f"{light / whole:.0%}", _once(found, phase)]
    )
    table([phase, *_HEADER[1:]], cells)


def _cells(row: Row) -> list[str]:
    light = "–" if row.of_light is None else f"{row.of_light:.0%}"
    name = row.name.replace(".", " ")  # "o.all_reduce" may be folded
    time, range_, share = show(row.time.value, "s"), _interval(row.time), f"{row.share:.1%}"
    return [name, f"{row.count:,}", time, range_, share, row.bound, light, row.model]


def _interval(time: Quantity) -> str:
    return f"{show(time.low, 's')} – {show(time.high, 's')}"


def _others(small: list[Row]) -> list[str]:
    time, light = (
        sum(q.value for q in part) for part in ([r.time for r in small], [r.light for r in small if r.light])
    )
    share = sum(row.share for row in small)
    count = sum(row.count for row in small)
    return [f"{len(small)} others", f"{count:,}", show(time, "s"), "", f"{share:.1%}", "", f"{light / time:.0%}", ""]


def _once(found: Estimate, phase: str) -> str:
    if phase != "decode":
        return "one pass"
    tokens = float(found.steps.decode_graph.tokens_per_step)
    return "one step" if tokens == 1.0 else f"{tokens:.3g} tokens"
