"""Whether a change of pragmas makes worse hardware, or none: the proof that a pragma mutant carries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from dovetail.hls.design import Design
from dovetail.hls.inject.mutant import Mutant
from dovetail.hls.inject.performance.analytic import analytic
from dovetail.hls.inject.performance.hints import bank_of, hints, loops_of
from dovetail.hls.inject.performance.profile import Profile
from dovetail.hls.inject.performance.traced import traced
from dovetail.hls.inject.syntax import Source, read

WORSE = 1.05  # cycles, below which a model's difference is no evidence
SHORT, LONG = 2.0, 4.0  # mean burst lengths that are none, and that are one
LATENCY = 4  # cycles from a read to the write that depends on it: distances below are a hazard


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a pragma mutant is a bug.

    Parameters
    ----------
    model : {"analytic", "traced"}
        Which of the two models says so.
    quantity : str
        What it is about: ``interval``, ``cycles``, ``banks``, ``burst``, ``order``, ``ports``, ``tasks``, ``distance``.
    clean, mutant : float or str
        Its value for the clean design and for the mutant.
    detail : str
        In words.
    """

    model: str
    quantity: str
    clean: float | str
    mutant: float | str
    detail: str

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "model": self.model,
            "quantity": self.quantity,
            "clean": self.clean,
            "mutant": self.mutant,
            "detail": self.detail,
        }


def model_for(text: str) -> str:
    """Which model judges a mutant: one half each, by its text."""
    return ("analytic", "traced")[hashlib.sha256(text.encode()).digest()[0] & 1]


def profile(design: Design, source: str, model: str) -> Profile:
    """One model's view of a source that differs from the design in pragmas or in the order of its loops."""
    return analytic(source, design.contract.top) if model == "analytic" else traced(design, source)


def evidence(design: Design, mutant: Mutant, model: str = "") -> Evidence | None:
    """The evidence that a pragma mutant is a bug, None when the model sees no harm.

    Raises
    ------
    DovetailError
        The design cannot be traced.
    """
    text = mutant.of(design.source)
    model = model or model_for(text)
    clean, bad, source = profile(design, design.source, model), profile(design, text, model), read(text)
    match mutant.bug:
        case "APT" | "DID":
            return _missing_dimension(model, mutant, source) or _slower(model, source, clean, bad)
        case "ILNU":
            return _slower(model, source, clean, bad)
        case "FND":
            return _uneven(model, mutant, source) or _slower(model, source, clean, bad)
        case "MLP":
            return _laid_out(model, source, clean, bad)
        case "RAMB":
            return _bursts(model, mutant, clean, bad)
        case "IDAP":
            return _order(model, mutant, bad)
        case "SMA" | "AMS":
            return _ports(model, mutant, design, source, bad)
        case "DFP":
            return _tasks(model, source, bad)
        case "DEP":
            return _distance(model, mutant, source, bad)
    return None


def _slower(model: str, source: Source, clean: Profile, bad: Profile) -> Evidence | None:
    for loop, interval in sorted(bad.intervals.items()):
        before = clean.intervals.get(loop, interval)
        if interval > before:
            return Evidence(
                model,
                "interval",
                before,
                interval,
                f"{_place(source, loop)}: an iteration every {interval} cycles, not {before}",
            )
    if bad.cycles > WORSE * clean.cycles:
        return Evidence(model, "cycles", clean.cycles, bad.cycles, f"{bad.cycles} cycles of loops, not {clean.cycles}")
    return None


def _place(source: Source, loop: int) -> str:
    return "the function" if loop < 0 else f"loop at line {source.line(loops_of(source)[loop].start_byte)}"


def _changed(mutant: Mutant, source: Source) -> Any:
    said = mutant.edits[0].new.strip().split()
    return next((p for p in source.pragmas if p.node.text.decode().split() == said), None)


def _missing_dimension(model: str, mutant: Mutant, source: Source) -> Evidence | None:
    pragma = _changed(mutant, source)
    array = source.array(mutant.target, pragma.function) if pragma is not None else None
    if array is None or int(pragma.get("dim", "1")) <= len(array.shape):
        return None
    return Evidence(
        model,
        "banks",
        len(array.shape),
        pragma.get("dim"),
        f"{array.name} has {len(array.shape)} dimensions, no {pragma.get('dim')}",
    )


def _uneven(model: str, mutant: Mutant, source: Source) -> Evidence | None:
    pragma = _changed(mutant, source)
    if pragma is None or pragma.directive != "array_partition":
        loop = next(
            (
                x
                for x in source.loops
                if x.variable == mutant.target and x.trip and pragma is not None and pragma.node.parent == x.body
            ),
            None,
        )
        if loop is None or loop.trip is None or not loop.trip % int(pragma.get("factor", "1")):
            return None
        rest = loop.trip % int(pragma.get("factor"))
        return Evidence(
            model,
            "banks",
            0,
            rest,
            f"{loop.trip} steps by {pragma.get('factor')}: a tail of {rest} with an exit test in every copy",
        )
    array, dim = source.array(mutant.target, pragma.function), int(pragma.get("dim", "1"))
    splits = hints(source).splits.get((pragma.function, mutant.target), ())
    if array is None or dim > len(array.shape):
        return None
    fill: dict[tuple[int, ...] | None, int] = {}
    for i in range(array.shape[dim - 1]):
        index = tuple(i if d == dim - 1 else 0 for d in range(len(array.shape)))
        bank = bank_of(index, array.shape, splits)
        fill[bank] = fill.get(bank, 0) + 1
    sizes = sorted(fill.values())
    if len(sizes) < 2 or sizes[0] == sizes[-1]:
        return None
    return Evidence(
        model,
        "banks",
        "even",
        f"{sizes[0]} to {sizes[-1]}",
        f"{array.name}: banks of {sizes[0]} to {sizes[-1]} elements, addresses by division",
    )


def _laid_out(model: str, source: Source, clean: Profile, bad: Profile) -> Evidence | None:
    for loop, interval in sorted(bad.intervals.items()):
        if loop in clean.intervals:
            continue
        inside = max(clean.copies.values(), default=1)
        if interval > 1:
            return Evidence(
                model,
                "interval",
                1,
                interval,
                f"{_place(source, loop)}: an iteration every {interval} cycles for the 1 asked",
            )
        if bad.copies[loop] >= 2 * inside:
            return Evidence(
                model,
                "cycles",
                inside,
                bad.copies[loop],
                f"{_place(source, loop)}: {bad.copies[loop]} accesses laid out at once, not {inside}",
            )
    return None


def _bursts(model: str, mutant: Mutant, clean: Profile, bad: Profile) -> Evidence | None:
    before, after = clean.bursts.get(mutant.target, 0.0), bad.bursts.get(mutant.target, 0.0)
    moved = mutant.operator == "loop-interchange"
    if 0 < after <= SHORT and (not moved or before >= min(LONG, 2 * after)):
        return Evidence(
            model,
            "burst",
            round(before, 2) if moved else "memory",
            round(after, 2),
            f"{mutant.target}: {after:.1f} consecutive addresses at a time",
        )
    return None


def _order(model: str, mutant: Mutant, bad: Profile) -> Evidence | None:
    order = bad.orders.get(mutant.target, "once in order")
    if order in ("out of order", "more than once"):
        return Evidence(model, "order", "any", order, f"{mutant.target} is a queue now, and accessed {order}")
    return None


def _ports(model: str, mutant: Mutant, design: Design, source: Source, bad: Profile) -> Evidence | None:
    used = bad.touched.get(mutant.target, 1) or design.contract.port(mutant.target).elements
    if mutant.bug == "SMA" and used > 1:
        return Evidence(
            model, "ports", used, 1, f"{mutant.target}: {used} elements, and a mode with one value and no address"
        )
    if mutant.bug == "AMS" and mutant.target not in {
        a.name for a in source.arrays if a.function == design.contract.top
    }:
        return Evidence(model, "ports", 1, "a memory", f"{mutant.target} is one value: there is nothing to address")
    return None


def _tasks(model: str, source: Source, bad: Profile) -> Evidence | None:
    for place, tasks in bad.tasks.items():
        if tasks < 2:
            where = place[0] if place[1] < 0 else _place(source, place[1])
            why = "the region has begun before the pragma" if place[1] == -2 else f"{tasks} tasks to overlap"
            return Evidence(model, "tasks", "2 or more", tasks, f"{where}: {why}")
    return None


def _distance(model: str, mutant: Mutant, source: Source, bad: Profile) -> Evidence | None:
    for loop, name in hints(source).independent:
        found = bad.carried.get((loop, name), 0)
        if name == mutant.target and 0 < found < LATENCY:
            return Evidence(
                model,
                "distance",
                "independent",
                found,
                f"{_place(source, loop)}: {name} is read {found} iterations after it is written",
            )
    return None
