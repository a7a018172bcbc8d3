"""Systems: machines made of machines. A YAML names a chip, or a smaller system, and the levels of fabric around it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.hardware.fabric import Level
from dovetail.hardware.machine import Machine, Source
from dovetail.hardware.zoo import sources_of, zoo_file, zoo_files

UNBOUNDED = 1 << 20  # units that a network joins


def system_names() -> list[str]:
    """Names of the systems that ship."""
    return sorted(zoo_files("systems"))


def levels_of(name: str) -> tuple[Level, ...]:
    """The levels of a system of the zoo, and the network that joins several of it; none for "".

    Raises
    ------
    DovetailError
        An unknown name.
    """
    if not name:
        return ()
    file = zoo_file("systems", name)
    return _inside(file) + _network(file)


def level_sources(name: str) -> dict[str, Source]:
    """Where the numbers of `levels_of` come from, under ``levels`` and ``network``."""
    given = sources_of(zoo_file("systems", name)["source"]) if name else {}
    return {path: source for path, source in given.items() if path.split(".")[0] in ("levels", "network")}


def _inside(file: Mapping[str, Any]) -> tuple[Level, ...]:
    inner = _inside(zoo_file("systems", file["of"])) if file["of"] in zoo_files("systems") else ()
    return inner + tuple(_level(level) for level in file["levels"])


def _network(file: Mapping[str, Any]) -> tuple[Level, ...]:
    return (_level({"ways": UNBOUNDED} | dict(file["network"])),) if file.get("network") else ()


def _level(given: Mapping[str, Any]) -> Level:
    return Level(**{("latency_s" if key == "latency" else key): value for key, value in given.items()})


def system(file: Mapping[str, Any], part: Machine, where: str = "") -> Machine:
    """The `Machine` of a validated system's file (numbers in SI) around `part`, a chip or a smaller system.

    Raises
    ------
    DovetailError
        The innermost level has another bandwidth than the chip's link.
    """
    own = tuple(_level(level) for level in file["levels"])
    inner = part.levels[: _depth(part)]
    if not inner and not math.isclose(float(own[0].bandwidth), float(part.link)):
        raise DovetailError(
            "the innermost level is the chip's link, and differs from it", where=f"{where}: levels",
            why=f"{own[0].bandwidth / 1e9:g} GB/s against {part.link / 1e9:g} GB/s of {part.name}",
            hint="all ports of one chip together, in one direction",
        )  # fmt: skip
    count = part.count * math.prod(level.ways for level in own)
    return replace(
        part, name=file["name"], title=file.get("title") or file["name"], vendor=file.get("vendor") or part.vendor,
        year=file.get("year") or part.year, count=count, unit=count, chip=part.chip or part.name,
        levels=inner + own + _network(file), system=file["name"], system_w=file.get("system_power") or math.nan,
        sources=dict(part.sources) | sources_of(file["source"]),
    )  # fmt: skip


def _depth(part: Machine) -> int:
    """Levels inside a system; a chip's are those of the system it is usually found in, not its own."""
    count, depth = 1, 0
    while part.chip and count < part.unit:
        count, depth = count * part.levels[depth].ways, depth + 1
    return depth
