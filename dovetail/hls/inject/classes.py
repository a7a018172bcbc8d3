"""The classes of bugs: the eighteen of Chrysalis (arXiv 2406.10903) and four more that HLS engineers meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["logical", "pragma"]


@dataclass(frozen=True, slots=True)
class BugClass:
    """A class of bugs.

    Parameters
    ----------
    key : str
        Its short name.
    kind : {"logical", "pragma"}
        Whether it changes what is computed, or only what the hardware is like.
    title : str
        What it is.
    """

    key: str
    kind: Kind
    title: str


CLASSES = {
    c.key: c
    for c in (
        BugClass("OOB", "logical", "array access out of bounds"),
        BugClass("INIT", "logical", "read of a variable that was never set"),
        BugClass("SHFT", "logical", "shift by an amount out of range"),
        BugClass("INF", "logical", "loop that does not end"),
        BugClass("USE", "logical", "unintended sign extension"),
        BugClass("MLU", "logical", "error in manual unrolling"),
        BugClass("ZERO", "logical", "zero where the initial value is another"),
        BugClass("BUF", "logical", "wrong half of a split buffer"),
        BugClass("DLK", "logical", "stream that starves, overflows or is left unread"),
        BugClass("FXP", "logical", "fixed-point overflow or rounding"),
        BugClass("APT", "pragma", "wrong type of array partition"),
        BugClass("FND", "pragma", "factor that does not divide the size"),
        BugClass("DID", "pragma", "wrong dimension of an array partition"),
        BugClass("DFP", "pragma", "dataflow in the wrong place"),
        BugClass("IDAP", "pragma", "access pattern that does not suit the interface"),
        BugClass("RAMB", "pragma", "random access through m_axi, hence no bursts"),
        BugClass("SMA", "pragma", "scalar interface mode on an array"),
        BugClass("AMS", "pragma", "array interface mode on a scalar"),
        BugClass("MLP", "pragma", "pipelining on several nested loops"),
        BugClass("ILNU", "pragma", "loops inside a pipeline not fully unrolled"),
        BugClass("DEP", "pragma", "dependence declared false that is true"),
    )
}
LOGICAL = tuple(key for key, c in CLASSES.items() if c.kind == "logical")
PRAGMA = tuple(key for key, c in CLASSES.items() if c.kind == "pragma")
