"""The optional parts of this package: which are installed, what each adds, and how to get it.

The list is the package's own metadata (or the checkout's ``pyproject.toml``), so that it can never be another one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from dovetail.core.lazy import CHECKOUT, install_command

ADDS = {
    "torch": "compress, run and measure real checkpoints",
    "gguf": "compressed weights as GGUF files, for llama.cpp",
    "ptq": "GPTQ, SmoothQuant, FP8, NVFP4, Wanda",
    "eval": "accuracy on named tasks",
    "train": "LoRA: adapters, and recovery of quality",
    "rtl": "simulate, synthesise and place accelerators",
    "hls": "check, repair and score HLS code",
    "serve": "an OpenAI-compatible server",
    "search": "guided search of large spaces",
    "plot": "figures in notebooks and in the terminal",
    "studio": "the browser interface",
    "cluster": "sweeps and measurements on many machines",
    "bench": "tables in parquet; side-by-side benches",
    "dev": "tests, lint and types",
}
USED = (
    "torch",
    "eval",
    "gguf",
    "serve",
    "rtl",
    "hls",
    "search",
    "cluster",
    "bench",
    "dev",
)  # the others: code still to come
_REQUIREMENT = re.compile(r"\s*(?P<name>[A-Za-z0-9._-]+)\s*(?:\[(?P<extras>[^\]]+)\])?\s*(?:==\s*(?P<pin>[^\s;,]+))?")


def requirements(project: Path = CHECKOUT) -> dict[str, list[str]]:
    """Requirement strings by extra, in the order the package declares them."""
    if project.is_file():
        declared = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
        return {str(extra): list(items) for extra, items in declared.items()}
    found: dict[str, list[str]] = {}
    for requirement in metadata.requires("dovetail") or []:
        wanted, _, marker = requirement.partition(";")
        if extra := re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker):
            found.setdefault(extra[1], []).append(wanted.strip())
    return found


def packages(extra: str, declared: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """(distribution, exact version or "") of everything an extra needs, extras it builds on included."""
    for requirement in declared.get(extra, []):
        if (parsed := _REQUIREMENT.match(requirement)) is None:
            continue
        if parsed["name"] == "dovetail":
            for other in (parsed["extras"] or "").split(","):
                yield from packages(other.strip(), declared)
        else:
            yield parsed["name"], parsed["pin"] or ""


def lacking(distribution: str, pin: str) -> str:
    """What is wrong with a distribution: "" when nothing is, its name when absent, both versions when they differ."""
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return distribution
    return f"{distribution} {version} is not {pin}" if pin and version.partition("+")[0] != pin else ""


def extras() -> list[dict[str, Any]]:
    """One row for each extra: ``name``, ``status``, ``found``, ``missing``, ``adds`` and ``install``.

    The status is ``ok``, ``limited`` (a package has another version than the one asked for), ``missing``, or
    ``planned`` where nothing uses the extra yet.
    """
    declared = requirements()
    return [_extra(name, list(packages(name, declared))) for name in declared]


def _extra(name: str, wanted: list[tuple[str, str]]) -> dict[str, Any]:
    wrong = [words for words in (lacking(*one) for one in wanted) if words]
    others = [words for words in wrong if " " in words]
    status = "ok" if not wrong else "limited" if wrong == others else "missing"
    if name not in USED:
        return {"name": name, "status": "planned", "found": "nothing yet: planned", "missing": [],
                "adds": ADDS.get(name, ""), "install": ""}  # fmt: skip
    return {
        "name": name,
        "status": status,
        "found": "installed" if status == "ok" else ", ".join(others),
        "missing": wrong,
        "adds": ADDS.get(name, ""),
        "install": install_command(name),
    }
