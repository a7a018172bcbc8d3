"""From a validated YAML to a `Machine`: units are SI already; what the file leaves out is derived, and says so."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hardware import energy
from dovetail.hardware.machine import Efficiency, Machine, MemoryLevel, Source, Stack
from dovetail.hardware.yamlfile import parse_yaml, read_yaml

if TYPE_CHECKING:
    from pathlib import Path

    from dovetail.hardware.schema import MachineFile

NAN = float("nan")
_DEFAULT_STACK = {"gpu": "vllm", "tpu": "vllm", "npu": "vllm", "cpu": "transformers"}
_GUESS = Source("modelled", "no measurement of this chip: usual fractions of the peaks, wide interval")


def zoo_files(folder: str) -> dict[str, Any]:
    """Name to file of the YAMLs that ship in ``hardware/<folder>``."""
    files = resources.files("dovetail.hardware") / folder
    return {file.name[:-5]: file for file in files.iterdir() if file.name.endswith(".yaml")}


def _sources(given: dict[str, Any]) -> dict[str, Source]:
    return {k: Source("datasheet", v) if isinstance(v, str) else Source(v.kind, v.text) for k, v in given.items()}


@cache
def load_stack(name: str) -> tuple[Stack, dict[str, Source]]:
    """A software stack of the zoo and its sources by field. Raises `DovetailError` for an unknown name."""
    from dovetail.hardware.schema import StackFile, check

    files = zoo_files("stacks")
    if name not in files:
        raise DovetailError(f"unknown stack '{name}'", where="stack", hint=did_you_mean(name, list(files)))
    text = files[name].read_text(encoding="utf-8")
    file = check(parse_yaml(text, f"{name}.yaml"), StackFile, f"{name}.yaml")
    fields = file.model_dump(exclude={"title", "launch", "step", "source"})
    return Stack(launch_s=file.launch, step_s=file.step, **fields), _sources(file.source)


def stack_names() -> list[str]:
    """Names of the stacks that ship."""
    return sorted(zoo_files("stacks"))


def _stack(file: MachineFile) -> tuple[Stack, dict[str, Source]]:
    """The stack the file names, with the file's own constants over the stack's."""
    given = file.stack or _DEFAULT_STACK.get(file.kind, "bare")
    stack, known = load_stack(given if isinstance(given, str) else given.name)
    sources = {f"stack.{field}": source for field, source in known.items()}
    if isinstance(given, str):
        return stack, sources
    rename = {"launch": "launch_s", "step": "step_s"}
    changed = given.model_dump(exclude={"name"}, exclude_none=True)
    kept = {path: source for path, source in sources.items() if path.removeprefix("stack.") not in changed}
    return replace(stack, **{rename.get(field, field): value for field, value in changed.items()}), kept


def _energies(file: MachineFile) -> tuple[dict[str, Any], dict[str, Source]]:
    """idle_w, j_per_flop and j_per_byte: the file's where given, derived where not."""
    given = file.energy
    flop = energy.j_per_flop(file.power.tdp, file.peak) | (dict(given.per_flop or {}) if given else {})
    byte = given.per_byte if given and given.per_byte else None
    derived = Source("modelled", energy.ENERGY_SOURCE)
    sources = {
        "power.idle": derived,
        "energy.per_flop": derived,
        "energy.per_byte": Source("modelled", energy.j_per_byte_source(file.memory.type)),
    }
    values = {
        "idle_w": file.power.idle or energy.idle_w(file.power.tdp),
        "j_per_flop": flop,
        "j_per_byte": byte or energy.j_per_byte(file.memory.type),
    }
    given_fields = {
        "power.idle": file.power.idle,
        "energy.per_flop": given and given.per_flop and len(given.per_flop) == len(flop),
        "energy.per_byte": byte,
    }
    return values, {path: source for path, source in sources.items() if not given_fields[path]}


def _efficiency(file: MachineFile) -> tuple[Efficiency, dict[str, Source]]:
    if file.efficiency is None:
        return Efficiency(), {"efficiency": _GUESS}
    return Efficiency(**file.efficiency.model_dump()), {}


def build(file: MachineFile) -> Machine:
    """The `Machine` of a validated file."""
    stack, stack_sources = _stack(file)
    energies, energy_sources = _energies(file)
    efficiency, efficiency_sources = _efficiency(file)
    given = _sources(file.source)
    if file.energy and file.energy.per_flop and "energy.per_flop" in energy_sources and "energy" in given:
        given |= {f"energy.per_flop.{dtype}": given["energy"] for dtype in file.energy.per_flop}
    return Machine(
        name=file.name, title=file.title or file.name, kind=file.kind, vendor=file.vendor, year=file.year or 0,
        peak=dict(file.peak), memory=MemoryLevel(file.memory.type, file.memory.capacity, file.memory.bandwidth),
        caches=tuple(MemoryLevel(level.name, level.capacity, level.bandwidth) for level in file.caches),
        link=file.link or 0.0, tdp_w=file.power.tdp, **energies,
        usd_per_hour=file.price.rent * 3600 if file.price else NAN,
        area_mm2=file.area or NAN, process_nm=round(file.process * 1e9, 6) if file.process else NAN,
        efficiency=efficiency, stack=stack, engines=file.engines,
        sources=stack_sources | energy_sources | efficiency_sources | given,
    )  # fmt: skip


def machine_from_text(text: str, where: str) -> Machine:
    """The machine a YAML text describes; `where` names it in errors. Raises `DovetailError`."""
    from dovetail.hardware.schema import MachineFile, check

    return build(check(parse_yaml(text, where), MachineFile, where))


def machine_from_file(path: Path) -> Machine:
    """The machine a YAML file describes. Raises `DovetailError`."""
    from dovetail.hardware.schema import MachineFile, check

    return build(check(read_yaml(path), MachineFile, str(path)))
