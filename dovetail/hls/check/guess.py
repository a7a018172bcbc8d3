"""Which class a wrong value belongs to, from the line that differs or the most suspicious one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dovetail.hls.signature import parse, text, walk

_NUMBER = r"(?:0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?)[fFuUlL]*"
_ZERO = re.compile(r"=\s*(?:\{\s*0*\.?0*f?\s*\}|\(?\s*0(?:\.0*)?[fFuUlL]*)\s*\)?\s*[;,]")
_TYPES = re.compile(r"\b(unsigned|signed|u?int\d*_t|ap_u?int\s*<[^>]*>|char|short|int|long)\b")
_FIXED = re.compile(r"\bap_u?fixed\s*<[^>]*>|AP_(?:WRAP|SAT|RND|TRN)\w*")
_SHIFT = re.compile(r"(?:<<|>>)=?")
_HALF = re.compile(
    r"\b(?:ping|pong|buf\w*|half|bank|sel\w*|phase|parity)\b|1\s*-\s*\w+|\^\s*1|!\s*\w+|&\s*1\b|%\s*2\b", re.IGNORECASE
)
_UNINITIALISED = re.compile(r"^\s*(?:static\s+)?[\w:<>, ]+\s+\w+(?:\[[^\]]*\])*\s*;")


def class_of_change(before: str, after: str, source: str = "") -> str:
    """The class of a change from `before`, which was right, to `after`; MISMATCH when none of the known ones."""
    if not after and re.search(r"=\s*\S", before):
        return "INIT" if re.search(r"=\s*(?:0|\{)", before) else "MLU"
    if "=" in before and _UNINITIALISED.match(after) and "=" not in after:
        return "INIT"
    if _became_zero(before, after):
        return "ZERO"
    if sorted(_FIXED.findall(before)) != sorted(_FIXED.findall(after)):
        return "OVERFLOW"
    if _parts(_SHIFT, before) != _parts(_SHIFT, after):
        return "SHFT"
    if sorted(_TYPES.findall(before)) != sorted(_TYPES.findall(after)):
        return "USE"
    if (
        _HALF.search(before)
        and _HALF.search(after)
        and (_tokens(_HALF, before) != _tokens(_HALF, after) or "/ 2" in after)
    ):
        return "BUF"
    if _unrolled(before, after, source):
        return "MLU"
    if re.search(r"\b(?:for|while)\b", after):
        return "MLU" if re.search(r"\+=\s*[2-9]", before + after) else "MISMATCH"
    return "MISMATCH"


def _became_zero(before: str, after: str) -> bool:
    zeroed = _ZERO.search(after) is not None and _ZERO.search(before) is None
    return zeroed and re.search(rf"=\s*[-({{ ]*(?:{_NUMBER}|[A-Za-z_]\w*)", before) is not None


def _tokens(pattern: re.Pattern[str], line: str) -> list[str]:
    return [match[0] for match in pattern.finditer(line)]


def _parts(pattern: re.Pattern[str], line: str) -> list[str]:
    return [line[match.start() : match.start() + 12] for match in pattern.finditer(line)]


def _unrolled(before: str, after: str, source: str) -> bool:
    """Whether the line is one of several alike whose indices count up, in a loop that steps by more than one."""
    shape = re.sub(r"\d+", "#", after).strip() or re.sub(r"\d+", "#", before).strip()
    alike = [line for line in source.splitlines() if re.sub(r"\d+", "#", re.sub(r"//.*", "", line)).strip() == shape]
    steps = re.search(r"\+=\s*(?:[2-9]|\d\d|[A-Z]\w*)", source) is not None
    return len(alike) > 1 or (steps and re.search(r"\[[^\]]*\+", after) is not None)


def class_of_lines(source: str, lines: Sequence[int]) -> str:
    """A guess without a reference's text: what the most suspicious line looks like."""
    listed = source.splitlines()
    for line in lines[:1]:
        here = listed[line - 1] if 0 < line <= len(listed) else ""
        if _HALF.search(here):
            return "BUF"
    return "MISMATCH"


def class_of_slip(slip: str, source: str, line: int) -> str:
    """The class that what takes a bug away tells of; empty where it tells of none.

    An index that is off by a little, or another step, is one of unrolling by hand where a loop there goes on by more
    than one.
    """
    if slip in ("index", "step"):
        return "MLU" if _unrolled_at(source, line) else ""
    return {"zero": "ZERO", "half": "BUF", "sign": "USE", "room": "OVERFLOW", "unset": "INIT"}.get(slip, "")


def _unrolled_at(source: str, line: int) -> bool:
    """Whether a loop around a line, or one that begins there, goes on by more than one."""
    for node in walk(parse(source)):
        if node.type == "for_statement" and node.start_point[0] < line <= node.end_point[0] + 1:
            step = text(node.child_by_field_name("update"))
            if re.search(r"\+=\s*(?:[2-9]|\d\d|[A-Z])", step):
                return True
    return False
