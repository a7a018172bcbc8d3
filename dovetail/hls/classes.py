"""The classes of HLS bugs: what each means, and whether it changes what the design computes."""

from __future__ import annotations

LOGICAL = {
    "OOB": "out-of-bounds array access",
    "INIT": "read of an uninitialised variable",
    "SHFT": "shift by an amount outside the type's width",
    "INF": "loop that does not end",
    "USE": "unintended sign extension or loss of sign",
    "MLU": "error in manual unrolling",
    "ZERO": "zero instead of a non-zero initialiser",
    "BUF": "wrong half of a split buffer",
    "DEADLOCK": "stream read from empty, written when full, or left unread",
    "OVERFLOW": "fixed-point value that wraps around or is rounded wrongly",
    "MISMATCH": "output that differs from the oracle, of no known class",
    "COMPILE": "text that does not compile",
    "FAULT": "other undefined behaviour: division by zero, a missing return, a crash",
}
PRAGMA = {
    "APT": "array-partition type that does not serve the accesses",
    "FND": "factor that does not divide the size",
    "DID": "wrong dimension",
    "DFP": "dataflow in the wrong position",
    "IDAP": "access pattern that does not suit the interface mode",
    "RAMB": "random access through m_axi, without bursts",
    "SMA": "scalar mode on an array",
    "AMS": "array mode on a scalar",
    "MLP": "pipelining on several nested levels",
    "ILNU": "inner loops not fully unrolled under a pipeline",
    "DEP": "dependence declared false that is real",
}
CLASSES = LOGICAL | PRAGMA
