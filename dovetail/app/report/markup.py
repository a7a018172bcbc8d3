"""HTML and SVG as text in which everything is escaped unless it was built here."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What XML 1.0 forbids: control characters, lone surrogates, non-characters.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;", ord("'"): "&#39;"}
_VOID = {"meta", "br", "hr", "img"}


class Raw(str):
    """Markup that is already safe: built by `el`, `join` or `raw`, never from a user's text."""

    __slots__ = ()


def clean(value: object) -> str:
    """The text of `value` without the characters that no XML document and no terminal should receive."""
    return _ILLEGAL.sub("\ufffd", str(value))


def text(value: object) -> Raw:
    """`value` escaped for an element or a quoted attribute; `Raw` passes as it is."""
    return value if isinstance(value, Raw) else Raw(clean(value).translate(_ESCAPES))


def num(value: float) -> str:
    """A coordinate to a tenth of a pixel, without trailing zeros."""
    short = f"{value:.1f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def _attribute(name: str, value: object) -> str:
    shown = num(value) if isinstance(value, float) else text(value)
    return f' {name.rstrip("_").replace("_", "-")}="{shown}"'


def el(tag: str, *children: object, **attributes: object) -> Raw:
    """One element, children and attributes escaped; ``None`` is left out, ``class_`` is ``class``, ``_`` is ``-``."""
    opening = tag + "".join(_attribute(k, v) for k, v in attributes.items() if v is not None)
    if tag in _VOID:
        return Raw(f"<{opening}>")
    return Raw(f"<{opening}>{join(children)}</{tag}>")


def join(parts: Iterable[object]) -> Raw:
    """Parts one after the other, each escaped unless it is `Raw`; ``None`` is left out."""
    return Raw("".join(text(part) for part in parts if part is not None))
