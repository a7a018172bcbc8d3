"""`run`: continue a text with a model on this computer, a recipe applied for real."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.files import read_text
from dovetail.core.quantity import exact
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.decode import generate
from dovetail.runtime.load import load

if TYPE_CHECKING:
    from dovetail.runtime.decoding.proposal import Proposer

SPECULATE = ("none", "lookup")


def run(
    model: Model | str,
    prompt_file: Path,
    *,
    recipe: Recipe | str = "none",
    max_new: int = 128,
    temperature: float = 0.0,
    seed: int = 0,
    kernels: str = "auto",
    head_bits: int | None = None,
    speculate: str = "none",
) -> dict[str, Any]:
    """Generate up to `max_new` tokens after the text in `prompt_file`.

    Packed weights stay packed where kernels for them run here; `kernels` and `head_bits` are those of `load`.
    `speculate` is ``none``, or ``lookup``: what followed the newest tokens the last time they stood in the text is
    tried in one step; the text is the same.

    Returns
    -------
    dict
        ``text, tokens, tokens_per_s, tokens_per_step, cache_bytes``; ``kernels`` is the arithmetic, as `Loaded` has it.

    Raises
    ------
    DovetailError
        A prompt that is empty, not UTF-8 or beyond the context; weights that are not here; an unknown `speculate`.
    """
    if speculate not in SPECULATE:
        raise DovetailError(f"no speculation '{speculate}'", hint=did_you_mean(speculate, list(SPECULATE)))
    found = model if isinstance(model, Model) else Model.load(model)
    how, folder, prompt = Recipe.load(recipe), weights_of(found), _prompt(prompt_file)
    with ExitStack() as stack:
        if how.methods:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dovetail-")))
            folder = how.apply(folder, scratch / "applied").path
        loaded = load(folder, kernels=kernels, head_bits=head_bits)
        if loaded.tokenizer is None:
            raise DovetailError("no tokenizer", where=str(folder), hint="a folder with tokenizer.json")
        ids = loaded.tokenizer(prompt).input_ids
        made = generate(loaded, ids, max_new, temperature=temperature, seed=seed, proposer=_proposer(speculate))
    return {
        "model": found.name, "recipe": how.name, "kernels": loaded.arithmetic, "speculate": speculate,
        "text": loaded.tokenizer.decode(list(made.tokens), skip_special_tokens=True),
        "tokens": len(made.tokens),
        "tokens_per_s": exact(made.tokens_per_s, "tok/s", "measured", "this run, prefill left out").to_json(),
        "tokens_per_step": made.tokens_per_step,
        "cache_bytes": exact(made.cache_bytes, "byte", "measured", "tensors of the KV cache at the end").to_json(),
    }  # fmt: skip


def _proposer(speculate: str) -> Proposer | None:
    if speculate == "none":
        return None
    from dovetail.runtime.decoding.lookup import PromptLookup

    return PromptLookup()


def _prompt(path: Path) -> str:
    text = read_text(path, "the prompt")
    if not text.strip():
        raise DovetailError("the prompt is empty", where=str(path), hint="some text to continue")
    return text
