"""Text for training what guesses: the model goes on from real beginnings, as it will when it is used."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dovetail.core.errors import DovetailError
from dovetail.recipe.speculation.learner import Written
from dovetail.runtime.decode import end_tokens
from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.load import Loaded
from dovetail.runtime.pace import Pace
from dovetail.runtime.tensorfile import TensorWriter, describe, read_header, read_tensor

_NGRAM = 4


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


def repetition(tokens: Sequence[int]) -> float:
    """Share of the 4-grams of a text that stood in it before."""
    grams = [tuple(tokens[at : at + _NGRAM]) for at in range(len(tokens) - _NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def written(
    loaded: Loaded, documents: Sequence[str], how: SelfText, kept: Path, report: Callable[[str], None]
) -> Written:
    """Texts that begin in `documents` and that the model went on with.

    Finished batches are kept in the folder `kept`; the same call goes on after them.

    Raises
    ------
    DovetailError
        Documents too short to begin in, or a model that goes round in nearly all that it writes.
    """
    starts = _Starts(loaded.tokenizer, documents, how)
    batches, have = sorted(kept.glob("text-*.safetensors")), 0
    rows: list[Tensor] = [read_tensor(read_header(path)["ids"]) for path in batches]
    have, tried = sum(map(len, rows)), len(rows)
    pace = Pace(how.rows, "text", report, done=min(have, how.rows))
    while have < how.rows:
        if tried * how.batch > 20 * how.rows:
            why = f"{have} of {tried * how.batch} texts repeat little enough"
            raise DovetailError("the model repeats itself", where=str(loaded.folder), why=why, hint="a larger model")
        found = _batch(loaded, starts.batch(tried), how, tried)
        _save(kept / f"text-{tried:06d}.safetensors", found)
        rows.append(found)
        tried += 1
        for _ in range(min(len(found), how.rows - have)):
            pace.step()
        have += len(found)
    return Written(torch.cat(rows)[: how.rows], how.prompt)


def _batch(loaded: Loaded, prompts: list[list[int]], how: SelfText, number: int) -> Tensor:
    """Texts (n, prompt + new) that reached their length and repeat little."""
    sampling = Sampling(how.temperatures[number % len(how.temperatures)], seed=how.seed * 1_000_003 + number)
    made = Loop(runner_of(loaded), how.new, sampling, end_tokens(loaded)).run(prompts).tokens
    pairs = zip(prompts, made, strict=True)
    good = [[*p, *m] for p, m in pairs if len(m) == how.new and repetition(m) <= how.repeated]
    return torch.tensor(good, dtype=torch.int32).reshape(-1, how.prompt + how.new)


class _Starts:
    """Beginnings drawn from documents, longer ones more often: the same for a number of a batch."""

    def __init__(self, tokenizer: Any, documents: Sequence[str], how: SelfText) -> None:
        ids = (tokenizer(text, add_special_tokens=False, verbose=False).input_ids for text in documents)
        self.documents = [found for found in ids if len(found) >= how.prompt]
        self.how = how
        if not self.documents:
            why = f"no document has {how.prompt} tokens"
            raise DovetailError(
                "is too short", where="the training text", why=why, hint="more text, or --prompt-tokens"
            )

    def batch(self, number: int) -> list[list[int]]:
        source = random.Random(f"{self.how.seed}-{number}")
        weights = [len(document) for document in self.documents]
        found = []
        for document in source.choices(self.documents, weights, k=self.how.batch):
            begin = source.randrange(len(document) - self.how.prompt + 1)
            found.append(document[begin : begin + self.how.prompt])
        return found


def _save(path: Path, ids: Tensor) -> None:
    part = path.with_suffix(".part")
    try:
        with TensorWriter(part, {"ids": describe("ids", ids)}) as writer:
            writer.add("ids", ids)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
