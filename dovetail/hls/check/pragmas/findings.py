"""What every rule makes: a finding at a pragma; and how an interface pragma says its mode."""

from __future__ import annotations

from dovetail.hls.check.pragmas.model import Pragma
from dovetail.hls.check.report import Finding
from dovetail.hls.design import ARRAY_MODES, SCALAR_MODES


def found(kind: str, line: int, message: str, evidence: str) -> Finding:
    """A finding at one line."""
    return Finding(kind, line, message, evidence, None, (line,), "pragma lint")


def mode_of(pragma: Pragma) -> str:
    """The mode that an interface pragma asks for, in lower case; empty where it names none."""
    words = [pragma.options.get("mode", "").lower(), *sorted(pragma.flags)]
    return next((word for word in words if word in (*SCALAR_MODES, *ARRAY_MODES, "ap_ctrl_none", "ap_ctrl_hs")), "")
