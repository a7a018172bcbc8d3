"""`calibrate --from`: a table of measured calls to a machine's YAML with its own constants, and how good they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.files import write_text
from dovetail.core.quantity import exact
from dovetail.design.calls.energy import LEAST, EnergyFitted, fit_energy
from dovetail.design.calls.fit import Fitted, fit_groups
from dovetail.design.calls.read import Asked, Read, read_groups
from dovetail.design.calls.roofline import RooflineConstants
from dovetail.design.calls.table import Table, read_table
from dovetail.design.kernel_fit import Scores
from dovetail.hardware import Machine, Source, load_machine, machine_to_yaml
from dovetail.hardware.kernels import Attended

Report = Callable[[str], None]
SUFFIX = "-calibrated"
UNITS = {"core_bandwidth": "byte/s"}


@dataclass(frozen=True, slots=True)
class FromCalls:
    """A machine with constants of measured calls, and where it was written."""

    machine: Machine
    base: Machine
    tables: tuple[Table, ...]
    fitted: tuple[Fitted, ...]
    energy: EnergyFitted | None
    left_out: tuple[tuple[str, int], ...]
    path: Path

    def to_json(self) -> dict[str, Any]:
        """The stable JSON of the verb."""
        return {
            "machine": self.machine.name, "title": self.machine.title, "base": self.base.name, "path": str(self.path),
            "tables": [{"path": str(t.path), "rows": len(t), "sha256": t.sha256} for t in self.tables],
            "operations": [self._operation(found) for found in self.fitted],
            "energy": self._energy(), "left_out": dict(self.left_out),
        }  # fmt: skip

    def _energy(self) -> dict[str, Any] | None:
        if (found := self.energy) is None:
            return None
        constants = {
            one.path: {
                "before": _quantity(one.before, one.unit, self.base.source(one.path)),
                "after": _quantity(one.after, one.unit, self.machine.source(one.path)),
            } for one in found.constants
        }  # fmt: skip
        errors = {"calibrated": found.calibrated, "before": found.before, "power_limit": found.limit}
        return {
            "constants": constants,
            "held_out": {"calls": found.calls} | {name: _scores(error) for name, error in errors.items()},
        }

    def _operation(self, found: Fitted) -> dict[str, Any]:
        source = self.machine.source(found.path)
        before = self.base.source(found.path)
        constants = {
            name.removesuffix("_s"): {
                "before": _quantity(getattr(found.before, name), unit_of(name), before),
                "after": _quantity(getattr(found.constants, name), unit_of(name), source),
            } for name in found.names
        }  # fmt: skip
        return {
            "operation": found.family, "entry": found.entry, "kernel_source": found.kernel_source,
            "calls": found.calls, "shapes": found.shapes, "fit_shapes": found.fit_shapes,
            "constants": constants, "spread": found.constants.spread,
            "writes_cache": found.appends,
            "held_out": [
                {"part": one.name, "calls": one.calls, "calibrated": _scores(one.fitted), "before": _scores(one.before),
                 "roofline": _scores(one.roofline)} for one in found.judged
            ],
        }  # fmt: skip


def _quantity(value: float, unit: str, source: Source) -> dict[str, Any]:
    return exact(value, unit, source.kind, source.text).to_json()


def _scores(found: Scores) -> dict[str, float]:
    return {"mape": found.mape, "mape_over_20us": found.long, "total": found.total}


def unit_of(name: str) -> str:
    """The unit of a constant, "" for a pure number."""
    return "s" if name.endswith("_s") else UNITS.get(name, "")


def calibrate_from(
    files: Sequence[Path], machine: str | Machine, out: Path | None = None, *, unit: str = "", kernel_source: str = "",
    report: Report = lambda line: None,
) -> FromCalls:  # fmt: skip
    """Fit a machine's kernel constants to tables of measured calls, and write a copy of its YAML with them.

    Parameters
    ----------
    files : sequence of Path
        CSV or parquet; the columns are in docs/machines.md.
    machine : str or Machine
        The chip that was measured: a name of the zoo or a YAML.
    out : Path
        The YAML to write; by default ``NAME-calibrated.yaml`` in the current folder.
    unit : str
        Of times whose column names none: ``us``, ``ms``, ``s``.
    kernel_source : str
        The only kernel to take; by default the commonest of each operation and dtype.

    Raises
    ------
    DovetailError
        A table that cannot be read or be true (file, line and column are named), or a machine that is not one chip.
    """
    base = _chip(machine)
    target = _target(out, base, machine)
    tables = tuple(read_table(file) for file in files)
    read = read_groups(tables, base, Asked(unit, kernel_source))
    report(f"fitting {sum(len(group.calls.time_s) for group in read.groups):,} calls")
    fitted = tuple(fit_groups(_some(read, tables), base))
    found, energy = with_energy(calibrated(base, fitted, tables, target.stem), fitted, tables)
    return FromCalls(found, base, tables, fitted, energy, read.left_out, write_text(target, machine_to_yaml(found)))


def _some(read: Read, tables: Sequence[Table]) -> Sequence[Any]:
    if not read.groups:
        why = "; ".join(f"{count} rows: {reason}" for reason, count in read.left_out)
        raise DovetailError("no calls to fit", where=str(tables[0].path), why=why, hint="other rows of calls")
    return read.groups


def _chip(machine: str | Machine) -> Machine:
    found = load_machine(machine)
    if found.count > 1 or found.chip:
        hint = f"--machine {found.chip or found.name}"
        raise DovetailError(f"{found.label} is not one chip", where="--machine", why="kernels run on one", hint=hint)
    return found


def _target(out: Path | None, base: Machine, asked: str | Machine) -> Path:
    """Where the YAML goes; never over the file that it is made from."""
    target = out or Path(base.name.removesuffix(SUFFIX) + SUFFIX + ".yaml")
    if target.suffix not in (".yaml", ".yml"):
        raise DovetailError("a machine is written as YAML", where=f"--out {target}", hint=f"--out {target}.yaml")
    if isinstance(asked, str) and Path(asked).expanduser().resolve() == target.expanduser().resolve():
        raise DovetailError("would overwrite the machine it starts from", where=str(target), hint="another --out")
    return target.expanduser()


def calibrated(base: Machine, fitted: Sequence[Fitted], tables: Sequence[Table], name: str) -> Machine:
    """`base` with the fitted constants, their sources, and a name of its own: what was learned of `base` is not its."""
    sources = {found.path: Source("calibrated", _text(found, tables)) for found in fitted}
    if "efficiency" in sources:
        sources["stack.launch"] = sources["efficiency"]
    kept = {p: s for p, s in base.sources.items() if not any(p == new or p.startswith(f"{new}.") for new in sources)}
    named = replace(base, name=name if name != base.name else name + SUFFIX, title=f"{base.title}, calibrated")
    for found in fitted:
        named = _with(named, found)
    return replace(named, sources=kept | sources)


def with_energy(
    machine: Machine, fitted: Sequence[Fitted], tables: Sequence[Table]
) -> tuple[Machine, EnergyFitted | None]:
    """A machine with the energy constants of calls that have watts; as it is, and None, where too few have."""
    for_fit, rest = ([pair[side] for found in fitted for pair in found.power] for side in (0, 1))
    if min(sum(one.time_s.size for one in every) for every in (for_fit, rest)) < LEAST:
        return machine, None
    found, energy = fit_energy(for_fit, rest, machine)
    mape, _, total = energy.calibrated
    text = f"{_origin(tables)}: held-out error {mape:.1%} a call, {total:.1%} of the sum"
    sources = {path: Source("calibrated", text) for path, *_ in energy.constants}
    return replace(found, sources=dict(found.sources) | sources), energy


def _with(machine: Machine, found: Fitted) -> Machine:
    """A machine with some fitted constants."""
    if machine.kernels is None:
        roofline: RooflineConstants = found.constants
        return roofline.on(machine)
    attention = found.family == "attention"
    one = Attended(found.kernel, found.constants) if attention else found.constants
    table = {**getattr(machine.kernels, found.family), found.entry: one}
    return replace(machine, kernels=replace(machine.kernels, **{found.family: table}))


def _origin(tables: Sequence[Table]) -> str:
    files = ", ".join(f"{table.path.name} (sha256 {table.sha256[:12]})" for table in tables)
    return f"dovetail calibrate --from {files}, {date.today()}"


def _text(found: Fitted, tables: Sequence[Table]) -> str:
    errors = " and ".join(f"{one.fitted.mape:.1%} of {one.name}" for one in found.judged)
    return (
        f"{_origin(tables)}: fitted on {found.fit_shapes} of {found.shapes} shapes; "
        f"held-out error {errors} ({found.held_out} calls)"
    )
