"""Where the headers of HLS code come from: open arbitrary-precision types, and our own stand-ins for the rest."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from dovetail.core.errors import DovetailError
from dovetail.core.files import cache_folder, write_text
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


@cache
def observed_types() -> Path | None:
    """A folder with `ap_fixed_base.h` changed to tell when a value wraps around; None when that header looks different.

    Made from the installed header at run time and kept in the cache folder.
    """
    text = (ap_types() / "ap_fixed_base.h").read_text()
    wraps, first = "if (_AP_O == AP_WRAP) {\n", "#include <ap_int.h>\n"
    if text.count(wraps) != 1 or first not in text:
        return None
    text = text.replace(wraps, f"{wraps}      if (dovetail_overflow) dovetail_overflow();\n")
    text = text.replace(first, f'{first}extern "C" __attribute__((weak)) void dovetail_overflow();\n', 1)
    folder = cache_folder() / "hls" / f"types-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not (folder / "ap_fixed_base.h").is_file():
        write_text(folder / "ap_fixed_base.h", text)
    return folder


def include_path() -> tuple[Path, ...]:
    """Folders to search for HLS headers, our own first. Raises `DovetailError` without the open types."""
    observed = observed_types()
    return (SHIMS, *([observed] if observed else []), ap_types())
