"""Peak memory of this process over a block, from the kernel's own high-water mark."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")  # writing 5 sets VmHWM to what is resident now (proc(5))


def resident_bytes(field: str = "VmRSS", status: Path = _STATUS) -> int | None:
    """A field of ``/proc/self/status`` in bytes: ``VmRSS`` (resident now), ``VmHWM`` (most so far); None if unknown."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) * 1024 if found else None


class PeakMemory:
    """Context manager: `bytes` is how far resident memory rose inside above what it was at the start.

    None where the kernel tells nothing. Where the mark cannot be reset, it is that of the whole process so far.
    """

    bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        with suppress(OSError):  # a read-only /proc: the mark stays where it was, as the class says
            _RESET.write_text("5")
        self._start = resident_bytes("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        peak = resident_bytes("VmHWM")
        if peak is not None and self._start is not None:
            self.bytes = max(0, peak - self._start)
