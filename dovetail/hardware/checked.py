"""A machine's, a stack's or a system's YAML held against its schema: one error, with its place, and what to do.

Imported only when a YAML is read, as `dovetail.hardware.schema` is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hardware.fields import SPARSE, not_dense
from dovetail.hardware.schema import MachineFile, StackFile, SystemFile

_DENSE = re.compile(r"without spars|halved", re.IGNORECASE)
F = TypeVar("F", MachineFile, StackFile, SystemFile)


def _known_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """The field names of the section that `path` leads into."""
    for step in path:
        if not isinstance(step, str) or step not in model.model_fields:
            continue
        parts = _parts(model.model_fields[step].annotation)
        nested = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _parts(part)


def _explain(error: ValidationError, model: type[BaseModel], where: str) -> DovetailError:
    """The first finding, with unknown keys before the rest: a misspelt field is also a missing one."""
    first = min(error.errors(include_url=False), key=lambda found: (_URGENCY.get(found["type"], 3), -len(found["loc"])))
    loc = tuple(step for step in first["loc"] if step not in _TAGS)
    path = ".".join(str(step) for step in loc)
    place = f"{where}: {path}"
    if first["type"] == "extra_forbidden" and SPARSE.search(str(loc[-1])):
        dense = not_dense(str(loc[-1]))
        return DovetailError(dense.what, where=place, why=dense.why, hint=dense.hint)
    if first["type"] == "extra_forbidden":
        return DovetailError(
            f"unknown field '{loc[-1]}'", where=place, hint=did_you_mean(str(loc[-1]), _known_at(model, loc[:-1]))
        )
    if first["type"] == "dovetail":
        context = first["ctx"]
        return DovetailError(context["what"], where=place, why=context["why"], hint=context["hint"])
    if first["type"] == "missing":
        return DovetailError("this field is missing", where=place, hint=_ADD.get(path, f"add '{path}: …'"))
    why = first["msg"][:1].lower() + first["msg"][1:]
    return DovetailError(
        "this value does not fit",
        where=place,
        why=why,
        hint=_ADD.get(path, f"compare with {'a system' if model is SystemFile else 'a chip'} of the zoo"),
    )


_URGENCY = {"extra_forbidden": 0, "dovetail": 1, "missing": 2}
_TAGS = {"str", "constrained-str", "StackSection", "SourceSection"}  # which branch of a union pydantic was in
_ADD = {
    "source": 'source: {peak: "H100 datasheet 2023", memory: …}',
    "name": "name: my-chip",
    "peak": "peak: {bf16: 989 TFLOP/s}",
    "memory": "memory: {capacity: 80 GB, bandwidth: 3.35 TB/s}",
    "power": "power: {tdp: 700 W}",
    "power.tdp": "power: {tdp: 700 W}",
    "of": "of: h100-sxm",
    "levels": "levels: [{name: NVLink, ways: 8, topology: switch, bandwidth: 450 GB/s}]",
}


def _numbers(value: Any, path: str = "", also: tuple[type, ...] = ()) -> Iterator[str]:
    """Dotted paths of the numbers of a validated file, and of values of the types `also`; a list is not a step."""
    if isinstance(value, BaseModel):
        given = (name for name in type(value).model_fields if name in value.model_fields_set)  # in their order
        value = {name: getattr(value, name) for name in given}
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}" if path else str(key), also)
    elif isinstance(value, tuple):
        for item in value:
            yield from _numbers(item, path, also)
    elif isinstance(value, (float, *also)):
        yield path


def _check_sources(file: MachineFile | StackFile | SystemFile, where: str) -> None:
    numbers = list(dict.fromkeys(_numbers(file)))
    kernels = getattr(file, "kernels", None) or {}  # whose constants stay as they are written
    numbers += [f"kernels.{family}.{entry}" for family, table in kernels.items() for entry in table]
    for path in numbers:
        if not any(path == given or path.startswith(given + ".") for given in file.source):
            section = path.split(".")[0]
            raise DovetailError(
                "this number has no source", where=f"{where}: {path}",
                why="a number without a source does not load", hint=f'source: {{{section}: "datasheet name and year"}}',
            )  # fmt: skip
    stated = _numbers(file, also=(bool,))  # whether a stack has kernels may have a source, but needs none
    known = {p for path in stated for p in (path, path.rpartition(".")[0], path.split(".")[0]) if p}
    for given in file.source:
        if given not in known:
            what = "this source belongs to no number of the file"
            raise DovetailError(what, where=f"{where}: source.{given}", hint=did_you_mean(given, sorted(known)))


def _check_dense(file: MachineFile, where: str) -> None:
    peaks = {path: source for path, source in file.source.items() if path.split(".")[0] == "peak"}
    texts = {f"source.{path}": s if isinstance(s, str) else s.text for path, s in peaks.items()}
    for path, text in {**texts, "note": file.note}.items():
        if SPARSE.search(text) and not _DENSE.search(text):
            error = not_dense(text)
            raise DovetailError(error.what, where=f"{where}: {path}", why=error.why, hint=error.hint)


def check(data: dict[str, Any], model: type[F], where: str) -> F:
    """A YAML's mapping as a validated file.

    Raises
    ------
    DovetailError
        One error for the first thing wrong: an unknown or missing field, a bad unit, a number without a source,
        a peak with sparsity; `where` and the dotted path say where.
    """
    try:
        file = model.model_validate(data)
    except ValidationError as error:
        raise _explain(error, model, where) from None
    _check_sources(file, where)
    if isinstance(file, MachineFile):
        _check_dense(file, where)
    return file
