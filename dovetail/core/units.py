"""Units, parsed once at the edge: ``"3.35 TB/s"`` becomes 3.35e12 (bytes per second).

Inside, every number is a float in the SI base of its dimension (s, J, W, byte, flop, Hz, mm2, USD). ``GB`` is 10**9
bytes and ``GiB`` is 2**30; they are never confused because the prefix table holds both.
"""

from __future__ import annotations

import math
import re

from dovetail.core.errors import DovetailError

_BASES: dict[str, tuple[str, float]] = {
    "s": ("s", 1.0), "min": ("s", 60.0), "h": ("s", 3600.0),
    "B": ("byte", 1.0), "byte": ("byte", 1.0), "bit": ("byte", 0.125),
    "FLOP": ("flop", 1.0), "OP": ("flop", 1.0), "flop": ("flop", 1.0), "MAC": ("flop", 2.0),
    "J": ("J", 1.0), "Wh": ("J", 3600.0), "W": ("W", 1.0), "Hz": ("Hz", 1.0),
    "mm2": ("mm2", 1.0), "mm^2": ("mm2", 1.0), "mm²": ("mm2", 1.0), "um2": ("mm2", 1e-6),
    "m": ("m", 1.0), "USD": ("USD", 1.0), "$": ("USD", 1.0), "tok": ("tok", 1.0), "token": ("tok", 1.0),
    "%": ("", 0.01), "": ("", 1.0), "1": ("", 1.0),
}  # fmt: skip
_PREFIXES: dict[str, float] = {
    "": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip
_NUMBER = re.compile(r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*$")


def _atom(text: str) -> tuple[str, float]:
    """Dimension and scale of one unit such as ``TB``; whole names win over prefix + name (``min`` is minutes)."""
    if text in _BASES:
        return _BASES[text]
    for cut in (2, 1):
        prefix, base = text[:cut], text[cut:]
        if prefix in _PREFIXES and base in _BASES and base not in ("", "%", "1"):
            dimension, scale = _BASES[base]
            return dimension, scale * _PREFIXES[prefix]
    raise KeyError(text)


def unit(text: str) -> tuple[str, float]:
    """Dimension (``"byte/s"``) and SI scale of a unit such as ``"TB/s"``. Raises `KeyError` on an unknown unit."""
    over, _, under = text.partition("/")
    top, scale = _atom(over.strip())
    if not under:
        return top, scale
    bottom, divisor = _atom(under.strip())
    return f"{top or '1'}/{bottom}", scale / divisor


def parse(text: str | int | float, dimension: str, *, where: str = "") -> float:
    """The value of ``text`` in SI, checked to have `dimension` (``"byte/s"``, ``"s"``, ``""`` for a pure number).

    Raises
    ------
    DovetailError
        The text is not a finite number with a unit of that dimension; a number without a unit where one is needed.
    """
    match = _NUMBER.match(str(text)) if not isinstance(text, bool) else None
    example = _EXAMPLES.get(dimension, f"a number in {dimension}")
    if not match:
        raise DovetailError(f"'{text}' is not a number with a unit", where=where, hint=example)
    try:
        found, scale = unit(match[2])
    except KeyError as error:
        raise DovetailError(f"unknown unit {error} in '{text}'", where=where, hint=example) from None
    if found != dimension:
        why = f"it needs {dimension or 'a pure number'}, this is {found or 'a pure number'}"
        raise DovetailError(f"'{text}' has the wrong unit", where=where, why=why, hint=example)
    value = float(match[1]) * scale
    if not math.isfinite(value):
        raise DovetailError(f"'{text}' is not a finite number", where=where, hint=example)
    return value


_EXAMPLES = {
    "byte": "80 GB or 512 MiB", "byte/s": "3.35 TB/s", "flop/s": "989 TFLOP/s", "s": "3 us", "W": "700 W",
    "Hz": "1.98 GHz", "J": "1 mJ", "J/flop": "0.44 pJ/FLOP", "J/byte": "40 pJ/B", "mm2": "814 mm2", "m": "4 nm",
    "USD": "30000 USD", "USD/s": "2.99 USD/h", "": "0.8",
}  # fmt: skip
_SCALES = (
    (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"),
    (1e-12, "p"),
)  # fmt: skip
_SYMBOLS = {
    "byte": "B", "byte/s": "B/s", "flop": "FLOP", "flop/s": "FLOP/s", "J/flop": "J/FLOP", "J/byte": "J/B", "m": "m",
}  # fmt: skip


def show(value: float, dimension: str = "", digits: int = 3) -> str:
    """`value` (SI) for a reader: ``show(3.35e12, "byte/s") == "3.35 TB/s"``."""
    if value is None or not math.isfinite(value):
        return "–" if value is None or math.isnan(value) else ("∞" if value > 0 else "−∞")
    if dimension.startswith("USD"):
        return f"${value * 3600:.{digits}g}/h" if dimension == "USD/s" else f"${value:.{digits}g}{dimension[3:]}"
    if dimension in ("", "1", "ratio", "mm2", "tok/s", "token/s"):
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
        return text + (f" {dimension}" if dimension not in ("", "1", "ratio") else "")
    prefix_scale, prefix = next(((s, p) for s, p in _SCALES if abs(value) >= s * 0.9995), _SCALES[-1])
    if value == 0 or (dimension == "s" and prefix_scale > 1):
        prefix_scale, prefix = 1.0, ""
    return f"{value / prefix_scale:.{digits}g} {prefix}{_SYMBOLS.get(dimension, dimension)}"
