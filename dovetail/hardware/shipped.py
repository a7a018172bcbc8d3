"""The YAML files that ship, read without the schema: tests hold every one of them to it, so a start need not.

A user's file always goes through `dovetail.hardware.checked`; that it gives the same machine is tested for each file
that ships.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dovetail.core import units
from dovetail.hardware.packed import KERNELS

# Dotted fields that are numbers with a unit, and their dimension; * is any one key.
DIMENSIONS: dict[str, str] = {
    "cores": "", "clock": "Hz",
    "process": "m", "area": "mm2", "peak.*": "flop/s", "memory.capacity": "byte", "memory.bandwidth": "byte/s",
    "caches.capacity": "byte", "caches.bandwidth": "byte/s", "link": "byte/s", "host_link": "byte/s", "power.*": "W",
    "energy.per_flop.*": "J/flop", "energy.per_byte": "J/byte", "price.rent": "USD/s", "price.buy": "USD",
    "efficiency.*": "",
    "fabric.launch": "s", "fabric.hop": "s", "fabric.reached": "", "fabric.own": "", "fabric.fill": "",
    "fabric.most": "byte", "system_power": "W",
    "integer_array.rows": "", "integer_array.columns": "", "integer_array.lanes": "", "integer_array.tile": "",
    "integer_array.buffers": "byte",
    "arrays.weights": "", "arrays.passing": "s", "arrays.latency": "s", "arrays.per_weight": "J",
    "packed.launch": "s", "packed.rows": "", "packed.bandwidth": "byte/s",
    **{f"packed.products.{name}.{field}": unit for name in KERNELS for field, unit in {
        "weight": "s", "peak": "flop/s"}.items()},
    **{f"{where}.{field}": unit for where in ("levels", "network") for field, unit in {
        "bandwidth": "byte/s", "latency": "s"}.items()},
    **{f"{where}{field}": unit for where in ("", "stack.") for field, unit in {
        "launch": "s", "step": "s", "reserve": "", "chunk": "", "page": "", "kv_passes": "", "pointwise_passes": "",
        "weight_passes": "", "unpack_flops": "",
    }.items()},
}  # fmt: skip


def in_si(data: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A shipped file's mapping with every number in SI, as the schema leaves it."""
    return {key: _value(value, f"{path}.{key}" if path else key) for key, value in data.items()}


def _value(value: Any, path: str) -> Any:
    if path in ("source", "kernels"):  # text, and what `dovetail.hardware.kernels.read` gives units to
        return value
    if isinstance(value, Mapping):
        return in_si(value, path)
    if isinstance(value, list):
        return tuple(in_si(item, path) if isinstance(item, Mapping) else item for item in value)
    dimension = DIMENSIONS.get(path, DIMENSIONS.get(f"{path.rpartition('.')[0]}.*"))
    return value if dimension is None else units.parse(value, dimension, where=path)
