"""`run`: continue a text with a model on this computer, a recipe applied for real."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError
from dovetail.core.files import read_text
from dovetail.core.lazy import require
from dovetail.core.quantity import exact
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.method import OnDecoding
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.decode import generate
from dovetail.runtime.decoding.streaming import TextStream
from dovetail.runtime.load import Loaded, load

if TYPE_CHECKING:
    from dovetail.runtime.decoding.proposal import Proposer


def run(
    model: Model | str,
    prompt_file: Path,
    *,
    recipe: Recipe | str = "none",
    max_new: int = 128,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
    kernels: str = "auto",
    head_bits: int | None = None,
    speculate: str = "none",
    heads: Path | None = None,
    draft: str | None = None,
    on_text: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Generate up to `max_new` tokens after the text in `prompt_file`.

    Packed weights stay packed where kernels for them run here; `kernels` and `head_bits` are those of `load`.
    `temperature`, `top_k`, `top_p` and `seed` are those of `Sampling`. `stop` are strings that end the text, and are
    left out of it. `speculate` is a mode of `decoding.modes`, such as ``medusa+lookup``: tokens are guessed and tried
    several in a step; the text is the same, but for ``medusa:relaxed``. `heads` is the folder of Medusa heads or a
    draft layer, by default that beside the weights; `draft` is a smaller model. `on_text` is given the text in pieces
    as it comes.

    Returns
    -------
    dict
        ``text, tokens, tokens_per_s, tokens_per_step, cache_bytes``; ``speculate`` is the mode, or the method of the
        recipe that guesses; ``acceptance`` is ``relaxed`` where guesses are kept that the model would not have chosen,
        else ``lossless``; ``kernels`` is the arithmetic, as `Loaded` has it.

    Raises
    ------
    DovetailError
        A prompt that is empty, not UTF-8 or beyond the context; weights that are not here; an unknown
        `speculate`, no heads or those of another model, heads or a draft that nothing uses; relaxed acceptance where
        the likeliest token is taken.
    """
    found = model if isinstance(model, Model) else Model.load(model)
    how, folder, prompt = Recipe.load(recipe), weights_of(found), _prompt(prompt_file)
    _check_guesses(how, speculate, heads, draft)
    relaxed = _check_relaxed(how, speculate, temperature)
    with ExitStack() as stack:
        if how.of_weights().methods:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dovetail-")))
            folder = how.of_weights().apply(folder, scratch / "applied").path
        loaded = load(folder, kernels=kernels, head_bits=head_bits)
        if loaded.tokenizer is None:
            raise DovetailError("no tokenizer", where=str(folder), hint="a folder with tokenizer.json")
        proposer = _proposer(how, loaded, weights_of(found), speculate, heads, draft)
        stream = TextStream(loaded.tokenizer, stop, on_text)
        made = generate(
            loaded, loaded.tokenizer(prompt).input_ids, max_new, temperature=temperature, top_k=top_k, top_p=top_p,
            seed=seed, on_token=stream.add, ended=lambda: stream.stopped, proposer=proposer, plan=how.on_cache(),
        )  # fmt: skip
    return {
        "model": found.name, "recipe": how.name, "kernels": loaded.arithmetic, "speculate": how.guesser or speculate,
        "acceptance": "relaxed" if relaxed else "lossless",
        "text": stream.close(),
        "tokens": len(made.tokens),
        "tokens_per_s": exact(made.tokens_per_s, "tok/s", "measured", "this run, prefill left out").to_json(),
        "tokens_per_step": made.tokens_per_step,
        "cache_bytes": exact(made.cache_bytes, "byte", "measured", "tensors of the KV cache at the end").to_json(),
    }  # fmt: skip


def _proposer(
    how: Recipe, loaded: Loaded, beside: Path, speculate: str, heads: Path | None, draft: str | None
) -> Proposer | None:
    """What guesses tokens: the recipe's method, or what the mode names."""
    from dovetail.runtime.decoding.modes import Given, speculation

    small = None if draft is None else weights_of(Model.load(draft))
    return how.on_decoding(loaded, beside) or speculation(loaded, speculate, Given(heads, small, beside=beside))


def _check_guesses(how: Recipe, speculate: str, heads: Path | None, draft: str | None) -> None:
    """Raise `DovetailError`, before anything is loaded, for options that do not go together."""
    guess = how.guess()
    require("torch", "torch", to="run a model")
    if guess is None:
        from dovetail.runtime.decoding.modes import named

        named(speculate, heads=heads is not None, draft=draft is not None)
        return
    if not isinstance(guess, OnDecoding):
        hint = "a method that guesses by itself; 'dovetail estimate' predicts it"
        raise DovetailError(f"recipe {how.name} is predicted, not executed", hint=hint)
    if speculate != "none":
        raise DovetailError(f"recipe {how.name} guesses already", hint="--speculate none")
    if heads is not None:
        raise DovetailError(f"recipe {how.name} names its heads itself", where="--heads", hint="medusa:heads=DIR")
    if draft is not None:
        raise DovetailError(f"recipe {how.name} names its draft itself", where="--draft", hint="draft:model=MODEL")


def _check_relaxed(how: Recipe, speculate: str, temperature: float) -> bool:
    """Whether acceptance is relaxed. Raises `DovetailError` where that means nothing."""
    from dovetail.runtime.decoding.modes import relaxes
    from dovetail.runtime.decoding.sampling import Sampling
    from dovetail.runtime.decoding.typical import Typical

    if relaxed := how.relaxed or relaxes(speculate):
        Typical.check(Sampling(temperature))
    return relaxed


def _prompt(path: Path) -> str:
    text = read_text(path, "the prompt")
    if not text.strip():
        raise DovetailError("the prompt is empty", where=str(path), hint="some text to continue")
    return text
