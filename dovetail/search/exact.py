"""Exact search: enumerate every structure, evaluate its rows block by block, stream the front.

Structures with free hardware parameters go by branch and bound (`dovetail.search.bounded`) where there are bounds.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError
from dovetail.search.answer import Columns, Evaluator, ask
from dovetail.search.archive import Archive
from dovetail.search.block import Block, Place, Reference, summarise
from dovetail.search.bounded import Bound, Pruning, Shape
from dovetail.search.filter import Filter
from dovetail.search.outcome import result
from dovetail.search.result import Result
from dovetail.search.space import Space, Structure

if TYPE_CHECKING:
    from dovetail.search.study import Study

BLOCK = 1 << 16  # rows in memory at once: with 20 metrics 10 MB
SEEDS = 512  # points of a structure with free parameters that are tried before it is bounded
Progress = Callable[[int, int], None]
Spread = Callable[["Work"], Iterator[tuple[Block, bool]]]


def search(
    space: Space,
    evaluate: Evaluator,
    study: Study | None = None,
    *,
    block: int = BLOCK,
    progress: Progress | None = None,
    prune: bool = True,
    spread: Spread | None = None,
) -> Result:
    """The exact Pareto front of a space, and its winner.

    Every structure is evaluated on its rows, `block` at a time, so memory does not grow with the space; rows that
    cannot be on the front are left out where bounds prove it. The result does not depend on `block`, nor on whether it
    was interrupted and resumed.

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
    prune : bool
        False evaluates everything, for comparison: the front is the same.
    spread : Spread or None
        Makes blocks elsewhere (`dovetail.search.scattered`); None makes them here. The front is the same; how much is
        evaluated depends on what was known when a block was begun.

    Raises
    ------
    DovetailError
        The evaluator's answer lacks a metric or has another shape; the study belongs to another space.
    """
    small, pruned = space.trimmed()
    archive, resumed = Archive(len(space.objectives)), 0
    if study is not None:
        study.open_for(space, block, f"{getattr(evaluate, 'fingerprint', '')}{'' if prune else ' whole'}")
    work = Work(small, evaluate, study, block, prune, archive)
    for part, was_kept in work.blocks() if spread is None else spread(work):
        archive.add(part)
        resumed += was_kept
        if progress:
            progress(archive.evaluated + sum(archive.pruned.values()), small.size)
    archive.settle()
    work.look_near()
    aside = study.kept_aside if study is not None else None
    notes = (f"the study was damaged: it is kept as {aside}, and a new one begun",) if aside else ()
    return result(space, small, pruned, archive, resumed, notes)


@dataclass(frozen=True, slots=True)
class Job:
    """One block to make: rows of a structure, and of one with bounds the `unit` of `bounded.Shape` that they are."""

    structure: Structure
    start: int
    stop: int
    make: Callable[[], tuple[Block, Columns]]
    unit: tuple[int, int] | None = None


@dataclass(slots=True)
class Work:
    """What a search does, block by block."""

    space: Space
    evaluate: Evaluator
    study: Study | None
    size: int
    prune: bool
    archive: Archive
    filter: Filter = field(init=False)
    offsets: NDArray[np.int64] = field(init=False)
    numbers: dict[Structure, int] = field(init=False)
    passed: list[tuple[float, int]] = field(default_factory=list)  # structures ruled out whole: by what factor, number

    def __post_init__(self) -> None:
        self.filter = Filter(len(self.space.objectives))
        self.offsets = self.space.offsets()
        self.numbers = {s: i for i, s in enumerate(self.space.structures())}

    def blocks(self) -> Iterator[tuple[Block, bool]]:
        """Every block and whether the study had it."""
        for job in self.jobs():
            yield (job, False) if isinstance(job, Block) else self.done(job)

    def jobs(self) -> Iterator[Job | Block]:
        """Every block to make, or one that needs no making; recipes innermost, so that one reference serves them."""
        space = self.space
        seeded = self._seed() if self.prune else {}
        for model in space.models:
            for machine in space.machines:
                for tp, pp in itertools.product(space.plans, space.pipes):
                    yield from self._of([Structure(model, recipe, machine, tp, pp) for recipe in space.recipes], seeded)

    def _of(self, of_recipe: Sequence[Structure], seeded: Mapping[Structure, Bound]) -> Iterator[Job | Block]:
        """The blocks of one model on one machine in one plan."""
        machine = of_recipe[0].machine
        plain = [s for s in of_recipe if s not in seeded]
        rows = self.space.rows_of(machine)
        for start in range(0, rows, self.size) if plain else ():
            stop = min(start + self.size, rows)
            reference = Reference(self.space, plain[0], self.evaluate)
            for structure in plain:
                breach = self._breach(structure) if self.prune else None
                if breach is None:
                    yield Job(structure, start, stop, partial(self._plain, structure, start, stop, reference))
                elif start == 0:
                    yield self._passed(structure, breach)
        shape = Shape.of(self.space, machine)
        for structure in (s for s in of_recipe if s in seeded):
            for unit in shape.units():
                make = partial(self._bounded, structure, shape, unit, seeded[structure])
                yield Job(structure, unit[0] * shape.per, unit[1] * shape.per, make, unit)

    def done(self, job: Job) -> tuple[Block, bool]:
        """The study's block, or a new one that it then keeps."""
        kept = self.known(job)
        return (kept, True) if kept is not None else (self.keep(*job.make()), False)

    def known(self, job: Job) -> Block | None:
        """The study's block."""
        kept = self.study.get(self.numbers[job.structure], job.start, job.stop) if self.study is not None else None
        if kept is not None:
            self.filter.add(kept.costs)
        return kept

    def again(self, structure: Structure, start: int, stop: int, unit: tuple[int, int] | None) -> tuple[Block, Columns]:
        """Make the block of a job that was described somewhere else."""
        if unit is None:
            return self._plain(structure, start, stop, Reference(self.space, structure, self.evaluate))
        if (bound := self._bound_of(structure)) is None:
            raise DovetailError(
                "a block of another search", where=str(structure), why="its evaluator has no bound here"
            )
        return self._bounded(structure, Shape.of(self.space, structure.machine), unit, bound)

    def keep(self, block: Block, rows: Columns) -> Block:
        """A new block, kept by the study."""
        if self.study is not None:
            self.study.put(block, rows)
        self.filter.add(block.costs)
        return block

    def _plain(self, structure: Structure, start: int, stop: int, reference: Reference) -> tuple[Block, Columns]:
        number = self.numbers[structure]
        columns = self.space.columns(start, stop, structure.machine)
        answer = ask(self.evaluate, structure, columns)
        place = Place(number, int(self.offsets[number]), start)
        return summarise(self.space, place, answer, reference.table(columns))

    def _bounded(
        self, structure: Structure, shape: Shape, unit: tuple[int, int], bound: Bound
    ) -> tuple[Block, Columns]:
        """One unit of a structure with free parameters."""
        pruning = Pruning(self.space, shape, bound, self.filter)
        found, tables = Archive(len(self.space.objectives)), []
        for rows in pruning.leaves(shape.whole(*unit)):
            tables.append(self._some(structure, rows, found))
        if not found.feasible and not self.archive.feasible and len(rows := pruning.nearest_rows(self.size)):
            tables.append(self._some(structure, rows, found))
        start, stop = unit[0] * shape.per, unit[1] * shape.per
        return found.block(self.numbers[structure], start, stop, pruning.counts, pruning.breaches), stacked(tables)

    def _some(self, structure: Structure, rows: NDArray[np.int64], found: Archive) -> Columns:
        """Evaluate rows of a structure into `found`."""
        columns = self._columns(structure, rows)
        reference = Reference(self.space, structure, self.evaluate).table(columns)
        number = self.numbers[structure]
        place = Place(number, int(self.offsets[number]), 0, rows)
        block, table = summarise(self.space, place, ask(self.evaluate, structure, columns), reference)
        found.add(block)
        self.filter.add(block.costs)
        return table

    def _columns(self, structure: Structure, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        axes = self.space.axes_of(structure.machine)
        places = np.unravel_index(rows, [len(axis.values) for axis in axes])
        return {axis.name: axis.values[place] for axis, place in zip(axes, places, strict=True)}

    def _seed(self) -> dict[Structure, Bound]:
        """The structures that have bounds; a few points of each are tried, so that the first boxes can be beaten."""
        bounds = {s: b for s in self.numbers if (b := self._bound_of(s)) is not None and self._breach(s) is None}
        tried = Archive(len(self.space.objectives))
        for structure in bounds:
            count = self.space.rows_of(structure.machine)
            draw = np.random.default_rng(self.numbers[structure])
            self._some(structure, np.unique(draw.integers(0, count, SEEDS)), tried)
        self.archive.tried = tried.evaluated
        return bounds

    def _bound_of(self, structure: Structure) -> Bound | None:
        """The evaluator's bound on a structure with free parameters; None where it has none, or there are none."""
        ask_bound = getattr(self.evaluate, "bound", None)
        axes = self.space.axes_of(structure.machine)
        if ask_bound is None or len(axes) == len(self.space.axes):
            return None
        one = {axis.name: axis.values[:1] for axis in axes}
        if ask_bound(structure, one, one) is None:
            return None
        return partial(ask_bound, structure)

    def _breach(self, structure: Structure) -> tuple[float, int] | None:
        """The worst that a structure breaks by what is known of it: by what factor, and the constraint's number."""
        known = self._known(structure)
        base = self._known(replace(structure, recipe=self.space.reference))
        worst: tuple[float, int] | None = None
        for i, rule in enumerate(self.space.constraints):
            if rule.metric not in known or (rule.relative and rule.metric not in base):
                continue
            value = known[rule.metric] / (base[rule.metric] if rule.relative else 1.0)
            excess = float(rule.excess(np.asarray([value]))[0])
            if np.isfinite(value) and excess > (worst[0] if worst else 0.0):
                worst = excess, i
        return worst

    def _known(self, structure: Structure) -> Mapping[str, float]:
        found: Mapping[str, float] = getattr(self.evaluate, "known", lambda one: {})(structure) if self.prune else {}
        return found

    def _passed(self, structure: Structure, breach: tuple[float, int]) -> Block:
        """A structure that is ruled out whole."""
        rows, (excess, rule) = self.space.rows_of(structure.machine), breach
        self.passed.append((excess, self.numbers[structure]))
        why = f"none of these can meet {self.space.constraints[rule]}"
        empty = Archive(len(self.space.objectives))
        return empty.block(self.numbers[structure], 0, rows, Counter({why: rows}), Counter({2 << rule: rows}))

    def look_near(self) -> None:
        """Where nothing was evaluated at all, evaluate some of what was ruled out by the least: the nearest miss."""
        if self.archive.miss is not None or self.archive.feasible or not self.passed:
            return
        structure = list(self.numbers)[min(self.passed)[1]]
        rows = np.arange(min(self.size, self.space.rows_of(structure.machine)))
        found = Archive(len(self.space.objectives))
        self._some(structure, rows, found)
        rule = next(why for why in self.archive.pruned if self.archive.pruned[why] >= len(rows))
        self.archive.pruned[rule] -= len(rows)
        self.archive.add(found.block(self.numbers[structure], 0, len(rows), Counter(), Counter()))
        self.archive.settle()


def stacked(tables: list[Columns]) -> Columns:
    """Rows of several tables of one structure."""
    return {name: np.concatenate([t[name] for t in tables]) for name in tables[0]} if tables else {}
