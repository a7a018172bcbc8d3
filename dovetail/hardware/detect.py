"""What the operating system says of this computer: CPU, cores, clock, vector units, caches, memory."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_CLOCK_HZ = 2.5e9
DEFAULT_MEMORY = 8e9
_VENDORS = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Facts of one computer: bytes, hertz; `caches` maps level to the bytes of all its instances together."""

    model: str
    vendor: str
    cores: int
    clock_hz: float
    clock_guessed: bool
    flags: frozenset[str]
    memory: float
    caches: Mapping[int, float] = field(default_factory=dict)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _usable(total: int, root: Path) -> int:
    """Cores this process may use: affinity counts, on the real machine."""
    if root == Path("/") and hasattr(os, "sched_getaffinity"):
        return max(1, min(total, len(os.sched_getaffinity(0))))
    return total


def _cores(processors: list[dict[str, str]], root: Path) -> int:
    """Physical cores where the file tells them apart (two threads share one core's vector units), else processors."""
    physical = {(p.get("physical id"), p["core id"]) for p in processors if "core id" in p}
    return _usable(len(physical) or len(processors) or os.cpu_count() or 1, root)


def _clock_hz(processors: list[dict[str, str]], root: Path) -> tuple[float, bool]:
    """Highest clock the system reports, and whether it had to be assumed."""
    limit = _read(root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    if limit.isdigit():
        return float(limit) * 1e3, False
    clocks = [float(p["cpu mhz"]) for p in processors if re.fullmatch(r"\d+(\.\d+)?", p.get("cpu mhz", ""))]
    return (max(clocks) * 1e6, False) if clocks and max(clocks) > 0 else (DEFAULT_CLOCK_HZ, True)


def _bytes(text: str) -> float:
    match = re.fullmatch(r"(\d+)\s*([KMG]?)B?", text, re.IGNORECASE)
    return float(match[1]) * 1024.0 ** " KMG".index(match[2].upper() or " ") if match else 0.0


def _caches(root: Path) -> dict[int, float]:
    """Bytes of data cache by level; instances shared by several cores are counted once."""
    seen: dict[tuple[int, str], float] = {}
    for index in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cache/index[0-9]*")):
        level, size = _read(index / "level"), _bytes(_read(index / "size"))
        if level.isdigit() and size and _read(index / "type") != "Instruction":
            seen[int(level), _read(index / "shared_cpu_list") or str(index)] = size
    totals: dict[int, float] = {}
    for (level_number, _), size in seen.items():
        totals[level_number] = totals.get(level_number, 0.0) + size
    return totals


def _memory(root: Path) -> float:
    """Bytes of memory, or the control group's limit where that is lower."""
    found = re.search(r"^MemTotal:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    total = float(found[1]) * 1024 if found else DEFAULT_MEMORY
    limit = _read(root / "sys/fs/cgroup/memory.max")
    return min(total, float(limit)) if limit.isdigit() and int(limit) > 0 else total


def _linux(root: Path) -> HostFacts:
    blocks = re.split(r"\n\s*\n", _read(root / "proc/cpuinfo"))
    processors = [p for p in map(_fields, blocks) if "processor" in p]
    first = processors[0] if processors else {}
    clock_hz, guessed = _clock_hz(processors, root)
    return HostFacts(
        model=first.get("model name") or first.get("model") or f"{platform.machine()} CPU",
        vendor=_VENDORS.get(first.get("vendor_id", ""), first.get("vendor_id", "")),
        cores=_cores(processors, root), clock_hz=clock_hz, clock_guessed=guessed,
        flags=frozenset((first.get("flags") or first.get("features") or "").split()),
        memory=_memory(root), caches=_caches(root),
    )  # fmt: skip


def _sysctl(name: str) -> str:
    try:
        found = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _macos() -> HostFacts:
    """Apple's machines: NEON (and bf16 from M2 on) or AVX2; clocks are not told on Apple silicon."""
    features = _sysctl("machdep.cpu.leaf7_features").lower().split()
    flags = {"neon"} if platform.machine() == "arm64" else {"avx2"} & set(features)
    flags |= {"bf16"} if _sysctl("hw.optional.arm.FEAT_BF16") == "1" else set()
    clock, memory = _sysctl("hw.cpufrequency_max"), _sysctl("hw.memsize")
    cores = _sysctl("hw.physicalcpu")
    sizes = {level: _sysctl(f"hw.l{level}{'d' if level == 1 else ''}cachesize") for level in (1, 2, 3)}
    return HostFacts(
        model=_sysctl("machdep.cpu.brand_string") or "Mac", vendor="Apple",
        cores=int(cores) if cores.isdigit() else os.cpu_count() or 1,
        clock_hz=float(clock) if clock.isdigit() else 3.2e9, clock_guessed=not clock.isdigit(), flags=frozenset(flags),
        memory=float(memory) if memory.isdigit() else DEFAULT_MEMORY,
        caches={level: float(size) for level, size in sizes.items() if size.isdigit() and int(size)},
    )  # fmt: skip


def detect(root: Path = Path("/")) -> HostFacts:
    """Facts of this computer, or of the one whose ``proc`` and ``sys`` lie under `root`."""
    if root == Path("/") and platform.system() == "Darwin":
        return _macos()
    return _linux(root)
