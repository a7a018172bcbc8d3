"""Measured quality of a model under a recipe, kept by the content of weights, recipe and text."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from dovetail.core.content import digest
from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.files import cache_folder, read_text, write_json
from dovetail.core.version import __version__
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.comparison import Comparison, compare
from dovetail.runtime.corpus import held_out_documents
from dovetail.runtime.load import available_memory, dense_elements, load, tokenizer_of
from dovetail.runtime.perplexity import Quality, perplexity

SAMPLE_BYTES = 60_000  # of held-out text when the user gives none: about 16,000 tokens, seconds on two cores
CONTEXT = 1024

Report = Callable[[str], None]
_T = TypeVar("_T")


def quality_text(path: Path | None) -> tuple[list[str], str]:
    """The documents quality is measured on, and what to call them.

    A file is one document; of a folder, each of its text files (``*.txt``, ``*.md``) is one.

    Raises
    ------
    DovetailError
        A file that cannot be read, a folder without text files.
    """
    if path is None:
        return held_out_documents(SAMPLE_BYTES), "held-out files of the Python standard library"
    files = sorted([*path.glob("*.txt"), *path.glob("*.md")]) if path.is_dir() else [path]
    if not files:
        raise DovetailError("holds no text", where=str(path), why="no *.txt and no *.md", hint="a UTF-8 text file")
    return [read_text(file) for file in files], path.name


def check_text(folder: Path, text: Path | None) -> None:
    """Refuse, before any work, a text that quality cannot be measured on. Raises `DovetailError`."""
    words, label = quality_text(text)
    if not any(len(tokenizer_of(folder)(part[:4096]).input_ids) > 2 for part in words):
        why = f"{sum(map(len, words))} characters, no two tokens"
        raise DovetailError("the text is too short", where=label, why=why, hint="some kilobytes of text")


def measured_quality(
    folder: Path,
    recipe: str | Recipe = "none",
    *,
    text: Path | None = None,
    applied: Path | None = None,
    cache: Path | None = None,
    report: Report = lambda line: None,
) -> Quality:
    """Sliding-window perplexity of a checkpoint after `recipe`, measured here once and read from the cache later.

    Parameters
    ----------
    folder : Path
        The Hugging Face folder before the recipe.
    applied : Path
        The folder after the recipe, where it already exists; otherwise the recipe is applied to a temporary copy, with
        the default calibration.
    cache : Path
        Folder that keeps results; the user's cache folder by default.
    """
    how = Recipe.load(recipe)
    words, label = quality_text(text)
    made = _content(applied) if applied is not None else [_content(folder), how.content()]
    kept = _place(cache, ["perplexity", made, words])
    if earlier := _read(kept, _as_quality):
        return earlier
    report(f"measuring the quality of {how.name} on {label}")
    with tempfile.TemporaryDirectory(prefix="dovetail-") as scratch:
        if applied is None:
            applied = Path(scratch) / "applied" if how.methods else folder
            if how.methods:
                how.apply(folder, applied, report=report)
        loaded = load(applied)
        found = perplexity(loaded, words, context=min(CONTEXT, loaded.max_context))
    write_json(kept, asdict(found))
    return found


def integer_quality(
    folder: Path, integers: str, *, text: Path | None = None, cache: Path | None = None,
    report: Report = lambda line: None,
) -> Quality:  # fmt: skip
    """As `measured_quality`, of the integers that an accelerator computes with (``w8a8`` or ``w4a8``), bit for bit."""
    words, label = quality_text(text)
    kept = _place(cache, ["integers", _content(folder), integers, words, __version__])
    if earlier := _read(kept, _as_quality):
        return earlier
    from dovetail.accel.golden.quality import quality
    from dovetail.accel.lowering.folder import lower
    from dovetail.accel.lowering.lower import Scheme

    report(f"measuring the quality of {integers} in integers on {label}")
    loaded = load(folder)
    window = min(CONTEXT, loaded.max_context)
    found = quality(lower(loaded, Scheme(integers), context=window), loaded, words, window)
    write_json(kept, asdict(found))
    return found


def measured_change(
    folder: Path, applied: Path, *, text: Path | None = None, cache: Path | None = None,
    report: Report = lambda line: None,
) -> Comparison:  # fmt: skip
    """Perplexity before and after, and how far `applied` is from `folder`: both models in memory, one pass.

    Raises
    ------
    DovetailError
        Both do not fit in memory together (exit code 3); as `compare`.
    """
    words, label = quality_text(text)
    kept = _place(cache, ["comparison", _content(folder), _content(applied), words])
    if earlier := _read(kept, _as_comparison):
        return earlier
    _check_memory(folder, applied)
    report(f"measuring quality before and after on {label}")
    original, changed = load(folder), load(applied)
    found = compare(original, changed, words, min(CONTEXT, original.max_context))
    write_json(kept, asdict(found))
    return found


def _check_memory(folder: Path, applied: Path) -> None:
    """Both models in fp32."""
    needed = sum(4 * dense_elements(Checkpoint.open(path)) for path in (folder, applied))
    free = available_memory()
    if free is not None and needed > free:
        why = f"both models need {needed / 1e9:.1f} GB in fp32, {free / 1e9:.1f} GB are free"
        raise DovetailError("quality cannot be measured here", why=why, hint="--no-quality", exit_code=INFEASIBLE)


def _content(folder: Path) -> str:
    return Checkpoint.open(folder).content()


def _place(cache: Path | None, key: Sequence[Any]) -> Path:
    return (cache or cache_folder() / "quality") / f"{digest([*key, CONTEXT])[:24]}.json"


def _read(path: Path, parse: Callable[[Mapping[str, Any]], _T]) -> _T | None:
    """A kept measurement; None where there is none, or a damaged one that is measured again."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _as_quality(found: Mapping[str, Any]) -> Quality:
    return Quality(**{**found, "documents": tuple(map(tuple, found["documents"]))})


def _as_comparison(found: Mapping[str, Any]) -> Comparison:
    before, after = (_as_quality(found[side]) for side in ("before", "after"))
    return Comparison(before, after, tuple((a, b, c) for a, b, c in found["sums"]))
