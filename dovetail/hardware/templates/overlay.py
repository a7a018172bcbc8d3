"""A matrix array, a vector unit and on-chip buffers over one memory port: the machine that `dovetail compile` emits.

The same parameters make the RTL and, here, a `Machine` that `cost` prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from dovetail.hardware.build import machine_from_mapping
from dovetail.hardware.machine import Machine

_NOTE = "template overlay: {rows} x {columns} x {lanes} int8 products a cycle at {clock:g} MHz"


@dataclass(frozen=True, slots=True)
class Overlay:
    """Free parameters.

    Parameters
    ----------
    name : str
    kind : str
        ``fpga`` or ``asic``.
    rows, columns, lanes : int
        Tokens and output channels at once, and products that each of rows x columns cells adds in a cycle.
    buffers : float
        Bytes of memory on the chip.
    clock_hz, bandwidth, capacity : float
        Of the clock; of main memory, in bytes/s and bytes.
    memory : str
        Technology of main memory.
    tdp_w : float
    """

    name: str
    kind: str
    rows: int
    columns: int
    lanes: int
    buffers: float
    clock_hz: float
    bandwidth: float
    capacity: float
    memory: str
    tdp_w: float

    @property
    def port(self) -> float:
        """Bytes/s of the memory port: one step of the array's weights in a cycle, as far as memory has them."""
        return min(self.bandwidth, self.columns * self.lanes * self.clock_hz)

    def mapping(self) -> dict[str, Any]:
        """The machine's YAML as a mapping."""
        products = self.rows * self.columns * self.lanes
        text = _NOTE.format(rows=self.rows, columns=self.columns, lanes=self.lanes, clock=self.clock_hz / 1e6)
        made = {"kind": "modelled", "text": text}
        return {
            "name": self.name, "kind": self.kind, "clock": f"{self.clock_hz / 1e6:.12g} MHz",
            "peak": {"int8": f"{2 * products * self.clock_hz / 1e9:.12g} GOP/s"},
            "memory": {
                "capacity": f"{self.capacity / 1e6:.12g} MB", "bandwidth": f"{self.port / 1e6:.12g} MB/s",
                "type": self.memory,
            },
            "caches": [{
                "name": "SRAM", "capacity": f"{self.buffers / 1e3:.12g} kB",
                "bandwidth": f"{(self.rows + self.columns) * self.lanes * self.clock_hz / 1e6:.12g} MB/s",
            }],
            "power": {"tdp": f"{self.tdp_w:g} W"},
            "efficiency": {"compute": 0.9, "memory": 0.95, "spread": 0.2},
            "stack": "bare", "engines": [],
            "source": {
                **{part: dict(made) for part in ("clock", "peak", "memory", "caches", "power")},
                "efficiency": {"kind": "modelled", "text": "assumed: what a schedule with double buffers leaves"},
            },
        }  # fmt: skip

    def machine(self) -> Machine:
        """The machine that `cost` prices."""
        return machine_from_mapping(self.mapping(), self.name)

    def text(self) -> str:
        """The machine's YAML, for ``--on``."""
        return yaml.safe_dump(self.mapping(), sort_keys=False, width=120)
