"""A space: models × recipes × machines, each evaluated on columns of batch, prompt and output length."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.content import ByContent, digest
from dovetail.core.errors import DovetailError
from dovetail.hardware.yamlfile import read_yaml
from dovetail.search import expression
from dovetail.search.axis import Axis
from dovetail.search.expression import Constraint, Objective, Pick
from dovetail.search.machines import Free
from dovetail.search.metrics import find

MOST_VALUES = 10**6  # of one axis
MAX_POINTS = 10**9  # an hour at 300,000 points a second; beyond it a space is sampled, not enumerated


@dataclass(frozen=True, slots=True, order=True)
class Structure:
    """What cannot be a column: a model, a recipe and a machine by name; chips that share a layer, stages of layers.

    Of these two 0 says nothing: as many chips as the machine would, one stage.
    """

    model: str
    recipe: str
    machine: str
    tp: int = 0
    pp: int = 0

    def __str__(self) -> str:
        split = ([f"tp {self.tp}"] if self.tp else []) + ([f"pp {self.pp}"] if self.pp else [])
        layout = f" by {' x '.join(split)}" if split else ""
        return f"{self.model} with {self.recipe} on {self.machine}{layout}"


@dataclass(frozen=True, slots=True, eq=False)
class Space(ByContent):
    """A search space with its constraints, objectives and pick rule.

    Make one with `Space.load` (a YAML file) or `Space.of` (the same keys from Python). Equal spaces hash equal.

    Parameters
    ----------
    models, recipes, machines : tuple of str
        The structured axes; `plans` is one more: chips that share a layer, 0 for as many as the machine would; `pipes`
        the last: stages of a pipeline, 0 where nothing is said of them.
    axes : tuple of Axis
        The numeric axes. Every structure is evaluated on their full product, the last axis running fastest.
    constraints : tuple of Constraint
        All must hold.
    objectives : tuple of Objective
        One to five.
    pick : Pick
        How the winner is taken from the front.
    reference : str
        The recipe that relative constraints (``1.01x``) compare with.
    plans, pipes : tuple of int
    free : tuple of Free
        Machines that are templates, with the axes of their free parameters, which run faster than `axes`.
    made : mapping of str
        Recipes that are written out in the space, by their names.
    source : mapping
        What it was made from: `parse` makes it again.
    """

    name: str
    models: tuple[str, ...]
    recipes: tuple[str, ...]
    machines: tuple[str, ...]
    axes: tuple[Axis, ...]
    constraints: tuple[Constraint, ...]
    objectives: tuple[Objective, ...]
    pick: Pick
    reference: str = "none"
    plans: tuple[int, ...] = (0,)
    free: tuple[Free, ...] = ()
    made: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict, compare=False)
    pipes: tuple[int, ...] = (0,)

    @classmethod
    def load(cls, path: str | os.PathLike[str], most: int = MAX_POINTS, **changes: Any) -> Space:
        """The space in a YAML file; `changes` replace its keys (``objectives=["tpot"]``). Raises `DovetailError`."""
        return cls.parse({**read_yaml(Path(path)), **changes}, str(path), most)

    @classmethod
    def of(cls, **keys: Any) -> Space:
        """The space of the same keys as a file: ``Space.of(models=[…], machines=[…], workload={…}, …)``."""
        return cls.parse(keys)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: str = "space", most: int = MAX_POINTS) -> Space:
        """The space of a mapping as a YAML file holds it.

        Raises
        ------
        DovetailError
            An unknown, missing or ill-formed field (with its dotted path), contradictory constraints, an empty axis,
            or more than `most` points.
        """
        from dovetail.search import machines, recipes
        from dovetail.search.schema import check

        file = check(data, where)
        specs = {name: getattr(file.workload, name) for name in type(file.workload).model_fields}
        chips, free = machines.read(file.machines, f"{where}: machines")
        methods, made = recipes.read(file.recipes, f"{where}: recipes")
        plans = tuple(dict.fromkeys(file.plan.tp)) if file.plan and file.plan.tp else (0,)
        pipes = tuple(dict.fromkeys(file.plan.pp)) if file.plan and file.plan.pp else (0,)
        counts = {"models": len(set(file.models)), "recipes": len(methods), "machines": _machines(chips, free)}
        counts |= {"plans": len(plans) * len(pipes), **{name: _length(spec) for name, spec in specs.items()}}
        _refuse_large(counts, where, most)
        _refuse_long(specs, where)
        space = cls(
            file.name, tuple(dict.fromkeys(file.models)), methods, chips,
            tuple(Axis(name, _values(spec)) for name, spec in specs.items()), _constraints(file.constraints, where),
            tuple(expression.objective(text, f"{where}: objectives.{i}") for i, text in enumerate(file.objectives)),
            expression.pick(file.pick, f"{where}: pick"), file.reference, plans, free, made, dict(data), pipes,
        )  # fmt: skip
        _consistent(space, where)
        return space

    @property
    def size(self) -> int:
        """Points: those of all structures together."""
        each = sum(self.rows_of(machine) for machine in self.machines)
        return len(self.models) * len(self.recipes) * len(self.plans) * len(self.pipes) * each

    @property
    def rows(self) -> int:
        """Points of one structure of a machine without free parameters."""
        return math.prod(len(axis.values) for axis in self.axes)

    def axes_of(self, machine: str) -> tuple[Axis, ...]:
        """The numeric axes of a machine's structures: the space's, then its free parameters."""
        return self.axes + next((free.axes for free in self.free if free.variant.name == machine), ())

    def rows_of(self, machine: str) -> int:
        """Points of one structure of a machine."""
        return math.prod(len(axis.values) for axis in self.axes_of(machine))

    @property
    def hash(self) -> str:
        """SHA-256 of everything that decides the result; the name does not."""
        parts: tuple[Any, ...] = (
            self.models, self.recipes, self.machines, self.axes, self.constraints, self.objectives, self.pick,
            self.reference,
        )  # fmt: skip
        more: tuple[Any, ...] = (self.plans, self.free, self.made)
        if self.pipes != (0,):
            return digest((*parts, *more, self.pipes))
        return digest(parts if more == ((0,), (), {}) else (*parts, *more))

    def structures(self) -> Iterator[Structure]:
        """Every structure, models slowest, then recipes and machines, plans and stages fastest."""
        return (
            Structure(*names)
            for names in itertools.product(self.models, self.recipes, self.machines, self.plans, self.pipes)
        )  # fmt: skip

    def offsets(self) -> NDArray[np.int64]:
        """The number in the space of each structure's first point; after them the size. Shape (structures + 1,)."""
        rows = [self.rows_of(s.machine) for s in self.structures()]
        return np.concatenate(([0], np.cumsum(rows, dtype=np.int64)))

    def columns(self, start: int, stop: int, machine: str = "") -> dict[str, NDArray[np.float64]]:
        """Rows ``start:stop`` of the product of a machine's axes, one array of shape (stop - start,) for each axis."""
        axes = self.axes_of(machine)
        places = np.unravel_index(np.arange(start, stop), [len(axis.values) for axis in axes])
        return {axis.name: axis.values[place] for axis, place in zip(axes, places)}

    def trimmed(self) -> tuple[Space, tuple[tuple[str, int], ...]]:
        """The space without the axis values its constraints exclude, and (why, points removed) for each of these."""
        space, removed = self, []
        for rule in self.constraints:
            free = tuple(Free(f.variant, tuple(a.meeting(rule) for a in f.axes)) for f in space.free)
            smaller = replace(space, axes=tuple(axis.meeting(rule) for axis in space.axes), free=free)
            if smaller.size < space.size:
                removed.append((str(rule), space.size - smaller.size))
            space = smaller
        return space, tuple(removed)


def _machines(names: tuple[str, ...], free: tuple[Free, ...]) -> int:
    """Machines, each point of free parameters counted as one."""
    return len(names) - len(free) + sum(math.prod(len(a.values) for a in f.axes) for f in free)


def _length(spec: Any) -> int:
    return spec.size if hasattr(spec, "size") else len(spec) if isinstance(spec, list) else 1


def _values(spec: Any) -> NDArray[np.float64]:
    if hasattr(spec, "values"):
        return np.asarray(spec.values(), float)
    return np.asarray(list(dict.fromkeys(spec if isinstance(spec, list) else [spec])), float)


def _refuse_large(counts: Mapping[str, int], where: str, most: int) -> None:
    points = math.prod(counts.values())
    if points > most:
        shown = {name: n for name, n in counts.items() if name != "plans" or n > 1}
        raise DovetailError(
            f"{points:,} points are more than exact search takes",
            where=where,
            why=f"{' × '.join(f'{n:,}' for n in shown.values())} ({' × '.join(shown)}); the limit is {most:,}",
            hint="a guided search samples them: --guided 500; or coarser axes, such as {from: 1, to: 256, steps: log2}",
        )


def _refuse_long(specs: Mapping[str, Any], where: str) -> None:
    for name, spec in specs.items():
        if _length(spec) > MOST_VALUES:
            what = f"{_length(spec):,} values of {name} are too many"
            raise DovetailError(what, where=f"{where}: workload.{name}", hint="a wider stride, or steps: 1000")


def _constraints(lines: list[str], where: str) -> tuple[Constraint, ...]:
    rules = tuple(r for i, line in enumerate(lines) for r in expression.constraints(line, f"{where}: constraints.{i}"))
    clash = expression.conflict(rules)
    if clash:
        both = " and ".join(f"'{c}'" for c in clash)
        why = "no value meets both" if len(clash) > 1 else "it is never negative"
        raise DovetailError(f"the constraints contradict each other: {both}", where=f"{where}: constraints", why=why)
    return rules


def _consistent(space: Space, where: str) -> None:
    """Refuse axis constraints that leave nothing, repeated objectives, and a pick by what is not an objective."""
    for axis in (*space.axes, *(axis for free in space.free for axis in free.axes)):
        if not len(axis.meeting(*space.constraints).values):
            text = " and ".join(str(c) for c in space.constraints if c.metric == axis.name)
            show = find(axis.name).show
            why = f"the space has {show(axis.values.min())} to {show(axis.values.max())}"
            raise DovetailError(
                f"the space is empty: '{text}' leaves no {axis.name}", where=f"{where}: constraints", why=why
            )
    named = [o.metric for o in space.objectives]
    if len(set(named)) < len(named):
        twice = next(n for n in named if named.count(n) > 1)
        raise DovetailError(f"the objective '{twice}' is given twice", where=f"{where}: objectives")
    if space.pick.objective and space.pick.objective not in space.objectives:
        raise DovetailError(
            f"pick '{space.pick.objective}' is not one of the objectives",
            where=f"{where}: pick",
            why="the best by it need not lie on the front",
            hint="add it to the objectives, or pick by one of " + ", ".join(map(str, space.objectives)),
        )
