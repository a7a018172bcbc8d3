"""The host as a `Machine`: its peak from cores, clock and vector units; the rest guessed until it is calibrated.

Linux is read from ``/proc`` and ``/sys``, macOS from ``sysctl``; elsewhere the standard library's few facts are used.
What is guessed is `modelled`; `dovetail calibrate --host` measures it and saves a machine YAML at `calibration_path`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from dovetail.core.files import cache_folder
from dovetail.hardware import energy
from dovetail.hardware.build import NAN, load_stack
from dovetail.hardware.detect import HostFacts, detect
from dovetail.hardware.machine import Efficiency, Machine, MemoryLevel, Source
from dovetail.hardware.packed import KERNELS, Packed, PackedProduct

# fp32 FLOPs per cycle and core: vector lanes x 2 (fused multiply-add) x 2 units.
FP32_PER_CYCLE: dict[str, int] = {"avx512f": 64, "avx2": 32, "avx": 16, "neon": 16, "asimd": 16}
BF16_PER_CYCLE: dict[str, int] = {"amx_bf16": 1024, "avx512_bf16": 128, "bf16": 32}
BASELINE_PER_CYCLE = 8  # SSE: 4 lanes, a multiply and an add

# Guesses, used only until `calibrate` has run.
BANDWIDTH_PER_CORE = 12e9  # bytes/s one core streams from DDR4 or DDR5
BANDWIDTH_CEILING = 200e9
W_PER_CORE = 8.0
USD_PER_CORE_HOUR = 0.04
CACHE_BYTES_PER_CYCLE = {1: 64, 2: 32, 3: 16}
LAUNCH_S = 10e-6
PACKED_CYCLES = 0.05  # of one core, to unpack a weight
PACKED_OPS = {"int8": 2.0, "": 0.5}  # of the fp32 peak: products of integers, and of floats with unpacked weights
PACKED_LAUNCH_S = 5e-6


@dataclass(frozen=True, slots=True)
class _Peaks:
    fp32: float
    bf16: float
    unit: str


def _peaks(facts: HostFacts) -> _Peaks:
    """Peak FLOP/s: cores x clock x FLOPs per cycle; bf16 is 0 where the cores do not have it."""
    unit = next((name for name in FP32_PER_CYCLE if name in facts.flags), "")
    wide = next((name for name in BF16_PER_CYCLE if name in facts.flags), "")
    cycles = facts.cores * facts.clock_hz
    fp32 = cycles * FP32_PER_CYCLE.get(unit, BASELINE_PER_CYCLE)
    return _Peaks(fp32, cycles * BF16_PER_CYCLE.get(wide, 0), unit or "128-bit")


def _caches(facts: HostFacts) -> tuple[MemoryLevel, ...]:
    """Farthest first; bandwidth of all cores together."""
    per_cycle = facts.cores * facts.clock_hz
    return tuple(
        MemoryLevel(f"L{level}", capacity, CACHE_BYTES_PER_CYCLE.get(level, 16) * per_cycle)
        for level, capacity in sorted(facts.caches.items(), reverse=True)
    )


def _packed(facts: HostFacts, fp32: float, bandwidth: float) -> Packed:
    """Kernels for packed weights, guessed; whether they are compiled here, others have to ask."""
    weight_s = PACKED_CYCLES / (facts.cores * facts.clock_hz)
    products = {name: PackedProduct(weight_s, PACKED_OPS[name.partition("-")[2]] * fp32) for name in KERNELS}
    return Packed(PACKED_LAUNCH_S, 8.0 if "avx512_vnni" in facts.flags else 4.0, bandwidth, products)


def _sources(facts: HostFacts, peaks: _Peaks, guessed: bool) -> dict[str, Source]:
    clock = f"{facts.clock_hz / 1e9:.2f} GHz" + (" (assumed)" if guessed else "")
    guess = "guess until calibrated"
    texts = {
        "cores": "cores the operating system lets this process use",
        "clock": "assumed" if facts.clock_guessed else "highest clock the operating system reports",
        "peak": f"{facts.cores} cores at {clock}, {peaks.unit} fused multiply-add: theoretical peak",
        "memory.capacity": "memory the operating system reports",
        "memory.bandwidth": f"{guess}: {BANDWIDTH_PER_CORE / 1e9:.0f} GB/s per core",
        "caches": f"sizes from the operating system; bandwidth {guess}: bytes per cycle and core",
        "power": f"{guess}: {W_PER_CORE:.0f} W per core",
        "energy": f"{energy.ENERGY_SOURCE}; DRAM: {energy.j_per_byte_source('DDR')}",
        "price": f"a cloud's on-demand core, about {USD_PER_CORE_HOUR} USD/h",
        "efficiency": guess,
        "stack": f"{guess}: eager PyTorch on a CPU",
        "packed": f"{guess}: kernels of dovetail for packed integer weights",
    }
    measured = {"memory.capacity", "cores", *(() if facts.clock_guessed else ("clock",))}
    return {path: Source("measured" if path in measured else "modelled", text) for path, text in texts.items()}


def host_machine(root: Path = Path("/")) -> Machine:
    """The computer this runs on, uncalibrated.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` lie; tests give a folder.

    Returns
    -------
    Machine
        Named ``host``; peaks for fp32, and bf16 where it is native; `kind` of every guess is ``modelled``.
    """
    facts = detect(root)
    peaks = _peaks(facts)
    peak = {"fp32": peaks.fp32} | ({"bf16": peaks.bf16} if peaks.bf16 else {})
    stack, _ = load_stack("transformers")
    tdp_w, bandwidth = W_PER_CORE * facts.cores, min(BANDWIDTH_PER_CORE * facts.cores, BANDWIDTH_CEILING)
    return Machine(
        name="host", title=facts.model, kind="cpu", vendor=facts.vendor, peak=peak,
        memory=MemoryLevel("DDR", facts.memory, bandwidth),
        caches=_caches(facts), link=0.0, tdp_w=tdp_w, idle_w=energy.idle_w(tdp_w),
        j_per_flop=energy.j_per_flop(tdp_w, peak), j_per_byte=energy.j_per_byte("DDR"),
        usd_per_hour=USD_PER_CORE_HOUR * facts.cores, area_mm2=NAN, process_nm=NAN,
        cores=facts.cores, clock_hz=facts.clock_hz,
        efficiency=Efficiency(compute=0.6, memory=0.7, overlap=0.5, spread=0.6, score_flops=30.0),
        packed=_packed(facts, peaks.fp32, bandwidth), stack=replace(stack, compute="fp32", launch_s=LAUNCH_S),
        sources=_sources(facts, peaks, facts.clock_guessed),
    )  # fmt: skip


def calibration_path(root: Path = Path("/")) -> Path:
    """Where this computer's calibration is kept: one file per CPU model and number of cores."""
    facts = detect(root)
    key = hashlib.sha256(f"{facts.model}|{facts.cores}".encode()).hexdigest()[:12]
    return cache_folder() / f"host-{key}.yaml"
