"""How the timed pieces of a decode step over a cache look in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.app.output import folded
from dovetail.app.table import table
from dovetail.core.units import show

if TYPE_CHECKING:
    from dovetail.core.quantity import Quantity
    from dovetail.design import Estimate
    from dovetail.design.timed_cache import Timed


def cache_screen(found: Estimate, timed: Timed) -> None:
    """A step by its pieces, beside what the estimate says of it without looking; all in one unit."""
    pieces, whole = timed.pieces, timed.tpot
    named = {
        "a pass over next to no cache": pieces.pass_s, f"reading {show(timed.bytes, 'byte')}": pieces.read_s,
        "selecting and packing": pieces.keep_s,
    }  # fmt: skip
    rows = [[name, _ms(value), f"{value / whole.value:.0%}"] for name, value in named.items()]
    rows += [_row("a step, timed here", whole), _row("a step, by the estimate", found.tpot)]
    table([f"context {timed.context:,}", "time", "share, or range"], rows)
    print(folded("timed       now, on one thread in its own seconds, else by the clock; other work makes it longer"))


def _row(name: str, q: Quantity) -> list[str]:
    return [name, _ms(q.value), f"{_ms(q.low)} – {_ms(q.high)}"]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"
