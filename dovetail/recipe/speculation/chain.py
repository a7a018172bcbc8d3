"""Parameters of methods that guess several tokens in a row."""

from __future__ import annotations

from dovetail.core.errors import DovetailError

MOST = 64  # guesses of one sequence in a step
SIZES = (1, 2, 3, 4, 5, 6, 8)


def check_chain(name: str, length: int, acceptance: float) -> None:
    """Raise `DovetailError` for a length or an acceptance out of range."""
    if not 1 <= length <= MOST:
        raise DovetailError(f"cannot guess {length} tokens", where=f"{name}.length", hint=f"4: from 1 to {MOST}")
    if not 0.0 <= acceptance <= 1.0:
        what = f"an acceptance of {acceptance:g}"
        raise DovetailError(what, where=f"{name}.acceptance", hint="0.6: the chance of a guess, from 0 to 1")
