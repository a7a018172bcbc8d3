"""The recipes of a space: names, recipes written out, and bits chosen for each group of layers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.recipe.recipe import Recipe

# Hugging Face's names of the blocks of a layer; any other name is a glob of tensor names itself.
GROUPS = {"attention": "*attn*", "mlp": "*mlp*", "experts": "*experts*"}
_HINT = "rtn, {name: mine, methods: [{rtn: {bits: 4}}]} or {method: gptq, bits: {attention: [4, 8], mlp: [3, 4]}}"


def read(entries: list[Any], where: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names of all recipes, and what those are that `Recipe.load` does not know by name.

    ``{method: M, bits: {GROUP: [bits, …]}, parameter: value}`` is one recipe for each combination of bits; 16 leaves
    a group as it is.

    Raises
    ------
    DovetailError
        An entry of another form, or one that `Recipe.load` refuses.
    """
    names: list[str] = []
    made: dict[str, Any] = {}
    for i, entry in enumerate(entries):
        here = f"{where}.{i}"
        if isinstance(entry, str):
            names.append(entry)
            continue
        if not isinstance(entry, Mapping):
            raise DovetailError("a recipe is a name or a mapping", where=here, why=f"it is {entry!r}"[:80], hint=_HINT)
        for name, content in _grouped(entry, here) if "method" in entry else [_written(entry, here)]:
            if name in made and made[name] != content:
                raise DovetailError(f"two recipes are called '{name}'", where=here, hint="give one of them a name: …")
            names.append(name)
            made[name] = content
    return tuple(dict.fromkeys(names)), made


def _written(entry: Mapping[str, Any], where: str) -> tuple[str, Any]:
    try:
        recipe = Recipe.load(entry)
    except DovetailError as error:
        raise DovetailError(error.what, where=where, why=error.why, hint=error.hint) from None
    return recipe.name, recipe.to_json()


def _grouped(entry: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    groups, method = entry.get("bits"), entry["method"]
    if not isinstance(groups, Mapping) or not groups:
        raise DovetailError("bits are given by group of layers", where=f"{where}.bits", hint=_HINT)
    listed = {str(g): bits if isinstance(bits, list) else [bits] for g, bits in groups.items()}
    rest = {k: v for k, v in entry.items() if k not in ("method", "bits", "name")}
    for chosen in itertools.product(*listed.values()):
        layers = {GROUPS.get(group, group): bits for group, bits in zip(listed, chosen, strict=True)}
        told = ", ".join(f"{group} {bits}" for group, bits in zip(listed, chosen, strict=True))
        name = f"{entry.get('name') or method} ({told})"
        yield _written({"name": name, "methods": [{method: {**rest, "layers": layers}}]}, where)
