"""Messages between an engine and its front: a length of four bytes, and a pickled tuple.

Both ends are processes of one program, joined by a socket pair that nothing else can open.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any

HEADER = struct.Struct("<I")


def packed(*message: Any) -> bytes:
    """A message as it is sent."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(len(body)) + body
