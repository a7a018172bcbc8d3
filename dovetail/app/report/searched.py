"""The JSON of a search as figures: front, parallel coordinates, shares, map of winners, why not, certificate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dovetail.app.report.data import (
    Amount,
    Amounts,
    Better,
    Dimension,
    Parallel,
    Pareto,
    ParetoPoint,
    Reason,
    Reasons,
    Section,
    Strand,
    Table,
    Winners,
    Won,
)
from dovetail.app.report.scales import evenly, say

Data = Mapping[str, Any]
WHISKERS, FRONT, MOST_ROWS = 24, 300, 400  # of the front: how many have whiskers, are drawn, are in its table
REACH = 6.0  # designs beyond this many times the front's own range are left out of the drawing
LEAST = 0.005  # a share of variance that is worth a bar
PARTS = ("model", "recipe", "machine", "tp", "pp")
TITLES = {
    "tpot": "time per output token", "ttft": "time to first token", "usd_per_mtok": "price per million output tokens",
    "energy_per_token": "energy per token", "perplexity_ratio": "perplexity ratio", "kv_cache": "KV cache",
}  # fmt: skip


def sections(data: Data, pair: tuple[str, str] | None = None) -> Iterator[Section]:
    """Every figure that the answer of a search has something for; the front by a `pair` of its objectives."""
    around = data.get("landscape") or {}
    front = [each for each in data.get("front") or () if isinstance(each, Mapping)]
    names, better = _objectives(data)
    if len(names) > 1 and front:
        shown = [names.index(name) for name in pair or names[:2]]
        yield _front(data, front, around, [names[i] for i in shown], [better[i] for i in shown])
    if front and around.get("choices"):
        yield _parallel(data, front, around, names, better)
    if shares := data.get("sensitivity") or around.get("sensitivity"):
        yield _decides(shares)
    if around.get("map"):
        yield _winners(around)
    if around.get("why_not"):
        yield _reasons(data, around["why_not"])
    if isinstance(data.get("certificate"), Mapping):
        yield _certificate(data["certificate"])
    if front:
        yield _table(front, around, names)


def answer(data: Data) -> str:
    """The winner in a sentence: what was chosen, and its objectives."""
    winner, names = data["winner"], _objectives(data)[0]
    around, front = data.get("landscape") or {}, data.get("front") or [data["winner"]]
    choices = _choices(around, front)
    where = _label(winner, choices, around.get("units") or {})
    model = "" if "model" in choices else f"{winner['model']}: "
    told = ", ".join(f"{title_of(n)} {say(number(winner.get(n)), _unit(winner.get(n)))}" for n in names)
    return f"{model}{where} – {told}; the pick of {number(data.get('points')):,.0f} designs."


def title_of(name: str) -> str:
    """A metric or choice for a reader."""
    return TITLES.get(name, name.replace("_", " "))


def _objectives(data: Data) -> tuple[list[str], list[Better]]:
    words = [str(objective).split() for objective in data.get("objectives") or ()]
    return [each[-1] for each in words], ["higher" if each[0] == "max" else "lower" for each in words]


def number(value: object, key: str = "value") -> float:
    """The number in a JSON value; NaN where there is none."""
    found = value.get(key) if isinstance(value, Mapping) else value
    return float(found) if isinstance(found, int | float) else math.nan


def _interval(value: object) -> tuple[float, float] | None:
    low, high = (number(value, side) for side in ("low", "high")) if isinstance(value, Mapping) else (math.nan,) * 2
    return (low, high) if low < high else None


def _label(design: Data, choices: Sequence[str], units: Data) -> str:
    """A design by what varies in the space."""
    told = [str(design[part]) for part in ("model", "recipe", "machine") if part in choices and part in design]
    words = [" on ".join(told) if len(told) == 2 and "model" not in choices else " · ".join(told)] if told else []
    words += [f"{name} {say(number(design[name]), units.get(name, ''))}" for name in choices
              if name not in ("model", "recipe", "machine") and design.get(name) is not None]  # fmt: skip
    return ", ".join(words) or "design"


def _choices(around: Data, front: Sequence[Data]) -> list[str]:
    return list(around.get("choices") or [n for n in ("recipe", "machine", "batch", "prompt") if n in front[0]])


def _group(choices: Sequence[str]) -> str:
    return next((name for name in ("recipe", "machine", "model") if name in choices), "")


def _front(
    data: Data, front: Sequence[Data], around: Data, names: Sequence[str], better: Sequence[Better]
) -> Pareto:  # fmt: skip
    """The front by the first two objectives with its intervals, and the designs around it."""
    (x, y), (x_better, y_better) = names[:2], better[:2]
    choices, units = _choices(around, front), around.get("units") or {}
    group, winner = _group(choices), data.get("winner")
    same = [name for name in choices if len(front) > 1 and len({str(c.get(name)) for c in front}) == 1]
    short = [name for name in choices if name not in same]
    drawn = [c for c in front if c == winner] + [c for c in evenly(front, FRONT) if c != winner]
    named = {id(c) for c in evenly(drawn, WHISKERS)} | {id(drawn[0])}
    points = [
        ParetoPoint(
            _label(c, choices if c == winner else short, units),
            number(c.get(x)), number(c.get(y)), str(c.get(group, "")), True, c == winner,
            *((_interval(c.get(x)), _interval(c.get(y))) if id(c) in named else (None, None)),
        )
        for c in drawn
    ]  # fmt: skip
    beside = [
        ParetoPoint(
            _label(c, choices, units), number(c.get(x)), number(c.get(y)), str(c.get(group, "")),
            broken="" if c.get("feasible") else str(c.get("binding") or "a constraint"),
        )
        for c in around.get("beside") or ()
    ]  # fmt: skip
    near = _within(points, beside)
    note = f"Lines through a design of the front: its 90 % intervals{_count(named, drawn)}. "
    note += "Hollow: dominated; grey: not feasible. " if near else ""
    if around:
        left = len(beside) - len(near)
        note += f"{len(near):,} designs beside the front are drawn" + (f", {left:,} lie outside. " if left else ". ")
    if same:
        note += f"All of the front: {_label(front[0], same, units)}. "
    if len(data["objectives"]) > 2:
        note += (
            "A line joins those that no other beats in these two objectives; the others are on the front by another."
        )
    unit_x, unit_y = (_unit(front[0].get(name)) for name in (x, y))
    return Pareto(
        "The Pareto front, with intervals", title_of(x), unit_x, title_of(y), unit_y, [*points, *near],
        x_better, y_better, note.strip(), int(data.get("points") or 0), len(front),
    )  # fmt: skip


def _count(named: set[int], drawn: Sequence[Data]) -> str:
    return f" ({len(named)} of {len(drawn)} have them)" if len(named) < len(drawn) else ""


def _unit(value: object) -> str:
    return str(value["unit"]) if isinstance(value, Mapping) and "unit" in value else ""


def _within(front: Sequence[ParetoPoint], beside: Sequence[ParetoPoint]) -> list[ParetoPoint]:
    """Designs that are not so far from the front that it would shrink to a spot."""

    def inside(values: Sequence[float], value: float) -> bool:
        known = [v for v in values if math.isfinite(v)]
        if not known or min(known) <= 0:
            return bool(known)
        return min(known) / REACH <= value <= max(known) * REACH

    xs, ys = [p.x for p in front], [p.y for p in front]
    return [p for p in beside if inside(xs, p.x) and inside(ys, p.y)]


def _parallel(
    data: Data, front: Sequence[Data], around: Data, names: Sequence[str], better: Sequence[Better]
) -> Parallel:  # fmt: skip
    choices, units, winner = around["choices"], around["units"], data.get("winner")
    group = _group(list(choices))
    dimensions = [
        Dimension(n, title_of(n), units.get(n, ""), tuple(map(str, values)) if n in PARTS[:3] else ())
        for n, values in choices.items()
    ]
    dimensions += [Dimension(n, n.replace("_", " "), units.get(n, ""), (), b)
                   for n, b in zip(names, better, strict=True)]  # fmt: skip

    def strand(design: Data, on_front: bool) -> Strand:
        values = {
            d.name: str(design[d.name]) if d.names else number(design[d.name])
            for d in dimensions
            if design.get(d.name) is not None
        }
        label = _label(design, list(choices), units)
        return Strand(label, values, str(design.get(group, "")), on_front, on_front and design == winner)

    strands = [strand(c, True) for c in front] + [strand(c, False) for c in around.get("beside") or ()]
    note = "Thick: the winner; coloured: the front; grey: other designs, feasible or not. A line breaks where an axis "
    note += "is not of that machine. ↑: an objective, its better end at the top."
    return Parallel("Every choice and every objective", dimensions, strands, note)


def _decides(shares: Sequence[Data]) -> Amounts:
    rows = [
        Amount(title_of(s["objective"]), title_of(s["choice"]), number(s["total"]), number(s["alone"]),
               f"{number(s['total']):.0%} ({number(s['alone']):.0%} alone)")
        for s in shares if number(s["total"]) >= LEAST
    ]  # fmt: skip
    says = "; ".join(
        f"{name} is decided most by {next(r.label for r in rows if r.group == name)}"
        for name in dict.fromkeys(r.group for r in rows)
    )
    return Amounts(
        "What decides each objective", "share of the variance with interactions", "by itself", 1.0, rows,
        f"{says[:1].upper()}{says[1:]}." if says else "",
        "Functional ANOVA over the space, of the logarithm of each objective. Shares with interactions may add up to "
        "more than 100 %.",
    )  # fmt: skip


def _winners(around: Data) -> Winners:
    found, units = around["map"], around["units"]

    def told(name: str, value: object) -> str:
        return value if isinstance(value, str) else say(number(value), units.get(name, ""))

    cells = [Won(told(found["x"], c["x"]), told(found["y"], c["y"]), tuple(c["what"]), number(c["value"]))
             for c in found["cells"]]  # fmt: skip
    xs, ys = ([told(found[side], v) for v in found[f"{side}s"]] for side in ("x", "y"))
    note = f"In each cell the rule of the search ({found['by']}) picks from the designs that meet the constraints"
    drawn = f"{number(found.get('evaluated')):,.0f} of the {number(found.get('points')):,.0f} in these cells were drawn"
    note += ", all of them." if found.get("complete") else f". {drawn}, and the front added: not exact."
    title = f"What wins, by {title_of(found['x'])} and {title_of(found['y'])}"
    told_names = [title_of(part) for part in found["told"]]
    return Winners(title, title_of(found["x"]), title_of(found["y"]), xs, ys, told_names, title_of(found["metric"]),
                   found["unit"], cells, note)  # fmt: skip


def reason(data: Data, found: Data | None = None) -> Reason:
    """One answer of ``why-not``; one that nothing dominates is held against the winner of the search `found`."""
    broken, beaten, changes = data.get("broken") or (), data.get("dominated_by") or (), data.get("changes") or ()
    factors, against = _against_winner(data, found or {}), "the winner"
    if beaten:
        factors = {title_of(n): number(f) for n, f in beaten[0]["better"].items()}
        against = _design(beaten[0]["design"])
    verdict = "it is on the front; the rule picks another" if data.get("on_front") else "it is not on the front"
    verdict = f"beaten by {against}" if beaten else verdict
    verdict = f"breaks {'; '.join(broken)}" if broken else verdict
    helps = [
        f"{c['what']} {c['to']} instead of {c['from']} ({'on the front' if c['on_front'] else 'then it fits'})"
        for c in sorted(changes, key=lambda c: not c["on_front"])
        if c["on_front"] or broken
    ]
    change = ", or ".join(helps[:3]) or ("no single change puts it on the front" if beaten or broken else "")
    kind: Any = "breaks a constraint" if broken else "dominated" if beaten else "on the front, not picked"
    design, asked = str(data.get("design", "")), str(data.get("asked") or "this design")
    return Reason(asked, design, kind, verdict, factors, against, change)


def _against_winner(data: Data, found: Data) -> dict[str, float]:
    """How many times worse each objective is than the winner's."""
    values, winner = data.get("values") or {}, found.get("winner") or {}
    factors = {}
    for name, better in zip(*_objectives(found), strict=True):
        own, best = number(values.get(name)), number(winner.get(name))
        if own > 0 and best > 0:
            factors[title_of(name)] = own / best if better == "lower" else best / own
    return factors


def _design(design: Data) -> str:
    numbers = ", ".join(f"{name} {say(number(design[name]))}" for name in ("batch", "prompt") if name in design)
    return f"{design.get('recipe')} on {design.get('machine')}" + (f", {numbers}" if numbers else "")


def _reasons(data: Data, found: Sequence[Data]) -> Reasons:
    note = "Of each machine and recipe that was not picked, the best design by the same rule: beside the nearest "
    note += (
        "design that is nowhere worse, or else the winner. Others: dovetail why-not SPACE machine=… recipe=… batch=…"
    )
    return Reasons("Why not another machine or recipe?", [reason(each, data) for each in found], note)


def _certificate(found: Data) -> Amounts:
    """What was evaluated and what not, and why: the counts add up to the space."""
    points = number(found.get("points"))

    def row(group: str, label: str, count: float) -> Amount:
        share = f" ({count / points:.1%})" if points else ""
        return Amount(group, label, count, count, f"{count:,.0f}{share}")

    rows = [row("evaluated", "feasible", number(found.get("feasible")))]
    rows += [row("evaluated", f"infeasible: {why}", number(count)) for why, count in _sorted(found["infeasible"])]
    pruned = {str(each["why"]): number(each["points"]) for each in found.get("pruned") or ()}
    rows += [row("not evaluated", why, count) for why, count in _sorted(pruned)]
    says = f"{points:,.0f} designs: {number(found.get('evaluated')):,.0f} evaluated, {sum(pruned.values()):,.0f} not."
    tried = number(found.get("tried_first"))
    note = f"Method: {found.get('method')}. " + (f"{tried:,.0f} designs were tried first. " if tried > 0 else "")
    note += f"Ties: {found.get('ties')}. Space: {str(found.get('space'))[:16]}…"
    return Amounts("What was evaluated and pruned, and why", "designs", "", points, rows, says, note)


def _table(front: Sequence[Data], around: Data, names: Sequence[str]) -> Table:
    """Every design of the front, with the intervals of its objectives."""
    choices, units = _choices(around, front), around.get("units") or {}

    def cell(design: Data, name: str) -> str:
        value = design.get(name)
        return value if isinstance(value, str) else "–" if value is None else say(number(value), units.get(name, ""))

    def known(design: Data, name: str) -> str:
        value, unit = design.get(name), _unit(design.get(name))
        between = _interval(value)
        words = say(number(value), unit)
        return f"{words} ({say(between[0], unit)} to {say(between[1], unit)})" if between else words

    rows = [(*(cell(c, n) for n in choices), *(known(c, n) for n in names)) for c in front[:MOST_ROWS]]
    header = [*map(title_of, choices), *map(title_of, names)]
    numeric = [i for i, n in enumerate((*choices, *names)) if n not in PARTS[:3]]
    return Table("The designs of the front", header, rows, numeric, more=max(len(front) - MOST_ROWS, 0))


def _sorted(counts: Data) -> list[tuple[str, Any]]:
    return sorted(counts.items(), key=lambda pair: -number(pair[1]))
