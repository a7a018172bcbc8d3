"""What `show` and `ls` say of a model, a machine or a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dovetail.app.output import folded
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.quantity import exact
from dovetail.core.units import show

if TYPE_CHECKING:
    from dovetail.hardware import Machine
    from dovetail.model import Model
    from dovetail.recipe.recipe import Recipe

_COUNTED = re.compile(r"-?\d+\s*[x×*]\s*\S", re.IGNORECASE)  # "8 x h100-sxm"
_EXAMPLE = "meta-llama/Llama-3.1-8B"  # whose weights show what a recipe does to sizes


def describe(name: str) -> dict[str, Any]:
    """The thing called `name`: a model or its folder, a machine or its YAML file, a recipe or its YAML file.

    Raises
    ------
    DovetailError
        Nothing has that name (the nearest names of all three kinds are offered), or its file cannot be read.
    """
    from dovetail.hardware import machine_names, system_names
    from dovetail.hardware.load import ALIASES
    from dovetail.model import Model, find
    from dovetail.recipe.method import METHODS
    from dovetail.recipe.recipe import Recipe

    if Path(name).suffix in (".yaml", ".yml"):
        return describe_recipe(name) if _holds_recipe(Path(name).expanduser()) else describe_machine(name)
    if name.lower() in {*machine_names(), *system_names(), *ALIASES, "host"} or _COUNTED.match(name):
        return describe_machine(name)
    if name.partition(":")[0] in {*Recipe.names(), *METHODS}:
        return describe_recipe(name)
    try:
        find.locate(name)
    except DovetailError as error:
        if error.where:  # a path that is there, and no model
            raise
        known = [*Model.names(), *machine_names(), *system_names(), *Recipe.names()]
        what, hint = f"no model, machine or recipe is called '{name}'", did_you_mean(name, known)
        if "/" in name:
            hint += ", or give a folder that holds its config.json"
        raise DovetailError(what, why=error.why if "/" in name else "", hint=hint) from None
    return describe_model(name)


def _holds_recipe(path: Path) -> bool:
    """Whether a YAML file is a recipe: a list of methods, or a mapping with methods; unreadable ones are not."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return bool(re.search(r"^(methods\s*:|-\s)", text, re.MULTILINE)) and not re.search(
        r"^peak\s*:", text, re.MULTILINE
    )


def describe_model(name: str) -> dict[str, Any]:
    """Counts and shapes of a model."""
    from dovetail.model import Model

    m = Model.load(name)
    first = m.architecture.first
    return {
        "what": "model", "name": m.name, "family": m.architecture.family,
        "parameters": m.parameters,
        "active_parameters": m.active_parameters, "layers": m.layers, "hidden": m.architecture.hidden,
        "vocab": m.architecture.vocab, "heads": first("heads"), "kv_heads": first("kv_heads"),
        "head_dim": first("head_dim"), "intermediate": first("intermediate"),
        "experts": first("experts"), "tied_embeddings": m.architecture.tied, "max_context": m.max_context,
        "dtype": m.architecture.dtype, "kv_bytes_per_token": m.kv_bytes_per_token,
        "matched_by": m.architecture.matched_by or None, "weights": str(m.folder) if m.folder else None,
        **_stored(m),
    }  # fmt: skip


def _stored(m: Model) -> dict[str, Any]:
    """What a compressed checkpoint stores how; nothing of one in the dtype of its config."""
    from dovetail.model.storage.summary import parts, words

    if m.storage.unread:
        return {"stored": not_described(m)}
    if not m.storage.rules:
        return {}

    def size(value: float, source: str) -> dict[str, Any]:
        return exact(value, "byte", "modelled", source).to_json()

    stored: dict[str, Any] = {}
    for part in parts(m.graph()):
        scales = {"scales": size(part.scale_bytes, "among them")} if part.scale_bytes else {}
        stored[part.form.name] = {"size": size(part.bytes, words(part.form)), **scales, "holds": part.holds}
    return {"stored": stored, "kv_cache": m.storage.kv_dtype}


def not_described(m: Model) -> str:
    """That a checkpoint is stored in a form whose bytes are not known here."""
    return f"as {m.storage.unread}, which is not described: weights are counted in {m.architecture.dtype}"


def describe_machine(source: str | Machine) -> dict[str, Any]:
    """Numbers of a machine, each with its source: of one chip, the levels that join several, and totals of a system."""
    from dovetail.app.describe_fabric import levels, totals, transports
    from dovetail.hardware import load_machine

    m = load_machine(source)

    def quantity(path: str, value: Any, unit: str) -> dict[str, Any]:
        found = m.source(path)
        return exact(value, unit, found.kind, found.text).to_json()

    def level(path: str, held: Any) -> dict[str, Any]:
        return {
            "capacity": quantity(f"{path}.capacity", held.capacity, "byte"),
            "bandwidth": quantity(f"{path}.bandwidth", held.bandwidth, "byte/s"),
        }

    efficiencies = ("compute", "memory", "overlap", "spread")
    return {
        "what": "machine", "name": m.name, "title": m.title, "vendor": m.vendor, "kind": m.kind, "chips": m.count,
        **({"chip": m.chip} if m.chip else {}), **({"total": totals(m)} if m.count > 1 else {}),
        **({"levels": levels(m)} if m.levels else {}),
        "year": m.year, "peak": {d: quantity(f"peak.{d}", v, "flop/s") for d, v in m.peak.items()},
        "memory": level("memory", m.memory), "caches": {c.name: level("caches", c) for c in m.caches},
        "link": quantity("link", m.link, "byte/s"), "tdp": quantity("power.tdp", m.tdp_w, "W"),
        "idle": quantity("power.idle", m.idle_w, "W"), "rent": quantity("price", m.usd_per_hour / 3600, "USD/s"),
        "area": quantity("area", m.area_mm2, "mm2"),
        "cores": quantity("cores", m.cores or float("nan"), ""), "clock": quantity("clock", m.clock_hz, "Hz"),
        "efficiency": {n: quantity(f"efficiency.{n}", getattr(m.efficiency, n), "") for n in efficiencies},
        "stack": {"name": m.stack.name, "launch": quantity("stack.launch", m.stack.launch_s, "s"),
                  "step": quantity("stack.step", m.stack.step_s, "s")},
        "collectives": transports(m), "engines": list(m.engines),
    }  # fmt: skip


def describe_recipe(name: str) -> dict[str, Any]:
    """A recipe's methods with what each does, and what they make of the weights of a well-known model."""
    from dovetail.recipe.method import METHODS
    from dovetail.recipe.recipe import Recipe

    recipe = Recipe.load(name)
    methods = recipe.to_json()["methods"]
    does = [(METHODS[method].__doc__ or "").strip().partition("\n")[0] for step in methods for method in step]
    return {
        "what": "recipe", "name": recipe.name, "description": recipe.describe(), "methods": methods, "does": does,
        **_needs(recipe), "example": _sizes(recipe),
    }  # fmt: skip


def _needs(recipe: Recipe) -> dict[str, Any]:
    """The form of weights that a recipe takes and leaves, and the text that it looks at, if any."""
    takes = next((step.takes for step in recipe.methods if hasattr(step, "takes")), "any")
    leaves = next((step.leaves for step in reversed(recipe.methods) if hasattr(step, "leaves")), "as they came")
    looks = "none: it looks at weights alone"
    if recipe.calibrated:
        from dovetail.recipe.layerwise.calibration import Calibration

        usual = Calibration()
        looks = f"{usual.samples} x {usual.tokens} tokens, of the standard library unless --calibrate-on names a text"
    return {"takes": takes, "leaves": leaves, "calibration": looks, **_guesses(recipe)}


def _guesses(recipe: Recipe) -> dict[str, Any]:
    """What a step is expected to yield where a recipe guesses, and whether the decoder here executes it."""
    from dovetail.model import Model
    from dovetail.recipe.method import OnDecoding

    guess = recipe.guess()
    if guess is None:
        return {}
    runs = (
        "'dovetail run' executes it" if isinstance(guess, OnDecoding) else "predicted, not executed by 'dovetail run'"
    )
    runs += "; relaxed: it keeps guesses that the model would not have chosen" if recipe.relaxed else ""
    try:
        step = guess.rewrite(Model.load(_EXAMPLE).graph(batch=1, tokens=1, context=1024))
    except DovetailError:  # heads, or a draft, for another model than the example
        return {"speculation": runs}
    words = f"{float(step.tokens_per_step):.2f} tokens a step expected, of {1 + float(step.tokens - 1):g} verified"
    return {"speculation": f"{words}; {runs}"}


def _sizes(recipe: Recipe) -> dict[str, Any] | None:
    """Stored weights of the example before and after a recipe; None where it cannot be applied to that model."""
    from dovetail.model import Model

    graph = Model.load(_EXAMPLE).graph()
    try:
        after = recipe.rewrite(graph)
    except DovetailError:
        return None
    sizes = {"weights_before": graph, "weights_after": after}
    source = "formats of the graph, scales included"
    return {"model": _EXAMPLE} | {
        key: exact(float(g.weight_bytes()), "byte", "modelled", source).to_json() for key, g in sizes.items()
    }


def description(found: Mapping[str, Any], quiet: bool = False, indent: int = 0) -> None:
    """Print a description, one fact a line: value, kind and source of every quantity; no sources when `quiet`."""
    for key, value in found.items():
        label = " " * indent + f"{key.replace('_', ' '):<{22 - indent}}"
        if isinstance(value, Mapping) and "unit" not in value:
            print(label.rstrip())
            description(value, quiet, indent + 2)
        else:
            print(folded(label + _words(key, value, quiet), 24).rstrip())


def _words(key: str, value: Any, quiet: bool) -> str:
    if isinstance(value, Mapping) and "unit" in value:
        words = show(float(value["value"]), value["unit"])
        return words if quiet or words == "–" else f"{words:<14}  {value['kind']}: {value['source']}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_words(k, v, quiet)}" for k, v in value.items())
    if key == "layers" and isinstance(value, tuple):  # bits of the layers that globs name, as a recipe's file has them
        return "{" + ", ".join(f"{glob}: {bits}" for glob, bits in value) + "}" if value else "all alike"
    if key == "does":
        return " ".join(value) or "–"
    if isinstance(value, list):
        return "; ".join(_words(key, v, quiet) for v in value) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key != "year":
        return f"{value:,}"
    return "–" if value is None else str(value)
