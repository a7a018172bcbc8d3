"""``replay``: the command of a manifest run again, and its answer held against the one that was kept."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.search.replay import Replayed, around, compared, count, read_json, replay_search

PREDICTIONS = ("show", "recipe show", "estimate", "explain", "advise", "why-not", "crossbar map")
_WITHOUT = ("--json", "--quiet", "-q")
_WITHOUT_VALUE = ("--out", "--machine")  # what would write a file
Report = Callable[[str], None]


def replay(path: Path, report: Report = lambda line: None) -> Replayed:
    """Run what a manifest records again, and compare with the ``result.json`` beside it.

    Searches and `PREDICTIONS` are functions of what they were asked; other verbs measure or make things.

    Raises
    ------
    DovetailError
        No manifest, no recorded answer beside it, a verb that cannot be replayed, or a command that now fails.
    """
    made = read_json(path)
    words = _words(str(made.get("command", "")), path)
    verb = next((v for v in (" ".join(words[:2]), *words[:1]) if v in ("search", *PREDICTIONS)), "")
    if verb == "search":
        return replay_search(path, report)
    if not verb:
        raise _cannot(" ".join(words[:1]), path, shlex.join(["dovetail", *words]))
    known = read_json(path.with_name("result.json"))
    report(f"asking again: {shlex.join(['dovetail', *words])}")
    found = _asked(_plain(words, verb))
    answer = tuple(d for part in dict.fromkeys((*known, *found)) for d in _differs(known, found, part))
    return Replayed(str(made["command"]), answer, tuple(around(made, {})), count(known, list(known)))


def _words(command: str, path: Path) -> list[str]:
    """The words of a recorded command after its first. Raises `DovetailError` where its quotes do not close."""
    try:
        return shlex.split(command)[1:]
    except ValueError as error:
        hint = "the manifest that dovetail wrote"
        raise DovetailError("a command that no shell reads", where=str(path), why=str(error), hint=hint) from None


def _differs(known: dict[str, Any], found: dict[str, Any], part: str) -> list[Any]:
    return list(compared(known.get(part), found.get(part), part))


def _cannot(verb: str, path: Path, command: str) -> DovetailError:
    why = f"`dovetail {verb}` measures, makes or serves things" if verb else "it records no command of dovetail"
    hint = (
        f"search, {', '.join(PREDICTIONS)} can be; to make it again: {command}" if verb else "a manifest of --out DIR"
    )
    return DovetailError("this manifest cannot be replayed", where=str(path), why=why, hint=hint)


def _plain(words: Sequence[str], verb: str) -> list[str]:
    """The command as JSON, with nothing written; ``--machine`` is a file that ``crossbar map`` writes."""
    left, kept = list(words), []
    dropped = _WITHOUT_VALUE if verb == "crossbar map" else _WITHOUT_VALUE[:1]
    while left:
        word = left.pop(0)
        if word in dropped:
            left = left[1:]
        elif word not in _WITHOUT and not word.startswith(tuple(f"{name}=" for name in dropped)):
            kept.append(word)
    return [*kept, "--json"]


def _asked(words: list[str]) -> dict[str, Any]:
    from dovetail.app.cli import main

    said, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(errors):
        main(words)
    try:
        found: dict[str, Any] = json.loads(said.getvalue())
    except ValueError as error:
        why = (errors.getvalue().strip().splitlines() or ["it answers nothing"])[-1]
        raise DovetailError("the command fails now", why=why.removeprefix("dovetail: ").rstrip(".")) from error
    return found
