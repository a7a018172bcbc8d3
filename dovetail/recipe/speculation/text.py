"""Text for training what guesses: the model goes on from real beginnings, as it will when it is used."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from dovetail.core.errors import DovetailError
from dovetail.recipe.speculation.beginnings import HELD_OUT, Beginnings, Tokens
from dovetail.recipe.speculation.learner import Written, check_seed
from dovetail.runtime.decode import end_tokens
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.load import Loaded
from dovetail.runtime.pace import Pace
from dovetail.runtime.tensorfile import TensorWriter, describe, read_header, read_tensor

_NGRAM = 4
_TRIES = 20  # texts that are written for each that is wanted, at most
_CHECKED = 1_000_000  # number of the first batch to check with: of other draws


@dataclass(frozen=True, slots=True)
class SelfText:
    """What the model writes, and how much.

    Parameters
    ----------
    rows : int
        Texts.
    prompt, new : int
        Tokens given, and tokens written, of each.
    temperatures : tuple of float
        Taken in turns: heads are used greedily as well as with draws.
    repeated : float
        Texts in which more than this share of 4-grams came before are left out: they teach the loop they are caught in.
    batch : int
        Texts that are written at once.
    """

    rows: int = 4096
    prompt: int = 64
    new: int = 40
    temperatures: tuple[float, ...] = (0.0, 0.8)
    repeated: float = 0.25
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.rows, self.prompt, self.batch) < 1 or self.new < 2 or not self.temperatures:
            what = f"{self.rows} texts of {self.prompt} and {self.new} tokens"
            raise DovetailError(what, where="self-written text", hint="4096 texts of 64 and 40 tokens")
        check_seed(self.seed)


def repetition(tokens: Sequence[int]) -> float:
    """Share of the 4-grams of a text that stood in it before."""
    grams = [tuple(tokens[at : at + _NGRAM]) for at in range(len(tokens) - _NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def written(
    loaded: Loaded, documents: Sequence[Tokens], how: SelfText, kept: Path, report: Callable[[str], None],
    known: Written | None = None,
) -> Written:  # fmt: skip
    """Texts that begin in `documents` and that the model went on with, no two the same.

    Finished batches are kept in the folder `kept`; the same call goes on after them.

    Parameters
    ----------
    documents : sequence of sequence of int
        Tokens of each.
    known : Written or None
        Texts that others were learned from: what is written now is to check with, and begins as none of them.

    Raises
    ------
    DovetailError
        A model that goes round in nearly all that it writes, or documents with few places to begin at.
    """
    name, first = ("text", 0) if known is None else ("check", _CHECKED)
    seen = set() if known is None else {tuple(row) for row in known.ids[:, : how.prompt].tolist()}
    rows: list[Tensor] = []
    have = number = 0
    pace: Pace | None = None
    while have < how.rows:
        path = kept / f"{name}-{number:06d}.safetensors"
        if not path.is_file():
            if number * how.batch >= _TRIES * max(how.rows, how.batch):
                raise _too_few(loaded, have, number * how.batch)
            pace = pace or Pace(how.rows, name, report, done=have)
            _save(path, _batch(loaded, starts(documents, how, first + number), how, first + number))
        new = _new(read_tensor(read_header(path)["ids"]), seen, how.prompt, whole=known is None)
        for _ in range(min(len(new), how.rows - have)):
            if pace:
                pace.step()
        rows.append(new)
        have, number = have + len(new), number + 1
    return Written(torch.cat(rows)[: how.rows], how.prompt)


def parts(
    loaded: Loaded, begin: Beginnings, how: SelfText, kept: Path, report: Callable[[str], None]
) -> tuple[Written, Written]:  # fmt: skip
    """Texts to learn from, and texts to check with: a twentieth, at every temperature, from documents kept apart."""
    held = max(1, round(HELD_OUT * how.rows))
    learn = written(loaded, begin.learned, replace(how, rows=how.rows - held), kept, report)
    return learn, to_check(loaded, begin, how, kept, report, learn)


def to_check(
    loaded: Loaded, begin: Beginnings, how: SelfText, kept: Path, report: Callable[[str], None], learn: Written
) -> Written:  # fmt: skip
    """The second of `parts`, beside the first."""
    held = max(1, round(HELD_OUT * how.rows))
    turns = replace(how, rows=held, batch=min(how.batch, math.ceil(held / len(how.temperatures))))
    return written(loaded, begin.checked, turns, kept, report, learn)


def _new(found: Tensor, seen: set[tuple[int, ...]], prompt: int, whole: bool) -> Tensor:
    """Texts that were not seen, or whose beginnings were not; whole texts are seen from now on."""
    kept = []
    for place, row in enumerate(map(tuple, found.tolist())):
        if row in seen or (not whole and row[:prompt] in seen):
            continue
        seen.add(row)
        kept.append(place)
    return found[kept]


def _too_few(loaded: Loaded, have: int, tried: int) -> DovetailError:
    why = f"{have} of {tried}: others go round, end early, or are the same again"
    hint = "more text to begin in, fewer --texts, or a larger model"
    return DovetailError("the model repeats itself", where=str(loaded.folder), why=why, hint=hint)


def _batch(loaded: Loaded, prompts: list[Tokens], how: SelfText, number: int) -> Tensor:
    """Texts (n, prompt + new) that reached their length and repeat little."""
    sampling = Sampling(how.temperatures[number % len(how.temperatures)], seed=how.seed * 1_000_003 + number)
    made = Loop(runner_of(loaded), how.new, sampling, end_tokens(loaded)).run(prompts).tokens
    pairs = zip(prompts, made, strict=True)
    good = [[*p, *m] for p, m in pairs if len(m) == how.new and repetition(m) <= how.repeated]
    return torch.tensor(good, dtype=torch.int32).reshape(-1, how.prompt + how.new)


def starts(documents: Sequence[Tokens], how: SelfText, number: int) -> list[Tokens]:
    """Beginnings drawn from documents, by the places they have: the same for a number of a batch."""
    source = random.Random(f"{how.seed}-{number}")
    places = [len(document) - how.prompt + 1 for document in documents]
    found = []
    for document in source.choices(documents, places, k=how.batch):
        begin = source.randrange(len(document) - how.prompt + 1)
        found.append(document[begin : begin + how.prompt])
    return found


def _save(path: Path, ids: Tensor) -> None:
    part = path.with_suffix(".part")
    try:
        with TensorWriter(part, {"ids": describe("ids", ids)}) as writer:
            writer.add("ids", ids)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
