"""Joules over a block, from counters in the hardware: RAPL for CPU packages, NVML for NVIDIA GPUs; else None."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_POWERCAP = Path("/sys/class/powercap")
_UJ = 1e-6  # RAPL counts microjoules
_MJ = 1e-3  # NVML counts millijoules


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def rapl_domains(root: Path = _POWERCAP) -> list[Path]:
    """CPU packages whose energy counter this process may read (sub-domains such as cores are inside their package)."""
    packages = sorted(root.glob("intel-rapl:*")) if root.is_dir() else []
    return [p for p in packages if p.name.count(":") == 1 and _number(p / "energy_uj") is not None]


class Rapl:
    """Energy of all CPU packages since it was made; each counter may wrap around once between two readings."""

    def __init__(self, root: Path = _POWERCAP) -> None:
        self._domains = rapl_domains(root)
        self._last = [self._read(d) for d in self._domains]
        self._uj = 0

    def _read(self, domain: Path) -> int:
        return _number(domain / "energy_uj") or 0

    def joules(self) -> float | None:
        """Joules so far; None without a readable counter."""
        for i, domain in enumerate(self._domains):
            now = self._read(domain)
            grown = now - self._last[i]
            self._uj += grown if grown >= 0 else grown + (_number(domain / "max_energy_range_uj") or 0)
            self._last[i] = now
        return self._uj * _UJ if self._domains else None


class Nvml:
    """Energy of the first NVIDIA GPU since it was made, by NVML's counter (Volta and later)."""

    def __init__(self) -> None:
        self._total = _nvml_counter()
        self._start = self._total() if self._total else None

    def joules(self) -> float | None:
        """Joules so far; None without a driver or a counter."""
        now = self._total() if self._total else None
        return None if now is None or self._start is None else (now - self._start) * _MJ


def _nvml_counter() -> Callable[[], int | None] | None:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    device = ctypes.c_void_p()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
        return None

    def total() -> int | None:
        value = ctypes.c_ulonglong()
        failed = nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(value))
        return None if failed else int(value.value)

    return total


class EnergyMeter:
    """Context manager: `joules` of the whole device ("cpu" or "cuda") inside the block, or None."""

    joules: float | None = None

    def __init__(self, device: str = "cpu") -> None:
        self._device = device

    def __enter__(self) -> EnergyMeter:
        self._counter = Nvml() if self._device == "cuda" else Rapl()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.joules = self._counter.joules()
