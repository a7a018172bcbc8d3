"""Images beside the words of a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.errors import DovetailError

_MOST = 10**6


@dataclass(frozen=True, slots=True, eq=False)
class Images(ByContent):
    """Images of one size in every prompt; the tokens that a template puts around an image are words of the prompt.

    Parameters
    ----------
    count : int
        Images of each prompt.
    height, width : int
        Pixels of each.
    tokens : int
        What each takes of the language model's context; 0 until a model is known, which decides it.

    Raises
    ------
    DovetailError
        A number that is not whole, or out of range.
    """

    count: int
    height: int
    width: int
    tokens: int = 0

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("height", 1), ("width", 1), ("tokens", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
                what = f"{name} must be a whole number from {least} to 10^6"
                raise DovetailError(what, where="images", why=f"got {value!r}"[:80], hint="Images(1, 448, 448)")

    @property
    def prompt_tokens(self) -> int:
        """Tokens of one prompt that are images."""
        return self.count * self.tokens
