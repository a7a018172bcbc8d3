"""Arrays that hold every weight and multiply where they stand, a digital unit for the rest: a machine for `cost`.

A crossbar machine has no weight traffic: reading all weights takes one pass of input bits through the arrays, whatever
their number. As a roofline that is a memory as large as the arrays whose bandwidth reads it once a pass, and operators
that take a pass at least. Attention runs on the digital unit, which reads keys and values from its own memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from dovetail.hardware.build import machine_from_mapping
from dovetail.hardware.machine import Machine

_NOTE = "template crossbar: {arrays:,} arrays of {rows} x {columns} cells, a pass of {pass_s:.3g} s"


@dataclass(frozen=True, slots=True)
class Crossbar:
    """Free parameters.

    Parameters
    ----------
    name : str
    arrays, rows, columns : int
    weights : float
        8-bit weights that the arrays hold, of all planes and slices together.
    pass_s, latency_s : float
        Between two vectors through an array, and of one vector through an operator.
    joules : float
        Of one pass of a vector by all weights once.
    idle_w : float
        Of tiles that wait.
    area_mm2 : float
    cache, cache_bandwidth : float
        Bytes, and bytes/s, of the digital unit's memory for keys, values and activations.
    """

    name: str
    arrays: int
    rows: int
    columns: int
    weights: float
    pass_s: float
    latency_s: float
    joules: float
    idle_w: float
    area_mm2: float
    cache: float
    cache_bandwidth: float

    @property
    def operations(self) -> float:
        """OP/s with 8 bits, all arrays busy."""
        return 2 * self.weights / self.pass_s

    def mapping(self) -> dict[str, Any]:
        """The machine's YAML as a mapping."""
        note = _NOTE.format(arrays=self.arrays, rows=self.rows, columns=self.columns, pass_s=self.pass_s)
        made = {"kind": "modelled", "text": note}
        # Attention does one FLOP for each byte of a 16-bit cache, once for each query head that shares it.
        attention = min(1.0, self.cache_bandwidth / (self.operations / 4))
        limit = self.joules / self.pass_s + self.idle_w
        return {
            "name": self.name, "kind": "crossbar", "process": "32 nm", "area": f"{self.area_mm2:.6g} mm2",
            "peak": {"int8": f"{self.operations / 1e12:.6g} TOP/s", "bf16": f"{self.operations / 4e12:.6g} TFLOP/s"},
            "memory": {
                "capacity": f"{(self.weights + self.cache) / 1e6:.12g} MB",
                "bandwidth": f"{self.weights / self.pass_s / 1e12:.6g} TB/s", "type": "ReRAM",
            },
            "power": {"tdp": f"{limit:.6g} W", "idle": f"{self.idle_w:.6g} W"},
            "energy": {
                "per_flop": {"int8": f"{self.joules / (2 * self.weights) * 1e12:.6g} pJ/FLOP",
                             "bf16": f"{4 * self.joules / (2 * self.weights) * 1e12:.6g} pJ/FLOP"},
                "per_byte": "1e-6 pJ/B",
            },
            "efficiency": {"compute": 1.0, "memory": 1.0, "attention": attention, "spread": 0.5},
            "stack": {"name": "bare", "launch": f"{(self.latency_s - self.pass_s) * 1e9:.6g} ns"},
            "engines": [],
            "source": {
                **{part: dict(made) for part in ("process", "area", "peak", "memory", "power")},
                "peak.bf16": {"kind": "modelled", "text": "as 16-bit integers: twice the slices, twice the input bits"},
                "energy": {"kind": "modelled", "text": "of the arrays, by operation: weights do not move"},
                "efficiency": {"kind": "modelled", "text": "attention by the cache's bandwidth on the digital unit"},
                "stack": {"kind": "modelled", "text": "the pipeline of a tile fills anew for every operator"},
            },
        }  # fmt: skip

    def machine(self) -> Machine:
        """The machine that `cost` prices."""
        return machine_from_mapping(self.mapping(), self.name)

    def text(self) -> str:
        """The machine's YAML, for ``--on``."""
        return yaml.safe_dump(self.mapping(), sort_keys=False, width=120)
