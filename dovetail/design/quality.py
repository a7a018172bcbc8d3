"""Measured quality of a model under a recipe, kept by the content of weights, recipe and text."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from dovetail.core.content import digest
from dovetail.core.errors import DovetailError
from dovetail.core.files import cache_folder, write_json
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.corpus import held_out_text
from dovetail.runtime.load import load
from dovetail.runtime.perplexity import Quality, perplexity

SAMPLE_BYTES = 60_000  # of held-out text when the user gives none: about 16,000 tokens, seconds on two cores
CONTEXT = 1024


def quality_text(path: Path | None) -> tuple[str, str]:
    """The text quality is measured on, and what to call it. Raises `DovetailError` when the file cannot be read."""
    if path is None:
        return held_out_text(SAMPLE_BYTES), "held-out files of the Python standard library"
    try:
        return path.read_text(encoding="utf-8"), path.name
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DovetailError("cannot read the text", where=str(path), why=why, hint="a UTF-8 text file") from error


def measured_quality(
    folder: Path,
    recipe: str | Recipe = "none",
    *,
    text: Path | None = None,
    applied: Path | None = None,
    cache: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Quality:
    """Sliding-window perplexity of a checkpoint after `recipe`, measured here once and read from the cache later.

    Parameters
    ----------
    folder : Path
        The Hugging Face folder before the recipe.
    applied : Path
        The folder after the recipe, where it already exists; otherwise the recipe is applied to a temporary copy.
    cache : Path
        Folder that keeps results; the user's cache folder by default.
    """
    how = Recipe.load(recipe)
    words, label = quality_text(text)
    key = digest([Checkpoint.open(folder).sha256(), how.to_json()["methods"], words, CONTEXT])[:24]
    kept = (cache or cache_folder() / "quality") / f"{key}.json"
    if earlier := _read(kept):
        return earlier
    report(f"measuring the quality of {how.name} on {label}")
    with tempfile.TemporaryDirectory(prefix="dovetail-") as scratch:
        if applied is None:
            applied = Path(scratch) / "applied" if how.methods else folder
            if how.methods:
                how.apply(folder, applied)
        loaded = load(applied)
        found = perplexity(loaded, words, context=min(CONTEXT, loaded.max_context))
    write_json(kept, asdict(found))
    return found


def _read(path: Path) -> Quality | None:
    """A kept measurement; None where there is none, or a damaged one that is measured again."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Quality(**{**found, "documents": tuple(map(tuple, found["documents"]))})
    except (OSError, ValueError, TypeError, KeyError):
        return None
