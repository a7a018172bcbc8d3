"""A space: models × recipes × machines, each evaluated on columns of batch, prompt and output length."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.content import ByContent, digest
from dovetail.core.errors import DovetailError
from dovetail.hardware.yamlfile import read_yaml
from dovetail.search import expression
from dovetail.search.expression import Constraint, Objective, Pick

MAX_POINTS = 10**9  # an hour at 300,000 points a second; beyond it a space is refused with its count


@dataclass(frozen=True, slots=True, order=True)
class Structure:
    """What cannot be a column: one model, one recipe, one machine, by name."""

    model: str
    recipe: str
    machine: str

    def __str__(self) -> str:
        return f"{self.model} with {self.recipe} on {self.machine}"


@dataclass(frozen=True, slots=True, eq=False)
class Axis(ByContent):
    """One numeric axis: distinct values, shape (values,)."""

    name: str
    values: NDArray[np.float64]

    def meeting(self, *rules: Constraint) -> Axis:
        """The axis with the values that meet those `rules` which are about it."""
        values = self.values
        for rule in rules:
            values = values[rule.holds(values)] if rule.metric == self.name else values
        return Axis(self.name, values)


@dataclass(frozen=True, slots=True, eq=False)
class Space(ByContent):
    """A search space with its constraints, objectives and pick rule.

    Make one with `Space.load` (a YAML file) or `Space.of` (the same keys from Python). Equal spaces hash equal.

    Parameters
    ----------
    models, recipes, machines : tuple of str
        The structured axes.
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

    @classmethod
    def load(cls, path: str | os.PathLike[str], **changes: Any) -> Space:
        """The space in a YAML file; `changes` replace its keys (``objectives=["tpot"]``). Raises `DovetailError`."""
        return cls.parse({**read_yaml(Path(path)), **changes}, str(path))

    @classmethod
    def of(cls, **keys: Any) -> Space:
        """The space of the same keys as a file: ``Space.of(models=[…], machines=[…], workload={…}, …)``."""
        return cls.parse(keys)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: str = "space") -> Space:
        """The space of a mapping as a YAML file holds it.

        Raises
        ------
        DovetailError
            An unknown, missing or ill-formed field (with its dotted path), contradictory constraints, an empty axis,
            or more than `MAX_POINTS` points.
        """
        from dovetail.search.schema import check

        file = check(data, where)
        axes = {name: getattr(file.workload, name) for name in type(file.workload).model_fields}
        names = [tuple(dict.fromkeys(part)) for part in (file.models, file.recipes, file.machines)]
        counts = [*map(len, names), *map(_length, axes.values())]
        _refuse_large(counts, where)
        space = cls(
            file.name, names[0], names[1], names[2], tuple(Axis(name, _values(spec)) for name, spec in axes.items()),
            _constraints(file.constraints, where),
            tuple(expression.objective(text, f"{where}: objectives.{i}") for i, text in enumerate(file.objectives)),
            expression.pick(file.pick, f"{where}: pick"), file.reference,
        )  # fmt: skip
        _consistent(space, where)
        return space

    @property
    def size(self) -> int:
        """Points: structures times the product of the numeric axes."""
        return len(self.models) * len(self.recipes) * len(self.machines) * self.rows

    @property
    def rows(self) -> int:
        """Points of one structure."""
        return math.prod(len(axis.values) for axis in self.axes)

    @property
    def hash(self) -> str:
        """SHA-256 of everything that decides the result; the name does not."""
        parts = (
            self.models,
            self.recipes,
            self.machines,
            self.axes,
            self.constraints,
            self.objectives,
            self.pick,
            self.reference,
        )
        return digest(parts)

    def structures(self) -> Iterator[Structure]:
        """Every structure, models slowest and machines fastest."""
        return (Structure(m, r, c) for m in self.models for r in self.recipes for c in self.machines)

    def columns(self, start: int, stop: int) -> dict[str, NDArray[np.float64]]:
        """Rows ``start:stop`` of the product of the numeric axes, one array of shape (stop - start,) for each axis."""
        places = np.unravel_index(np.arange(start, stop), [len(axis.values) for axis in self.axes])
        return {axis.name: axis.values[place] for axis, place in zip(self.axes, places)}

    def trimmed(self) -> tuple[Space, tuple[tuple[str, int], ...]]:
        """The space without the axis values its constraints exclude, and (why, points removed) for each of these."""
        space, removed = self, []
        for rule in self.constraints:
            smaller = replace(space, axes=tuple(axis.meeting(rule) for axis in space.axes))
            if smaller.size < space.size:
                removed.append((str(rule), space.size - smaller.size))
            space = smaller
        return space, tuple(removed)


def _length(spec: Any) -> int:
    return spec.size if hasattr(spec, "size") else len(spec) if isinstance(spec, list) else 1


def _values(spec: Any) -> NDArray[np.float64]:
    if hasattr(spec, "values"):
        return np.asarray(spec.values(), float)
    return np.asarray(list(dict.fromkeys(spec if isinstance(spec, list) else [spec])), float)


def _refuse_large(counts: list[int], where: str) -> None:
    points = math.prod(counts)
    if points > MAX_POINTS:
        raise DovetailError(
            f"{points:,} points are more than exact search takes",
            where=where,
            why=f"{' × '.join(f'{n:,}' for n in counts)} (models × recipes × machines × batch × prompt × output); "
            f"the limit is {MAX_POINTS:,}",
            hint="coarser axes, such as {from: 1, to: 256, steps: log2}, or fewer names",
        )


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
    for axis in space.axes:
        if not len(axis.meeting(*space.constraints).values):
            text = " and ".join(str(c) for c in space.constraints if c.metric == axis.name)
            why = f"the space has {axis.values.min():,.0f} to {axis.values.max():,.0f}"
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
