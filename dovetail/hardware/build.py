"""From a validated YAML to a `Machine`: units are SI already; what the file leaves out is derived, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hardware import energy
from dovetail.hardware.fabric import FASTEST_PCIE
from dovetail.hardware.integer_array import SIZES, IntegerArray
from dovetail.hardware.machine import Efficiency, Machine, MemoryLevel, Source, Stack
from dovetail.hardware.packed import Packed, PackedProduct
from dovetail.hardware.relatives import fabric_of, kernels_of
from dovetail.hardware.shipped import in_si
from dovetail.hardware.stationary import Stationary
from dovetail.hardware.systems import level_sources, levels_of
from dovetail.hardware.yamlfile import parse_yaml
from dovetail.hardware.zoo import sources_of, zoo_files

NAN = float("nan")
_RENAMED = {"launch": "launch_s", "step": "step_s"}
_DEFAULT_STACK = {"gpu": "vllm", "tpu": "vllm", "npu": "vllm", "cpu": "transformers"}
_GUESS = Source("modelled", "no measurement of this chip: usual fractions of the peaks, wide interval")


@cache
def load_stack(name: str) -> tuple[Stack, dict[str, Source]]:
    """A software stack of the zoo and its sources by field. Raises `DovetailError` for an unknown name."""
    files = zoo_files("stacks")
    if name not in files:
        raise DovetailError(f"unknown stack '{name}'", where="stack", hint=did_you_mean(name, list(files)))
    file = in_si(parse_yaml(files[name].read_text(encoding="utf-8"), f"{name}.yaml"))
    fields = {_RENAMED.get(k, k): v for k, v in file.items() if k not in ("title", "source")}
    return Stack(**fields), sources_of(file["source"])


def stack_names() -> list[str]:
    """Names of the stacks that ship."""
    return sorted(zoo_files("stacks"))


def _stack(file: Mapping[str, Any]) -> tuple[Stack, dict[str, Source]]:
    """The stack the file names, with the file's own constants over the stack's."""
    given = file.get("stack") or _DEFAULT_STACK.get(file.get("kind", "gpu"), "bare")
    stack, known = load_stack(given if isinstance(given, str) else given["name"])
    sources = {f"stack.{field}": source for field, source in known.items()}
    if isinstance(given, str):
        return stack, sources
    changed = {field: value for field, value in given.items() if field != "name"}
    kept = {path: source for path, source in sources.items() if path.removeprefix("stack.") not in changed}
    return replace(stack, **{_RENAMED.get(field, field): value for field, value in changed.items()}), kept


def _energies(file: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Source]]:
    """idle_w, j_per_flop and j_per_byte: the file's where given, derived where not."""
    given, power, kind = file.get("energy", {}), file["power"], file["memory"].get("type", "memory")
    flop = energy.j_per_flop(power["tdp"], file["peak"]) | given.get("per_flop", {})
    derived = Source("modelled", energy.ENERGY_SOURCE)
    sources = {
        "power.idle": derived,
        "energy.per_flop": derived,
        "energy.per_byte": Source("modelled", energy.j_per_byte_source(kind)),
    }
    values = {
        "idle_w": power.get("idle") or energy.idle_w(power["tdp"]),
        "j_per_flop": flop,
        "j_per_byte": given.get("per_byte") or energy.j_per_byte(kind),
    }
    given_fields = {
        "power.idle": power.get("idle"),
        "energy.per_flop": len(given.get("per_flop", {})) == len(flop),
        "energy.per_byte": given.get("per_byte"),
    }
    return values, {path: source for path, source in sources.items() if not given_fields[path]}


def build(file: Mapping[str, Any]) -> Machine:
    """The `Machine` of a validated file: a nested mapping, numbers in SI, absent where the file leaves them out."""
    stack, stack_sources = _stack(file)
    energies, energy_sources = _energies(file)
    given, flops = sources_of(file["source"]), file.get("energy", {}).get("per_flop", {})
    if flops and "energy.per_flop" in energy_sources and "energy" in given:
        given |= {f"energy.per_flop.{dtype}": given["energy"] for dtype in flops}
    guessed = {} if "efficiency" in file else {"efficiency": _GUESS}
    memory, price = file["memory"], file.get("price")
    fabric, fabric_source = fabric_of(file)
    kernels, kernels_source = kernels_of(file, stack.name)
    home = file.get("system") or ""
    host_link, host_source = _host_link(file, given)
    return Machine(
        name=file["name"], title=file.get("title") or file["name"], kind=file.get("kind", "gpu"),
        vendor=file.get("vendor", ""), year=file.get("year") or 0,
        cores=int(file.get("cores") or 0), clock_hz=file.get("clock") or NAN, peak=dict(file["peak"]),
        memory=MemoryLevel(memory.get("type", "memory"), memory["capacity"], memory["bandwidth"]),
        caches=tuple(MemoryLevel(c["name"], c["capacity"], c["bandwidth"]) for c in file.get("caches", ())),
        link=file.get("link") or 0.0, tdp_w=file["power"]["tdp"], **energies,
        usd_per_hour=price["rent"] * 3600 if price else NAN, price_usd=(price or {}).get("buy") or NAN,
        area_mm2=file.get("area") or NAN, process_nm=round(file["process"] * 1e9, 6) if file.get("process") else NAN,
        efficiency=Efficiency(**file.get("efficiency", {})), stack=stack, engines=tuple(file.get("engines", ())),
        sources=stack_sources | energy_sources | guessed | fabric_source | kernels_source | level_sources(home)
        | host_source | given,
        kernels=kernels, packed=_packed(file.get("packed")), fabric=fabric, system=home, levels=levels_of(home),
        host_link=host_link, stationary=_stationary(file.get("arrays")),
        integer_array=_integer_array(file),
    )  # fmt: skip


def _stationary(section: Mapping[str, Any] | None) -> Stationary | None:
    if section is None:
        return None
    return Stationary(section["weights"], section["passing"], section["latency"], section["per_weight"])


def _integer_array(file: Mapping[str, Any]) -> IntegerArray | None:
    section = file.get("integer_array")
    if section is None:
        return None
    if not file.get("clock"):
        why = "an integer array is priced by its cycles"
        raise DovetailError("the clock is missing", where=f"{file['name']}: clock", why=why, hint="clock: 500 MHz")
    return IntegerArray.of(*(section[name] for name in SIZES))


def _packed(section: Mapping[str, Any] | None) -> Packed | None:
    if section is None:
        return None
    products = {name: PackedProduct(each["weight"], each["peak"]) for name, each in section["products"].items()}
    return Packed(section["launch"], section["rows"], section["bandwidth"], products, section.get("rounds", False))


def shipped_machine(text: str, where: str) -> Machine:
    """The machine of a YAML that ships: held to the schema by tests, not at every start."""
    return build(in_si(parse_yaml(text, where)))


def machine_from_text(text: str, where: str) -> Machine:
    """The chip a YAML text describes; `where` names it in errors. Raises `DovetailError`."""
    return machine_from_mapping(parse_yaml(text, where), where)


def machine_from_mapping(data: dict[str, Any], where: str) -> Machine:
    """The chip that a YAML's mapping describes. Raises `DovetailError`."""
    from dovetail.hardware.checked import check
    from dovetail.hardware.schema import MachineFile

    return build(check(data, MachineFile, where).model_dump(exclude_none=True))


def _host_link(file: Mapping[str, Any], given: Mapping[str, Source]) -> tuple[float, dict[str, Source]]:
    """Bytes/s to the host, and their source: a GPU's link no faster than PCI Express is that to its host."""
    link = float(file.get("link") or 0.0)
    if file.get("host_link") or file.get("kind", "gpu") != "gpu" or not 0 < link <= FASTEST_PCIE:
        return float(file.get("host_link") or 0.0), {}
    return link, {"host_link": given["link"]} if "link" in given else {}
