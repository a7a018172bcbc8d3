"""The machines of a space: names, and templates with free parameters."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.content import ByContent
from dovetail.core.errors import DovetailError
from dovetail.hardware.templates.template import TEMPLATES, Parameter, Template, Variant, check_names
from dovetail.search.axis import Axis

_HINT = "80 GB, [40 GB, 80 GB], {from: 1 TB/s, to: 8 TB/s, steps: 8} or {from: 16, to: 256, steps: log2}"


@dataclass(frozen=True, slots=True, eq=False)
class Free(ByContent):
    """A template with its choices made, and the axes of its free parameters (none where all are fixed)."""

    variant: Variant
    axes: tuple[Axis, ...]


def read(entries: list[Any], where: str) -> tuple[tuple[str, ...], tuple[Free, ...]]:
    """Names of all machines, and those that are templates.

    An entry is a name, or ``{template: gpu-like, like: [h100-sxm, l40s], sms: {from: 64, to: 256, by: 16}}``:
    parameters of the template with their units, one value or several. Each combination of choices is a machine.

    Raises
    ------
    DovetailError
        An unknown template, parameter or choice (with the nearest names), a unit of another dimension, a value out of
        range, two machines of one name.
    """
    names: list[str] = []
    found: list[Free] = []
    for i, entry in enumerate(entries):
        if isinstance(entry, str):
            names.append(entry)
            continue
        each = list(_of_template(entry, f"{where}.{i}"))
        found += each
        names += [free.variant.name for free in each]
    twice = next((n for n in names if names.count(n) > 1 and n in [f.variant.name for f in found]), "")
    if twice:
        raise DovetailError(f"two machines are called '{twice}'", where=where, hint="give one of them a name: …")
    return tuple(dict.fromkeys(names)), tuple(found)


def _kind(entry: Any, where: str) -> tuple[Template, dict[str, Any]]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("template"), str):
        what = "a machine is a name, or a template with its parameters"
        raise DovetailError(what, where=where, why=f"it is {entry!r}"[:80], hint="{template: gpu-like, sms: [66, 132]}")
    kind = TEMPLATES[entry["template"]]
    given = {str(k): v for k, v in entry.items() if k not in ("template", "name")}
    known = [*(p.name for p in kind.parameters), *(c.name for c in kind.choices), "name"]
    check_names(given, known, f"parameter of '{entry['template']}'", where)
    return kind, given


def _of_template(entry: Any, where: str) -> Iterator[Free]:
    kind, given = _kind(entry, where)
    values = {p.name: _values(p, given[p.name], f"{where}.{p.name}") for p in kind.parameters if p.name in given}
    fixed = {name: float(v[0]) for name, v in values.items() if len(v) == 1}
    axes = tuple(Axis(name, v) for name, v in values.items() if len(v) > 1)
    options = {c.name: _options(given[c.name], c.options, f"{where}.{c.name}") for c in kind.choices if c.name in given}
    name = str(entry.get("name") or entry["template"])
    for chosen in itertools.product(*options.values()):
        told = " ".join(c for c, several in zip(chosen, options.values(), strict=True) if len(several) > 1)
        label = f"{name} {told}".strip()
        yield Free(Variant(label, entry["template"], fixed, dict(zip(options, chosen, strict=True))), axes)


def _options(given: Any, known: tuple[str, ...], where: str) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not listed:
        raise DovetailError("it should be a name or a list of names", where=where, hint=", ".join(known))
    check_names(dict.fromkeys(map(str, listed)), list(known), "choice", where)
    return list(dict.fromkeys(map(str, listed)))


def _values(parameter: Parameter, spec: Any, where: str) -> NDArray[np.float64]:
    """The values of one parameter, distinct, in SI."""
    if isinstance(spec, Mapping):
        return _range(parameter, spec, where)
    listed = spec if isinstance(spec, list) else [spec]
    if not listed:
        raise DovetailError("it is empty", where=where, hint=_HINT)
    return np.asarray(list(dict.fromkeys(parameter.parse(_text(v), where) for v in listed)))


def _text(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else str(value)


def _range(parameter: Parameter, spec: Mapping[str, Any], where: str) -> NDArray[np.float64]:
    check_names(spec, ["from", "to", "steps", "by"], "field", where)
    if not {"from", "to"} <= set(spec) or ("steps" in spec) == ("by" in spec):
        raise DovetailError("a range has from, to, and either steps or by", where=where, hint=_HINT)
    low, high = (parameter.parse(_text(spec[k]), f"{where}.{k}") for k in ("from", "to"))
    if high < low:
        raise DovetailError(f"it is empty: from {spec['from']} is above to {spec['to']}", where=where)
    if "by" in spec:
        made = _strided(parameter, low, high, spec["by"], f"{where}.by")
    else:
        made = _stepped(low, high, spec["steps"], where)
    return np.unique(np.round(made) if parameter.whole else made)


def _strided(parameter: Parameter, low: float, high: float, by: Any, where: str) -> NDArray[np.float64]:
    from dovetail.core import units

    stride = units.parse(_text(by), parameter.dimension, where=where)
    if stride <= 0 or (high - low) / stride > 1e6:
        raise DovetailError(f"{by} is no stride", where=where, why="it makes none or more than a million values")
    return np.arange(low, high * (1 + 1e-12), stride)


def _stepped(low: float, high: float, steps: Any, where: str) -> NDArray[np.float64]:
    if steps == "log2":
        if low <= 0:
            raise DovetailError("doublings start above zero", where=where, hint=_HINT)
        doublings = low * 2.0 ** np.arange(int(np.log2(high / low) + 1e-9) + 1)
        return np.append(doublings, high)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 2 <= steps <= 10**6:
        raise DovetailError(f"{steps!r} is no number of steps", where=where, hint="log2, or 2 to 1,000,000")
    return np.linspace(low, high, steps)
