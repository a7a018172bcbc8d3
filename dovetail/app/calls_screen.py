"""How a calibration from a table of calls looks in a terminal."""

from __future__ import annotations

import math

from dovetail.app.output import command, folded
from dovetail.app.table import table
from dovetail.core.units import show
from dovetail.design.calls.calibrate import FromCalls, unit_of
from dovetail.design.calls.energy import EnergyFitted
from dovetail.design.calls.fit import Fitted
from dovetail.design.kernel_fit import Scores

_LEGEND = "error of a call / of calls above 20 us / of the sum of times, on shapes that nothing was fitted on"


def calls_screen(found: FromCalls, quiet: bool) -> None:
    """Errors on what was not fitted, beside those from before and a roofline's; then constants and the next command."""
    errors = ", ".join(f"{_name(f, j.name)} {j.fitted.mape:.1%}" for f in found.fitted for j in f.judged)
    print(folded(f"{found.machine.name}: held-out error {errors}, kept in {found.path}"))
    if quiet:
        return
    columns = ["held out", "calls", "calibrated, %", "before, %", "plain roofline, %", "9 of 10 within"]
    table(columns, [row for one in found.fitted for row in _errors(one)])
    print(_LEGEND)
    for one in found.fitted:
        table(["constant", "before", "after"], _constants(one), _title(one))
    if found.energy is not None:
        _energy(found.energy)
    for reason, count in found.left_out:
        print(folded(f"left out    {count:,} rows: {reason}"))
    print(command(["dovetail", "estimate", "Qwen/Qwen3-8B", "--on", str(found.path)]))


def _energy(found: EnergyFitted) -> None:
    errors = (_three(one) for one in (found.calibrated, found.before, found.limit))
    table(["held out", "calls", "calibrated, %", "before, %", "power limit x time, %"],
          [["energy", f"{found.calls:,}", *errors]])  # fmt: skip
    rows = [[path, show(before, unit), show(after, unit)] for path, unit, before, after in found.constants]
    table(["constant", "before", "after"], rows, "energy, from watts")


def _name(found: Fitted, part: str) -> str:
    return f"{found.entry} {part}".strip()


def _errors(found: Fitted) -> list[list[str]]:
    within = f"{1 + found.constants.spread:.3g}x"
    return [
        [_name(found, one.name), f"{one.calls:,}", *map(_three, (one.fitted, one.before, one.roofline)), within]
        for one in found.judged
    ]


def _three(found: Scores) -> str:
    return " / ".join("–" if math.isnan(value) else f"{100 * value:.1f}" for value in found)


def _title(found: Fitted) -> str:
    words = f"{' '.join((found.family, found.entry)).strip()}, fitted on {found.fit_shapes} of {found.shapes} shapes"
    if found.appends is not None:
        words += f"; calls {'write' if found.appends else 'do not write'} the cache"
    return words + (f"; {found.kernel_source}" if found.kernel_source else "")


def _constants(found: Fitted) -> list[list[str]]:
    return [
        [name.removesuffix("_s").replace("_", " "), *(show(float(getattr(c, name)), unit_of(name)) for c in both)]
        for name in found.names for both in [(found.before, found.constants)]
    ]  # fmt: skip
