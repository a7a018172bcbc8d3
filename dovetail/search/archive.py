"""The front so far: blocks stream in, memory stays with the front, and the order of arrival never matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dovetail.search.answer import Columns, Label
from dovetail.search.block import Block, Miss
from dovetail.search.pareto import front

_PENDING = 4096  # rows gathered before a merge, at least


class Archive:
    """Merges blocks into one exact front, the counts, and the nearest miss.

    Of rows with equal objectives the one with the lowest number in the space is kept, whatever the order of `add`.
    """

    def __init__(self, objectives: int) -> None:
        self.index: NDArray[np.int64] = np.empty(0, np.int64)
        self.costs: NDArray[np.float64] = np.empty((0, objectives))
        self.rows: Columns = {}
        self.labels: dict[int, Label] = {}
        self.feasible = self.evaluated = 0
        self.infeasible: Counter[str] = Counter()
        self.breaches: Counter[int] = Counter()
        self.pruned: Counter[str] = Counter()
        self.tried = 0  # points evaluated beforehand, to have something to hold others against
        self.miss: Miss | None = None
        self.miss_row: Columns = {}
        self._pending: list[Block] = []
        self._waiting = 0

    def add(self, block: Block) -> None:
        """Take in one block."""
        self.evaluated += block.evaluated
        self.pruned.update(block.pruned)
        self.feasible += block.feasible
        self.infeasible.update(block.infeasible)
        self.breaches.update(block.breaches)
        if block.evaluated:
            self.labels.setdefault(block.structure, block.label)
        if block.miss and (self.miss is None or block.miss.rank < self.miss.rank):
            self.miss, self.miss_row = block.miss, {name: values[-1:] for name, values in block.rows.items()}
        self._pending.append(block)
        self._waiting += len(block.index)
        if self._waiting > max(_PENDING, len(self.index)):
            self.settle()

    def settle(self) -> None:
        """Merge what is pending; called before the front is read."""
        if not self._waiting:
            self._pending.clear()
            return
        index = np.concatenate([self.index, *(b.index for b in self._pending)])
        costs = np.concatenate([self.costs, *(b.costs for b in self._pending)])
        order = np.argsort(index, kind="stable")
        kept = order[front(costs[order])]
        parts = [(self.rows, len(self.index)), *((b.rows, len(b.index)) for b in self._pending)]
        self.rows = {name: _join(name, parts)[kept] for name in dict.fromkeys(n for rows, _ in parts for n in rows)}
        self.index, self.costs = index[kept], costs[kept]
        self._pending, self._waiting = [], 0

    def block(
        self, structure: int, start: int, stop: int, pruned: Mapping[str, int], breaches: Mapping[int, int]
    ) -> Block:
        """All of it as one block of a structure, together with what was not evaluated."""
        self.settle()
        rows = {
            name: np.concatenate((values, self.miss_row[name])) if self.miss else values
            for name, values in (self.rows or {n: v[:0] for n, v in self.miss_row.items()}).items()
        }
        every = Counter(self.breaches)
        every.update(breaches)
        return Block(
            structure, start, stop, self.feasible, dict(self.infeasible), self.index, self.costs, rows, self.miss,
            self.labels.get(structure, Label({}, "")), dict(every), self.evaluated,
            {why: points for why, points in pruned.items() if points},
        )  # fmt: skip


def _join(name: str, parts: list[tuple[Columns, int]]) -> NDArray[np.generic]:
    """One column of several tables, each cut to its length; NaN (or no text) where a table lacks it."""
    kind = next(rows[name].dtype for rows, _ in parts if name in rows)
    blank = "" if kind.kind in "US" else np.nan
    return np.concatenate([rows[name][:length] if name in rows else np.full(length, blank) for rows, length in parts])
