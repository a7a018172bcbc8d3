"""The constants of a chip that nobody measured: those of its nearest measured relative, always ``modelled``.

Kernels and communication were measured on NVIDIA's A100 and H100 (and H200, kernels only). The rule:

- a chip of NVIDIA with memory in stacks (HBM) and of `HOPPER`'s year or later takes the H100's: kernels whose copies
  and products run by themselves, few waves, FlashAttention 3; from `BLACKWELL`'s year on the H200's, which were
  measured at the power limit, and the H100's where the H200 has none;
- other GPUs take the A100's: tiles that come whole, FlashAttention 2; those of other makers with stacked memory from
  `LATER` on the H200's, whose time their libraries are of;
- the links: NVIDIA's before Hopper take the A100's, every other chip the H100's. vLLM's own all-reduce exists for
  NVIDIA and AMD alone, so other makers' chips have the rings only;
- what is not a GPU under an engine that starts kernels is priced by a roofline.

Constants are shares of a chip's own peaks, and seconds, of which some go with the clock of the cores (`at_clock`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from dovetail.hardware.fabric import Transport
from dovetail.hardware.kernels import Attended, GemmConstants, Kernels, LatentConstants, MixtureConstants
from dovetail.hardware.kernels.gemm import at_clock
from dovetail.hardware.kernels.read import kernels_from
from dovetail.hardware.machine import Source
from dovetail.hardware.zoo import zoo_file

HOPPER = 2022
BLACKWELL = 2024
LATER = 2023  # of other makers: libraries with the H100's kernels as their model
# Nine of ten calls on an A100 or an H100 lie within this of what the other's constants say (bench/accuracy.py).
# What another dtype's constants say is taken for no nearer.
TRANSFER = {"gemm": 0.35, "attention": 0.56, "mixture": 0.7, "latent": 0.79}
_LIBRARIES = {"NVIDIA": "nccl", "AMD": "rccl"}
_OWN_KERNELS = ("NVIDIA", "AMD")
_ONLY_A100 = ("w8a16", "w4a16", "int8")
_FAMILIES = ("gemm", "attention", "mixture", "latent")
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
    """Constants of a chip's kernels and the sources of those that are another's; None where a roofline prices it."""
    given = file.get("kernels")
    if not given and (file.get("kind", "gpu") != "gpu" or stack not in _ENGINES):
        return None, {}
    known = kernels_from(given) if given else Kernels({}, {}, {})
    tables: dict[str, dict[str, Any]] = {family: dict(getattr(known, family)) for family in _FAMILIES}
    sources: dict[str, Source] = {}
    for name in relatives(file):
        donor, clock = _measured(name)
        text = f"as {name}, a measured relative (hardware/relatives.py)"
        for family, entry, one in _missing(tables, donor):
            tables[family][entry] = borrowed(one, clock / (file.get("clock") or clock))
            sources[f"kernels.{family}.{entry}"] = Source("modelled", text)
    for entry, one in _packed(tables["gemm"]):
        tables["gemm"][entry] = one
        text = "its own bf16 products, slower by what these are on a100-sxm (hardware/relatives.py)"
        sources[f"kernels.gemm.{entry}"] = Source("modelled", text)
    return Kernels(**tables), sources


def relatives(file: Mapping[str, Any]) -> tuple[str, ...]:
    """The measured chips whose kernels stand in for those of a GPU, the nearest first."""
    stacked = str(file["memory"].get("type", "")).startswith("HBM")
    if file.get("vendor") != "NVIDIA":
        return ("h200-sxm", "h100-sxm") if stacked and _year(file) >= LATER else ("a100-sxm",)
    if not stacked or _year(file) < HOPPER:
        return ("a100-sxm",)
    return ("h100-sxm",) if _year(file) < BLACKWELL and file.get("name") != "h200-sxm" else ("h200-sxm", "h100-sxm")


def _missing(tables: Mapping[str, Mapping[str, Any]], donor: Kernels) -> list[tuple[str, str, Any]]:
    """Entries that another chip has; those measured on the A100 alone have a rule of their own."""
    return [
        (family, entry, one)
        for family in _FAMILIES for entry, one in getattr(donor, family).items()
        if entry not in tables[family] and not (family == "gemm" and entry in _ONLY_A100)
    ]  # fmt: skip


def _packed(gemm: Mapping[str, GemmConstants]) -> list[tuple[str, GemmConstants]]:
    """Products that only the A100 was measured on: a chip's own 16-bit ones, slower by what they are there."""
    there, own = _measured("a100-sxm")[0].gemm, gemm["bf16"]
    share = {entry: there[entry].compute / there["bf16"].compute for entry in _ONLY_A100}
    return [
        (entry, _wider(replace(own, compute=own.compute * share[entry], spread=there[entry].spread)))
        for entry in _ONLY_A100 if entry not in gemm
    ]  # fmt: skip


@cache
def _measured(name: str) -> tuple[Kernels, float]:
    file = zoo_file("chips", name)
    return kernels_from(file["kernels"]), float(file["clock"])


def borrowed(one: Any, ratio: float) -> Any:
    """Constants of a kernel of another chip whose clock is `ratio` times this one's: launches by clock, wider range."""
    return _wider(at_clock(one, ratio) if isinstance(one, GemmConstants) else one)


def _wider(one: Any) -> Any:
    """Constants of another chip: twice the range, and at least the family's `TRANSFER`."""
    if isinstance(one, Attended):
        known = one.constants
        return replace(one, constants=replace(known, spread=max(2.0 * known.spread, TRANSFER["attention"])))
    family = {GemmConstants: "gemm", MixtureConstants: "mixture", LatentConstants: "latent"}[type(one)]
    return replace(one, spread=max(2.0 * one.spread, TRANSFER[family]))


def _year(file: Mapping[str, Any]) -> int:
    return int(file.get("year") or HOPPER)


def _transports(given: tuple[Mapping[str, Any], ...]) -> tuple[Transport, ...]:
    names = {"launch": "launch_s", "hop": "hop_s"}
    return tuple(Transport(**{names.get(k, k): v for k, v in one.items()}) for one in given)
