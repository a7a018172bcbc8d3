"""A machine back to the YAML it could have come from: every number with its unit, every section with its source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import yaml

from dovetail.core import units
from dovetail.core.errors import DovetailError
from dovetail.hardware.fabric import Transport
from dovetail.hardware.integer_array import IntegerArray
from dovetail.hardware.kernels.written import section
from dovetail.hardware.machine import Machine, MemoryLevel, Source, Stack
from dovetail.hardware.packed import Packed
from dovetail.hardware.stationary import Stationary

# Units to try, largest first: the first that gives a short exact number wins.
_UNITS: dict[str, tuple[str, ...]] = {
    "byte": ("TB", "GB", "MB", "kB", "B"), "byte/s": ("TB/s", "GB/s", "MB/s", "B/s"),
    "flop/s": ("TFLOP/s", "GFLOP/s", "FLOP/s"), "s": ("us", "ms", "ps", "s"), "W": ("W",),
    "J/flop": ("pJ/FLOP", "J/FLOP"),
    "J/byte": ("pJ/B", "J/B"), "m": ("nm", "m"), "mm2": ("mm2",), "USD/s": ("USD/h", "USD/s"), "": ("",),
    "Hz": ("GHz", "MHz", "Hz"), "J": ("pJ", "J"),
}  # fmt: skip


def _number(value: Any, dimension: str, where: str) -> str | float:
    """`value` (SI) as text that parses back to it exactly."""
    if np.ndim(value):
        raise DovetailError("a machine of many design points has no YAML", where=where, hint="write one point")
    number = float(value)
    if not math.isfinite(number):
        raise DovetailError(f"'{number}' cannot be written", where=where, hint="leave the field out if it is not known")
    scaled = [(number / units.unit(unit)[1], unit) for unit in _UNITS[dimension]]
    texts = [f"{value:.{digits}g} {unit}".strip() for value, unit in scaled for digits in (6, 17)]
    exact = [text for text in texts if "e" not in text.split()[0] and units.parse(text, dimension) == number]
    best = min(exact, key=len, default=f"{number!r} {_UNITS[dimension][-1]}".strip())
    return best if dimension else float(best)


def _known(value: Any) -> bool:
    return not np.ndim(value) and math.isfinite(value) and value != 0


def _mapping(machine: Machine) -> dict[str, Any]:
    """The YAML's mapping without its sources; what is unknown (NaN, a link of zero, year 0) is left out."""
    data: dict[str, Any] = {field: getattr(machine, field) for field in ("name", "title", "vendor", "kind")}
    if machine.year:
        data["year"] = machine.year
    if _known(machine.process_nm):
        data["process"] = f"{machine.process_nm:.10g} nm"
    if _known(machine.area_mm2):
        data["area"] = _number(machine.area_mm2, "mm2", "area")
    if _known(machine.cores):
        data["cores"] = int(machine.cores)
    if _known(machine.clock_hz):
        data["clock"] = _number(machine.clock_hz, "Hz", "clock")
    data["peak"] = {dtype: _number(value, "flop/s", f"peak.{dtype}") for dtype, value in machine.peak.items()}
    data["memory"] = _level(machine.memory, "memory") | {"type": machine.memory.name}
    if machine.caches:
        data["caches"] = [{"name": level.name} | _level(level, f"caches.{level.name}") for level in machine.caches]
    if _known(machine.link):
        data["link"] = _number(machine.link, "byte/s", "link")
    if _known(machine.host_link):
        data["host_link"] = _number(machine.host_link, "byte/s", "host_link")
    if machine.fabric:
        data["fabric"] = [_transport(transport) for transport in machine.fabric]
    if machine.kernels is not None:
        data["kernels"] = section(machine.kernels)
    if machine.packed is not None:
        data["packed"] = _packed(machine.packed)
    if machine.stationary is not None:
        data["arrays"] = _arrays(machine.stationary)
    if machine.integer_array is not None:
        data["integer_array"] = _integer_array(machine.integer_array)
    if machine.system:
        data["system"] = machine.system
    power = {"tdp": machine.tdp_w, "idle": machine.idle_w}
    data["power"] = {field: _number(value, "W", f"power.{field}") for field, value in power.items()}
    flop = {dtype: _number(value, "J/flop", f"energy.per_flop.{dtype}") for dtype, value in machine.j_per_flop.items()}
    data["energy"] = {"per_flop": flop, "per_byte": _number(machine.j_per_byte, "J/byte", "energy.per_byte")}
    if _known(machine.usd_per_hour):
        data["price"] = {"rent": f"{float(machine.usd_per_hour)!r} USD/h"}
        if _known(machine.price_usd):
            data["price"]["buy"] = f"{float(machine.price_usd)!r} USD"
    efficiency = ((field.name, getattr(machine.efficiency, field.name)) for field in fields(machine.efficiency))
    data["efficiency"] = {name: _number(value, "", f"efficiency.{name}") for name, value in efficiency}
    return data | {"stack": _stack(machine.stack), "engines": list(machine.engines)}


def _level(level: MemoryLevel, where: str) -> dict[str, Any]:
    return {
        "capacity": _number(level.capacity, "byte", f"{where}.capacity"),
        "bandwidth": _number(level.bandwidth, "byte/s", f"{where}.bandwidth"),
    }


def _transport(transport: Transport) -> dict[str, Any]:
    units_of = {"launch_s": "s", "hop_s": "s", "reached": "", "own": "", "fill": "", "most": "byte"}
    known = {name: value for name in units_of if math.isfinite(value := getattr(transport, name))}
    numbers = {n.removesuffix("_s"): _number(v, units_of[n], f"fabric.{n}") for n, v in known.items()}
    return {"library": transport.library, "algorithm": transport.algorithm} | numbers | {"stack": transport.stack}


def _arrays(held: Stationary) -> dict[str, Any]:
    return {
        "weights": _number(held.weights, "", "arrays.weights"),
        "passing": _number(held.pass_s, "s", "arrays.passing"),
        "latency": _number(held.latency_s, "s", "arrays.latency"),
        "per_weight": _number(held.j_per_weight, "J", "arrays.per_weight"),
    }


def _integer_array(held: IntegerArray) -> dict[str, Any]:
    counts = {name: int(getattr(held, name)) for name in ("rows", "columns", "lanes", "tile")}
    return counts | {"buffers": _number(held.buffers, "byte", "integer_array.buffers")}


def _packed(packed: Packed) -> dict[str, Any]:
    products = {
        name: {"weight": _number(each.weight_s, "s", f"packed.{name}.weight"),
               "peak": _number(each.peak, "flop/s", f"packed.{name}.peak")}
        for name, each in packed.products.items()
    }  # fmt: skip
    return {
        "launch": _number(packed.launch_s, "s", "packed.launch"), "rows": _number(packed.rows, "", "packed.rows"),
        "bandwidth": _number(packed.bandwidth, "byte/s", "packed.bandwidth"), "rounds": packed.rounds,
        "products": products,
    }  # fmt: skip


def _stack(stack: Stack) -> dict[str, Any]:
    """Every field of the stack, so that nothing is taken from the stack's own file when it is read back."""
    data: dict[str, Any] = {}
    for field in fields(stack):
        value = getattr(stack, field.name)
        seconds = field.name.endswith("_s")
        number = seconds or not isinstance(value, str | bool | tuple)
        where = f"stack.{field.name}"
        data[field.name.removesuffix("_s") if seconds else field.name] = (
            _number(value, "s" if seconds else "", where)
            if number
            else list(value)
            if isinstance(value, tuple)
            else value
        )
    return data


def _paths(value: Any, path: str = "") -> set[str]:
    """Every dotted path of a nested mapping, its own included."""
    if not isinstance(value, dict):
        return {path}
    below = (_paths(item, f"{path}.{key}" if path else str(key)) for key, item in value.items())
    return {path} - {""} | set().union(*below)


_PLAIN = ("name", "title", "vendor", "kind", "year", "engines", "system")


def machine_to_yaml(machine: Machine, sources: Mapping[str, Source | str] | None = None) -> str:
    """The YAML text of one chip; reading it gives an equal machine (of `count` 1).

    Parameters
    ----------
    machine : Machine
        One machine (scalars, not arrays of design points).
    sources : mapping of str to Source or str, optional
        Sources by dotted path, over those the machine carries for the same path and below it. A string is a
        datasheet's name.

    Raises
    ------
    DovetailError
        An array or a non-finite number where a number belongs, a number without a source, or a system of chips.
    """
    from dovetail.hardware.checked import check
    from dovetail.hardware.schema import MachineFile

    if machine.chip:
        raise DovetailError(f"{machine.name} is a system, not a chip", hint=f"write {machine.chip}'s file")
    data = _mapping(machine)
    new = {path: Source("datasheet", s) if isinstance(s, str) else s for path, s in (sources or {}).items()}
    old = {path: s for path, s in machine.sources.items() if not any(path.startswith(f"{told}.") for told in new)}
    given = old | new
    paths = _paths(data) - set(_PLAIN)
    data["source"] = {k: {"kind": s.kind, "text": s.text} for k, s in given.items() if k in paths}
    check(data, MachineFile, machine.name)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
