"""`recall`: what a recipe leaves of a model's memory of a long text, measured by questions with one right answer."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dovetail.core.quantity import Quantity, exact
from dovetail.design.resolve import as_model, as_recipe, weights_of
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.load import load
from dovetail.runtime.recall.measure import Recall
from dovetail.runtime.recall.measure import recall as measured
from dovetail.runtime.recall.prompts import DEPTHS

_Z = 1.96  # standard errors to either side of a 95 % interval


def recall(
    model: Model | str = "recall",
    recipe: Recipe | str = "none",
    *,
    length: int = 4096,
    depths: Sequence[float] = DEPTHS,
    each: int = 8,
    notes: int | None = None,
    question: str = "inside",
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Ask the model that was trained for it for notes in long texts, a recipe applied for real.

    `length`, `depths`, `each`, `notes` and `seed` make the prompts (`runtime.recall.prompts.prompts`); `question` is
    ``inside`` the prompt, or comes ``after`` its cache was cut.

    Returns
    -------
    dict
        ``recall`` (the share of answers that are right, word for word, with its 95 % interval), ``rows`` of ``depth,
        asked, right``, ``tokens`` of a prompt, ``question``, ``cache_bytes`` when an answer begins.

    Raises
    ------
    DovetailError
        A model of another vocabulary, or prompts out of range.
    """
    found, how = as_model(model), as_recipe(recipe)
    with ExitStack() as stack:
        folder = weights_of(found)
        if how.of_weights().methods:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dovetail-")))
            folder = how.of_weights().apply(folder, scratch / "applied").path
        seen = measured(
            load(folder), length=length, depths=depths, each=each, count=notes, question=question, seed=seed,
            plan=how.on_cache(), report=report,
        )  # fmt: skip
    return {
        "model": found.name, "recipe": how.name, "tokens": seen.tokens, "question": seen.question,
        "recall": share(seen).to_json(),
        "rows": [{"depth": row.depth, "asked": row.asked, "right": row.right} for row in seen.depths],
        "cache_bytes": exact(seen.cache_bytes, "byte", "measured", "KV cache as an answer begins").to_json(),
    }  # fmt: skip


def share(seen: Recall) -> Quantity:
    """Right answers of all, with the interval of Wilson (1927), which holds near 0 and 1 too."""
    asked, value = seen.asked, seen.share
    middle, wide = (value + _Z**2 / (2 * asked)) / (1 + _Z**2 / asked), 1 + _Z**2 / asked
    half = _Z * math.sqrt(value * (1 - value) / asked + (_Z / (2 * asked)) ** 2) / wide
    source = f"{asked} prompts of {seen.tokens} tokens, question {seen.question}; 95 % interval"
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Quantity(value, min(low, value), max(high, value), "", "measured", source)
