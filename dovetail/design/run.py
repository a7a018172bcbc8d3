"""`run`: continue a text with a model on this computer, a recipe applied for real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.files import read_text
from dovetail.core.quantity import exact
from dovetail.design.ready import Ways, check_guesses, is_relaxed, ready
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.decode import Generation, generate
from dovetail.runtime.decoding.streaming import TextStream


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
        else ``lossless``; ``kernels`` is the arithmetic, as `Loaded` has it; ``notes`` say what a recipe for the cache
        needs that the kernels here do not give, and what is done instead.

    Raises
    ------
    DovetailError
        A prompt that is empty, not UTF-8 or beyond the context; weights that are not here; an unknown
        `speculate`, no heads or those of another model, heads or a draft that nothing uses; relaxed acceptance where
        the likeliest token is taken.
    """
    found = model if isinstance(model, Model) else Model.load(model)
    how, prompt = Recipe.load(recipe), _prompt(prompt_file)
    ways = Ways(kernels=kernels, head_bits=head_bits, speculate=speculate, heads=heads, draft=draft)
    relaxed = _check_relaxed(how, ways, temperature)
    with ready(found, how, ways) as here:
        tokenizer = here.loaded.tokenizer
        stream = TextStream(tokenizer, stop, on_text)
        made = generate(
            here.loaded, tokenizer(prompt).input_ids, max_new, temperature=temperature, top_k=top_k, top_p=top_p,
            seed=seed, on_token=stream.add, ended=lambda: stream.stopped, proposer=here.proposer, plan=here.plan,
        )  # fmt: skip
    return {
        "model": found.name, "recipe": how.name, "kernels": here.loaded.arithmetic, "speculate": here.guesser,
        "acceptance": "relaxed" if relaxed else "lossless", "notes": list(here.notes), "text": stream.close(),
        **_counted(made),
    }  # fmt: skip


def _counted(made: Generation) -> dict[str, Any]:
    """What a run made, in numbers."""
    return {
        "tokens": len(made.tokens),
        "tokens_per_s": exact(made.tokens_per_s, "tok/s", "measured", "this run, prefill left out").to_json(),
        "tokens_per_step": made.tokens_per_step,
        "cache_bytes": exact(made.cache_bytes, "byte", "measured", "tensors of the KV cache at the end").to_json(),
    }  # fmt: skip


def _check_relaxed(how: Recipe, ways: Ways, temperature: float) -> bool:
    """Whether acceptance is relaxed. Raises `DovetailError` where options, or that, mean nothing."""
    from dovetail.runtime.decoding.sampling import Sampling
    from dovetail.runtime.decoding.typical import Typical

    check_guesses(how, ways)
    if relaxed := is_relaxed(how, ways):
        Typical.check(Sampling(temperature))
    return relaxed


def _prompt(path: Path) -> str:
    text = read_text(path, "the prompt")
    if not text.strip():
        raise DovetailError("the prompt is empty", where=str(path), hint="some text to continue")
    return text
