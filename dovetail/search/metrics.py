"""The words of a search: every metric a constraint or objective may name, its dimension and its better direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dovetail.core import units
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hardware.templates.template import parameter, parameter_names

Direction = Literal["min", "max"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric or axis of a design point.

    Parameters
    ----------
    name : str
        The word used in constraints, objectives, JSON and reports.
    dimension : str
        Dimension of `dovetail.core.units`; ``""`` for a pure number.
    better : Direction
        Which way a plain objective of this name goes.
    words : str
        What it is, for a reader.
    unit : str
        The unit its values are in, as `dovetail.core.units` writes it (``"USD/Mtok"``); `dimension` when empty.
    fraction : bool
        A share of one, so that ``40 %`` means 0.4 and not "40 % of the reference".
    axis : bool
        Chosen, not predicted: a column of the space.
    """

    name: str
    dimension: str
    better: Direction
    words: str
    unit: str = ""
    fraction: bool = False
    axis: bool = False

    def value(self, number: float, unit: str, where: str) -> float:
        """`number` `unit` in this metric's own unit; ``X`` is enough for a metric in ``X`` per token.

        Raises
        ------
        DovetailError
            An unknown unit, one of another dimension, or bytes without a unit.
        """
        if not unit:
            if self.dimension == "byte":
                raise DovetailError(f"'{self.name}' needs a unit", where=where, hint=f"{self.name} < {number:g} GB")
            return number
        try:
            dimension, scale = units.unit(unit)
        except KeyError:
            raise DovetailError(f"unknown unit '{unit}'", where=where, hint=self._example()) from None
        if dimension == self.dimension:
            return number * scale / (units.unit(self.unit)[1] if self.unit else 1.0)
        if self.dimension.endswith("/tok") and dimension == self.dimension.removesuffix("/tok"):
            return number * scale
        why = f"{self.name} is in {self.shown_unit}, '{unit}' is {dimension or 'a pure number'}"
        raise DovetailError(f"'{unit}' is the wrong unit for '{self.name}'", where=where, why=why, hint=self._example())

    @property
    def shown_unit(self) -> str:
        """The unit of its values, or ``a pure number``."""
        return self.unit or self.dimension or "a pure number"

    def _example(self) -> str:
        return f"{self.name} < {_EXAMPLES.get(self.dimension, '1.5')}"

    def show(self, value: float) -> str:
        """`value` for a reader: ``$0.42/Mtok``, ``24 ms``, ``1.3 GB``."""
        if self.dimension.startswith("USD"):
            return f"${value:.3g}{self.unit[3:]}"
        if self.dimension in ("", "tok"):
            return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
        return units.show(value, self.dimension)


_EXAMPLES = {
    "s": "50 ms", "byte": "24 GB", "W": "15 W", "mm2": "600 mm2", "J/tok": "1 mJ/tok", "USD/tok": "1 USD/Mtok",
    "USD": "30000 USD", "tok/s": "100 tok/s", "tok": "4096",
}  # fmt: skip

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("perplexity", "", "min", "perplexity on held-out text, the quality of a model: lower is better"),
        Metric("perplexity_ratio", "", "min", "perplexity over that of the model as it is: 1.01 loses one per cent"),
        Metric("accuracy", "", "max", "share of answers that are right", fraction=True),
        Metric("ttft", "s", "min", "time to the first token: one prefill, no queueing"),
        Metric("tpot", "s", "min", "mean time between the output tokens of a request"),
        Metric("e2e", "s", "min", "time from request to last token"),
        Metric("throughput", "tok/s", "max", "output tokens per second of the whole system"),
        Metric("energy_per_token", "J/tok", "min", "energy per output token of the whole system"),
        Metric("usd_per_mtok", "USD/tok", "min", "price of a million output tokens", unit="USD/Mtok"),
        Metric("memory", "byte", "min", "memory needed: weights, KV cache, activations and workspace"),
        Metric("weights", "byte", "min", "memory of the weights, scales included"),
        Metric("kv_cache", "byte", "min", "memory of the KV cache at the end of the output"),
        Metric("activations", "byte", "min", "memory of activations and workspace"),
        Metric("power", "W", "min", "power drawn"),
        Metric("area", "mm2", "min", "silicon area"),
        Metric("price", "USD", "min", "price of the hardware"),
        Metric("mfu", "", "max", "model FLOPs utilisation: achieved over peak", fraction=True),
        Metric("batch", "", "max", "requests served together", axis=True),
        Metric("prompt", "tok", "max", "prompt tokens of a request", axis=True),
        Metric("output", "tok", "max", "output tokens of a request", axis=True),
    )
}

_SUFFIXES = {"s": "_s", "byte": "_bytes", "W": "_w", "mm2": "_mm2", "USD": "_usd", "J/tok": "_j"}
_ALIASES = {"quality": "perplexity"} | {
    m.name + _SUFFIXES[m.dimension]: m.name for m in METRICS.values() if m.dimension in _SUFFIXES
}


def canonical(name: str) -> str:
    """The one name of a metric: ``quality`` is ``perplexity``, ``tpot_s`` is ``tpot``; other words stay as they are."""
    return _ALIASES.get(name, name)


def known(name: str) -> Metric | None:
    """The metric called `name`, or the free parameter of a hardware template; None for a name that is neither."""
    if (name := canonical(name)) in METRICS:
        return METRICS[name]
    free = parameter(name)
    return None if free is None else Metric(name, free.dimension, "min", free.words, axis=True)


def is_parameter(name: str) -> bool:
    """Whether `name` is a free parameter of hardware: something that only machines made by a template have."""
    return canonical(name) not in METRICS and parameter(name) is not None


def find(name: str, where: str = "") -> Metric:
    """The metric called `name`. Raises `DovetailError` with the nearest names for an unknown one."""
    found = known(name)
    if found is None:
        hint = did_you_mean(name, [*METRICS, *_ALIASES, *parameter_names()])
        raise DovetailError(f"unknown metric '{name}'", where=where, hint=hint)
    return found
