"""Packed token streams of the corpus splits."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from dovetail.runtime.corpus import Split, documents

END_OF_TEXT = 0


def encoded_documents(split: Split, tokenizer: Path) -> list[np.ndarray]:
    """Return one array of token ids per document, each led by `<|endoftext|>`."""
    coder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    encoded = coder.encode_batch([document.text for document in documents(split)])
    return [np.array([END_OF_TEXT, *one.ids], dtype=np.int16) for one in encoded]


class PackedStream:
    """Endless shuffled windows over the concatenated documents; each epoch has its own order of documents and windows.

    The windows of a batch come from all over the corpus: neighbours would make each step's gradient that of one file.
    The stream is a pure function of `(seed, tokens already drawn, context)`, so training resumes where it was.
    """

    def __init__(self, pieces: list[np.ndarray], seed: int) -> None:
        self._pieces, self._seed = pieces, seed
        self._tokens = sum(map(len, pieces))
        self._cached: tuple[tuple[int, int], np.ndarray] | None = None

    def batch(self, drawn: int, tokens: int, context: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets `(tokens // context, context)` after `drawn` tokens of the stream."""
        per_epoch = (self._tokens - 1) // context
        first = drawn // context
        rows = [self._epoch(n // per_epoch, context)[n % per_epoch] for n in range(first, first + tokens // context)]
        windows = torch.from_numpy(np.stack(rows).astype(np.int64))
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()

    def _epoch(self, number: int, context: int) -> np.ndarray:
        """Return the windows `(windows, context + 1)` of one epoch; neighbours in the text overlap by one token."""
        if self._cached is None or self._cached[0] != (number, context):
            random = np.random.default_rng((self._seed, number))
            flat = np.concatenate([self._pieces[i] for i in random.permutation(len(self._pieces))])
            count = (len(flat) - 1) // context
            starts = random.permutation(count) * context
            self._cached = ((number, context), flat[starts[:, None] + np.arange(context + 1)])
        return self._cached[1]
