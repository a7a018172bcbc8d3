"""Components of a crossbar chip beside its converters: ISAAC (Shafiee et al., ISCA 2016, table 6), 32 nm, 1.2 GHz.

The table gives power and area of what a tile holds; energies here are that power over the rate at which the part works.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "ISAAC, ISCA 2016, table 6 (32 nm)"
_CLOCK_HZ = 1.2e9


@dataclass(frozen=True, slots=True)
class Parts:
    """Energies in J, areas in mm2, times in s.

    Parameters
    ----------
    read_s : float
        One cycle: a bit of every input through an array.
    driver_j, driver_mm2 : float
        One wordline for a cycle.
    cell_j, cell_mm2 : float
        One cell that is read in a cycle: an array's over all of its cells.
    hold_j, hold_mm2 : float
        Sample and hold of one bitline.
    shift_add_j, shift_add_mm2 : float
        One conversion shifted and added; the area is that of one array's share.
    register_j, register_mm2 : float
        A byte of an input or output register; the area is that of one array's share.
    buffer_j, bus_j : float
        A byte through the tile's eDRAM, and through its bus.
    tile_arrays : int
        Arrays of a tile, which share buffer, bus, router and activation units: `tile_mm2`, `tile_w`.
    write_s, write_j : float
        One row of an array, programmed and verified, and one cell of it.
    endurance : float
        Writes of a cell.
    """

    read_s: float = 100e-9
    driver_j: float = 4e-3 / 1024 * 100e-9
    driver_mm2: float = 0.00017 / 1024
    cell_j: float = 2.4e-3 / 8 * 100e-9 / 128**2
    cell_mm2: float = 0.0002 / 8 / 128**2
    hold_j: float = 10e-6 / 1024 * 100e-9
    hold_mm2: float = 0.00004 / 1024
    shift_add_j: float = 0.2e-3 / 4 / _CLOCK_HZ
    shift_add_mm2: float = 0.00024 / 8
    register_j: float = (1.24e-3 + 0.23e-3) / (32 * _CLOCK_HZ)
    register_mm2: float = (0.0021 + 0.00077) / 8
    buffer_j: float = 20.7e-3 / (32 * _CLOCK_HZ)
    bus_j: float = 7e-3 / (48 * _CLOCK_HZ)
    tile_arrays: int = 96
    tile_mm2: float = 0.083 + 0.090 + 0.151 / 4 + 0.0006 + 0.00006 + 0.00024 + 0.0032
    tile_w: float = 42e-3 / 4 + 0.52e-3 + 0.05e-3 + 0.4e-3 + 1.68e-3
    write_s: float = 1e-6
    write_j: float = 10e-12
    endurance: float = 1e9


ISAAC = Parts()
SOURCES = {
    "tile": f"{SOURCE}: eDRAM 20.7 mW, 0.083 mm2; bus 7 mW, 0.090 mm2; router 42 mW, 0.151 mm2 for four tiles",
    "unit": f"{SOURCE}: eight arrays 2.4 mW, 1,024 drivers 4 mW, sample and hold 10 uW, four shift-and-add 0.2 mW",
    "write": "ten pulses of 100 ns and 1 pJ with verification, after Wong et al., Metal-Oxide RRAM, Proc. IEEE 2012",
    "endurance": "1e9 writes of HfO2 cells: Wong et al., Metal-Oxide RRAM, Proc. IEEE 2012 (1e6 to 1e12)",
}
