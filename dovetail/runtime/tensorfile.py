"""Safetensors files: the header read and checked without torch, one tensor at a time, and a writer that streams.

Layout: 8 bytes little-endian header length, a JSON header that gives each tensor's dtype, shape and ``[begin, end)`` in
the data that follows, then the data without gaps.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor

ITEM_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
TORCH_NAMES = {
    "F64": "float64", "I64": "int64", "U64": "uint64", "F32": "float32", "I32": "int32", "U32": "uint32",
    "F16": "float16", "BF16": "bfloat16", "I16": "int16", "U16": "uint16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
_CODES = {name: code for code, name in TORCH_NAMES.items()}
_MAX_HEADER = 100_000_000  # bytes; the limit of the reference implementation
_AGAIN = "copy or download the file again"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a header says of one tensor: safetensors dtype (``"BF16"``), shape, and where its bytes lie in `file`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path | None = None
    offset: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * ITEM_BYTES[self.dtype]


def describe(name: str, tensor: Tensor) -> TensorInfo:
    """The `TensorInfo` of a tensor in memory. Raises `DovetailError` for a dtype no file holds."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if kind not in _CODES:
        raise DovetailError(f"{kind} cannot be stored in safetensors", where=name)
    return TensorInfo(name, _CODES[kind], tuple(tensor.shape))


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Names, dtypes, shapes and places of all tensors of one file, without torch.

    Raises
    ------
    DovetailError
        The file is missing, truncated, longer than its header says, or its header is not one; with the sizes.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _MAX_HEADER):
                why = f"{size:,} bytes, the header alone claims {length + 8:,}" if size >= 8 else f"only {size} bytes"
                raise DovetailError("truncated or not a safetensors file", where=str(path), why=why, hint=_AGAIN)
            text = file.read(length)
    except OSError as error:
        raise DovetailError("cannot be read", where=str(path), why=error.strerror or str(error)) from None
    return _placed(path, _parsed(path, text), 8 + length, size)


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise DovetailError(
            "the safetensors header is not JSON", where=str(path), why=f"{len(text):,} bytes", hint=_AGAIN
        )
    header.pop("__metadata__", None)
    return header


def _placed(path: Path, header: dict[str, Any], start: int, size: int) -> dict[str, TensorInfo]:
    """Header entries as `TensorInfo`s that tile the data exactly."""
    infos = []
    for name, entry in header.items():
        try:
            begin, end = entry["data_offsets"]
            info = TensorInfo(name, entry["dtype"], tuple(entry["shape"]), path, start + begin)
            fits = all(type(n) is int and n >= 0 for n in (begin, end, *info.shape)) and end - begin == info.bytes
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            why = f"{str(entry)[:120]}: dtype, shape and offsets do not agree"
            raise DovetailError(f"corrupt header entry of '{name}'", where=str(path), why=why, hint=_AGAIN)
        infos.append(info)
    end = start
    for info in sorted(infos, key=lambda i: (i.offset, i.bytes)):
        if info.offset != end:
            why = f"it begins at byte {info.offset:,}, the one before ends at {end:,}"
            raise DovetailError(f"tensor '{info.name}' leaves a gap or overlaps", where=str(path), why=why, hint=_AGAIN)
        end += info.bytes
    if end != size:
        what = "truncated" if size < end else "longer than its header says"
        raise DovetailError(what, where=str(path), why=f"{size:,} bytes, the header asks for {end:,}", hint=_AGAIN)
    return {info.name: info for info in infos}


def read_tensor(info: TensorInfo) -> Tensor:
    """One tensor as its own copy in memory."""
    torch = require("torch", "torch", to="read weights")
    dtype = getattr(torch, TORCH_NAMES[info.dtype])
    if not info.elements or info.file is None:
        empty: Tensor = torch.empty(info.shape, dtype=dtype)
        return empty
    data = bytearray(info.bytes)
    try:
        with info.file.open("rb", buffering=0) as file:
            file.seek(info.offset)
            view, got = memoryview(data), 0
            while got < len(data) and (n := file.readinto(view[got:])):
                got += n
    except OSError as error:
        raise DovetailError("cannot be read", where=str(info.file), why=error.strerror or str(error)) from None
    if got < len(data):
        raise DovetailError(f"ends inside '{info.name}'", where=str(info.file), why=f"{got:,} of {len(data):,} bytes")
    tensor: Tensor = torch.frombuffer(data, dtype=dtype).reshape(info.shape)
    return tensor


def _reserve(file: BinaryIO, size: int) -> None:
    """Take `size` bytes of disk where the system can, so that a full disk is met now, not after hours."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:  # macOS
        file.truncate(size)


class TensorWriter:
    """A safetensors file whose tensors are known in advance and arrive in any order: nothing is held in memory.

    Wide dtypes come first in the file, so that every tensor is aligned to its elements.
    """

    def __init__(self, path: Path, infos: Mapping[str, TensorInfo]) -> None:
        self.path = path
        ordered = sorted(infos.values(), key=lambda i: (-ITEM_BYTES[i.dtype], i.name))
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for info in ordered:
            header[info.name] = {
                "dtype": info.dtype,
                "shape": list(info.shape),
                "data_offsets": [end, end + info.bytes],
            }
            end += info.bytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._head = len(text).to_bytes(8, "little") + text
        self._begin = {n: len(self._head) + e["data_offsets"][0] for n, e in header.items() if n != "__metadata__"}
        self._missing = dict(infos)
        self.bytes = len(self._head) + end
        self._file: BinaryIO

    def __enter__(self) -> TensorWriter:
        self._file = self.path.open("wb")
        try:
            self._file.write(self._head)
            self._file.flush()
            _reserve(self._file, self.bytes)
        except BaseException:
            self._file.close()
            raise
        return self

    def add(self, name: str, tensor: Tensor) -> None:
        """Write one of the tensors announced. Raises `ValueError` if it is not what was announced."""
        torch = require("torch", "torch", to="write weights")
        info = self._missing.pop(name)
        found = describe(name, tensor)
        if (found.dtype, found.shape) != (info.dtype, info.shape):
            raise ValueError(f"{name}: {found.dtype}{found.shape} came, {info.dtype}{info.shape} was announced")
        self._file.seek(self._begin[name])
        self._file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()
        if kind is None and self._missing:
            raise ValueError(f"{len(self._missing)} tensors never came, '{next(iter(self._missing))}' first")
