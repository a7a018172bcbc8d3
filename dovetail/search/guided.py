"""Guided search: where a space is too large to enumerate, or an evaluation too dear.

Candidates are proposed in batches, some by a sampler of optuna (ask and tell), most as neighbours of the front so far
on the lattice of the space: Pareto local search (Paquete, Chiarandini and Stützle, 2004), which makes up for what a
population needs thousands of evaluations for. Of many neighbours, and some points anywhere, a response surface
(`dovetail.search.surface`) chooses those that may push the front most. A candidate is evaluated once: what a sampler
proposes again is told from memory. A cheap evaluator, where there is one, chooses instead which candidates the dear one
sees; where it learns (`dovetail.search.corrected`), it is told what the dear one said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.lazy import require
from dovetail.search.answer import Evaluator, ask
from dovetail.search.archive import Archive
from dovetail.search.block import Block, Place, Reference, summarise
from dovetail.search.lattice import Lattice
from dovetail.search.outcome import result
from dovetail.search.pareto import front
from dovetail.search.result import Result
from dovetail.search.space import Space
from dovetail.search.surface import Surface, by_logarithm

if TYPE_CHECKING:
    from dovetail.search.study import Study

SAMPLERS = ("auto", "tpe", "nsga2", "nsga3", "gp", "random")
MODELLED = 1000  # evaluations up to which "auto" is TPE, whose proposals take longer the more it knows
BATCH = 20  # candidates that are evaluated together
_PATIENCE = 3  # proposals of a sampler for one that is new
_OVERSAMPLED = 6  # candidates for one that the dear evaluator sees, where there is a cheap one
_POOL = 400  # points beside the front, and as many anywhere, among which the response surface chooses
_LEARNED = 600  # points that the response surface is made of, at most: its time grows with their cube
_BIG = 1e12  # a cost that stands for none


def guided(
    space: Space,
    evaluate: Evaluator,
    budget: int,
    *,
    sampler: str = "auto",
    local: float = 0.9,
    seed: int = 0,
    start: Sequence[int] = (),
    cheap: Evaluator | None = None,
    enough: Callable[[Archive], bool] | None = None,
    study: Study | None = None,
    batch: int = BATCH,
) -> Result:
    """The best front that `budget` evaluations find; the same for the same seed, interrupted or not.

    Parameters
    ----------
    sampler : str
        One of `SAMPLERS`; ``random`` needs no optuna. ``auto`` is TPE for few evaluations, NSGA-II for many.
    local : float
        Share of the candidates that are neighbours of the front, or what the response surface chooses.
    start : sequence of int
        Numbers of points to begin with, such as the front of a cheaper model.
    cheap : Evaluator or None
        Ranks candidates before `evaluate` sees the best of them.
    enough : callable or None
        Asked after each batch; True ends the search. `dovetail.search.settled.Settled` goes by intervals.
    study : Study or None
        Keeps every evaluation.

    Raises
    ------
    DovetailError
        An unknown sampler, or optuna is not installed.
    """
    if sampler not in SAMPLERS:
        raise DovetailError(f"unknown sampler '{sampler}'", hint=did_you_mean(sampler, list(SAMPLERS)))
    if sampler == "auto":
        sampler = "tpe" if budget <= MODELLED else "nsga2"
    small, pruned = space.trimmed()
    work = _Guide(small, evaluate, budget, local, seed, cheap, study, batch)
    if study is not None:
        study.open_for(space, 1, f"{getattr(evaluate, 'fingerprint', '')} guided")
    proposals = _Random(work) if sampler == "random" else _Optuna(work, sampler)
    settled = work.run(list(start), proposals, enough)
    unseen = small.size - work.archive.evaluated
    why = ((f"not looked at by {sampler} in {work.archive.evaluated:,} evaluations", unseen),) if unseen else ()
    method = f"guided by {sampler}" + (" and neighbours of the front" if local and sampler != "random" else "")
    early = (
        f"stopped after {work.archive.evaluated:,} of {budget:,} designs: what is still found is not certainly new",
    )
    method += f", begun at {len(start):,} designs" if len(start) else ""
    method += ", those that a cheaper evaluator ranks first" if cheap else ""
    told = method if unseen else f"{method}: all"
    return result(space, small, (*pruned, *why), work.archive, work.resumed, early if settled else (), told)


@dataclass(slots=True)
class _Guide:
    """The state of a guided search."""

    space: Space
    evaluate: Evaluator
    budget: int
    local: float
    seed: int
    cheap: Evaluator | None
    study: Study | None
    batch: int
    lattice: Lattice = field(init=False)
    archive: Archive = field(init=False)
    draw: np.random.Generator = field(init=False)
    surface: Surface = field(init=False)
    seen: dict[int, tuple[list[float], float]] = field(default_factory=dict)  # costs, and excess: 0 where feasible
    resumed: int = 0

    def __post_init__(self) -> None:
        self.lattice, self.archive = Lattice(self.space), Archive(len(self.space.objectives))
        self.draw = np.random.default_rng(self.seed)
        self.surface = Surface(self.lattice, len(self.space.objectives), self.seed)

    def run(self, start: list[int], proposals: _Random | _Optuna, enough: Callable[[Archive], bool] | None) -> bool:
        """Batches until the budget is spent, nothing is left, or it is enough: whether that was so."""
        while len(self.seen) < min(self.budget, self.lattice.size):
            count = min(self.batch, self.budget - len(self.seen), self.lattice.size - len(self.seen))
            first, start = start[:count], start[count:]
            chosen = self._new(first) or self._best(proposals, count)
            self.look(chosen)
            proposals.tell(chosen)
            self.archive.settle()
            if enough is not None and enough(self.archive):
                return len(self.seen) < min(self.budget, self.lattice.size)
        return False

    def _new(self, numbers: Sequence[int]) -> list[int]:
        return list(dict.fromkeys(n for n in numbers if n not in self.seen))

    def _best(self, proposals: _Random | _Optuna, count: int) -> list[int]:
        """The next candidates: some of the sampler's, some near the front; the better ones by the cheap evaluator."""
        many = min(count * (_OVERSAMPLED if self.cheap else 1), self.lattice.size - len(self.seen))
        near, beside = [], int(many * self.local) if len(self.archive.index) and proposals.guides else 0
        if beside and self.cheap is None:
            near = self._pushing(beside)
        near = near or (list(self._near(beside)) if beside else [])
        found = list(dict.fromkeys([*near, *proposals.ask(many - len(near))]))
        found += [n for n in self._random(many - len(found)) if n not in found]
        return found[:count] if self.cheap is None else self._ranked(found, self.cheap)[:count]

    def _pushing(self, count: int) -> list[int]:
        """Points that the response surface thinks push the front, of many beside it and as many anywhere."""
        numbers = list(self.seen)
        if len(numbers) > _LEARNED:  # all of the front, and some of the others
            rest = self.draw.permutation(numbers)[:_LEARNED].tolist()
            numbers = list(dict.fromkeys([*self.archive.index[:_LEARNED].tolist(), *rest]))[:_LEARNED]
        costs, excess = np.asarray([self.seen[n][0] for n in numbers]), np.asarray([self.seen[n][1] for n in numbers])
        if not self.surface.fit(numbers, costs, excess):
            return []
        anywhere = self._random(min(_POOL, self.lattice.size - len(self.seen)))
        return self.surface.pushing(
            list(dict.fromkeys([*self._near(_POOL), *anywhere])), self.archive.costs, count
        )  # fmt: skip

    def _near(self, count: int) -> Iterator[int]:
        """Points beside the front that were not seen, those of its ends and gaps more often."""
        weights, taken = spread(self.archive.costs), set()
        for _ in range(10 * count):
            one = int(self.draw.choice(self.archive.index, p=weights))
            beside = self.lattice.neighbour(one, self.draw)
            if beside not in self.seen and beside not in taken:
                taken.add(beside)
                yield beside
            if len(taken) == count:
                return

    def _random(self, count: int) -> list[int]:
        """Unseen points, drawn; in order where hardly any is left."""
        found: dict[int, None] = {}
        for _ in range(20 * count):
            if len(found) == count:
                return list(found)
            one = int(self.draw.integers(self.lattice.size))
            if one not in self.seen:
                found[one] = None
        rest = (n for n in range(self.lattice.size) if n not in self.seen and n not in found)
        return [*found, *(n for _, n in zip(range(count - len(found)), rest, strict=False))]

    def _ranked(self, numbers: list[int], cheap: Evaluator) -> list[int]:
        """Best first by the cheap evaluator: feasible ones by fronts, then the others by how far they miss.

        The first front is beside the one that was found: what that dominates comes later.
        """
        costs, excess = self._judged(cheap, numbers)
        rank = np.full(len(numbers), np.inf)
        left, found = np.flatnonzero(excess == 0), self.archive.costs
        for level in range(len(numbers) + 1):
            if not len(left):
                break
            best = front(np.concatenate((found, costs[left])))
            best = best[best >= len(found)] - len(found)
            rank[left[best]], found = level, found[:0]
            left = np.delete(left, best)
        return [numbers[i] for i in np.lexsort([excess, rank])]

    def _judged(self, evaluate: Evaluator, numbers: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        other = _Guide(self.space, evaluate, 0, 0.0, 0, None, None, 1)
        other.look(numbers)
        both = [other.seen[n] for n in numbers]
        return np.asarray([c for c, _ in both]), np.asarray([e for _, e in both])

    def look(self, numbers: Sequence[int]) -> None:
        """Evaluate points, those of one structure together, or read them from the study."""
        groups: dict[int, list[int]] = {}
        for n in numbers:
            groups.setdefault(self.lattice.structure(n), []).append(n)
        for structure, some in groups.items():
            rows = [n - int(self.lattice.offsets[structure]) for n in some]
            left = [row for row in rows if not self._kept(structure, row)]
            for part in [left] if self.cheap is None else [[row] for row in left]:  # each dear one is kept at once
                if part:
                    self._evaluate(structure, np.asarray(part, np.int64))

    def _kept(self, structure: int, row: int) -> bool:
        block = self.study.get(structure, row, row + 1) if self.study is not None else None
        if block is None:
            return False
        self.resumed += 1
        self._take(block)
        return True

    def _evaluate(self, structure: int, rows: NDArray[np.int64]) -> None:
        columns = self.lattice.columns(structure, rows)
        named = self.lattice.structures[structure]
        answer = ask(self.evaluate, named, columns)
        reference = Reference(self.space, named, self.evaluate).table(columns)
        for i, row in enumerate(rows):
            place = Place(structure, int(self.lattice.offsets[structure]), int(row))
            block, table = summarise(self.space, place, answer.at(i), {k: _at(v, i) for k, v in reference.items()})
            if self.study is not None:
                self.study.put(block, table)
            self._take(block)

    def _take(self, block: Block) -> None:
        number = int(self.lattice.offsets[block.structure]) + block.start
        missed = block.miss.excess if block.miss else 0.0
        costs = [float(c) for c in block.costs[0]] if len(block.costs) else [_BIG] * len(self.space.objectives)
        self.seen[number] = costs, min(missed, _BIG)
        self.archive.add(block)
        learn = getattr(self.cheap, "learn", None)
        if learn is not None and not any(broken & 1 for broken in block.breaches):  # else it was not looked at
            structure = self.lattice.structures[block.structure]
            names = [axis.name for axis in self.space.axes_of(structure.machine)]
            learn(structure, {name: block.rows[name] for name in names}, block.rows)


def _at(values: Any, row: int) -> Any:
    return values if np.ndim(values) == 0 else np.asarray(values)[row : row + 1]


def spread(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of the points of a front, 1 in all: more where neighbours are far, most at its ends (Deb et al., 2002)."""
    distance = np.full(len(costs), 0.1)
    for column in costs.T:
        order = np.argsort(column, kind="stable")
        span = max(float(np.ptp(column)), 1e-300)
        gaps = np.diff(column[order], prepend=column[order[0]], append=column[order[-1]]) / span
        distance[order] += gaps[1:] + gaps[:-1]
        distance[order[[0, -1]]] += 0.5
    return np.asarray(distance / distance.sum())


class _Random:
    """Proposes nothing: what is missing is drawn."""

    guides = False

    def __init__(self, work: _Guide) -> None:
        self.work = work

    def ask(self, count: int) -> list[int]:
        return []

    def tell(self, numbers: list[int]) -> None:
        """Nothing is learned."""


class _Optuna:
    """A sampler of optuna over the choices of a space."""

    guides = True

    def __init__(self, work: _Guide, sampler: str) -> None:
        optuna = require("optuna", "search", to="guide a search")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        population = {"population_size": max(10, min(50, work.budget // 10))}
        given: dict[str, Any] = {"nsga2": population, "nsga3": population, "tpe": {"multivariate": True, "group": True}}
        names = {"nsga2": "NSGAIISampler", "nsga3": "NSGAIIISampler", "tpe": "TPESampler", "gp": "GPSampler"}
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = getattr(optuna.samplers, names[sampler])(seed=work.seed, **given.get(sampler, {}))
        count = len(work.space.objectives)
        self.study = optuna.create_study(sampler=made, directions=["minimize"] * count)
        self.work, self.lattice = work, work.lattice
        self.waiting: dict[int, Any] = {}

    def ask(self, count: int) -> list[int]:
        """Up to `count` points that were not seen; what was seen is told again from memory."""
        found: list[int] = []
        for _ in range(_PATIENCE * count):
            if len(found) == count:
                break
            trial = self.study.ask()
            number = self._number(trial)
            if number in self.work.seen:
                self._told(trial, number)
            elif number in self.waiting:
                self.study.tell(trial, state=self._failed())
            else:
                self.waiting[number] = trial
                found.append(number)
        return found

    def tell(self, numbers: list[int]) -> None:
        """The sampler learns of all that was evaluated, whoever proposed it."""
        for number in numbers:
            trial = self.waiting.pop(number, None)
            if trial is None:
                self.study.enqueue_trial(self._params(number))
                trial = self.study.ask()
                self._number(trial)
            self._told(trial, number)
        for trial in self.waiting.values():  # passed over by the cheap evaluator
            self.study.tell(trial, state=self._failed())
        self.waiting.clear()

    def _told(self, trial: Any, number: int) -> None:
        costs, excess = self.work.seen[number]
        trial.set_constraint("excess", excess)
        self.study.tell(trial, [float(c) for c in by_logarithm(np.asarray(costs))])

    @staticmethod
    def _failed() -> Any:
        return require("optuna", "search").trial.TrialState.FAIL

    def _number(self, trial: Any) -> int:
        """The point of a trial's choices, suggested now."""
        place: dict[str, int] = {}
        for name, values in self.lattice.names.items():
            place[name] = trial.suggest_categorical(name, list(range(len(values)))) if len(values) > 1 else 0
        for name, count in self.lattice.sides(place["machine"]).items():
            if name not in place:
                place[name] = trial.suggest_int(self._label(name, place["machine"]), 0, count - 1) if count > 1 else 0
        return self.lattice.index(place)

    def _params(self, number: int) -> dict[str, int]:
        place = self.lattice.place(number)
        sides = self.lattice.sides(place["machine"])
        return {self._label(name, place["machine"]): p for name, p in place.items() if sides[name] > 1}

    def _label(self, name: str, machine: int) -> str:
        """Parameters of one name have ranges of their own on each machine."""
        shared = name in self.lattice.names or name in {axis.name for axis in self.work.space.axes}
        return name if shared else f"{name} of {machine}"
