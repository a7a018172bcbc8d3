"""What a server takes."""

from __future__ import annotations

from dataclasses import dataclass

UNLIMITED = 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes.

    Parameters
    ----------
    body_bytes : int
        Of a request.
    prompt_tokens, new_tokens : int
        Of a text, beside what the context and the memory hold.
    queue : int
        Texts that may wait beside those that are decoded.
    stall_s : float
        How long a client may leave its text unread.
    drain_s : float
        How long requests in flight may go on after the server was told to stop.
    connections : int
        That may be open together.
    """

    body_bytes: int = 4 << 20
    prompt_tokens: int = UNLIMITED
    new_tokens: int = UNLIMITED
    queue: int = 256
    stall_s: float = 30.0
    drain_s: float = 30.0
    connections: int = 512
