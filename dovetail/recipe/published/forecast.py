"""Forecast of what compression costs a model that nobody compressed here, from published tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.quantity import Quantity
from dovetail.recipe.published.fit import COLLAPSE, Fitted, fit, fitting
from dovetail.recipe.published.rows import PLAIN, Case, known, rows

# Standard deviations either way that hold 90 % of the rows of models left out (`held_out`), and those of methods on
# which papers agree less.
SPREAD = 1.54
SPREADS = {"gptq": 2.86, "awq": 1.74}
TODAY = 15e12  # tokens of training of a model that is in no list, as models are trained today (Llama 3: 15 T)
FAR = 0.5  # standard deviation for each e-fold of parameters, or bit, beyond those of the tables
EDGE = 0.1  # e-folds beyond them that are as good as inside


@cache
def fitted() -> Fitted:
    """The fit to all rows that can teach."""
    return fit([row for row in rows() if fitting(row)])


@cache
def methods() -> list[str]:
    """Methods that a forecast knows, in the order of the tables."""
    return list(dict.fromkeys(case.method for case in fitted().cases))


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one part of a model is compressed, and its `share` of the weights."""

    weight: int
    act: int = PLAIN
    kv: int = PLAIN
    group: int = 0
    asym: bool = False
    share: float = 1.0


def forecast(
    method: str,
    schemes: Scheme | Sequence[Scheme],
    parameters: float,
    *,
    name: str = "",
    tokens: float | None = None,
) -> Quantity:
    """By what factor WikiText-2 perplexity grows: 1.02 is 2 % more.

    Parameters
    ----------
    method : str
        One of `methods`.
    schemes : Scheme or sequence of Scheme
        Bits and groups; parts compressed otherwise add up by their shares, losses being small.
    parameters : float
        Of the whole model, experts included.
    name : str
        Hub id: models and families of the tables are known by it, and so are the tokens of several others.
    tokens : float
        Tokens of training; by default those that the name says, else as models are trained today.

    Returns
    -------
    Quantity
        Of kind ``literature``; 90 % of such publications on a model that the fit had not seen were in its interval.

    Raises
    ------
    DovetailError
        A method in no table, parameters or bits that are not positive, no scheme at all.
    """
    parts = [schemes] if isinstance(schemes, Scheme) else list(schemes)
    _check(method, parts, parameters, tokens)
    model = known(name)
    trained = tokens or model.tokens or (None if model.model or model.family else TODAY)
    cases = [
        Case(method, s.weight, s.act, s.kv, s.group, s.asym, parameters, trained, model.model, model.family)
        for s in parts
    ]
    mean, deviation = fitted().predict(cases)
    width = SPREADS.get(method, SPREAD) * np.sqrt(deviation**2 + [_beyond(case) ** 2 for case in cases])
    share = np.array([s.share for s in parts])
    value, low, high = (1.0 + float(share @ np.exp(mean + sign * width)) for sign in (0, -1, 1))
    source = _source(cases, value, assumed=not (tokens or model.model or model.family))
    return Quantity(value, low, high, "", "literature", source, "1 + exp(slopes + offsets)")


def _check(method: str, parts: Sequence[Scheme], parameters: float, tokens: float | None) -> None:
    if method not in methods():
        why = "no published perplexities of it are in the tables"
        raise DovetailError(f"no forecast for '{method}'", why=why, hint=did_you_mean(method, methods()))
    if not parts:
        raise DovetailError("nothing is compressed", hint="a scheme, such as 4 bits in groups of 128")
    if not (math.isfinite(parameters) and parameters > 0 and (tokens is None or tokens > 0)):
        raise DovetailError("parameters and tokens must be positive", why=f"{parameters:g} parameters")
    for s in parts:
        if not (1 <= s.weight <= PLAIN and 1 <= s.act <= PLAIN and 1 <= s.kv <= PLAIN and s.group >= 0 and s.share > 0):
            raise DovetailError("is not a scheme", why=f"{s}", hint="bits from 1 to 16, a group of 0 or more")


@cache
def _range() -> tuple[float, float, int, int]:
    """Parameters and weight bits that the fit has seen."""
    cases = fitted().cases
    sizes, bits = [c.parameters for c in cases], [c.weight for c in cases]
    return min(sizes), max(sizes), min(bits), max(bits)


def _beyond(case: Case) -> float:
    """Standard deviation of the log excess for being outside what the fit has seen."""
    small, large, few, many = _range()
    size = max(math.log(small / case.parameters), math.log(case.parameters / large)) - EDGE
    return FAR * (max(size, 0.0) + max(few - case.weight, case.weight - many, 0))


def _source(cases: Sequence[Case], value: float, *, assumed: bool) -> str:
    """Where the number comes from, and what makes it less sure."""
    seen = fitted().cases
    same = sum(case.method == cases[0].method for case in seen)
    text = f"fit to {len(seen)} published WikiText-2 perplexities of {len({c.model for c in seen})} models"
    text += f", {same} of them by {cases[0].method}"
    notes = []
    if any(map(_beyond, cases)):
        small, large, few, many = _range()
        notes.append(f"beyond their {small / 1e9:.1f} – {large / 1e9:.0f} B parameters and {few} – {many} bits")
    if assumed:
        notes.append(f"{TODAY / 1e12:.0f} T tokens of training assumed")
    if value - 1.0 > COLLAPSE:
        notes.append("a model that hardly works: how badly is chance")
    return "; ".join([text, *notes])
