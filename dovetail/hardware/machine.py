"""Machines: what runs a model. Numbers are SI floats (or arrays of design points); each carries its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dovetail.core.content import ByContent
from dovetail.core.errors import INFEASIBLE, DovetailError, did_you_mean
from dovetail.core.formats import DTYPE_BYTES, Number, nearest_dtypes
from dovetail.core.quantity import Kind
from dovetail.hardware.fabric import Level, Transport
from dovetail.hardware.integer_array import IntegerArray
from dovetail.hardware.kernels import Kernels
from dovetail.hardware.packed import Packed
from dovetail.hardware.stationary import Stationary


@dataclass(frozen=True, slots=True)
class Source:
    """Where a number comes from."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class MemoryLevel(ByContent):
    """One level of memory: capacity in bytes, bandwidth in bytes/s."""

    name: str
    capacity: Number
    bandwidth: Number


@dataclass(frozen=True, slots=True, eq=False)
class Stack(ByContent):
    """The software between the graph and the chip: what it costs to start an operator, and what it can execute packed.

    Parameters
    ----------
    launch_s : Number
        Time from one operator's end to the next one's start, beyond what the chip needs.
    step_s : Number
        Fixed time of one forward pass (scheduling, sampling, the Python around it).
    packed_weights : bool
        True: weight-only formats are read packed by fused kernels. False: there are none, and `unpacks` says what then.
    unpacks : bool
        Only where `packed_weights` is False. True: weights are unpacked to `compute` at load, so neither memory nor
        time falls (``transformers`` on a CPU). False: a checkpoint with packed weights does not run (vLLM on a TPU).
    packed_bits : tuple of int
        Bits of packed integer weights that the stack has kernels for; empty for any.
    packed_inputs : tuple of int
        Bits of inputs that its kernels multiply with such weights, 16 for floats as they are; empty for any.
    compute : str
        Dtype that activations and unpacked weights have when the chip or stack has no other ("" for the model's own).
    reserve : float
        Fraction of the memory the stack leaves free.
    chunk : Number
        Tokens prefilled at once, which bounds the activations; 0 for all of them.
    page : Number
        Tokens of one page of the KV cache, of which a sequence takes whole ones; 0 where caches are not paged.
    kv_passes : Number
        How often each cached byte moves in a step: 1 with paged kernels, more where the cache is concatenated anew.
    weight_passes : Number
        How often each weight moves in a product of more than one row: 1 on GPUs, more where a library repacks the
        matrix first. A single row always reads it once.
    unpack_flops : Number
        What a fused kernel spends to unpack one packed weight, in FLOPs at the compute dtype's peak, not hidden
        behind the rest.
    pointwise_passes : Number
        How often the operands of one pointwise operator move: 1 when fused, more where eager code makes several
        kernels of it.
    """

    name: str
    launch_s: Number = 0.0
    step_s: Number = 0.0
    packed_weights: bool = True
    unpacks: bool = True
    packed_bits: tuple[int, ...] = ()
    packed_inputs: tuple[int, ...] = ()
    compute: str = ""
    reserve: float = 0.1
    chunk: Number = 0.0
    kv_passes: Number = 1.0
    pointwise_passes: Number = 1.0
    unpack_flops: Number = 0.0
    weight_passes: Number = 1.0
    page: Number = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Efficiency(ByContent):
    """How much of its peaks a chip reaches: named constants, measured where `kind` says so.

    `attention` is the compute efficiency of attention relative to that of matrix products. `spread` is the relative
    half-width of a 90 % interval on a time made from these constants.
    """

    compute: Number = 0.7
    memory: Number = 0.8
    overlap: Number = 1.0  # 1: compute and memory overlap fully (max); 0: they add up
    spread: float = 0.4
    attention: Number = 1.0
    score_flops: Number = 0.0  # what the softmax of one score costs, in FLOPs at the reached peak


@dataclass(frozen=True, slots=True, eq=False)
class Machine(ByContent):
    """A chip, `count` equal ones, or a system: chips with levels of fabric around them.

    Parameters
    ----------
    peak : mapping of str to Number
        Dense FLOP/s (OP/s) by dtype.
    memory : MemoryLevel
        Main memory. `caches` are the levels nearer to the cores, nearest last.
    link : Number
        Bytes/s per direction to the other chips of the node, all ports together; 0 when alone.
    host_link : Number
        Bytes/s per direction to the memory of its host (PCI Express, NVLink-C2C); 0 when unknown.
    levels : tuple of Level
        What joins the chips, innermost first; empty where no system with this chip is known: all are on their links.
        The innermost level has the bandwidth of `link`.
    kernels : Kernels or None
        Constants of the kernels that cut work into tiles for its cores; None where operators are priced by a roofline.
    packed : Packed or None
        Constants of kernels that leave integer weights packed where the stack unpacks; None where there are none.
    stationary : Stationary or None
        Arrays that hold weights and multiply with them in place; None where weights come from memory.
    integer_array : IntegerArray or None
        The array of `dovetail compile`, priced by its cycles; None for any other machine.
    fabric : tuple of Transport
        Constants of the communication libraries on this chip; empty for bandwidth alone.
    chip, unit : str, int
        Of a system: the chip it is made of, and how many of them; "" and 1 for a chip.
    system : str
        The system of the zoo whose levels a chip has.
    system_w : Number
        Power limit of the whole system, hosts and fans included; NaN when unknown.
    tdp_w, idle_w : Number
        Board power limit and draw when idle.
    j_per_flop : mapping of str to Number
        Dynamic energy per FLOP by dtype; `j_per_byte` of main memory traffic.
    usd_per_hour, price_usd : Number
        Rental and purchase price of one chip; NaN when unknown.
    cores, clock_hz : Number
        What runs one tile at a time (streaming multiprocessors, compute units, Xe cores, TensorCores …) and its clock,
        the one that the dense 16-bit peak is stated at; 0 and NaN when unknown or without meaning.
    sources : mapping of str to Source
        Dotted field (``peak.bf16``) to where its number comes from.
    """

    name: str
    title: str
    kind: str  # gpu, tpu, npu, cpu, fpga …
    vendor: str
    peak: Mapping[str, Number]
    memory: MemoryLevel
    caches: tuple[MemoryLevel, ...]
    link: Number
    tdp_w: Number
    idle_w: Number
    j_per_flop: Mapping[str, Number]
    j_per_byte: Number
    usd_per_hour: Number
    area_mm2: Number
    process_nm: Number
    efficiency: Efficiency
    stack: Stack
    year: int = 0
    cores: Number = 0
    clock_hz: Number = float("nan")
    count: int = 1
    engines: tuple[str, ...] = ()  # serving engines that run on it: vllm, sglang, …
    sources: Mapping[str, Source] = field(default_factory=dict)
    levels: tuple[Level, ...] = ()
    kernels: Kernels | None = None
    packed: Packed | None = None
    fabric: tuple[Transport, ...] = ()
    chip: str = ""
    unit: int = 1
    system: str = ""
    system_w: Number = float("nan")
    host_link: Number = 0.0
    stationary: Stationary | None = None
    integer_array: IntegerArray | None = None
    price_usd: Number = float("nan")

    @property
    def label(self) -> str:
        """What `--on` calls it: ``8 x h100-sxm``, ``dgx-h100``, ``2 x dgx-h100``."""
        units = self.count // self.unit
        return f"{units} x {self.name}" if units > 1 else self.name

    @property
    def node(self) -> int:
        """Chips that the innermost level of fabric joins, as far as there are so many."""
        return min(self.count, self.levels[0].ways) if self.levels else self.count

    def peak_of(self, dtype: str) -> Number:
        """Dense peak for a dtype. Raises `DovetailError` naming the nearest that this machine has."""
        if dtype not in self.peak:
            near = nearest_dtypes(dtype, self.peak) if dtype in DTYPE_BYTES else []
            hint = f"the nearest it has: {' or '.join(near)}" if near else did_you_mean(dtype, list(self.peak))
            raise DovetailError(
                f"{self.name} has no {dtype} arithmetic", where=f"peak.{dtype}", hint=hint, exit_code=INFEASIBLE
            )
        return self.peak[dtype]

    def source(self, path: str) -> Source:
        """The source of a field, of its nearest ancestor (``peak`` for ``peak.bf16``), or "modelled"."""
        while path:
            if path in self.sources:
                return self.sources[path]
            path = path.rpartition(".")[0]
        return Source("modelled", "derived")
