"""Exact search: enumerate every structure, evaluate its rows block by block, stream the front."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from dovetail.search.answer import Answer, Columns, Evaluator, ask
from dovetail.search.archive import Archive
from dovetail.search.block import Block, summarise
from dovetail.search.metrics import METRICS
from dovetail.search.result import Candidate, Result, choose
from dovetail.search.space import Space, Structure

if TYPE_CHECKING:
    from dovetail.search.study import Study

BLOCK = 1 << 16  # rows in memory at once: with 20 metrics 10 MB
Progress = Callable[[int, int], None]


def search(
    space: Space,
    evaluate: Evaluator,
    study: Study | None = None,
    *,
    block: int = BLOCK,
    progress: Progress | None = None,
) -> Result:
    """The exact Pareto front of a space, and its winner.

    Every structure is evaluated on all its rows, `block` at a time, so memory does not grow with the space. The result
    does not depend on `block`, nor on whether it was interrupted and resumed.

    Parameters
    ----------
    space : Space
        What to search. Axis values that its constraints exclude are pruned before anything is evaluated.
    evaluate : Evaluator
        See `dovetail.search.answer.Evaluator`.
    study : Study or None
        Where blocks are kept; those that it holds are not evaluated again.
    progress : callable or None
        Called with (points done, points to do) after each block.

    Raises
    ------
    DovetailError
        The evaluator's answer lacks a metric or has another shape; the study belongs to another space.
    """
    small, pruned = space.trimmed()
    archive, resumed = Archive(len(space.objectives)), 0
    if study is not None:
        study.open_for(space, block, str(getattr(evaluate, "fingerprint", "")))
    for part, was_kept in _blocks(small, evaluate, study, block):
        archive.add(part)
        resumed += was_kept
        if progress:
            progress(archive.evaluated, small.size)
    archive.settle()
    aside = study.kept_aside if study is not None else None
    notes = (f"the study was damaged: it is kept as {aside}, and a new one begun",) if aside else ()
    return _result(space, small, pruned, archive, resumed, notes)


def _blocks(space: Space, evaluate: Evaluator, study: Study | None, size: int) -> Iterator[tuple[Block, bool]]:
    """Every block and whether the study had it; recipes innermost, so that one reference serves all of them."""
    recipes, machines = len(space.recipes), len(space.machines)
    for m, model in enumerate(space.models):
        for c, machine in enumerate(space.machines):
            for start in range(0, space.rows, size):
                stop, reference = min(start + size, space.rows), _Reference(space, model, machine, evaluate)
                for r, recipe in enumerate(space.recipes):
                    number = (m * recipes + r) * machines + c
                    kept = study.get(number, start, stop) if study is not None else None
                    if kept is not None:
                        yield kept, True
                        continue
                    answer = ask(evaluate, Structure(model, recipe, machine), space.columns(start, stop))
                    block, rows = summarise(space, number, start, answer, reference.answer(start, stop))
                    if study is not None:
                        study.put(block, rows)
                    yield block, False


class _Reference:
    """The reference recipe of one model on one machine: evaluated at most once, and only for a relative constraint."""

    def __init__(self, space: Space, model: str, machine: str, evaluate: Evaluator) -> None:
        self.space, self.structure, self.evaluate = space, Structure(model, space.reference, machine), evaluate
        self.needed = any(rule.relative for rule in space.constraints)
        self._answer: Answer | None = None

    def answer(self, start: int, stop: int) -> Answer | None:
        if self.needed and self._answer is None:
            self._answer = ask(self.evaluate, self.structure, self.space.columns(start, stop))
        return self._answer


def _result(
    space: Space,
    small: Space,
    pruned: tuple[tuple[str, int], ...],
    archive: Archive,
    resumed: int,
    notes: tuple[str, ...],
) -> Result:
    structures = list(small.structures())
    order = np.lexsort([archive.index, *archive.costs.T[::-1]])
    axes = [axis.name for axis in small.axes]
    front = tuple(_candidate(structures, small.rows, archive, int(i), axes) for i in order)
    winner = choose(front, space.objectives, space.pick)
    nearest, binding, why = None, "", ""
    if archive.miss and not front:
        where = structures[archive.miss.index // small.rows]
        nearest = _named(where, archive.miss_row, 0, archive, archive.miss.index // small.rows, axes)
        binding, why = archive.miss.binding, _explain(archive, nearest)
    elif not winner:
        why = f"no design of the front meets '{' and '.join(map(str, space.pick.where))}'"
        binding = str(space.pick.where[0]) if space.pick.where else ""
    return Result(
        space.name, space.hash, space.size, len(structures), archive.evaluated, archive.feasible, pruned,
        dict(archive.infeasible), space.objectives, tuple(map(str, space.constraints)), space.pick, front, winner,
        nearest, binding, why, resumed, notes,
    )  # fmt: skip


def _candidate(structures: list[Structure], rows: int, archive: Archive, place: int, axes: list[str]) -> Candidate:
    number = int(archive.index[place]) // rows
    return _named(structures[number], archive.rows, place, archive, number, axes)


def _named(where: Structure, rows: Columns, place: int, archive: Archive, number: int, axes: list[str]) -> Candidate:
    values = {name: column[place].item() for name, column in rows.items()}
    kept = {n: v for n, v in values.items() if n not in axes and not (isinstance(v, float) and np.isnan(v)) and v != ""}
    return Candidate(where, {name: values[name] for name in axes}, kept, archive.labels[number])


def _explain(archive: Archive, nearest: Candidate) -> str:
    """Why nothing is feasible, in one sentence: what binds, and by how much the nearest candidate misses it."""
    miss = archive.miss
    if miss is None:
        return ""
    text = f"nothing satisfies the constraints; '{miss.binding}' binds: the nearest candidate, {nearest},"
    if miss.why:
        return f"{text} cannot be: {miss.why}"
    metric = miss.binding.split(" ")[0]
    value = nearest.metrics.get(metric)
    if metric not in METRICS or not isinstance(value, float | int):
        return f"{text} has no value for it"
    times = f" ({miss.excess:.3g}x too far)" if np.isfinite(miss.excess) else ""
    return f"{text} has {metric} {METRICS[metric].show(value)}{times}"
