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
_ENTRY = "    ap_int_base<_AP_W, _AP_S> r;                         \\\n"  # of the shifts by a C integer
_CANARY = "    set_canary();\n"  # of the constructor that sets nothing
_CHECKED = "    clearUnusedBits();\n    check_canary();\n  }\n\n#define CTOR"
# header → what our own header is included after, and: what stands there, how often, what is put for it
_WATCHED: dict[str, tuple[str, tuple[tuple[str, int, str], ...]]] = {
    "ap_fixed_base.h": (
        "#include <ap_int.h>\n",
        (
            ("if (_AP_O == AP_WRAP) {\n", 1, "if (_AP_O == AP_WRAP) {\n      dovetail_wraps();\n"),
            ("r.V = Base::V << sh;", 1, "dovetail_shifts(sh, _AP_W); r.V = Base::V << sh;"),
            ("r.V = Base::V >> sh;", 1, "dovetail_shifts(sh, _AP_W); r.V = Base::V >> sh;"),
            ("bool isNeg = sh < 0;", 2, "bool isNeg = sh < 0; if (isNeg) dovetail_shifts(sh, _AP_W);"),
        ),
    ),
    "etc/ap_private.h": (
        "#define __AP_PRIVATE_H__\n",
        ((f"{_CANARY}{_CHECKED}", 1, f"{_CANARY}    dovetail_refill(VAL);\n{_CHECKED}"),),
    ),
    "ap_int_base.h": (
        "#include <ap_common.h>\n",
        (
            (_ENTRY, 4, f"    dovetail_shifts(op2, _AP_W); \\\n{_ENTRY}"),
            ("    if (isNeg) {\n", 4, "    if (isNeg) {\n      dovetail_shifts(op2.to_int(), _AP_W);\n"),
            (
                "r.V = Base::V << op2.to_uint();",
                1,
                "dovetail_shifts(op2.to_uint(), _AP_W); r.V = Base::V << op2.to_uint();",
            ),
            (
                "r.V = Base::V >> op2.to_uint();",
                1,
                "dovetail_shifts(op2.to_uint(), _AP_W); r.V = Base::V >> op2.to_uint();",
            ),
            ("Base::V <<= op2.to_uint();", 1, "dovetail_shifts(op2.to_uint(), _AP_W); Base::V <<= op2.to_uint();"),
            ("Base::V >>= op2.to_uint();", 1, "dovetail_shifts(op2.to_uint(), _AP_W); Base::V >>= op2.to_uint();"),
        ),
    ),
}


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
    """A folder with the headers of the open types changed to tell what is watched; None when none of them can be.

    Watched are fixed-point values that wrap around, and shifts of `ap_` types by an amount below zero or not below the
    width, which no sanitizer sees; what the compiler fills unset variables with becomes a value that is not small.
    Made from the installed headers at run time and kept in the cache folder; a header that looks different stays as
    it is.
    """
    texts = {name: watched(name, (ap_types() / name).read_text()) for name in _WATCHED}
    changed = {name: text for name, text in texts.items() if text}
    if not changed:
        return None
    stamp = hashlib.sha256("".join(changed.values()).encode()).hexdigest()[:16]
    folder = cache_folder() / "hls" / f"types-{stamp}"
    for name, text in changed.items():
        if not (folder / name).is_file():
            write_text(folder / name, text)
    return folder


def watched(name: str, text: str) -> str:
    """A header's text with calls of what watches in it; empty when a place is not found as often as it must be."""
    first, rules = _WATCHED[name]
    if text.count(first) != 1:
        return ""
    for before, times, after in rules:
        if text.count(before) != times:
            return ""
        text = text.replace(before, after)
    return text.replace(first, f'{first}#include "dovetail_watch.h"\n', 1)


def include_path() -> tuple[Path, ...]:
    """Folders to search for HLS headers, our own first. Raises `DovetailError` without the open types."""
    observed = observed_types()
    return (SHIMS, *([observed] if observed else []), ap_types())
