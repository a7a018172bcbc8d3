"""Ways of speculation by name, for a model: what guesses, and how many guesses pay here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.runtime.decoding.lookup import PromptLookup
from dovetail.runtime.decoding.medusa import Medusa
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.decoding.sizing import PassTime, Sizing
from dovetail.runtime.decoding.speculation import Source, Speculation
from dovetail.runtime.load import Loaded

HEADS = "medusa"  # folder of heads beside the weights


def speculation(loaded: Loaded, mode: str, *, heads: Path | None = None, always: int = 0) -> Speculation | None:
    """What proposes tokens in a mode: names joined by ``+``, or ``none``.

    Parameters
    ----------
    mode : str
        ``medusa``: heads that were trained for the model; ``lookup``: what followed the newest tokens before;
        ``medusa+lookup``: both, in one tree.
    heads : Path or None
        Folder of the heads; by default ``medusa`` beside the weights.
    always : int
        Guesses in every step; 0: as many as pay, by measured times and chances.

    Raises
    ------
    DovetailError
        An unknown mode, no heads, heads of another model.
    """
    names = mode.split("+")
    if mode == "none":
        return None
    if unknown := [name for name in names if name not in _SOURCES]:
        raise DovetailError(f"no speculation '{unknown[0]}'", hint=did_you_mean(unknown[0], ["none", *_SOURCES]))
    if len(set(names)) < len(names):
        raise DovetailError(f"'{mode}' names a source twice", where="speculation", hint="medusa+lookup")
    sources = [_SOURCES[name](loaded, heads) for name in names]
    return Speculation(sources, Sizing(PassTime.of(runner_of(loaded)), always=always))


def _medusa(loaded: Loaded, heads: Path | None) -> Source:
    folder = heads or loaded.folder / HEADS
    if heads is None and not folder.is_dir():
        hint = f"dovetail medusa train {loaded.folder} --out HEADS, then --heads HEADS"
        raise DovetailError("no heads for this model", where=str(folder), hint=hint)
    return Medusa.of(folder, loaded)


_SOURCES: Mapping[str, Callable[[Loaded, Path | None], Source]] = {
    "medusa": _medusa,
    "lookup": lambda loaded, heads: PromptLookup(),
}
