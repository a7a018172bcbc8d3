"""How every verb answers: a screen for people, one JSON object for scripts, a folder for keeps."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from dovetail.app.table import WIDTH

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; keys stay stable.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the answer and nothing else.")]


def checked(out: Path | None) -> Path | None:
    """`out`, before any work, when the answer may be kept there. Raises `DovetailError` for somebody else's results."""
    if out is not None:
        from dovetail.core.manifest import check_results

        check_results(out)
    return out


Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Also write report.html, result.json and manifest.json here.", callback=checked
    ),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb found: `data` for scripts, `screen` for people, and the exit code."""

    verb: str
    data: Mapping[str, Any]
    screen: Callable[[], None]
    code: int = 0


def emit(
    answer: Answer, *, as_json: bool, quiet: bool = False, out: Path | None = None, inputs: Sequence[Path] = ()
) -> None:
    """Keep the answer in `out`, print it, and leave with its exit code when that is not 0."""
    data = finite(answer.data)
    if out is not None:
        from dovetail.app.report.verb import keep

        keep(answer.verb, data, out, inputs)
    if as_json:
        print(json.dumps(data, indent=2, allow_nan=False))
    else:
        answer.screen()
    if out is not None:
        progress(f"kept in {out}: report.html, result.json, manifest.json", quiet=quiet or as_json)
    if answer.code:
        raise typer.Exit(answer.code)


def finite(value: Any) -> Any:
    """`value` with NaN and infinities as None and NumPy scalars as Python ones, ready for strict JSON."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def folded(text: str, indent: int = 12, width: int = WIDTH) -> str:
    """`text` folded to `width` characters, later lines indented."""
    return fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def command(words: Sequence[str], lead: str = "next        ") -> str:
    """A command line to copy after `lead`, continued with backslashes where it is longer than the screen."""
    parts: list[str] = []  # an option and its value stay together
    for word, before in zip(words, ["", *words]):
        if parts and before.startswith("--") and not word.startswith("--"):
            parts[-1] += f" {shlex.quote(word)}"
        else:
            parts.append(shlex.quote(word))
    lines = [lead + parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 > WIDTH:
            lines[-1] += " \\"
            lines.append(" " * (len(lead) + 2) + part)
        else:
            lines[-1] += f" {part}"
    return "\n".join(lines)


def progress(message: str, *, quiet: bool) -> None:
    """One line of progress on stderr."""
    if not quiet:
        print(message, file=sys.stderr, flush=True)
