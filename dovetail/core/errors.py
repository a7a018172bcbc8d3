"""The one exception users meet: what went wrong, where, why, and what to try."""

from __future__ import annotations

USAGE, INFEASIBLE, CHECK_FAILED = 2, 3, 4  # exit codes; 0 is "done"


class DovetailError(Exception):
    """An error with an answer.

    Parameters
    ----------
    what : str
        What went wrong, as a clause without a full stop.
    where : str
        The file, field or argument concerned.
    why : str
        The reason, with the numbers involved.
    hint : str
        What to try instead.
    exit_code : int
        Process exit status: 2 usage, 3 infeasible, 4 a check failed.
    """

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "", exit_code: int = USAGE) -> None:
        self.what, self.where, self.why, self.hint, self.exit_code = what, where, why, hint, exit_code
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.why:
            text += f" ({self.why})"
        return f"{text}. Try: {self.hint}" if self.hint else f"{text}."


def did_you_mean(name: str, known: list[str]) -> str:
    """The close names among `known`, as a hint; the first few when none is close."""
    from difflib import get_close_matches

    folded = {k.lower(): k for k in known}
    close = [folded[c] for c in get_close_matches(name.lower(), list(folded), n=3, cutoff=0.5)]
    if close:
        return "did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    return "one of " + ", ".join(sorted(known)[:12]) + (" …" if len(known) > 12 else "")
