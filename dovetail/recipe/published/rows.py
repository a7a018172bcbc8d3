"""The rows of the published tables, as they were typed: facts with their sources, nothing derived."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

PLAIN = 16  # bits of what is not quantised
OLDER = ("opt", "bloom")  # families without gated layers and RMS norms, whose outliers are of another kind


@dataclass(frozen=True, slots=True)
class Case:
    """A model and how it is compressed: what a forecast is made from.

    Parameters
    ----------
    method : str
        Name in the tables: ``rtn``, ``gptq``, ``awq``, ``smoothquant``, ``quarot``, …
    weight, act, kv : int
        Bits of weights, activations and KV cache; 16 is as they were.
    group : int
        Weights that share a scale; 0: one for each row.
    asym : bool
        Whether scales of weights have zero points.
    parameters : float
        Of the whole model, experts included.
    tokens : float or None
        Tokens it was trained on; None where nobody says.
    model, family, source : str
        Names; empty where it is none of the tables'.
    """

    method: str
    weight: int
    act: int
    kv: int
    group: int
    asym: bool
    parameters: float
    tokens: float | None = None
    model: str = ""
    family: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One published number: WikiText-2 perplexity of `case` in windows of `context` tokens, and of the same at 16 bits.

    `error` is the standard error of ``ln(perplexity / dense)`` that comes from the digits the table prints; `read` says
    what was read when it was typed, `doubt` why it is not believed.
    """

    case: Case
    context: int
    dense: float
    perplexity: float
    error: float
    chat: bool
    read: str
    doubt: str = ""

    @property
    def excess(self) -> float:
        """By how much perplexity rose, relative to the model before: ``perplexity / dense - 1``."""
        return self.perplexity / self.dense - 1.0


def _yaml(name: str) -> Any:
    import yaml

    text = resources.files("dovetail.recipe.published").joinpath(name).read_text(encoding="utf-8")
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def models() -> dict[str, dict[str, Any]]:
    """Facts of the models of the tables, by the tables' names."""
    found: dict[str, dict[str, Any]] = _yaml("models.yaml")
    return found


@cache
def rows() -> tuple[Row, ...]:
    """Every row of every table, in the order of the file."""
    return tuple(row for table in _yaml("tables.yaml") for row in _of_table(table))


def _of_table(table: dict[str, Any]) -> Iterator[Row]:
    for line in table["rows"]:
        for model, dense, perplexity in zip(table["models"], table["dense"], line["ppl"], strict=True):
            if perplexity is not None:
                yield _row(table, line, model, float(dense), float(perplexity))


def _row(table: dict[str, Any], line: dict[str, Any], model: str, dense: float, perplexity: float) -> Row:
    known = models()[model]
    case = Case(
        line["method"], line["weight"], line.get("act", PLAIN), line.get("kv", PLAIN), line.get("group", 0),
        line.get("asym", False), known["parameters"], known.get("tokens"), model, known["family"], table["source"],
    )  # fmt: skip
    error = math.hypot(_rounding(perplexity, table) / perplexity, _rounding(dense, table) / dense)
    chat, doubt = known.get("chat", False), line.get("doubt", "")
    return Row(case, table["context"], dense, perplexity, error, chat, table["read"], doubt)


def _rounding(value: float, table: dict[str, Any]) -> float:
    """Standard error of a printed number: half a unit of its last place, as a uniform distribution has it."""
    places = table["decimals"] if "decimals" in table else table["digits"] - 1 - math.floor(math.log10(value))
    return float(10.0**-places / math.sqrt(12.0))


@dataclass(frozen=True, slots=True)
class Known:
    """What a model's name says of it: all empty for a name that nobody knows."""

    model: str = ""
    family: str = ""
    tokens: float | None = None


def known(name: str) -> Known:
    """The model of the tables, or the family, that a hub id names."""
    for model, facts in models().items():
        if any(name.lower() == hub.lower() for hub in facts["hub"]):
            return Known(model, facts["family"], facts.get("tokens"))
    fits = {start: facts for start, facts in _families().items() if name.lower().startswith(start.lower())}
    if not fits:
        return Known()
    facts = fits[max(fits, key=len)]
    return Known("", facts["family"], facts.get("tokens"))


@cache
def _families() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = _yaml("families.yaml")
    return found
