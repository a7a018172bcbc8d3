"""A design on an integer array, measured as far as it can be: its RTL decodes tokens in Verilator.

What is counted are cycles. The clock and the memory's latency and bandwidth are the design's own numbers, so that the
time a token takes is only as well known as they are.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import TYPE_CHECKING

from dovetail.core.content import digest
from dovetail.core.errors import CHECK_FAILED, DovetailError
from dovetail.core.quantity import Quantity
from dovetail.core.units import show
from dovetail.design.buildable import context_of, integers_of, not_built
from dovetail.design.resolve import weights_of
from dovetail.hardware.integer_array import IntegerArray
from dovetail.hardware.machine import Machine
from dovetail.hardware.templates.asic import LATENCY
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

if TYPE_CHECKING:
    from dovetail.accel.choose.candidates import Candidate
    from dovetail.accel.choose.simulated import Simulated
    from dovetail.accel.compile.shape import Shape
    from dovetail.accel.golden.model import IntegerModel
    from dovetail.runtime.load import Loaded

TOKENS = 3  # that a simulation makes: the first ends the prompt's passes, each other has a pass of its own
FAMILY = "asic"  # whose resources are counted


@dataclass(frozen=True, slots=True)
class Counted:
    """Cycles of passes of one token each, simulated and by the cycle model, and bits that were compared."""

    cycles: tuple[int, ...]
    predicted: float
    bits: int

    def tpot(self, machine: Machine) -> Quantity:
        """Seconds at the clock of `machine`: modelled, for nothing says that a chip reaches it."""
        clock = float(machine.clock_hz)
        source = f"simulated RTL: {fmean(self.cycles):,.0f} cycles a token, 0 of {self.bits:,} bits wrong; "
        source += f"{show(clock, 'Hz')} and memory of {show(float(machine.memory.bandwidth), 'byte/s')} assumed"
        low, high = min(self.cycles) / clock, max(self.cycles) / clock
        return Quantity(fmean(self.cycles) / clock, low, high, "s", "modelled", source)


class Simulator:
    """Builds simulators in a folder of its own, one for all designs with the same Verilog; leaves nothing behind.

    Raises
    ------
    DovetailError
        No Verilator, or what it needs, when it is entered.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._folder = Path()
        self._lowered = lru_cache(maxsize=4)(lowered)

    def __enter__(self) -> Simulator:
        from dovetail.accel.simulate.verilator import verilator

        verilator()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dovetail-rtl-")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def count(self, model: Model, machine: Machine, recipe: Recipe, work: Workload) -> Counted:
        """Decode a few tokens of a scalar workload at its mean context.

        Raises
        ------
        DovetailError
            A design that cannot be built, weights that are not here, a simulation that fails or whose bits differ from
            the golden model's (exit code 4).
        """
        from dovetail.accel.choose.simulated import simulated

        if why := not_built(model, machine, recipe, work):
            raise DovetailError("this design cannot be simulated", where=machine.name, why=why)
        loaded, integers = self._lowered(weights_of(model), integers_of(recipe), int(context_of(work)))
        chosen, prompt = _candidate(integers, machine), prompt_of(loaded, _before(work))
        found = simulated(integers, chosen, prompt, TOKENS, self._built(chosen))
        if found.comparison.bits_different:
            why = found.first_difference
            raise DovetailError("the simulated RTL is wrong", where=machine.name, why=why, exit_code=CHECK_FAILED)
        return _counted(found, len(prompt))

    def _built(self, chosen: Candidate) -> Path:
        """The folder of the simulator of a design's Verilog."""
        from dovetail.accel.rtl.emit import emit
        from dovetail.accel.simulate.verilator import build, write

        program = chosen.program
        folder = self._folder / digest([emit(program.shape, program.gate), program.shape])[:16]
        if not folder.exists():
            folder.mkdir()
            write(program, folder)
            build(folder)
        return folder


def lowered(folder: Path, integers: str, context: int) -> tuple[Loaded, IntegerModel]:
    """A checkpoint, and its integers for a context."""
    from dovetail.accel.lowering.folder import lower
    from dovetail.accel.lowering.lower import Scheme
    from dovetail.runtime.load import load

    loaded = load(folder)
    return loaded, lower(loaded, Scheme(integers), context=context)


def _before(work: Workload) -> int:
    """Tokens of the prompt: the mean context, or fewer where the memory would end before the counted passes."""
    return min(int(work.mean_context), int(context_of(work)) - TOKENS)


def prompt_of(loaded: Loaded, tokens: int) -> list[int]:
    """So many tokens of a text that calibration did not see."""
    from dovetail.runtime.corpus import held_out_text

    ids = list(loaded.tokenizer(held_out_text(16 * tokens + 64)).input_ids)
    return (ids * (tokens // len(ids) + 1))[:tokens]


def shape_of(held: IntegerArray) -> Shape:
    """The accelerator's parameters of an array."""
    from dovetail.accel.compile.shape import Shape

    return Shape(int(held.rows), int(held.columns), int(held.lanes), tile=int(held.tile))


def _candidate(integers: IntegerModel, machine: Machine) -> Candidate:
    from dovetail.accel.choose.candidates import candidate

    held = machine.integer_array
    if held is None:
        raise DovetailError(f"{machine.name} has no integer array", where="simulation", hint="format: integers")
    bandwidth, clock = float(machine.memory.bandwidth), float(machine.clock_hz)
    found = candidate(integers, shape_of(held), FAMILY, bandwidth, clock, LATENCY)
    if found is None:
        raise DovetailError("this design cannot be simulated", where=machine.name, why="its array does not hold it")
    return found


def _counted(found: Simulated, prompt: int) -> Counted:
    one = [each for each in found.passes if each["tokens"] == 1 and each["position"] >= prompt]
    cycles = tuple(int(each["simulated"]) for each in one)
    return Counted(cycles, fmean(each["predicted"] for each in one), found.comparison.bits)
