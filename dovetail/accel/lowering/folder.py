"""A checkpoint folder as an integer model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dovetail.accel.frontend.read import read_language_model
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.lowering.lower import Scheme, lower_graph
from dovetail.core.errors import DovetailError
from dovetail.runtime.activations import unrounded
from dovetail.runtime.corpus import documents
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.perplexity import encoded

CALIBRATION_TOKENS, WINDOW = 16384, 256


def lower(
    source: str | Path | Loaded, scheme: Scheme | None = None, *, context: int = 512,
    text: str | Sequence[str] | None = None,
) -> IntegerModel:  # fmt: skip
    """Lower a Hugging Face folder, or a model loaded from one, to integers.

    Parameters
    ----------
    scheme : Scheme
        How weights are stored; by default in 8 bits.
    context : int
        Most tokens of a sequence.
    text : str or sequence of str
        What calibration reads, some tens of kilobytes like what the model will see; by default pieces of Python's own
        documentation and sources.

    Raises
    ------
    DovetailError
        A folder that cannot be loaded, an operator outside the set, a text that is too short, a sum that may overflow.
    """
    loaded = source if isinstance(source, Loaded) else load(source)
    with unrounded(loaded.model):  # inputs are rounded by the integers, not twice
        graph = read_language_model(loaded.model, context, loaded.folder.name)
    return lower_graph(graph, calibration(loaded, context, text), scheme or Scheme())


def calibration(
    loaded: Loaded, context: int, text: str | Sequence[str] | None = None, tokens: int = CALIBRATION_TOKENS
) -> list[npt.NDArray[np.int64]]:
    """Windows (1, tokens) of a text, each from the begin token on where there is one.

    Raises
    ------
    DovetailError
        No tokenizer, or a text without two tokens.
    """
    if loaded.tokenizer is None:
        raise DovetailError("no tokenizer", where=str(loaded.folder), hint="a folder with tokenizer.json")
    texts = _packaged() if text is None else [text] if isinstance(text, str) else list(text)
    begin = [] if loaded.tokenizer.bos_token_id is None else [loaded.tokenizer.bos_token_id]
    size = min(context, WINDOW) - len(begin)
    found: list[npt.NDArray[np.int64]] = []
    for ids, _ in encoded(loaded, texts):
        rest = ids[len(begin) :]
        pieces = (begin + rest[i : i + size] for i in range(0, len(rest), size))
        found += [np.array([piece], np.int64) for piece in pieces if len(piece) > 1]
    return _first(found, tokens)


def _first(windows: list[npt.NDArray[np.int64]], tokens: int) -> list[npt.NDArray[np.int64]]:
    """Windows from the beginning that hold so many tokens together, the last one whole."""
    ends = np.cumsum([window.size for window in windows])
    return windows[: int(np.searchsorted(ends, tokens)) + 1]


def _packaged() -> list[str]:
    return [document.text[:2000] for document in documents("validation")]
