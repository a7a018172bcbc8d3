"""Machines by name: chips and systems of the zoo, ``"8 x h100-sxm"``, a YAML of the user's, or ``host``."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.present import present
from dovetail.hardware.build import machine_from_mapping, shipped_machine
from dovetail.hardware.machine import Machine
from dovetail.hardware.systems import system, system_names
from dovetail.hardware.yamlfile import read_yaml
from dovetail.hardware.zoo import zoo_file, zoo_files

ALIASES = {
    "a100": "a100-sxm", "a100-sxm-80gb": "a100-sxm", "a100-80gb": "a100-sxm", "a100-40gb": "a100-sxm-40gb",
    "h100": "h100-sxm", "h100-sxm-80gb": "h100-sxm", "h200": "h200-sxm", "b200": "b200-sxm", "4090": "rtx-4090",
    "rtx4090": "rtx-4090", "trillium": "tpu-v6e", "gaudi-3": "gaudi3", "alveo-u280": "u280", "b60": "arc-b60",
    "arc-pro-b60": "arc-b60", "v100": "v100-sxm", "b300": "b300-sxm", "3090": "rtx-3090", "5090": "rtx-5090",
    "rtx3090": "rtx-3090", "rtx5090": "rtx-5090", "ironwood": "tpu-v7", "gaudi-2": "gaudi2", "groq": "groq-lpu",
    "trn2": "trainium2", "rpi5": "raspberry-pi-5", "alveo-u55c": "u55c", "alveo-v80": "v80", "cpu": "host",
    "localhost": "host", "gh200-144gb": "gh200", "v100-sxm-32gb": "v100-sxm", "h100-80gb": "h100-sxm",
    "nvl72": "gb200-nvl72", "superpod": "dgx-h100-superpod",
    "jetson-agx-orin": "jetson-orin", "jetson-agx-thor": "jetson-thor", "wse3": "wse-3", "cerebras": "wse-3",
}  # fmt: skip
MOST_CHIPS = 1 << 20  # of a machine; more than any that was built
_COUNT = re.compile(r"^\s*(-?\d+)\s*(?:[x×*]\s*|\s+)(?=\S)(.+?)\s*$", re.IGNORECASE)


def machine_names() -> list[str]:
    """Names of the chips of the zoo; `host` comes on top of them."""
    return sorted(zoo_files("chips"))


@cache
def _zoo_machine(name: str) -> Machine:
    return shipped_machine(zoo_files("chips")[name].read_text(encoding="utf-8"), f"{name}.yaml")


def machines() -> list[Machine]:
    """Every chip of the zoo."""
    return [_zoo_machine(name) for name in machine_names()]


@cache
def _zoo_system(name: str) -> Machine:
    file = zoo_file("systems", name)
    return system(file, _one(file["of"]), f"{name}.yaml")


def systems() -> list[Machine]:
    """Every system of the zoo."""
    return [_zoo_system(name) for name in system_names()]


def machine_from_file(path: Path, around: tuple[Path, ...] = ()) -> Machine:
    """The chip, or the system around one, that a YAML file describes; `around` are the files that led to it.

    Raises
    ------
    DovetailError
        The file does not load, names an unknown machine or one that contains it, or has more than `MOST_CHIPS`.
    """
    data = read_yaml(path)
    if "levels" not in data and "of" not in data:
        return machine_from_mapping(data, str(path))
    from dovetail.hardware.checked import check
    from dovetail.hardware.schema import SystemFile

    where, around = str(path), (*around, path.resolve())
    file = check(data, SystemFile, where).model_dump(exclude_none=True)
    if _is_path(file["of"]) and Path(file["of"]).expanduser().resolve() in around:
        raise DovetailError("a system cannot be made of itself", where=f"{where}: of", hint="of: h100-sxm")
    found = system(file, _one(file["of"], around), where)
    _check_count(found.count, where)
    return found


def _check_count(count: int, where: str) -> None:
    if count > MOST_CHIPS:
        raise DovetailError(f"{count:,} chips are too many", where=where, hint=f"at most {MOST_CHIPS:,}")


def _host() -> Machine:
    """This computer, without products of packed weights where its kernels for them do not run."""
    from dovetail.hardware.host import calibration_path, host_machine

    path = calibration_path()
    found = machine_from_file(path) if path.exists() else host_machine()
    return found if found.packed is None or present("packed kernels") else replace(found, packed=None)


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or "/" in name or "\\" in name


def _one(name: str, around: tuple[Path, ...] = ()) -> Machine:
    key = ALIASES.get(name.lower(), name.lower())
    if key == "host":
        return _host()
    if key in zoo_files("chips"):
        return _zoo_machine(key)
    if key in zoo_files("systems"):
        return _zoo_system(key)
    if _is_path(name):
        return machine_from_file(Path(name).expanduser(), around)
    hint = did_you_mean(name, [*machine_names(), *system_names(), *ALIASES, "host"])
    where = f"{around[-1].name}: of" if around else ""
    raise DovetailError(f"unknown machine '{name}'", where=where, hint=f"{hint}; or give the path of a YAML")


def load_machine(name: str | Path | Machine) -> Machine:
    """A machine by name or path.

    Parameters
    ----------
    name : str, Path or Machine
        A chip or system of the zoo or an alias (``h100-sxm``, ``dgx-h100``), ``host``, the path of a YAML file, any of
        them after a count (``"8 x h100-sxm"``, ``"2 x dgx-h100"``); a `Machine` is returned as it is. Several of a
        chip fill systems of the kind that its file names, joined by that system's network; several of a chip
        without one are taken to share one node.

    Raises
    ------
    DovetailError
        Unknown name (the nearest ones are named), a count below one or absurd, or a YAML that does not load.
    """
    if isinstance(name, Machine):
        return name
    text = str(name).strip()
    match = _COUNT.match(text) if not (_is_path(text) and Path(text).expanduser().exists()) else None
    if not match or text.lower() in ALIASES:
        return _one(text)
    count = int(match[1])
    if count < 1:
        raise DovetailError(f"'{text}' asks for {count} chips", hint=f"1 x {match[2]}")
    one = _one(match[2])
    _check_count(count * one.count, text)
    return replace(one, count=count * one.count)
