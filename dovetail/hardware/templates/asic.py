"""The overlay of `dovetail compile` as a chip of its own at 7 nm beside LPDDR5X: its area, watts and price.

A matrix array of rows x columns x lanes products in one number format, a float vector unit as wide as the array, SRAM,
and one memory port that delivers no more than the array takes in (`overlay.Overlay.port`).

Areas and energies are modelled, and coarse. A product of 8 bits with its 32-bit sum is that of our own cell in ASAP7
(75.6 um2, 0.14 pJ a cycle, post-synthesis), doubled for wires and clock; those of other formats keep the ratios of
Horowitz's table (ISSCC 2014: 16-bit floats with 32-bit sums 13.9 times the area and 6.7 times the energy, halved here
because bfloat16 has 8 bits of mantissa). SRAM 0.5 mm2/MB and 1 pJ/B, LPDDR5X 5 pJ/bit and 1 mm2 for 10 GB/s, 20 mW of
leakage for a mm2, wafers of 9,346 USD (CSET, 2020), LPDDR 5 USD/GB: literature from memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dovetail.core.formats import Number
from dovetail.hardware.build import load_stack
from dovetail.hardware.integer_array import IntegerArray
from dovetail.hardware.machine import Efficiency, Machine, MemoryLevel, Source
from dovetail.hardware.templates.gpu_like import good_die
from dovetail.hardware.templates.template import Choice, Parameter, Values, template

PRODUCT_MM2, PRODUCT_J = 2 * 75.6e-6, 2 * 0.14e-12  # of 8 bits
RATIO = {"int8": (1.0, 1.0), "int4": (0.4, 0.4), "bf16": (7.0, 3.4)}  # area and energy beside 8 bits
INTEGERS, TILE = "integers", 32  # what `compile` emits, and the least of its tiles here
STEP, LATENCY = 90, 0.1e-6  # cycles before a pass's first product, and of its three waits for memory each
SRAM_MM2, SRAM_J = 0.5e-6, 1e-12  # of a byte
PORT_MM2, DRAM_J = 0.1e-9, 40e-12  # of a byte/s; of a byte
LEAKAGE_W, FIXED_MM2, FIXED_W = 0.02, 10.0, 0.5  # of a mm2; control, host interface
WAFER_USD, WAFER_MM2, MARGIN = 9346.0, np.pi * 150.0**2, 2.0
DRAM_USD, BOARD_USD = 5e-9, 20.0  # of a byte
HOURS, USD_PER_J = 3 * 8766.0, 0.15 / 3.6e6  # of use; of electricity


@template("overlay")
@dataclass(frozen=True, slots=True)
class OverlayChip:
    """The overlay as a chip."""

    words: str = "an accelerator for one stream of tokens: matrix array, vector unit, SRAM and LPDDR5X, at 7 nm"
    parameters: tuple[Parameter, ...] = (
        Parameter("rows", "", 8, 1, 1024, "tokens that the array takes at once", whole=True),
        Parameter("columns", "", 32, 1, 4096, "outputs that the array makes at once", whole=True),
        Parameter("lanes", "", 4, 1, 256, "inputs that each cell adds in a cycle", whole=True),
        Parameter("sram", "byte", 2e6, 1e4, 1e9, "on-chip buffers"),
        Parameter("clock", "Hz", 0.8e9, 1e7, 3e9, "of everything"),
        Parameter("bandwidth", "byte/s", 68e9, 1e9, 5e13, "of main memory"),
        Parameter("capacity", "byte", 8e9, 1e8, 2e12, "of main memory"),
    )
    choices: tuple[Choice, ...] = (
        Choice(
            "format", (*RATIO, INTEGERS), "of the array, beside a float vector unit; integers: all of them integers"
        ),
    )

    def machine(self, values: Values, chosen: Mapping[str, str]) -> Machine:
        """The machine; parameters may be arrays."""
        if chosen["format"] == INTEGERS:
            return _in_integers(self._beside_floats(values, "int8"), values)
        return self._beside_floats(values, chosen["format"])

    def _beside_floats(self, values: Values, form: str) -> Machine:
        """An array of one format, beside a vector unit of floats."""
        size, joules = RATIO[form]
        products, vector = values["rows"] * values["columns"] * values["lanes"], values["columns"]
        peak, floats = 2 * products * values["clock"], 2 * vector * values["clock"]
        taken = values["columns"] * values["lanes"] * values["clock"] * {"int4": 0.5, "int8": 1.0, "bf16": 2.0}[form]
        port = np.minimum(values["bandwidth"], taken)
        bf16_mm2, bf16_j = (r * b for r, b in zip(RATIO["bf16"], (PRODUCT_MM2, PRODUCT_J), strict=True))
        area = (
            FIXED_MM2 + products * size * PRODUCT_MM2 + vector * bf16_mm2 + values["sram"] * SRAM_MM2
            + values["bandwidth"] * PORT_MM2
        )  # fmt: skip
        per_flop = {"bf16": bf16_j / 2, form: joules * PRODUCT_J / 2}
        idle = FIXED_W + area * LEAKAGE_W
        tdp = idle + peak * per_flop[form] + port * (DRAM_J + SRAM_J)
        return Machine(
            name="overlay", title=f"{form} array with LPDDR5X", kind="asic", vendor="",
            peak={"bf16": floats, form: np.maximum(peak, floats) if form == "bf16" else peak},
            memory=MemoryLevel("LPDDR5X", values["capacity"], port),
            caches=(MemoryLevel("SRAM", values["sram"], (values["rows"] + values["columns"]) * values["lanes"]
                                * values["clock"]),),
            link=0.0, tdp_w=tdp, idle_w=idle, j_per_flop=per_flop, j_per_byte=DRAM_J + SRAM_J,
            usd_per_hour=price_usd(area, values["capacity"]) / HOURS + tdp * 3600 * USD_PER_J,
            area_mm2=area, process_nm=7.0, efficiency=Efficiency(0.9, 0.95, 1.0, 0.3), stack=load_stack("bare")[0],
            clock_hz=values["clock"], price_usd=price_usd(area, values["capacity"]),
            sources={f"stack.{name}": source for name, source in load_stack("bare")[1].items()}
            | dict.fromkeys(_FIELDS, Source("modelled", "template overlay at 7 nm")),
        )  # fmt: skip


def _in_integers(made: Machine, values: Values) -> Machine:
    """The array, and nothing but integers beside it: what `compile` emits, priced by its cycles."""
    rows, clock = values["rows"], values["clock"]
    held = IntegerArray.of(rows, values["columns"], values["lanes"], np.maximum(rows, TILE), values["sram"])
    stack = replace(made.stack, compute="int8", step_s=STEP / clock + 3 * LATENCY)
    return replace(
        made, title="integer array with LPDDR5X", peak={"int8": made.peak["int8"]}, stack=stack, integer_array=held,
        j_per_flop={"int8": made.j_per_flop["int8"]}, efficiency=Efficiency(1.0, 1.0, 1.0, 0.1),
        sources={**made.sources} | dict.fromkeys(_WIRED, Source("modelled", "as RTL has it")),
    )  # fmt: skip


_WIRED = ("stack.step", "integer_array")
_FIELDS = ("peak", "memory", "caches", "power", "energy", "price", "area", "clock", "efficiency", "process")


def price_usd(area_mm2: Number, capacity: Number) -> Number:
    """A chip with its memory on a board."""
    return MARGIN * WAFER_USD / WAFER_MM2 * good_die(area_mm2) + capacity * DRAM_USD + BOARD_USD
