"""From what a user wrote to method objects: names, parameters and types checked, complaints with a dotted path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.recipe.method import METHODS, Method
from dovetail.recipe.quantising import LayerBits
from dovetail.recipe.speculation.accuracy import Accuracies, as_accuracies


def build(steps: Any, where: str) -> tuple[Method, ...]:
    """Method objects from a list of names, ``{name: parameters}`` or method objects.

    Raises
    ------
    DovetailError
        Not a list; an unknown method or parameter; a value of the wrong type or out of range.
    """
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        hint = "methods: [{rtn: {bits: 4, group: 128}}]"
        raise DovetailError("is not a list of methods", where=where, why=f"it is {steps!r}"[:80], hint=hint)
    return tuple(_step(step, f"{where}: {i}") for i, step in enumerate(steps))


def _step(step: Any, where: str) -> Method:
    if is_dataclass(step) and not isinstance(step, type) and isinstance(step, Method):
        return step
    name, parameters = _split(step, where)
    kind = METHODS[name]
    hints, known = get_type_hints(kind), [f.name for f in fields(kind)]
    for key in parameters:
        if key not in known:
            raise DovetailError(f"unknown parameter '{key}'", where=f"{where}.{name}", hint=did_you_mean(key, known))
    values = {key: _typed(value, hints[key], f"{where}.{name}.{key}") for key, value in parameters.items()}
    try:
        found: Method = kind(**values)
    except DovetailError as error:  # a value that the method refuses, which knows no file
        own = error.where.removeprefix(f"{name}.")
        place = f"{where}.{name}" + (f".{own}" if own else "")
        raise DovetailError(
            error.what, where=place, why=error.why, hint=error.hint, exit_code=error.exit_code
        ) from None
    return found


def _split(step: Any, where: str) -> tuple[str, Mapping[str, Any]]:
    if isinstance(step, str):
        return step, {}
    if isinstance(step, Mapping) and len(step) == 1:
        name, parameters = next(iter(step.items()))
        if isinstance(parameters or {}, Mapping):
            return str(name), {str(k): v for k, v in (parameters or {}).items()}
    raise DovetailError("is not one method", where=where, why=f"{step!r}"[:80], hint="{rtn: {bits: 4}}, or a name")


def _typed(value: Any, kind: type, where: str) -> Any:
    """`value` as `kind`: whole numbers may stand for floats, nothing else is converted."""
    if kind == LayerBits:
        return _layer_bits(value, where)
    if kind == Accuracies:
        return as_accuracies(value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise DovetailError(f"{value!r} is not {_WORDS.get(kind, kind.__name__)}", where=where)
    return value


def _layer_bits(value: Any, where: str) -> LayerBits:
    """``{glob: bits}``, or the pairs that a recipe writes of itself."""
    pairs = list(value.items() if isinstance(value, Mapping) else value if isinstance(value, Sequence) else [value])
    if not all(isinstance(p, Sequence) and [type(x) for x in p] == [str, int] for p in pairs):
        hint = "layers: {'*.down_proj': 8}"
        raise DovetailError("is not bits by layer", where=where, why=f"it is {value!r}"[:80], hint=hint)
    return tuple((name, bits) for name, bits in pairs)


_WORDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def with_parameters(steps: Sequence[Any], text: str, where: str) -> list[Any]:
    """The steps with ``key=value,…`` put into every method that has the parameter.

    Raises
    ------
    DovetailError
        Not of that form, or no method of the recipe has such a parameter.
    """
    known = [{f.name for f in fields(METHODS[name])} for step in steps for name in step]
    changed = [dict(next(iter(step.values()))) for step in steps]
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise DovetailError(f"'{pair}' is not key=value", where=where, hint="w4a16-rtn:group=64")
        takers = [i for i, names in enumerate(known) if key in names]
        if not takers:
            hint = did_you_mean(key, sorted(set().union(*known))) if any(known) else "this recipe has none"
            raise DovetailError(f"unknown parameter '{key}'", where=where, hint=hint)
        for i in takers:
            changed[i][key] = _literal(value)
    return [{next(iter(step)): new} for step, new in zip(steps, changed)]


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
