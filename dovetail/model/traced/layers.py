"""Layers of a module: operators that repeat along a list of modules are kept once, with the layers they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from dovetail.core.content import digest
from dovetail.model.graph import Cache
from dovetail.model.operators import Linear, Operator, Weight
from dovetail.model.traced.place import Unit, unit_of
from dovetail.model.traced.reader import Placed


def grouped(placed: Iterable[Placed]) -> tuple[tuple[Operator, ...], tuple[Cache, ...]]:
    """Operators and caches, those of equal layers once; names are unique, and carry the first layer of their kind."""
    placed = list(placed)
    shared = _shared(placed)
    members: dict[Unit, list[Placed]] = {}
    order: list[Unit | Placed] = []
    for each in placed:
        unit = unit_of(each.path)
        if unit is None:
            order.append(each)
        elif unit not in members:
            order.append(unit)
        if unit is not None:
            members.setdefault(unit, []).append(_patterned(each, unit, shared))
    kinds = _kinds(members)
    found = [p for each in order for p in _representatives(each, members, kinds)]
    return tuple(_unique(p.operator for p in found)), tuple(c for p in found for c in p.caches)


def depth(placed: Iterable[Placed]) -> int:
    """Entries that multiply, of the longest list of modules; 1 without one."""
    stacks: dict[str, set[int]] = {}
    products = (each for each in placed if isinstance(each.operator, Linear))
    for unit in filter(None, (unit_of(each.path) for each in products)):
        stacks.setdefault(unit.stack, set()).add(unit.index)
    return max(map(len, stacks.values()), default=1)


def _shared(placed: list[Placed]) -> set[str]:
    """Tensors that are read in more than one layer, or in a layer and outside of all."""
    homes: dict[str, set[Unit | None]] = {}
    for each in placed:
        for weight in each.operator.weights:
            homes.setdefault(weight.name, set()).add(unit_of(each.path))
    return {name for name, units in homes.items() if len(units) > 1}


def _patterned(placed: Placed, unit: Unit, shared: set[str]) -> Placed:
    """With ``{layer}`` for the index in the names of the layer's own tensors."""
    weights = tuple(w if w.name in shared else replace(w, name=_swapped(w.name, unit)) for w in placed.operator.weights)
    whole = f"{unit.stack}.{unit.index}".removeprefix(".")  # the entry itself is the operator
    name = placed.operator.name
    name = (unit.stack or "layer") if name == whole else name.removeprefix(unit.prefix)
    return replace(placed, path="", operator=replace(placed.operator, weights=weights, name=name))


def _swapped(name: str, unit: Unit) -> str:
    return unit.pattern + name.removeprefix(unit.prefix) if name.startswith(unit.prefix) else name


def _kinds(members: dict[Unit, list[Placed]]) -> dict[str, list[Unit]]:
    """Units by what they are: equal operators in equal order, in one stack, with tensors all their own."""
    found: dict[str, list[Unit]] = {}
    for unit, placed in members.items():
        weights = (w for p in placed for w in p.operator.weights)
        alone = -1 if all(_own(w, unit) for w in weights) else unit.index
        found.setdefault(digest((unit.stack, alone, placed)), []).append(unit)
    return found


def _own(weight: Weight, unit: Unit) -> bool:
    return weight.name.startswith(unit.pattern)


def _representatives(
    each: Unit | Placed, members: dict[Unit, list[Placed]], kinds: dict[str, list[Unit]]
) -> Iterator[Placed]:
    """What stands for a unit: nothing where an equal one came before."""
    if isinstance(each, Placed):
        yield replace(each, caches=tuple(replace(c, layers=(0,)) for c in each.caches))
        return
    units = next(units for units in kinds.values() if each in units)
    if each != units[0]:
        return
    several = sum(kind[0].stack == each.stack for kind in kinds.values()) > 1
    own = all(_own(w, each) for p in members[each] for w in p.operator.weights)
    layers = tuple(sorted(unit.index for unit in units)) if own else ()
    for placed in members[each]:
        yield _standing(placed, each, layers, f"@{each.index}" if several else "")


def _standing(placed: Placed, unit: Unit, layers: tuple[int, ...], suffix: str) -> Placed:
    """For `layers`; for one layer that shares tensors with others, under its full names."""
    operator = replace(placed.operator, layers=layers, name=placed.operator.name + suffix)
    if not layers:
        weights = tuple(replace(w, name=w.name.replace("{layer}", str(unit.index))) for w in operator.weights)
        operator = replace(operator, weights=weights)
    caches = tuple(replace(c, layers=layers or (unit.index,)) for c in placed.caches)
    return replace(placed, operator=operator, caches=caches)


def _unique(operators: Iterable[Operator]) -> Iterator[Operator]:
    """Names told apart by a number where two are the same (``attention.2``, ``attention@3.2``)."""
    seen: dict[str, int] = {}
    for operator in operators:
        seen[operator.name] = count = seen.get(operator.name, 0) + 1
        name = operator.name if count == 1 else f"{operator.name}{'.' if '@' in operator.name else '@'}{count}"
        yield replace(operator, name=name)
