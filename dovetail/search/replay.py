"""A search made again from the manifest of its answer; and what differs between two answers, and around them."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.manifest import file_hash, manifest
from dovetail.search.codesign import search_space

PARTS = (
    "space", "points", "objectives", "constraints", "pick", "feasible", "why", "conflict", "winner", "nearest", "front",
    "certificate",
)  # fmt: skip
CLOSE = 1e-9  # of numbers: sums in another order on another processor
_ONCE = ("--guided", "--sampler", "--seed")
_DROPPED = ("--study", "--export", "--out", "--measure", "--ray")  # with a value; a study would answer from memory
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not what it was, by its dotted path."""

    where: str
    was: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.where}: was {_short(self.was)}, is {_short(self.now)}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it.

    Parameters
    ----------
    command : str
        What was run again.
    answer : tuple of Difference
        Between the recorded answer and this one; empty where they agree.
    around : tuple of Difference
        Of versions, commit, host and input files: what may explain the others.
    values : int
        Numbers and words that were compared.
    """

    command: str
    answer: tuple[Difference, ...]
    around: tuple[Difference, ...]
    values: int

    def to_json(self) -> dict[str, Any]:
        """The stable JSON object."""
        listed = {
            name: [{"where": d.where, "was": d.was, "now": d.now} for d in each]
            for name, each in (("differences", self.answer), ("around", self.around))
        }
        return {"command": self.command, "same": not self.answer, "values": self.values, **listed}


def replay_search(path: Path, report: Report = lambda line: None) -> Replayed:
    """Run the search of a manifest again and compare with the ``result.json`` beside it.

    What was measured or drawn as a figure is not made again; a study that kept its work is not read.

    Raises
    ------
    DovetailError
        No manifest of a search, no recorded answer beside it, or the space is gone.
    """
    made, known = read_json(path), read_json(path.with_name("result.json"))
    options = _options(str(made.get("command", "")), path)
    space = _found(Path(options.space), path)
    report(f"searching {space} again")
    how = {"evaluations": options.guided, "sampler": options.sampler, "seed": options.seed}
    how |= {"stop": not options.to_the_end}
    found = json.loads(json.dumps(search_space(space, None, report, **how).to_json()))
    answer = tuple(d for part in PARTS for d in compared(known.get(part), found.get(part), part))
    return Replayed(made["command"], answer, tuple(around(made, {options.space: space})), count(known, PARTS))


def compared(was: Any, now: Any, where: str) -> Iterator[Difference]:
    """Where two values as JSON has them differ; numbers may by `CLOSE`."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*was, *now)):
            yield from compared(was.get(name), now.get(name), f"{where}.{name}")
    elif isinstance(was, list) and isinstance(now, list):
        if len(was) != len(now):
            yield Difference(f"{where}: how many", len(was), len(now))
        for i, (one, other) in enumerate(zip(was, now, strict=False)):
            yield from compared(one, other, f"{where}.{i}")
    elif not _equal(was, now):
        yield Difference(where, was, now)


def _equal(was: Any, now: Any) -> bool:
    if isinstance(was, bool) or isinstance(now, bool) or not all(isinstance(v, int | float) for v in (was, now)):
        return bool(was == now)
    return math.isclose(was, now, rel_tol=CLOSE)


def around(made: Mapping[str, Any], moved: Mapping[str, Path]) -> Iterator[Difference]:
    """What is not as a manifest records it: versions, commit, computer and inputs, of which some may have `moved`."""
    now = manifest("replay")
    for part in ("versions", "git", "platform"):
        yield from compared(made.get(part), now[part], part)
    for named, was in made.get("inputs", {}).items():
        place = moved.get(named, Path(named))
        found = file_hash(place) if place.is_file() else None
        if was != found:
            yield Difference(f"inputs.{named}", was, found)


def count(known: Mapping[str, Any], parts: Iterable[str]) -> int:
    """Numbers and words in some parts of an answer."""

    def leaves(value: Any) -> int:
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
        return 1 if inner is None else sum(map(leaves, inner))

    return sum(leaves(known.get(part)) for part in parts)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises `DovetailError`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DovetailError(f"could not read {path.name}", where=str(path), why=error.strerror or "") from error
    except ValueError as error:
        raise DovetailError(f"{path.name} is not JSON", where=str(path), why=str(error)) from error
    if not isinstance(found, dict):
        raise DovetailError(f"{path.name} holds no object", where=str(path))
    return found


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise DovetailError("the command of this manifest cannot be read", why=message)


def _options(command: str, path: Path) -> argparse.Namespace:
    """The options of a recorded command that decide its answer."""
    words = shlex.split(command)
    if words[1:2] != ["search"]:
        hint = "a manifest.json that `dovetail search SPACE --out DIR` wrote"
        raise DovetailError("this is not the manifest of a search", where=str(path), why=command, hint=hint)
    parser = _Parser(add_help=False)
    parser.add_argument("space")
    for name, kind, default in zip(_ONCE, (int, str, int), (0, "auto", 0), strict=True):
        parser.add_argument(name, type=kind, default=default)
    for name in _DROPPED:
        parser.add_argument(name)
    for name in ("--json", "--quiet", "--sensitivity", "--to-the-end", "--measured"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("-q", action="store_true")
    found = parser.parse_args(words[2:])
    if found.measured:
        why = "its times were measured, and differ from run to run"
        raise DovetailError("this search cannot be replayed", where=str(path), why=why, hint=f"run it anew: {command}")
    return found


def _found(space: Path, path: Path) -> Path:
    """The space where the command named it, or beside the manifest."""
    for place in (space, path.parent / space, path.parent / space.name):
        if place.is_file():
            return place
    raise DovetailError(f"the space {space} is gone", where=str(path), hint="put it beside the manifest")


def _short(value: Any) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else json.dumps(value)
    return text if len(text) <= 48 else f"{text[:45]}…"
