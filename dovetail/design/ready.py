"""A model made ready to decode here: its recipe applied for real, loaded, with what guesses tokens for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.method import OnDecoding
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.load import Loaded, load

if TYPE_CHECKING:
    from dovetail.runtime.cache.plan import CachePlan
    from dovetail.runtime.decoding.proposal import Proposer


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How a model is executed.

    Parameters
    ----------
    kernels, head_bits
        Those of `load`: packed weights stay packed where kernels for them run here.
    speculate : str
        A mode of `decoding.modes`, such as ``medusa+lookup``: tokens are guessed and tried several in a step; texts
        are the same.
    heads : Path or None
        Folder of Medusa heads or a draft layer, by default that beside the weights.
    draft : str or None
        A smaller model.
    """

    kernels: str = "auto"
    head_bits: int | None = None
    speculate: str = "none"
    heads: Path | None = None
    draft: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A loaded model with its tokenizer; what guesses tokens for it and what its cache keeps, if a recipe says so.

    `notes` say what is computed here in a slower way than it could be (`runtime.cache.fallback`).
    """

    loaded: Loaded
    proposer: Proposer | None
    plan: CachePlan | None
    guesser: str
    notes: tuple[str, ...] = ()


@contextmanager
def ready(found: Model, how: Recipe, ways: Ways) -> Iterator[Ready]:
    """A model to decode with, while the block lasts.

    Raises
    ------
    DovetailError
        Weights or a tokenizer that are not here; an unknown `speculate`, no heads or those of another model, heads or a
        draft that nothing uses.
    """
    folder = weights_of(found)
    check_guesses(how, ways)
    with ExitStack() as stack:
        if how.of_weights().methods:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dovetail-")))
            folder = how.of_weights().apply(folder, scratch / "applied").path
        loaded = load(folder, kernels=ways.kernels, head_bits=ways.head_bits)
        if loaded.tokenizer is None:
            raise DovetailError("no tokenizer", where=str(folder), hint="a folder with tokenizer.json")
        proposer, plan = _proposer(how, loaded, weights_of(found), ways), how.on_cache()
        yield Ready(loaded, proposer, plan, how.guesser or ways.speculate, _notes(loaded, plan))


def _notes(loaded: Loaded, plan: CachePlan | None) -> tuple[str, ...]:
    from dovetail.runtime.cache.fallback import fallbacks
    from dovetail.runtime.decoding.runner import runner_of

    return fallbacks(runner_of(loaded), plan) if plan is not None else ()


def _proposer(how: Recipe, loaded: Loaded, beside: Path, ways: Ways) -> Proposer | None:
    """What guesses tokens: the recipe's method, or what the mode names."""
    from dovetail.runtime.decoding.modes import Given, speculation

    small = None if ways.draft is None else weights_of(Model.load(ways.draft))
    return how.on_decoding(loaded, beside) or speculation(
        loaded, ways.speculate, Given(ways.heads, small, beside=beside)
    )


def check_guesses(how: Recipe, ways: Ways) -> None:
    """Raise `DovetailError`, before anything is loaded, for options that do not go together."""
    guess = how.guess()
    require("torch", "torch", to="run a model")
    if guess is None:
        from dovetail.runtime.decoding.modes import named

        named(ways.speculate, heads=ways.heads is not None, draft=ways.draft is not None)
        return
    if not isinstance(guess, OnDecoding):
        hint = "a method that guesses by itself; 'dovetail estimate' predicts it"
        raise DovetailError(f"recipe {how.name} is predicted, not executed", hint=hint)
    if ways.speculate != "none":
        raise DovetailError(f"recipe {how.name} guesses already", hint="--speculate none")
    if ways.heads is not None:
        raise DovetailError(f"recipe {how.name} names its heads itself", where="--heads", hint="medusa:heads=DIR")
    if ways.draft is not None:
        raise DovetailError(f"recipe {how.name} names its draft itself", where="--draft", hint="draft:model=MODEL")


def is_relaxed(how: Recipe, ways: Ways) -> bool:
    """Whether guesses are kept that the model would not have chosen."""
    from dovetail.runtime.decoding.modes import relaxes

    return how.relaxed or relaxes(ways.speculate)
