"""What a machine's or a software stack's YAML may hold: units on every number, a source for every section, dense peaks.

Imported only when a YAML is read, because pydantic costs more than the rest of the room together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.quantity import Kind
from dovetail.hardware.fields import (
    Bits,
    Bytes,
    BytesPerSecond,
    Cores,
    Count,
    FlopPerSecond,
    Fraction,
    Hertz,
    InputBits,
    Passes,
    Seconds,
    Share,
    Watts,
    known_dtypes,
    positive,
    refuse,
    whole,
)
from dovetail.hardware.kernels.read import kernels_from
from dovetail.hardware.packed import KERNELS


def _kernels(section: dict[str, Any]) -> dict[str, Any]:
    try:
        kernels_from(section)
    except DovetailError as error:
        raise refuse(error) from None
    return section


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MemorySection(_Section):
    """Main memory; `type` (HBM3, GDDR6, DDR4 …) names the technology, from which energy per byte is derived."""

    capacity: Bytes
    bandwidth: BytesPerSecond
    type: str = "memory"


class CacheSection(_Section):
    """One on-chip level; the list runs from the farthest to the nearest to the cores."""

    name: str
    capacity: Bytes
    bandwidth: BytesPerSecond


class PowerSection(_Section):
    """Board power limit; `idle` is derived when absent."""

    tdp: Watts
    idle: Watts | None = None


class EnergySection(_Section):
    """Dynamic energy; what is absent is derived (`dovetail.hardware.energy`)."""

    per_flop: Annotated[dict[str, Annotated[float, positive("J/flop")]], AfterValidator(known_dtypes)] | None = None
    per_byte: Annotated[float, positive("J/byte")] | None = None


class PriceSection(_Section):
    """Rental of one chip, and what it costs to buy where that is known."""

    rent: Annotated[float, positive("USD/s")]
    buy: Annotated[float, positive("USD")] | None = None


class TransportSection(_Section):
    """What one algorithm of a communication library reaches on the chip's links (`dovetail.hardware.fabric`)."""

    library: str
    algorithm: Literal["ring", "one_shot", "two_shot", "in_network"]
    launch: Seconds
    hop: Seconds
    reached: Share
    own: Count = 0.0
    fill: Count = 0.0
    most: Bytes | None = None
    stack: str = ""


class EfficiencySection(_Section):
    """Reached fractions of the peaks, and the half-width of a 90 % interval on a time made from them."""

    compute: Share
    memory: Share
    overlap: Fraction = 1.0
    spread: Annotated[float, positive("")] = 0.4
    attention: Annotated[float, positive("")] = 1.0
    score_flops: Annotated[float, positive("", zero=True)] = 0.0


class PackedProductSection(_Section):
    """One kernel for packed weights (`dovetail.hardware.packed`)."""

    weight: Seconds
    peak: FlopPerSecond


def _every_kernel(table: dict[str, PackedProductSection]) -> dict[str, PackedProductSection]:
    for name in table:
        if name not in KERNELS:
            raise refuse(DovetailError(f"unknown kernel '{name}'", hint=did_you_mean(name, list(KERNELS))))
    if lost := [name for name in KERNELS if name not in table]:
        raise refuse(DovetailError(f"no '{lost[0]}'", hint=", ".join(KERNELS)))
    return table


class PackedSection(_Section):
    """Kernels that leave integer weights packed on a CPU whose stack unpacks them."""

    launch: Seconds
    rows: Annotated[float, positive(""), AfterValidator(whole)]
    bandwidth: BytesPerSecond
    rounds: bool = False
    products: Annotated[dict[str, PackedProductSection], AfterValidator(_every_kernel)]


class ArraysSection(_Section):
    """Arrays that multiply with the weights they hold (`dovetail.hardware.stationary`)."""

    weights: Count
    passing: Seconds
    latency: Seconds
    per_weight: Annotated[float, positive("J")]


class IntegerArraySection(_Section):
    """The array of `dovetail compile` (`dovetail.hardware.integer_array`)."""

    rows: Count
    columns: Count
    lanes: Count
    tile: Count
    buffers: Bytes


class StackSection(_Section):
    """A stack by name, with what this machine does differently."""

    name: str
    launch: Seconds | None = None
    step: Seconds | None = None
    reserve: Fraction | None = None
    chunk: Count | None = None
    page: Count | None = None
    packed_weights: bool | None = None
    unpacks: bool | None = None
    packed_bits: tuple[Bits, ...] | None = None
    packed_inputs: tuple[InputBits, ...] | None = None
    compute: str | None = None
    kv_passes: Passes | None = None
    pointwise_passes: Passes | None = None
    weight_passes: Passes | None = None
    unpack_flops: Annotated[float, positive("", zero=True)] | None = None


class SourceSection(_Section):
    """Where numbers come from, when not a datasheet."""

    kind: Kind
    text: Annotated[str, Field(min_length=3)]


Sources = dict[str, Annotated[str, Field(min_length=3)] | SourceSection]


class MachineFile(_Section):
    """A machine's YAML. Every number has a unit, and a source under its dotted path or an ancestor of it."""

    name: Annotated[str, Field(min_length=1)]
    title: str = ""
    vendor: str = ""
    kind: Literal["gpu", "tpu", "npu", "cpu", "fpga", "asic", "pim", "crossbar"] = "gpu"
    year: Annotated[int, Field(ge=1970, le=2100)] | None = None
    note: str = ""
    process: Annotated[float, positive("m")] | None = None
    area: Annotated[float, positive("mm2")] | None = None
    cores: Cores | None = None
    clock: Hertz | None = None
    peak: Annotated[dict[str, FlopPerSecond], AfterValidator(known_dtypes)]
    memory: MemorySection
    caches: tuple[CacheSection, ...] = ()
    link: BytesPerSecond | None = None
    host_link: BytesPerSecond | None = None
    fabric: tuple[TransportSection, ...] = ()
    system: str | None = None
    kernels: Annotated[dict[str, dict[str, dict[str, Any]]], AfterValidator(_kernels)] | None = None
    packed: PackedSection | None = None
    arrays: ArraysSection | None = None
    integer_array: IntegerArraySection | None = None
    power: PowerSection
    energy: EnergySection | None = None
    price: PriceSection | None = None
    efficiency: EfficiencySection | None = None
    stack: str | StackSection | None = None
    engines: tuple[str, ...] = ()
    source: Sources


class StackFile(_Section):
    """A software stack's YAML."""

    name: str
    title: str = ""
    launch: Seconds
    step: Seconds
    reserve: Fraction
    chunk: Count
    page: Count = 0.0
    packed_weights: bool
    unpacks: bool = True
    packed_bits: tuple[Bits, ...] = ()
    packed_inputs: tuple[InputBits, ...] = ()
    compute: str = ""
    kv_passes: Passes
    pointwise_passes: Passes
    weight_passes: Passes
    unpack_flops: Annotated[float, positive("", zero=True)]
    source: Sources


class LevelSection(_Section):
    """One level of fabric of a system (`dovetail.hardware.fabric`)."""

    name: str
    ways: Annotated[int, Field(ge=2)]
    topology: Literal["switch", "mesh", "ring", "torus", "pcie"]
    bandwidth: BytesPerSecond
    latency: Seconds = 0.0
    ports: Annotated[int, Field(ge=1)] = 1
    in_network: bool = False


class NetworkSection(LevelSection):
    """What joins several of a system: as many as there are."""

    ways: Annotated[int, Field(ge=2)] = 1 << 20


class SystemFile(_Section):
    """A system's YAML: a chip, or a smaller system, with levels of fabric around it, innermost first."""

    name: Annotated[str, Field(min_length=1)]
    title: str = ""
    vendor: str = ""
    year: Annotated[int, Field(ge=1970, le=2100)] | None = None
    note: str = ""
    of: Annotated[str, Field(min_length=1)]
    levels: Annotated[tuple[LevelSection, ...], Field(min_length=1)]
    network: NetworkSection | None = None
    system_power: Watts | None = None
    source: Sources
