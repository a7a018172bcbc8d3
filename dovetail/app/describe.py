"""What `show` says of a model, a machine or a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.units import show


def describe(name: str) -> dict[str, Any]:
    """The thing called `name`: a model or its folder, a machine or its YAML file, or a recipe.

    Raises
    ------
    DovetailError
        Nothing has that name; the nearest names of all three kinds are offered.
    """
    from dovetail.hardware import machine_names
    from dovetail.model import Model
    from dovetail.recipe.recipe import Recipe

    path = Path(name)
    if name in Model.names() or path.is_dir() or path.suffix == ".json":
        return describe_model(name)
    if name in machine_names() or name == "host" or " x " in name or path.suffix in (".yaml", ".yml"):
        return describe_machine(name)
    if name in Recipe.names():
        return describe_recipe(name)
    if "/" in name:
        return describe_model(name)
    known = [*Model.names(), *machine_names(), *Recipe.names()]
    raise DovetailError(f"no model, machine or recipe is called '{name}'", hint=did_you_mean(name, known))


def describe_model(name: str) -> dict[str, Any]:
    """Counts and shapes of a model."""
    from dovetail.model import Model

    m = Model.load(name)
    first = m.architecture.layers[0]
    return {
        "what": "model", "name": m.name, "family": m.architecture.family, "parameters": m.parameters,
        "active_parameters": m.active_parameters, "layers": m.layers, "hidden": m.architecture.hidden,
        "vocab": m.architecture.vocab, "heads": first.attention.heads, "kv_heads": first.attention.kv_heads,
        "head_dim": first.attention.head_dim, "intermediate": first.feed_forward.intermediate,
        "experts": first.feed_forward.experts, "tied_embeddings": m.architecture.tied, "max_context": m.max_context,
        "dtype": m.architecture.dtype, "kv_bytes_per_token": m.kv_bytes_per_token,
    }  # fmt: skip


def describe_machine(name: str) -> dict[str, Any]:
    """Numbers of a machine, each with its source."""
    from dovetail.hardware import load_machine

    m = load_machine(name)

    def quantity(path: str, value: Any, unit: str) -> dict[str, Any]:
        source = m.source(path)
        return {"value": value, "low": value, "high": value, "unit": unit, "kind": source.kind, "source": source.text}

    return {
        "what": "machine", "name": m.name, "title": m.title, "vendor": m.vendor, "kind": m.kind, "chips": m.count, "year": m.year,
        "peak": {d: quantity(f"peak.{d}", v, "flop/s") for d, v in m.peak.items()},
        "memory": {"capacity": quantity("memory.capacity", m.memory.capacity, "byte"),
                   "bandwidth": quantity("memory.bandwidth", m.memory.bandwidth, "byte/s")},
        "caches": {c.name: {"capacity": quantity("caches", c.capacity, "byte"), "bandwidth": quantity("caches", c.bandwidth, "byte/s")}
                   for c in m.caches},
        "link": quantity("link", m.link, "byte/s"), "tdp": quantity("power.tdp", m.tdp_w, "W"), "idle": quantity("power.idle", m.idle_w, "W"),
        "rent": quantity("price", m.usd_per_hour / 3600, "USD/s"), "area": quantity("area", m.area_mm2, "mm2"),
        "efficiency": {n: quantity(f"efficiency.{n}", getattr(m.efficiency, n), "") for n in ("compute", "memory", "overlap", "spread")},
        "stack": {"name": m.stack.name, "launch": quantity("stack.launch", m.stack.launch_s, "s"),
                  "step": quantity("stack.step", m.stack.step_s, "s")},
        "engines": list(m.engines),
    }  # fmt: skip


def describe_recipe(name: str) -> dict[str, Any]:
    """A recipe's methods, and what they do to the bytes of a matrix."""
    from dovetail.recipe.recipe import Recipe

    recipe = Recipe.load(name)
    return {"what": "recipe", "name": recipe.name, "methods": recipe.to_json(), "description": recipe.describe()}


def description(found: Mapping[str, Any], quiet: bool = False, indent: int = 0) -> None:
    """Print a description, one fact a line: value, kind and source of every quantity."""
    for key, value in found.items():
        label = " " * indent + f"{key.replace('_', ' '):<{24 - indent}}"
        if isinstance(value, Mapping) and "unit" in value:
            source = "" if quiet else f"   {value['kind']}: {value['source']}"
            print(f"{label}{show(float(value['value']), value['unit'])}{source}"[:140])
        elif isinstance(value, Mapping):
            print(label)
            description(value, quiet, indent + 2)
        elif isinstance(value, list):
            print(f"{label}{', '.join(str(v) for v in value) or '–'}")
        elif isinstance(value, int) and not isinstance(value, bool):
            print(f"{label}{value:,}" if key != "year" else f"{label}{value}")
        else:
            print(f"{label}{value}")
