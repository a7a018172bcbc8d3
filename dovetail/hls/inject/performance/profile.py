"""What both models say about a design with given pragmas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dovetail.hls.inject.performance.hints import Hints, Split, bank_of

PORTS = 2  # of one memory bank, a cycle
DEPTH = 6  # cycles to fill a pipeline
ROLLED = 3  # cycles of an iteration that is not pipelined, beside its memory accesses
STREAMED = ("ap_fifo", "axis", "m_axi")


@dataclass(frozen=True, slots=True)
class Profile:
    """A model's view.

    Parameters
    ----------
    cycles : int
        Of all loops, one call of each function.
    intervals : dict
        Loop number (or -1 for a whole function) → achieved initiation interval of what is pipelined there.
    copies : dict
        Likewise → array accesses of one iteration, a measure of the hardware that is laid out.
    bursts : dict
        Port → mean number of consecutive addresses.
    orders : dict
        Port → ``"once in order"``, ``"out of order"``, ``"more than once"`` or ``"not all"``.
    carried : dict
        (loop number, array) → iterations between a write and the read of the same element that follows it.
    tasks : dict
        Place of a dataflow pragma → how many tasks can overlap there.
    touched : dict
        Port → how many of its elements are used.
    """

    cycles: int
    intervals: dict[int, int]
    copies: dict[int, int]
    bursts: dict[str, float]
    orders: dict[str, str]
    carried: dict[tuple[int, str], int]
    tasks: dict[tuple[str, int], int]
    touched: dict[str, int]


def conflicts(
    elements: Iterable[tuple[int, ...]], shape: tuple[int, ...], splits: tuple[Split, ...], ports: int = PORTS
) -> int:
    """Cycles to serve these different elements of one array at once: the fullest bank over its ports."""
    load: dict[tuple[int, ...], int] = {}
    for index in set(elements):
        bank = bank_of(index, shape, splits)
        if bank is None:
            return 1
        load[bank] = load.get(bank, 0) + 1
    return max((-(-count // ports) for count in load.values()), default=0)


def mean_run(places: Sequence[int]) -> float:
    """Mean length of runs of consecutive addresses; a repeated address goes on with its run."""
    if not places:
        return 0.0
    runs = 1 + sum(b - a not in (0, 1) for a, b in pairwise(places))
    return len(places) / runs


def order_of(places: Sequence[int], extent: int) -> str:
    """How a port's elements are passed over."""
    if len(set(places)) != len(places):
        return "more than once"
    if list(places) != sorted(places):
        return "out of order"
    return "once in order" if not extent or len(places) == extent else "not all"


def unit_of(loops: tuple[int, ...], function: str, hints: Hints) -> int | None:
    """Which pipeline an access belongs to: the outermost pipelined loop, -1 the whole function, None none."""
    if function in hints.functions:
        return -1
    return next((n for n in loops if n in hints.pipelined), None)


def ports_of(name: str, top: bool, hints: Hints) -> int:
    """How many elements of an array can be moved in a cycle."""
    return 1 if top and hints.modes.get(name, "") in STREAMED else PORTS
