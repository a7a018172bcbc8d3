"""Where the headers of HLS code come from: open arbitrary-precision types, and our own stand-ins for the rest."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import install_command

SHIMS = Path(__file__).parent / "shims"
_TYPES = Path("templates") / "vivado" / "ap_types"


@cache
def ap_types() -> Path:
    """The folder with `ap_int.h` and `ap_fixed.h` (Apache-2.0, in the hls4ml wheel); hls4ml is not imported.

    The streams and shift registers beside them carry another licence: `SHIMS` comes first on the search path, so
    ours are found instead.

    Raises
    ------
    DovetailError
        The wheel is not installed.
    """
    spec = importlib.util.find_spec("hls4ml")
    folder = Path(spec.origin).parent / _TYPES if spec and spec.origin else None
    if folder is None or not (folder / "ap_int.h").is_file():
        raise DovetailError(
            "ap_int.h and ap_fixed.h are not installed",
            why="they come with the hls4ml wheel",
            hint=f"pip install --no-deps hls4ml, and {install_command('hls')}",
        )
    return folder


def include_path() -> tuple[Path, ...]:
    """Folders to search for HLS headers, our own first. Raises `DovetailError` without the open types."""
    return (SHIMS, ap_types())
