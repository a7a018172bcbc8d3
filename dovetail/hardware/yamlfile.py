"""Read one YAML mapping, strictly: a key written twice, or anything but a mapping, is an error with its line."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dovetail.core.errors import DovetailError
from dovetail.core.files import read_text


@cache
def _loader() -> type[Any]:
    base: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it was built in: ten times faster

    class Strict(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                name = str(key.value)
                if name in seen:
                    raise yaml.MarkedYAMLError(problem=f"the key '{name}' is given twice", problem_mark=key.start_mark)
                seen.add(name)
            built: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
            return built

    return Strict


def _unreadable(error: yaml.YAMLError, where: str) -> DovetailError:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or "this is not YAML"
    line = f"{where}, line {mark.line + 1}" if mark else where
    return DovetailError(what, where=line, hint="one 'key: value' per line, each key once")


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """The mapping in `text`; `where` names it in errors.

    Raises
    ------
    DovetailError
        Not YAML, not a mapping, or a key given twice.
    """
    try:
        data = yaml.load(text, Loader=_loader())
    except yaml.YAMLError as error:
        raise _unreadable(error, where) from None
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        what = "this is not a mapping of fields"
        raise DovetailError(what, where=where, why=f"it holds {found}", hint="name: …, peak: …")
    return {str(key): value for key, value in data.items()}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file. Raises `DovetailError` when it cannot be read, see `parse_yaml`."""
    return parse_yaml(read_text(path, "this file", "give the path of a YAML file"), str(path))
