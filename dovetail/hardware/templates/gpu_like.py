"""A GPU made of the cores of a known one, with other numbers of them, other memory, cache and links.

What the known chip's file says is met exactly at its own numbers. Away from them

- peaks, the cores' area and the power of arithmetic go with the cores;
- the die's area with the cores, the cache, and the interfaces of memory and links; the rest of it stays;
- the power limit as leakage of the area, arithmetic at the peak and traffic at the bandwidth together do;
- the rent with the cost of a good die (negative binomial yield), of the memory, and of a board that stays.

Densities are literature from memory and rounded: cache 0.5 mm2/MB (AMD's stacked 64 MB take 41 mm2 in 7 nm, scaled);
interfaces from die photographs of GA100 and AD102. Shares of the rent: published estimates of an H100's bill of
materials, of which HBM is a little less than half. A die of 58 cores made from AD102's cores has 6 % less area than
AD104 has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dovetail.core.formats import Number
from dovetail.hardware.kernels import Kernels
from dovetail.hardware.load import load_machine
from dovetail.hardware.machine import Machine, Source
from dovetail.hardware.relatives import borrowed
from dovetail.hardware.templates.template import Choice, Parameter, Values, template

CACHE_MM2 = 0.5e-6  # of a byte
INTERFACE_MM2 = {"HBM": 20e-12, "GDDR": 66e-12, "LPDDR": 100e-12}  # of a byte/s of memory
LINK_MM2 = 70e-12  # of a byte/s in each direction
REST = 0.08  # of the known die: what is none of these
DEFECTS, CLUSTERS = 1e-3, 3.0  # per mm2, and the exponent of a negative binomial yield (Stapper, IBM J. R&D 27, 1983)
RENT_DIE, RENT_MEMORY = 0.3, 0.45  # shares of the rent; the rest is board, host and house
_CHIPS = ("h100-sxm", "a100-sxm", "h200-sxm", "b200-sxm", "l40s", "l4", "rtx-4090", "rtx-3090")


@template("gpu-like")
@dataclass(frozen=True, slots=True)
class GpuLike:
    """Cores of `like`, as many as wished."""

    words: str = "a GPU of the cores of a known one"
    parameters: tuple[Parameter, ...] = (
        Parameter("sms", "", 132, 4, 512, "cores (streaming multiprocessors)", whole=True),
        Parameter("bandwidth", "byte/s", 3.35e12, 1e10, 5e13, "of main memory"),
        Parameter("l2", "byte", 50e6, 1e6, 2e9, "capacity of the last-level cache"),
        Parameter("capacity", "byte", 80e9, 1e9, 2e12, "of main memory"),
        Parameter("link", "byte/s", 450e9, 0.0, 1e13, "to other chips, in each direction"),
    )
    choices: tuple[Choice, ...] = (Choice("like", _CHIPS, "the chip whose cores, kernels and prices these are"),)

    def machine(self, values: Values, chosen: Mapping[str, str]) -> Machine:
        """The machine; parameters may be arrays."""
        base = load_machine(chosen["like"])
        more = values["sms"] / base.cores
        area = die_mm2(base, values)
        tdp = _tdp_w(base, values, more, area / base.area_mm2)
        note = Source("modelled", f"template gpu-like: cores of {base.name}")
        fields = ("cores", "peak", "memory", "caches", "link", "power", "price", "area", "kernels", "fabric", "energy")
        return replace(
            base, title=f"cores of {base.name}", cores=values["sms"], peak={n: p * more for n, p in base.peak.items()},
            memory=replace(base.memory, capacity=values["capacity"], bandwidth=values["bandwidth"]),
            caches=(replace(base.caches[0], capacity=values["l2"]), *base.caches[1:]), link=values["link"],
            tdp_w=tdp, idle_w=base.idle_w * area / base.area_mm2, area_mm2=area,
            usd_per_hour=base.usd_per_hour * _rent_share(base, values, area), kernels=_wider(base.kernels),
            sources={p: s for p, s in base.sources.items() if p.split(".")[0] not in fields}
            | dict.fromkeys(fields, note),
            engines=(), system="", levels=(),
        )  # fmt: skip


def die_mm2(base: Machine, values: Values) -> Number:
    """Area of the die."""
    own = {"bandwidth": base.memory.bandwidth, "l2": base.caches[0].capacity, "link": base.link}
    core = (base.area_mm2 * (1 - REST) - _around(base, own)) / base.cores
    return base.area_mm2 * REST + core * values["sms"] + _around(base, values)


def _around(base: Machine, values: Values) -> Number:
    kind = next((INTERFACE_MM2[k] for k in INTERFACE_MM2 if base.memory.name.upper().startswith(k)), 20e-12)
    return values["bandwidth"] * kind + values["l2"] * CACHE_MM2 + values["link"] * LINK_MM2


def _tdp_w(base: Machine, values: Values, more: Number, larger: Number) -> Number:
    dtype = "bf16" if "bf16" in base.peak else "fp16"
    arithmetic, moving = base.peak[dtype] * base.j_per_flop[dtype], base.memory.bandwidth * base.j_per_byte
    now = base.idle_w * larger + arithmetic * more + values["bandwidth"] * base.j_per_byte
    return base.tdp_w * now / (base.idle_w + arithmetic + moving)


def _rent_share(base: Machine, values: Values, area: Number) -> Number:
    die = good_die(area) / good_die(base.area_mm2)
    memory = values["capacity"] / base.memory.capacity
    return RENT_DIE * die + RENT_MEMORY * memory + (1 - RENT_DIE - RENT_MEMORY)


def good_die(area_mm2: Number) -> Number:
    """Area of wafer for one good die, mm2."""
    return area_mm2 * (1 + np.asarray(area_mm2) * DEFECTS / CLUSTERS) ** CLUSTERS


def _wider(known: Kernels | None) -> Kernels | None:
    """Constants of another chip than those they were measured on."""
    if known is None:
        return None
    families = ("gemm", "attention", "mixture", "latent")
    return Kernels(**{f: {n: borrowed(c, 1.0) for n, c in getattr(known, f).items()} for f in families})
