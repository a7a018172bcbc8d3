"""Arrays that hold every matrix and multiply there, beside a chip that does the rest: a machine for `cost`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dovetail.hardware.export import machine_to_yaml
from dovetail.hardware.machine import Machine, Source
from dovetail.hardware.stationary import Stationary

_NOTE = "template crossbar: {arrays:,} arrays of {rows} x {columns} cells, {cells}"


@dataclass(frozen=True, slots=True)
class Crossbar:
    """Free parameters.

    Parameters
    ----------
    name : str
    beside : Machine
        What attends, normalises and caches; operators start there without a framework.
    arrays, rows, columns : int
    cells : str
        How weights stand in them, in words.
    weights : float
        That the arrays hold, of all planes and slices together.
    pass_s, latency_s : float
        Between two vectors through a matrix, and of one of them.
    joules : float
        Of one vector by every matrix once.
    idle_w, area_mm2 : float
        Of the arrays and what belongs to their tiles.
    source : str
        Where the numbers of the parts come from.
    """

    name: str
    beside: Machine
    arrays: int
    rows: int
    columns: int
    cells: str
    weights: float
    pass_s: float
    latency_s: float
    joules: float
    idle_w: float
    area_mm2: float
    source: str

    def machine(self) -> Machine:
        """The machine that `cost` prices."""
        note = _NOTE.format(arrays=self.arrays, rows=self.rows, columns=self.columns, cells=self.cells)
        made, chip = Source("modelled", f"{note}; {self.source}"), self.beside
        both = Source("modelled", f"{chip.name} and {note}")
        held = Stationary(self.weights, self.pass_s, self.latency_s, self.joules / max(self.weights, 1.0))
        sources = {path: kept for path, kept in chip.sources.items() if not path.startswith(("area", "process"))}
        return replace(
            chip, name=self.name, title=f"{note}, beside {chip.title}", kind="crossbar", stationary=held,
            stack=replace(chip.stack, launch_s=0.0, step_s=0.0), area_mm2=self.area_mm2, packed=None,
            process_nm=float("nan"), usd_per_hour=float("nan"), engines=(), system="", levels=(), fabric=(), link=0.0,
            tdp_w=chip.tdp_w + self.joules / self.pass_s + self.idle_w, idle_w=chip.idle_w + self.idle_w,
            sources=sources | {
                "arrays": made, "area": Source("modelled", f"arrays and tiles alone: {note}"), "power": both,
                "power.tdp": both, "power.idle": both,
                "stack.launch": Source("modelled", "operators follow each other in hardware"),
                "stack.step": Source("modelled", "operators follow each other in hardware"),
            },
        )  # fmt: skip

    def text(self) -> str:
        """The machine's YAML, for ``--on``."""
        return machine_to_yaml(self.machine())
