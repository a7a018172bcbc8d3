"""AMS, SMA, IDAP: the mode of a port against what the port is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dovetail.hls.check.pragmas.findings import found, mode_of
from dovetail.hls.check.pragmas.model import Array, Function
from dovetail.hls.check.report import Finding
from dovetail.hls.design import ARRAY_MODES, SCALAR_MODES


def interface_modes(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """AMS, SMA: the mode of a port against what the port is; IDAP: a memory's mode on a stream."""
    declared = [(p, mode_of(p), p.options.get("port", "")) for p in function.pragmas if p.name == "interface"]
    masters = {port for _, mode, port in declared if mode == "m_axi"}
    for pragma, mode, port in declared:
        if port in function.scalars and mode in ARRAY_MODES and not _packet(function.scalars[port]):
            yield found("AMS", pragma.line, f"'{port}' is a scalar: mode {mode} is for arrays",
                         f"{function.scalars[port]} {port}")  # fmt: skip
        elif port in function.streams and mode in (*ARRAY_MODES[:3],):
            yield found("IDAP", pragma.line, f"'{port}' is a stream: mode {mode} addresses a memory",
                         "streams are read and written in order")  # fmt: skip
        elif port in function.streams and mode in SCALAR_MODES:
            yield found("SMA", pragma.line, f"'{port}' is a stream: mode {mode} is for scalars", "one value per call")
        elif _memory(function, port) and mode in SCALAR_MODES and not (mode == "s_axilite" and port in masters):
            yield found("SMA", pragma.line, f"'{port}' is an array: mode {mode} is for scalars",
                         f"{_count(function.arrays[port])} elements")  # fmt: skip


def _packet(ctype: str) -> bool:
    return "axi" in ctype or "struct" in ctype


def _memory(function: Function, port: str) -> bool:
    """Whether a port holds several elements: declared with extents, or a pointer that is indexed."""
    array = function.arrays.get(port)
    if array is None or not array.port:
        return False
    return any(array.extents) or any(a.array == port and a.words != ("0",) for a in function.accesses)


def _count(array: Array) -> str:
    total = 1
    for extent in array.extents:
        total *= extent
    return str(total) if total else "several"
