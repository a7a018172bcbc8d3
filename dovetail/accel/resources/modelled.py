"""Resources without a synthesis: the units' counts by the array's parameters, memories by their bits.

A count is the sum of constants times products, cells (rows x columns), columns, rows and bytes of the port, and one for
the rest. They were fitted to counts that Yosys 0.23 made of arrays of 2x4x4, 4x16x4, 8x8x8 and 2x16x8; those
of ``asic`` to the smallest alone, in the proportions of ``ecp5``.
"""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.accel.compile.shape import Shape
from dovetail.accel.resources.count import Resources
from dovetail.accel.resources.memories import blocks

SOURCE = "modelled: constants of units, fitted to Yosys 0.23"


@dataclass(frozen=True, slots=True)
class Linear:
    """Constants of one count: of a product, a cell, a column, a row, a byte of the port, and of the rest."""

    product: float
    cell: float
    column: float
    row: float
    byte: float
    fixed: float

    def of(self, shape: Shape) -> int:
        """The count of an overlay."""
        cells = shape.rows * shape.columns
        found = self.product * cells * shape.lanes + self.cell * cells + self.column * shape.columns
        return round(found + self.row * shape.rows + self.byte * shape.word + self.fixed)


UNITS: dict[str, dict[str, Linear]] = {
    "ecp5": {
        "dsp": Linear(1, 0, 13, 0, 1, 20), "lut": Linear(36, 285, 6466, 756, 13, 7967),
        "ff": Linear(0, 64, 1242, 351, 39, 2702),
    },
    "xcup": {
        "dsp": Linear(1, 0, 10, 0, 0, 21), "lut": Linear(120, -296, 2809, 128, 80, 2896),
        "ff": Linear(0, 64, 753, 70, 29, 2325),
    },
    "asic": {
        "dsp": Linear(1, 0, 13, 0, 1, 20), "lut": Linear(700, 0, 33870, 3960, 0, 41750),
        "ff": Linear(0, 64, 3067, 1280, 0, 9100),
    },
}  # fmt: skip


# Of an overlay for maps besides: a `pool_lane` a column and two `window`, each counted on its own by Yosys 0.23
MAPS: dict[str, dict[str, Linear]] = {
    "ecp5": {"dsp": Linear(0, 0, 3, 0, 0, 0), "lut": Linear(0, 0, 1155, 0, 0, 1910), "ff": Linear(0, 0, 80, 0, 0, 224)},
    "xcup": {"dsp": Linear(0, 0, 3, 0, 0, 0), "lut": Linear(0, 0, 398, 0, 0, 892), "ff": Linear(0, 0, 80, 0, 0, 224)},
    "asic": {
        "dsp": Linear(0, 0, 3, 0, 0, 0), "lut": Linear(0, 0, 6050, 0, 0, 10000), "ff": Linear(0, 0, 198, 0, 0, 553),
    },
}  # fmt: skip


def arithmetic(shape: Shape, family: str) -> Resources:
    """All but the memories, which depend on the program."""
    known = [UNITS[family], *([MAPS[family]] if shape.maps else [])]
    dsp, lut, ff = (sum(each[kind].of(shape) for each in known) for kind in ("dsp", "lut", "ff"))
    return Resources(dsp, lut, ff, 0, SOURCE)


def modelled(shape: Shape, family: str) -> Resources:
    """Of an overlay with the depths that its program needs."""
    found = arithmetic(shape, family)
    return Resources(found.dsp, found.lut, found.ff, blocks(shape, family), SOURCE)
