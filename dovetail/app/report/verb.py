"""What ``--out DIR`` keeps of any verb: ``result.json``, ``manifest.json`` and a report made from the same JSON."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dovetail.app.report import compiled, crossbars, measured, searched
from dovetail.app.report.data import (
    Crossover,
    CrossoverSeries,
    Measured,
    MeasuredRow,
    Memory,
    MemoryBar,
    Reasons,
    Report,
    Section,
    Summary,
    Table,
)
from dovetail.app.report.page import write_report
from dovetail.app.report.scales import say
from dovetail.core.files import write_json
from dovetail.core.manifest import check_results, manifest

Data = Mapping[str, Any]
_FACTS = {"ttft": "TTFT", "tpot": "TPOT", "throughput": "throughput", "energy_per_token": "energy per token"}
_NEXT = {
    "show": "dovetail estimate --help",
    "estimate": "dovetail explain --help",  # the answer holds names, not the files they were asked by
    "search": "dovetail build {winner[model]} --on {winner[machine]} --recipe {winner[recipe]}{plan} --out out",
    "measure": "dovetail calibrate --host",
    "compile": "make -C {path} sim",
    "advise": "dovetail estimate --help",
    "crossbar sim": "dovetail crossbar map {model}",
    "crossbar train": "dovetail crossbar train --help",
    "crossbar map": "dovetail estimate {model} --on machine.yaml",
}


def keep(verb: str, data: Data, out: Path, inputs: Sequence[Path] = ()) -> Path:
    """Write the three files of an answer into `out`; returns the path of the report. `data` is finite JSON.

    Raises `DovetailError` when `out` holds files of these names that dovetail did not write.
    """
    check_results(out)
    made = manifest(shlex.join(["dovetail", *sys.argv[1:]]), inputs)
    write_json(out / "manifest.json", made)  # first: it vouches for the others if this is stopped
    write_json(out / "result.json", data)
    return write_report(report_of(verb, data, made), out / "report.html")


def report_of(verb: str, data: Data, made: Data) -> Report:
    """The report of any verb's JSON: its quantities, lists, memory, front and measurements, whichever it has."""
    if verb == "compile":
        numbers = _numbers(data)
        shown = (*compiled.sections(data), *([numbers] if numbers else []))
        return Report(f"compile: {data['model']} on {data['target']}", _summary(verb, data), shown, made)
    if verb == "crossbar train":
        return Report(f"{verb}: {data['net']}", _summary(verb, data), tuple(crossbars.trained(data)), made)
    if verb in ("crossbar sim", "crossbar map"):
        figures = crossbars.simulated(data) if verb == "crossbar sim" else crossbars.mapped(data)
        numbers = _numbers(data)
        shown = (*figures, *([numbers] if numbers else []), *_lists({"operators": data.get("operators")}))
        return Report(f"{verb}: {data['model']}", _summary(verb, data), shown, made)
    if verb == "search":
        more = {"the winner beside others of the front": data.get("order"), "measured here": data.get("measured")}
        shown = (*searched.sections(data), *_guesses(data), *_lists(more))
        return Report(f"search: {data.get('space') or 'answer'}", _summary(verb, data), shown, made)
    if verb == "why-not":
        reasons = Reasons("Why it is not on the front", [searched.reason({"asked": "this design", **data})])
        return Report(
            f"why not {data['design']}",
            _summary(verb, data),
            (reasons, *_lists({n: data.get(n) for n in ("changes",)})),
            made,
        )
    found = (_measured(data), _crossover(data), *_guesses(data), _memory(data), _numbers(data))
    parts = [part for part in found if part]
    named = {key: value for key, value in data.items() if not (key == "rows" and _measured(data))}
    title = f"{verb}: {data.get('model') or data.get('name') or data.get('space') or 'answer'}"
    return Report(title, _summary(verb, data), (*parts, *_lists(named)), made)


def is_quantity(value: object) -> bool:
    """Whether a JSON value is a physical quantity."""
    return isinstance(value, Mapping) and {"value", "unit"} <= set(value)


def words(value: object) -> str:
    """A JSON value for a reader: a quantity with its unit, a number, a name, or nested names and values."""
    if isinstance(value, Mapping):
        if is_quantity(value):
            return say(_number(value), value["unit"])
        return "; ".join(f"{name}: {words(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no"}.get(value, "–") if value is not None else "–"
    return say(float(value)) if isinstance(value, int | float) else str(value)


def _number(value: object, key: str = "value") -> float:
    """The number in a JSON value; NaN where there is none."""
    found = value.get(key) if isinstance(value, Mapping) else value
    return float(found) if isinstance(found, int | float) else math.nan


def _quantities(data: Data, prefix: str = "") -> Iterator[tuple[str, Data]]:
    for name, value in data.items():
        if is_quantity(value):
            yield prefix + name, value
        elif isinstance(value, Mapping):
            yield from _quantities(value, f"{prefix}{name}.")


def _summary(verb: str, data: Data) -> Summary:
    kinds = dict.fromkeys(str(q["kind"]) for _, q in _quantities(data) if q.get("kind"))
    price = data.get("usd_per_mtok") or (data.get("winner") or {}).get("usd_per_mtok")
    facts = [(shown, words(data[name])) for name, shown in _FACTS.items() if data.get(name)]
    return Summary(
        answer=_answer(verb, data),
        bottleneck=words(data.get("bottleneck") or data.get("binding") or None),
        price=f"{words(price)} (output tokens)" if price else "–",
        confidence=", ".join(kinds) or "–",
        next_command=_next(verb, data),
        facts=facts,
    )


def _answer(verb: str, data: Data) -> str:
    if verb == "compile":
        return compiled.summary(data)
    if verb.startswith("crossbar "):
        return crossbars.summary(verb, data)
    if verb == "why-not":
        about = searched.reason(data)
        return f"{data['design']} is {'' if data.get('on_front') else 'not '}on the front: {about.verdict}."
    if data.get("feasible") is False:
        return f"Infeasible: {words(data.get('why') or 'no reason given')}"
    if section := _measured(data):
        return measured.says(section)
    if data.get("verdict"):
        return f"{data.get('model')} on {data.get('on')}: {data['verdict']}."
    if verb == "search" and data.get("winner"):
        return searched.answer(data)
    if winner := data.get("winner"):
        return f"The winner of {words(data.get('points'))} designs: {_label(winner)}."
    if data.get("tpot"):
        on = data.get("on") or f"{words(data.get('chips', 1))} x {data.get('machine')}"
        place = f"{on} with recipe {data.get('recipe')}"
        place += f" by tp {data['tp']} x pp {data['pp']}" if (data.get("pp") or 1) > 1 else ""
        return f"{data.get('model')} on {place}: {words(data['tpot'])} a token, {words(data.get('throughput'))}."
    return f"{verb}: " + "; ".join(
        f"{k} {words(v)}" for k, v in list(data.items())[:4] if not isinstance(v, list | Mapping)
    )


def _next(verb: str, data: Data) -> str:
    if verb == "search" and (winner := data.get("winner")):
        from dovetail.app.question import named, placed
        from dovetail.search.metrics import is_parameter

        if any(map(is_parameter, winner)) or not named(str(winner["machine"])):
            return "dovetail build --help"  # a machine of a template has no name: it is built from a study
        on = placed(str(winner["machine"]), winner.get("tp", 0), winner.get("pp", 0))
        parts = {"model": winner["model"], "machine": on, "recipe": winner["recipe"]}
        quoted = {part: shlex.quote(str(name)) for part, name in parts.items()}
        plan = "".join(f" --{name} {winner[name]}" for name in ("tp", "pp") if winner.get(name))
        return _NEXT[verb].format(winner=quoted, plan=plan)
    try:
        return _NEXT.get(verb, "dovetail --help").format(**data)
    except (KeyError, TypeError, ValueError):  # an answer without a winner, say
        return "dovetail --help"


def _label(candidate: Data) -> str:
    return " · ".join(f"{k} {words(v)}" if isinstance(v, int | float) else str(v)
                      for k, v in candidate.items() if isinstance(v, str | int | float))[:120]  # fmt: skip


def _numbers(data: Data) -> Table | None:
    rows = [(name, words(q), measured.interval(_number(q, "low"), _number(q, "high"), q["unit"]),
             str(q.get("kind") or "–"), str(q.get("source") or "–")) for name, q in _quantities(data)]  # fmt: skip
    return Table("Numbers", ("name", "value", "interval", "kind", "source"), rows, (1, 2)) if rows else None


def _memory(data: Data) -> Memory | None:
    parts = data.get("memory")
    if not isinstance(parts, Mapping) or not any(map(is_quantity, parts.values())):
        return None
    sizes = {name.replace("_", " "): _number(q) for name, q in parts.items() if name != "total" and is_quantity(q)}
    label = str(data.get("machine") or data.get("name") or "memory")
    return Memory("Memory", [MemoryBar(label, sizes, _number(data.get("memory_capacity")))])


def _measured(data: Data) -> Measured | None:
    rows = data.get("rows")
    if not isinstance(rows, list) or not all(isinstance(r, Mapping) and is_quantity(r.get("predicted")) for r in rows):
        return None
    return Measured("Predicted beside measured", [_row(row) for row in rows]) if rows else None


def _row(row: Data) -> MeasuredRow:
    predicted = row["predicted"]
    low, high = _number(predicted, "low"), _number(predicted, "high")
    return MeasuredRow(
        str(row.get("what", "")), str(row.get("metric", "")), _number(predicted), low, high,
        _number(row.get("measured")), predicted["unit"], row.get("error"),
    )  # fmt: skip


def _crossover(data: Data) -> Crossover | None:
    """Where each recipe pays: the gains of an advice in the metric that decides."""
    gains, by = data.get("gains"), str(data.get("by"))
    if not isinstance(gains, list) or not gains or not is_quantity(gains[0].get(by)):
        return None
    keys = dict.fromkeys((str(g["recipe"]), float(g["context"])) for g in gains)
    rows = {key: [g for g in gains if (str(g["recipe"]), float(g["context"])) == key] for key in keys}
    series = [
        CrossoverSeries(*key, [float(g["batch"]) for g in rows[key]], [_number(g[by]) for g in rows[key]])
        for key in keys
    ]
    note = f"Ratios of {by}; the table of gains has their intervals. A gap is a design that does not fit."
    return Crossover(f"When does each recipe pay? {data['model']} on {data['on']}", "no recipe", series, note=note)


def _guesses(data: Data) -> Iterator[Section]:
    """Where guessing pays, and how many guesses: the map of an estimate's recipe, or of a search's winner."""
    about = data.get("speculation")
    rows = about.get("map") if isinstance(about, Mapping) else None
    if not isinstance(about, Mapping) or not rows:
        return
    keys = dict.fromkeys((str(r["recipe"]), float(r["context"])) for r in rows)
    each = {key: [r for r in rows if (str(r["recipe"]), float(r["context"])) == key] for key in keys}
    series = [
        CrossoverSeries(*key, [float(r["batch"]) for r in of], [_number(r["gain"]) for r in of])
        for key, of in each.items()
    ]
    design = about.get("of") or {}  # of a search
    place = f"{data.get('model') or design.get('model')} on {data.get('on') or design.get('machine')}"
    note = "Modelled; acceptance from the literature unless heads of your own are named. A gap does not fit."
    if about.get("acceptance") == "relaxed":
        note += " Relaxed: typical acceptance makes another text; chances here are those of exact acceptance."
    yield Crossover(f"When does guessing pay? {place}", "plain steps", series, str(about["method"]), note)
    table = sorted({(float(r["context"]), float(r["batch"]), r["best_guesses"]) for r in rows if r["gain"]})
    batches = list(dict.fromkeys(batch for _, batch, _ in sorted(table, key=lambda x: x[1])))
    known = {(context, batch): words(best) for context, batch, best in table}
    cells = [
        (say(context), *(known.get((context, batch), "–") for batch in batches))
        for context in dict.fromkeys(context for context, _, _ in table)
    ]
    header = ("context", *(f"batch {say(batch)}" for batch in batches))
    yield Table("Best number of guesses a step", header, cells, tuple(range(1, len(header))), "0: plain steps.")


def _lists(data: Data) -> Iterator[Section]:
    """Every list of objects as a table of its first eight names."""
    for name, value in data.items():
        if isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value):
            header = list(dict.fromkeys(key for row in value for key in row))[:8]
            rows = [tuple(words(row.get(key)) for key in header) for row in value[:400]]
            numeric = [i for i, key in enumerate(header) if i and all(not isinstance(r.get(key), str) for r in value)]
            yield Table(name.replace("_", " "), header, rows, numeric, more=max(len(value) - 400, 0))
