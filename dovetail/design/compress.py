"""`compress`: a recipe applied to real weights, with quality measured before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.files import check_apart, whole_folder
from dovetail.core.quantity import Quantity, exact
from dovetail.design.export import FOLDER, check_format, export, intermediate
from dovetail.design.quality import measured_quality, quality_text
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import RECORD
from dovetail.runtime.perplexity import Quality

Report = Callable[[str], None]


def weights_of(model: Model) -> Path:
    """The folder that holds a model's weights. Raises `DovetailError` when only its config is known."""
    if model.folder is None:
        raise DovetailError(
            f"the weights of {model.name} are not here",
            where=model.name,
            hint="give a Hugging Face folder with safetensors",
        )
    return model.folder


def as_quantity(quality: Quality, label: str) -> Quantity:
    """Perplexity with its bootstrap interval."""
    low, high = quality.perplexity_interval
    return Quantity(quality.perplexity, low, high, "", "measured", f"{quality.tokens} tokens of {label}")


def compress(
    model: Model | str,
    recipe: Recipe | str,
    out: Path,
    *,
    text: Path | None = None,
    format: str = FOLDER,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Apply `recipe` to the weights of `model`, write a folder that `transformers` loads, measure quality both times.

    The folder appears at `out` when both qualities are measured; what stops before that leaves nothing there.

    Parameters
    ----------
    format : str
        One of `export.FORMATS`. ``gguf`` writes ``model.gguf`` for llama.cpp instead, ``safetensors`` dense weights.

    Returns
    -------
    dict
        ``perplexity_before, perplexity_after, bytes_before, bytes_after, path`` and more; quantities as JSON objects.

    Raises
    ------
    DovetailError
        Weights that are not here or broken, a recipe that does not fit the model, a full disk (nothing half-written).
    """
    found = model if isinstance(model, Model) else Model.load(model)
    how, folder = Recipe.load(recipe), weights_of(found)
    label = quality_text(text)[1]
    check_apart(folder, out)
    check_format(format, folder)
    with whole_folder(out, RECORD) as part, intermediate(format, part) as applied:
        before = measured_quality(folder, text=text, report=report)
        report(f"applying {how.name} to {found.name}")
        done = how.apply(folder, applied)
        written = export(applied, part, format, found.name, report)
        of_recipe = written.measured_on == applied
        after = (
            measured_quality(folder, how, text=text, applied=applied, report=report)
            if of_recipe
            else measured_quality(written.measured_on, text=text, report=report)
        )
    size = f"payload of {written.file}: elements and scales"
    return {
        "model": found.name, "recipe": how.name, "path": str(out.expanduser()), "seconds": done.seconds, "text": label,
        "arithmetic": after.arithmetic,
        "format": format, "file": written.file, "notes": list(written.notes), **written.details,
        "perplexity_before": as_quantity(before, label).to_json(),
        "perplexity_after": as_quantity(after, label).to_json(),
        "bytes_before": exact(done.bytes_before, "byte", "measured", size).to_json(),
        "bytes_after": exact(written.bytes, "byte", "measured", size).to_json(),
    }  # fmt: skip
