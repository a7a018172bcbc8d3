"""``compress --target``: what was asked, which layers got how many bits, predicted beside measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.app.output import Answer, folded
from dovetail.app.table import table
from dovetail.core.errors import CHECK_FAILED, DovetailError

if TYPE_CHECKING:
    from dovetail.design.allocation.target import Limit
    from dovetail.workload import Workload

AS_IT_IS = 16  # bits of a layer that is left alone
_ALIASES = {"energy": "energy_per_token"}
_WITH_UNIT = {
    "ttft": "ttft<500ms", "tpot": "tpot<30ms", "e2e": "e2e<5s", "energy_per_token": "'energy<2 J/tok'",
    "memory": "memory<24GB", "weights": "weights<5GB",
}  # fmt: skip


def limits_of(text: str) -> tuple[Limit, ...]:
    """The limits of ``--target``: constraints of a search, joined by ``,`` or ``and``, all from above.

    A number that should have a unit and has none is refused, and not taken as SI: an ``x`` was meant.

    Raises
    ------
    DovetailError
        Not of the grammar, an unknown metric, a unit of another dimension, limits from below, or a contradiction.
    """
    from dovetail.design.allocation.target import UNITS, Limit, checked
    from dovetail.search.expression import conflict, constraints

    clauses = re.split(r",|\band\b", text)
    rules = constraints(" and ".join(map(_renamed, clauses)), "--target")
    for clause, rule in zip(clauses, rules, strict=True):
        if rule.metric in UNITS and not rule.relative and clause.strip()[-1:].isdigit():
            bare = clause.strip()
            raise DovetailError(
                f"'{bare}' has no unit", where="--target", hint=f"'{bare}x', or {_WITH_UNIT[rule.metric]}"
            )
        if not rule.upper:
            raise DovetailError(f"'{rule}' is a limit from below", where="--target", hint=f"{rule.metric} < 0.6x")
    if clash := conflict(rules):
        what = f"nothing meets '{' and '.join(map(str, clash))}'"
        raise DovetailError(what, where="--target", hint="a bound above 0")
    return checked([Limit(rule.metric, rule.bound, rule.relative, rule.op == "<") for rule in rules])


def _renamed(part: str) -> str:
    """Metrics by their full names."""
    return re.sub(rf"\b({'|'.join(_ALIASES)})(?=\s*[<>≤≥])", lambda found: _ALIASES[found[1]], part)


def answer(
    model: str, machine: str | None, target: str | None, out: Path, recipe: str | None, work: Workload, quiet: bool,
    **how: Any,
) -> Answer:  # fmt: skip
    """``compress --for MACHINE --target EXPR``. Raises `DovetailError` for half of the question."""
    from dovetail.design.allocation.compress import compress_for

    if machine is None or target is None:
        lacking = "--target 'tpot<0.6x'" if target is None else "--for MACHINE"
        raise DovetailError("a machine and a target belong together", where="compress", hint=lacking)
    found = compress_for(model, machine, limits_of(target), out, recipe=recipe, workload=work, **how)
    return Answer("compress", found, lambda: screen(found, quiet), 0 if found["met"] else CHECK_FAILED)


def screen(found: Mapping[str, Any], quiet: bool) -> None:
    """Which layers got how many bits, predicted beside measured, and what `compress` says."""
    from dovetail.app.compress_screen import compress_screen

    print(folded(f"{found['machine']}: {', '.join(found['target'])}; bits of each layer by {found['method']}"))
    if all(row["bits"] == AS_IT_IS for row in found["allocation"]):
        print("the model as it is meets the target: nothing was changed")
    if not found["met"]:
        missed = f"whether perplexity meets the target is not known: {found['quality_why']}"
        print(folded(missed if found["met"] is None else "the measured perplexity misses the target"))
    _allocation(found)
    table(["predicted there", "as it is", "after", "ratio", "measured"], list(_rows(found)))
    if not quiet:
        print(folded(f"sensitivity {found['sensitivity']}, {found['mean_bits']:.2f} bits a weight beside scales"))
        print(f"recipe      {found['path']}/recipe.yaml")
    compress_screen(found, quiet)


def _rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    from dovetail.core.units import show

    for name, pair in found["predicted"].items():
        before, after = pair["before"], pair["after"]
        shown = [show(each["value"], after["unit"], 4) if each else "–" for each in (before, after)]
        yield [name.replace("_", " "), *shown, f"{pair['ratio']:.3f}x", _measured(found, name)]


def _measured(found: Mapping[str, Any], name: str) -> str:
    if name != "perplexity" or not found["perplexity_after"]:
        return "–"
    return f"{found['perplexity_after']['value']:.4g} ({found['perplexity_ratio']['value']:.3f}x)"


def _allocation(found: Mapping[str, Any]) -> None:
    """Products by width: the layers that got it."""
    used = sorted({row["bits"] for row in found["allocation"]})
    names = list(dict.fromkeys(row["operator"] for row in found["allocation"]))
    picked: dict[tuple[str, int], list[int]] = {(name, bits): [] for name in names for bits in used}
    for row in found["allocation"]:
        picked[row["operator"], row["bits"]].append(row["layer"])
    columns = ["layers of", *("as it is" if bits == AS_IT_IS else f"{bits} bits" for bits in used)]
    table(columns, [[name, *(_ranges(picked[name, bits]) for bits in used)] for name in names])


def _ranges(layers: Sequence[int]) -> str:
    """``0 2–5``."""
    parts: list[list[int]] = []
    for layer in sorted(layers):
        if parts and layer == parts[-1][-1] + 1:
            parts[-1].append(layer)
        else:
            parts.append([layer])
    return " ".join(f"{p[0]}" if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts) or "–"
