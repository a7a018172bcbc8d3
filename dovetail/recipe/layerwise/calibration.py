"""The text that calibrated methods look at, as batches of tokens."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.core.content import digest
from dovetail.core.errors import DovetailError
from dovetail.core.files import read_text
from dovetail.core.lazy import require
from dovetail.runtime.corpus import documents

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Calibration:
    """Which text, and how much of it.

    Parameters
    ----------
    text : Path or None
        UTF-8 text; None for documents of the standard library that no quality is measured on.
    samples : int
        Sequences.
    tokens : int
        Length of each, at most the model's context.
    seed : int
        Which windows of the text they are.
    batch_tokens : int
        Most tokens in one forward pass, but for one whole sequence: fewer take less memory.
    """

    text: Path | None = None
    samples: int = 128
    tokens: int = 512
    seed: int = 0
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.samples < 1 or self.tokens < 2 or self.batch_tokens < 1:
            what = f"{self.samples} sequences of {self.tokens} tokens, {self.batch_tokens} in a pass"
            raise DovetailError(what, where="calibration", hint="128 sequences of 512 tokens")

    def words(self) -> str:
        """The text. Raises `DovetailError` when it cannot be read."""
        if self.text is None:
            return "\n\n".join(document.text for document in documents("train"))
        return read_text(self.text)

    def key(self) -> str:
        """A hash of all that decides the tokens, for a given tokenizer."""
        return digest([self.words(), self.samples, self.tokens, self.seed, self.batch_tokens])

    def sequences(self, context: int) -> int:
        """Sequences of one forward pass, for a model that holds `context` tokens."""
        return max(1, min(self.samples, self.batch_tokens // min(self.tokens, context)))

    def batch_tokens_of(self, context: int) -> int:
        """Tokens of one forward pass, for a model that holds `context` tokens."""
        return self.sequences(context) * min(self.tokens, context)

    def to_json(self) -> dict[str, Any]:
        """What of it is kept beside the weights."""
        text = "train split of the standard library" if self.text is None else self.text.name
        return {"text": text, "samples": self.samples, "tokens": self.tokens, "seed": self.seed, "key": self.key()}

    def batches(self, folder: Path, context: int) -> list[Tensor]:
        """Token ids (B, T) of the windows, all batches of one shape.

        Raises
        ------
        DovetailError
            No tokenizer, or a text without so many tokens.
        """
        torch = require("torch", "torch", to="calibrate")
        from dovetail.runtime.load import tokenizer_of

        tokens = min(self.tokens, context)
        batch = self.sequences(context)
        count = -(-self.samples // batch)
        ids = self._ids(tokenizer_of(folder), count * batch * tokens)
        windows = torch.tensor(ids).reshape(-1, tokens)
        order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(self.seed))
        return [windows[part] for part in order[: count * batch].split(batch)]

    def _ids(self, tokenizer: object, least: int) -> list[int]:
        """Tokens of pieces of the text taken in an order mixed by the seed, as many as are needed."""
        words = self.words()
        size = 1 << 14
        pieces = [words[i : i + size] for i in range(0, len(words), size)]
        random.Random(self.seed).shuffle(pieces)
        ids: list[int] = []
        for piece in pieces:
            ids += tokenizer(piece, add_special_tokens=False, verbose=False).input_ids  # type: ignore[operator]
            if len(ids) >= least:
                return ids[:least]
        where = "the calibration text" if self.text is None else str(self.text)
        why = f"{len(ids):,} tokens, {least:,} are needed"
        raise DovetailError("is too short", where=where, why=why, hint="more text, or fewer or shorter sequences")
