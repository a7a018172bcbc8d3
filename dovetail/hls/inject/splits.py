"""Train, validation and test by design: designs that resemble each other stay together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

SHINGLE, ALIKE = 6, 0.45
SHARES = (("train", 0.7), ("valid", 0.15), ("test", 0.15))
_TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|[^\s\w]")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_KEYWORDS = {
    "for",
    "while",
    "if",
    "else",
    "return",
    "int",
    "float",
    "void",
    "const",
    "static",
    "pragma",
    "HLS",
    "PIPELINE",
    "UNROLL",
    "ARRAY_PARTITION",
    "INTERFACE",
    "DATAFLOW",
    "II",
    "hls",
    "stream",
    "read",
    "write",
}


def shingles(source: str) -> frozenset[int]:
    """Hashes of runs of tokens, with names and numbers made alike: what a design looks like."""
    tokens = [_alike(t) for t in _TOKEN.findall(_COMMENT.sub(" ", source))]
    runs = (" ".join(tokens[i : i + SHINGLE]) for i in range(max(1, len(tokens) - SHINGLE + 1)))
    return frozenset(int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "little") for run in runs)


def _alike(token: str) -> str:
    if token in _KEYWORDS or not (token[0].isalnum() or token[0] == "_"):
        return token
    return "0" if token[0].isdigit() else "x"


def grouped(sources: Mapping[str, str]) -> dict[str, str]:
    """Design → group, named after its first member; designs whose shingles overlap by `ALIKE` or more share one."""
    names = sorted(sources)
    seen = {name: shingles(sources[name]) for name in names}
    head = {name: name for name in names}

    def find(name: str) -> str:
        while head[name] != name:
            name = head[name]
        return name

    for i, one in enumerate(names):
        for other in names[:i]:
            union = len(seen[one] | seen[other])
            if union and len(seen[one] & seen[other]) / union >= ALIKE:
                a, b = sorted((find(one), find(other)))
                head[b] = a
    return {name: find(name) for name in names}


def split_of(group: str, seed: int = 0) -> str:
    """The split of a group, the same for the same seed whatever else there is."""
    u = int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "little") / 2**64
    for name, share in SHARES:
        if u < share:
            return name
        u -= share
    return SHARES[-1][0]
