"""Which class a misbehaving mutant really has: what its witness shows must be what its class says."""

from __future__ import annotations

from dovetail.hls.inject.judge import Verdict
from dovetail.hls.inject.mutant import Mutant

_BOUNDS = (
    "out of bounds",
    "buffer-overflow",
    "buffer-underflow",
    "SEGV",
    "AddressSanitizer",
    "signal 11",
    "burst-range",
)
EQUIVALENT, OFF_CLASS, UNCOMPILED, PROVEN = "equivalent", "off-class", "uncompiled", "proven"
UNTRIED = "untried"


def settled(mutant: Mutant, verdict: Verdict) -> tuple[str, str]:
    """The mutant's fate and its class.

    Returns
    -------
    fate : str
        ``"proven"``; ``"equivalent"`` when nothing shows on any input; ``"off-class"`` when it misbehaves in a way that
        is not its class's; ``"uncompiled"``; ``"untried"`` when a limit of the sandbox kept it from an answer.
    bug : str
        Its class: the operator's, or the one that the witness shows.
    """
    if verdict.end == "uncompiled":
        return UNCOMPILED, mutant.bug
    if verdict.end == "unrun":
        return UNTRIED, mutant.bug
    if not verdict.wrong:
        return EQUIVALENT, mutant.bug
    bug = _shown(mutant, verdict)
    return (PROVEN, bug) if bug else (OFF_CLASS, mutant.bug)


def _shown(mutant: Mutant, verdict: Verdict) -> str:
    streams = verdict.end == "starved" or verdict.leftover
    match mutant.bug:
        case "OOB":
            outside = verdict.end == "fault" and any(word in verdict.detail for word in _BOUNDS)
            return "OOB" if outside else "DEADLOCK" if streams and mutant.operator == "bounds-loop" else ""
        case "INIT":
            return "INIT" if verdict.unset else ""
        case "INF":
            return "INF" if verdict.end in ("budget", "time", "fault", "starved") else ""
        case "SHFT":
            return "SHFT" if "shift" in verdict.detail or verdict.end in ("different", "count") else ""
        case "DEADLOCK":
            return "DEADLOCK" if streams or verdict.end in ("budget", "count") else ""
        case _:
            return mutant.bug


def seen(verdict: Verdict) -> str:
    """The class of what was seen, whatever a label says; empty where nothing was."""
    if not verdict.wrong:
        return ""
    if verdict.unset:
        return "INIT"
    if verdict.leftover or verdict.end in ("starved", "count"):
        return "DEADLOCK"
    if verdict.end == "fault":
        outside = any(word in verdict.detail for word in _BOUNDS)
        return "SHFT" if "shift" in verdict.detail else "OOB" if outside else "FAULT"
    return {"budget": "INF", "time": "INF", "different": "MISMATCH"}.get(verdict.end, "FAULT")
