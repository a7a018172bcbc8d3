"""Tiles of memristive arrays that hold the matrices, beside a chip that does the rest: a crossbar machine by numbers.

Parts, their energies and areas are ISAAC's (`dovetail.hardware.crossbar_parts`), converters those of a model of
`dovetail.hardware.adc`. Weights are codes of 8 bits and a sign, offset into one plane of cells; inputs come bit by bit.
No sum is cut: where a bitline's needs more bits than its converter has, an array reads as many of its rows at once as
the converter can hold, in several reads; a converter that has more bits than are needed stops early.

Arrays are taken as full: the template knows no model, so what a matrix leaves empty in its last arrays is not counted;
`dovetail crossbar map` counts it. What does not fit stays in the memory of the chip beside. Its area counts, and its
watts; a price of such a machine is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.hardware.adc import MODELS, AdcModel
from dovetail.hardware.crossbar_parts import ISAAC, SOURCE
from dovetail.hardware.load import load_machine
from dovetail.hardware.machine import Machine, Source
from dovetail.hardware.stationary import Stationary
from dovetail.hardware.templates.template import Choice, Parameter, Values, template

CODE_BITS, INPUT_BITS, FILL = 8, 8, 6  # of a weight's magnitude, of an input; cycles of a tile's pipeline (figure 4)
SUM_BYTES = 4  # of a product that leaves an array
_CHIPS = ("l4", "jetson-orin", "rtx-4090", "l40s", "a100-sxm", "h100-sxm")
_MOST_BITS = 12
Floats = NDArray[np.float64]
Allowed = Callable[[int], NDArray[Any]]


@template("crossbar")
@dataclass(frozen=True, slots=True)
class Tiles:
    """Arrays beside a chip."""

    words: str = "memristive arrays that multiply with the weights they hold, beside a chip that does the rest"
    parameters: tuple[Parameter, ...] = (
        Parameter("tiles", "", 8192, 1, 1e7, f"tiles of {ISAAC.tile_arrays} arrays", whole=True),
        Parameter("array_rows", "", 128, 8, 1024, "wordlines of an array: inputs", whole=True),
        Parameter("array_columns", "", 128, 8, 1024, "bitlines of an array, converted one after the other", whole=True),
        Parameter("cell_bits", "", 2, 1, 4, "bits of a cell", whole=True),
        Parameter("adc_bits", "", 9, 4, _MOST_BITS, "bits of the converter of each array", whole=True),
    )
    choices: tuple[Choice, ...] = (
        Choice("beside", _CHIPS, "the chip that attends, normalises, caches, and holds what the arrays do not"),
        Choice(
            "adc", ("isaac_cdac", "linear", "paper"), "model of the converters: those whose every cost grows with bits"
        ),
    )

    def machine(self, values: Values, chosen: Mapping[str, str]) -> Machine:
        """The machine; parameters may be arrays."""
        at, adc = {n: np.asarray(v, float) for n, v in values.items()}, MODELS[chosen["adc"]]
        cycle = _cycle_s(at, adc, at["adc_bits"])
        held = Stationary(
            _weights(at), INPUT_BITS * cycle, (INPUT_BITS + FILL) * cycle,
            _j_per_weight(at, at, at["array_rows"], adc, lambda b: np.asarray(b == at["adc_bits"])),
        )  # fmt: skip
        return _beside(load_machine(chosen["beside"]), at, adc, held)

    def optimistic(self, low: Values, high: Values, chosen: Mapping[str, str]) -> tuple[Machine, ...]:
        """Two machines: whatever lies between, one of them is better, with as few arrays and with as many.

        Arrays may be slower than the chip beside them, so more of them need not help; times and energies are linear in
        the share of the weights that is in arrays, hence best at one of its ends.
        """
        few, many = ({n: np.asarray(v, float) for n, v in each.items()} for each in (low, high))
        adc = MODELS[chosen["adc"]]

        def between(bits: int) -> NDArray[Any]:
            return np.asarray((few["adc_bits"] <= bits) & (bits <= many["adc_bits"]))

        cycle = _least(between, lambda b: _cycle_s(few, adc, np.asarray(float(b))))
        joules = _j_per_weight(few, many, many["array_rows"], adc, between)
        ends = (Stationary(_weights(at), INPUT_BITS * cycle, (INPUT_BITS + FILL) * cycle, joules) for at in (few, many))
        chip = load_machine(chosen["beside"])
        return tuple(_beside(chip, few, adc, held) for held in ends)


def _slices(cell_bits: Floats) -> Floats:
    """Cells of a code, whose offset makes it a bit wider."""
    return np.ceil((CODE_BITS + 1) / cell_bits)


def _weights(at: Mapping[str, Floats]) -> Floats:
    cells = at["tiles"] * ISAAC.tile_arrays * at["array_rows"] * at["array_columns"]
    return np.asarray(cells / _slices(at["cell_bits"]))


def _needed(rows: Floats, cell_bits: Floats) -> Floats:
    """Bits of the largest sum of so many cells."""
    return np.ceil(np.log2(rows * (2.0**cell_bits - 1) + 1))


def _active(bits: Floats, cell_bits: Floats) -> Floats:
    """Rows whose largest sum a converter holds: at least one."""
    return np.maximum(np.floor((2.0**bits - 1) / (2.0**cell_bits - 1)), 1.0)


def _cycle_s(at: Mapping[str, Floats], adc: AdcModel, bits: Floats) -> Floats:
    """A bit of every input through an array: reads of some rows, each as long as reading or as converting takes."""
    reads = np.ceil(at["array_rows"] / _active(bits, at["cell_bits"]))
    used = np.minimum(bits, _needed(at["array_rows"], at["cell_bits"]))
    return np.asarray(reads * np.maximum(ISAAC.read_s, at["array_columns"] * adc.time_s(used)))


def _least(allowed: Allowed, value: Callable[[int], Floats]) -> Floats:
    """The least of a value over the allowed bits of converters."""
    found = [np.where(allowed(bits), value(bits), np.inf) for bits in range(1, _MOST_BITS + 1)]
    return np.asarray(np.minimum.reduce(np.broadcast_arrays(*found)))


def _j_per_weight(
    few: Mapping[str, Floats], many: Mapping[str, Floats], rows: Floats, adc: AdcModel, allowed: Allowed
) -> Floats:
    """Energy of a weight for a vector; no more than that of any array between `few` and `many`.

    With both the same it is that array's. Conversions of a bitline per row are ``reads / rows``, at least one for
    `rows` and one for what a converter holds.
    """
    exact = few is many
    devices, columns = _slices(many["cell_bits"]), many["array_columns"]

    def converting(bits: int) -> Floats:
        held = _active(np.asarray(float(bits)), few["cell_bits"])
        used = np.minimum(float(bits), _needed(few["array_rows"], few["cell_bits"]))
        share = np.ceil(rows / held) / rows if exact else 1.0 / np.minimum(held, rows)
        return np.asarray(share * (adc.energy_j(used) + ISAAC.hold_j + ISAAC.shift_add_j))

    bytes_moved = 1.0 / columns * INPUT_BITS / 8 + SUM_BYTES / rows
    moving = bytes_moved * (ISAAC.register_j + ISAAC.buffer_j + ISAAC.bus_j)
    each = _least(allowed, converting) + ISAAC.driver_j / columns + ISAAC.cell_j
    return np.asarray(INPUT_BITS * devices * each + moving)


def _beside(chip: Machine, at: Mapping[str, Floats], adc: AdcModel, held: Stationary) -> Machine:
    """The chip with arrays; watts are what every part takes at its own rate, as the table of the parts adds them up."""
    arrays = at["tiles"] * ISAAC.tile_arrays
    rows, columns, bits = at["array_rows"], at["array_columns"], at["adc_bits"]
    each_w = (
        adc.energy_j(bits) / adc.time_s(bits) + ISAAC.shift_add_j / adc.time_s(_MOST_BITS)
        + (rows * ISAAC.driver_j + columns * ISAAC.hold_j + rows * columns * ISAAC.cell_j) / ISAAC.read_s
    )  # fmt: skip
    each_mm2 = (
        adc.area_mm2(bits) + rows * ISAAC.driver_mm2 + columns * ISAAC.hold_mm2 + rows * columns * ISAAC.cell_mm2
        + ISAAC.shift_add_mm2 + ISAAC.register_mm2
    )  # fmt: skip
    idle = at["tiles"] * ISAAC.tile_w
    made = Source("modelled", f"template crossbar: {SOURCE}; ADC: {adc.title}; beside {chip.name}")
    gone = ("area", "process", "price")
    return replace(
        chip, title=f"memristive arrays beside {chip.title}", kind="crossbar", stationary=held,
        stack=replace(chip.stack, launch_s=0.0, step_s=0.0), area_mm2=chip.area_mm2 + arrays * each_mm2
        + at["tiles"] * ISAAC.tile_mm2, tdp_w=chip.tdp_w + arrays * each_w + idle, idle_w=chip.idle_w + idle,
        packed=None, process_nm=float("nan"), usd_per_hour=float("nan"), price_usd=float("nan"), engines=(),
        system="", levels=(), fabric=(), link=0.0,
        sources={path: kept for path, kept in chip.sources.items() if not path.startswith(gone)}
        | dict.fromkeys(("arrays", "area", "power", "power.tdp", "power.idle", "stack.launch", "stack.step"), made),
    )  # fmt: skip
