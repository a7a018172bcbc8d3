"""The YAML files that ship, by folder and name, and the sources that a file gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hardware.machine import Source
from dovetail.hardware.shipped import in_si
from dovetail.hardware.yamlfile import parse_yaml


def zoo_files(folder: str) -> dict[str, Any]:
    """Name to file of the YAMLs that ship in ``hardware/<folder>``."""
    files = resources.files("dovetail.hardware") / folder
    return {file.name[:-5]: file for file in files.iterdir() if file.name.endswith(".yaml")}


@cache
def zoo_file(folder: str, name: str) -> Mapping[str, Any]:
    """The content of ``hardware/<folder>/<name>.yaml`` in SI. Raises `DovetailError` for an unknown name."""
    files = zoo_files(folder)
    if name not in files:
        what = folder.removesuffix("s")
        raise DovetailError(f"unknown {what} '{name}'", where=what, hint=did_you_mean(name, list(files)))
    return in_si(parse_yaml(files[name].read_text(encoding="utf-8"), f"{name}.yaml"))


def sources_of(given: Mapping[str, Any]) -> dict[str, Source]:
    """A file's sources by dotted field; a plain text is a datasheet."""
    return {k: Source("datasheet", v) if isinstance(v, str) else Source(v["kind"], v["text"]) for k, v in given.items()}
