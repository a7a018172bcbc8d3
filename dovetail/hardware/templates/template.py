"""What a hardware template is: free parameters with units, choices, and the machine they make.

A template is one file of this package that registers itself. Its machine takes numbers or arrays of design points, so
that `dovetail.cost` prices a million hypothetical chips in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np

from dovetail.core import units
from dovetail.core.content import ByContent
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.formats import Number
from dovetail.core.registry import Registry
from dovetail.hardware.machine import Machine

Values = Mapping[str, Number]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One free number of a template.

    Parameters
    ----------
    dimension : str
        Of `dovetail.core.units`; ``""`` for a count.
    default, least, most : float
        In SI; what is outside is refused.
    whole : bool
        Counts are.
    """

    name: str
    dimension: str
    default: float
    least: float
    most: float
    words: str
    whole: bool = False

    def parse(self, text: str | int | float, where: str = "") -> float:
        """``"3.35 TB/s"`` as a number in SI.

        Raises
        ------
        DovetailError
            No number, no unit or the wrong one, outside the range, or broken where it is a count.
        """
        value = units.parse(text, self.dimension, where=where)
        if not self.least <= value <= self.most or (self.whole and value != round(value)):
            kind = "a whole number" if self.whole else "a value"
            reach = f"{units.show(self.least, self.dimension)} to {units.show(self.most, self.dimension)}"
            raise DovetailError(f"{self.name} is {text}", where=where, why=f"it takes {kind} from {reach}")
        return value

    def show(self, value: float) -> str:
        """`value` for a reader."""
        return f"{value:,.4g}" if not self.dimension else units.show(value, self.dimension)


@dataclass(frozen=True, slots=True)
class Choice:
    """One name to choose of a few: the kind of core, a number format. The first is the default."""

    name: str
    options: tuple[str, ...]
    words: str


class Template(Protocol):
    """A family of machines.

    For bounds of a search no parameter may make area, power or price less when it grows, and none may make anything
    slower but for how cores share what they have (`optimistic` says how that is met). A template with others is
    `Bounding` too.
    """

    @property
    def words(self) -> str:
        """What it describes."""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Free numbers."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Free names."""

    def machine(self, values: Values, chosen: Mapping[str, str]) -> Machine:
        """The machine of all `parameters` (numbers or arrays that broadcast) and all `choices`."""


@runtime_checkable
class Bounding(Protocol):
    """A template that says itself what none of its machines beats."""

    def optimistic(self, low: Values, high: Values, chosen: Mapping[str, str]) -> tuple[Machine, ...]:
        """In time, energy, area or power, none between `low` and `high` beats all of these machines."""


TEMPLATES: Registry[Template] = Registry("template", "dovetail.hardware.templates")


def template(name: str) -> Callable[[type[Template]], type[Template]]:
    """Decorator of a template's class: registers one of it under `name`."""

    def add(kind: type[Template]) -> type[Template]:
        TEMPLATES.register(name)(kind())
        return kind

    return add


def parameter(name: str) -> Parameter | None:
    """The parameter called `name` of any template; equal names mean the same quantity everywhere."""
    return next((p for each in TEMPLATES for p in TEMPLATES[each].parameters if p.name == name), None)


def parameter_names() -> list[str]:
    """Names of the parameters of all templates."""
    return list(dict.fromkeys(p.name for each in TEMPLATES for p in TEMPLATES[each].parameters))


@dataclass(frozen=True, slots=True, eq=False)
class Variant(ByContent):
    """A template with its choices made: the machines that a search moves over by numbers alone.

    Parameters
    ----------
    name : str
        What the search calls it.
    template : str
    fixed : mapping of str to float
        Parameters that are not searched, in SI; those left out have their default.
    chosen : mapping of str to str
    """

    name: str
    template: str
    fixed: Mapping[str, float] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)

    def machine(self, columns: Mapping[str, Number] | None = None) -> Machine:
        """The machine of one point, or of columns of parameters. Raises `DovetailError` for unknown names."""
        return replace(TEMPLATES[self.template].machine(*self._filled(columns or {})), name=self.name)

    def _filled(self, columns: Mapping[str, Number]) -> tuple[dict[str, Number], dict[str, str]]:
        """All parameters and all choices."""
        kind = TEMPLATES[self.template]
        known: dict[str, Number] = {p.name: p.default for p in kind.parameters}
        given = {**self.fixed, **{n: v for n, v in columns.items() if n in known}}
        options = {c.name: c.options[0] for c in kind.choices}
        check_names(given, list(known), f"parameter of '{self.template}'")
        check_names(self.chosen, list(options), f"choice of '{self.template}'")
        return {**known, **given}, {**options, **self.chosen}

    def optimistic(self, low: Mapping[str, Number], high: Mapping[str, Number]) -> tuple[Machine, ...]:
        """In speed, price, area or power, no machine with parameters between `low` and `high` beats all of these."""
        kind = TEMPLATES[self.template]
        if not isinstance(kind, Bounding):
            return (optimistic(self.machine(low), self.machine(high)),)
        (few, chosen), (many, _) = self._filled(low), self._filled(high)
        return tuple(replace(made, name=self.name) for made in kind.optimistic(few, many, chosen))


def check_names(given: Mapping[str, object], known: list[str], kind: str, where: str = "") -> None:
    """Raises `DovetailError` with the nearest names for one of `given` that is unknown."""
    for name in given:
        if name not in known:
            raise DovetailError(f"unknown {kind}: '{name}'", where=where, hint=did_you_mean(name, known))


def optimistic(small: Machine, large: Machine) -> Machine:
    """The speed of `large` at the cost of `small`, of one template.

    Two times of kernels grow with the cores: writing a tile at a core's share of the bandwidth, and combining the
    parts of a split. Both are taken as with the cores of `small`; so is what an integer array reads beside weights.
    """
    ratio = np.asarray(large.cores) / np.maximum(small.cores, 1) if np.any(large.cores) else np.asarray(1.0)
    caches = tuple(replace(c, bandwidth=c.bandwidth * ratio) for c in large.caches)
    kernels = large.kernels
    if kernels is not None:
        gemm = {name: replace(c, epilogue=c.epilogue / ratio) for name, c in kernels.gemm.items()}
        kernels = replace(kernels, gemm=gemm)
    array = large.integer_array
    if array is not None and small.integer_array is not None:
        array = replace(array, header=small.integer_array.header, stored=small.integer_array.stored)
    per_flop = {dtype: np.minimum(j, small.j_per_flop[dtype]) for dtype, j in large.j_per_flop.items()}
    return replace(
        large, caches=caches, kernels=kernels, j_per_flop=per_flop, integer_array=array,
        j_per_byte=np.minimum(small.j_per_byte, large.j_per_byte),
        **{name: getattr(small, name) for name in ("tdp_w", "idle_w", "usd_per_hour", "price_usd", "area_mm2")},
    )  # fmt: skip
