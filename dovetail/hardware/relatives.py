"""The constants of a chip that nobody measured: those of its nearest measured relative, always ``modelled``.

Kernels and communication were measured on NVIDIA's A100 and H100 (and H200, kernels only). The rule:

- a chip of NVIDIA with memory in stacks (HBM) and of `HOPPER`'s year or later takes the H100's: kernels whose copies
  and products run by themselves, few waves, FlashAttention 3;
- other GPUs take the A100's: tiles that come whole, FlashAttention 2; those of other makers too, from 2023 on the
  H100's, whose libraries were written after it;
- the links: NVIDIA's before Hopper take the A100's, every other chip the H100's. vLLM's own all-reduce exists for
  NVIDIA and AMD alone, so other makers' chips have the rings only;
- what is not a GPU under an engine that starts kernels is priced by a roofline.

Constants are shares of a chip's own peaks, and seconds, of which some go with the clock of the cores (`at_clock`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from dovetail.hardware.fabric import Transport
from dovetail.hardware.kernels import Kernels
from dovetail.hardware.kernels.gemm import at_clock
from dovetail.hardware.kernels.read import kernels_from
from dovetail.hardware.machine import Source
from dovetail.hardware.zoo import zoo_file

C = TypeVar("C", bound=Any)  # constants of kernels

HOPPER = 2022
LATER = 2023  # of other makers: libraries with the H100's kernels as their model
# Nine of ten calls on one of the measured chips lie within this of what another's constants say (bench/gemm.py).
TRANSFER = 0.35
_LIBRARIES = {"NVIDIA": "nccl", "AMD": "rccl"}
_OWN_KERNELS = ("NVIDIA", "AMD")
_ONLY_A100 = ("w8a16", "w4a16", "int8")
_ENGINES = ("vllm",)  # stacks whose kernels were measured


def fabric_of(file: Mapping[str, Any]) -> tuple[tuple[Transport, ...], dict[str, Source]]:
    """Constants of a chip's links and, where they are another's, their source; none for a chip without a link."""
    if file.get("fabric"):
        return _transports(file["fabric"]), {}
    if not file.get("link"):
        return (), {}
    vendor = file.get("vendor", "")
    name = "a100-sxm" if vendor == "NVIDIA" and _year(file) < HOPPER else "h100-sxm"
    found = _transports(zoo_file("chips", name)["fabric"])
    library = _LIBRARIES.get(vendor, "vendor's")
    kept = tuple(t if t.stack else replace(t, library=library) for t in found if not t.stack or vendor in _OWN_KERNELS)
    known = "the nearest measured" if vendor == "NVIDIA" else f"no chip of {vendor or 'this maker'} is measured"
    return kept, {"fabric": Source("modelled", f"as {name}: {known} (hardware/relatives.py)")}


def kernels_of(file: Mapping[str, Any], stack: str) -> tuple[Kernels | None, dict[str, Source]]:
    """Constants of a chip's kernels and, where they are another's, their source; None where a roofline prices it."""
    if file.get("kernels"):
        return _completed(kernels_from(file["kernels"]))
    if file.get("kind", "gpu") != "gpu" or stack not in _ENGINES:
        return None, {}
    name = relative(file)
    kernels, clock = _measured(name)
    own = file.get("clock") or clock
    gemm = {dtype: _wider(at_clock(one, clock / own)) for dtype, one in kernels.gemm.items()}
    attention = {dtype: replace(one, constants=_wider(one.constants)) for dtype, one in kernels.attention.items()}
    mixture = {dtype: _wider(one) for dtype, one in kernels.mixture.items()}
    known = Source("modelled", f"as {name}, its nearest measured relative (hardware/relatives.py)")
    return _completed(Kernels(gemm, attention, mixture))[0], {"kernels": known}


def relative(file: Mapping[str, Any]) -> str:
    """The measured chip whose kernels stand in for those of a GPU."""
    stacked = str(file["memory"].get("type", "")).startswith("HBM")
    first = HOPPER if file.get("vendor") == "NVIDIA" else LATER
    return "h100-sxm" if stacked and _year(file) >= first else "a100-sxm"


def _completed(kernels: Kernels) -> tuple[Kernels, dict[str, Source]]:
    """With the products that only the A100 was measured on: a chip's own 16-bit ones, slower by what it is there."""
    tables = kernels_from(zoo_file("chips", "a100-sxm")["kernels"]).gemm
    there, own = tables["bf16"], kernels.gemm.get("bf16")
    gemm = dict(kernels.gemm)
    if own is None:
        return kernels, {}
    missing = [dtype for dtype in _ONLY_A100 if dtype not in gemm]
    for dtype in missing:
        share = tables[dtype].compute / there.compute
        slower = replace(own, compute=own.compute * share, spread=tables[dtype].spread)
        gemm[dtype] = _wider(slower)
    text = "its own bf16 products, slower by what these are on a100-sxm (hardware/relatives.py)"
    return replace(kernels, gemm=gemm), {f"kernels.gemm.{dtype}": Source("modelled", text) for dtype in missing}


def _wider(one: C) -> C:
    """Constants of another chip: twice the range, and at least `TRANSFER`."""
    return replace(one, spread=max(2.0 * one.spread, TRANSFER))


@cache
def _measured(name: str) -> tuple[Kernels, float]:
    file = zoo_file("chips", name)
    return kernels_from(file["kernels"]), float(file["clock"])


def _year(file: Mapping[str, Any]) -> int:
    return int(file.get("year") or HOPPER)


def _transports(given: tuple[Mapping[str, Any], ...]) -> tuple[Transport, ...]:
    names = {"launch": "launch_s", "hop": "hop_s"}
    return tuple(Transport(**{names.get(k, k): v for k, v in one.items()}) for one in given)
