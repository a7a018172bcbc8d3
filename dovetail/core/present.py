"""What runs on this computer, asked by rooms below the one that knows: the package says whom to ask."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would be most of the package's import time
if TYPE_CHECKING:
    from collections.abc import Callable

_KNOWN: dict[str, Callable[[], bool]] = {}


def tell(name: str, probe: Callable[[], bool]) -> None:
    """`probe` says whether `name` runs here; it is called at each question."""
    _KNOWN[name] = probe


def present(name: str) -> bool:
    """Whether `name` runs here; False where nobody knows it."""
    probe = _KNOWN.get(name)
    return probe is not None and probe()
