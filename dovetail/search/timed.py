"""Times of designs measured one after the other: on this computer, or by simulating the RTL of an integer array."""

from __future__ import annotations

import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from dovetail.core.content import digest
from dovetail.core.errors import DovetailError
from dovetail.core.quantity import Kind, Quantity
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.workload import Workload

if TYPE_CHECKING:
    from dovetail.design.simulate import Simulator
    from dovetail.runtime.load import Loaded

_KEPT = 3  # models that a recipe was applied to, on disk at once
Report = Callable[[str], None]
Ends = tuple[float, float, float]  # a value, its low and its high


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of a token after the first, and of the first where that was measured; `kind` and `source` of both."""

    tpot: Ends
    ttft: Ends | None = None
    kind: Kind = "measured"
    source: str = ""

    @property
    def mean(self) -> Quantity:
        """The time of a token after the first."""
        return Quantity(*self.tpot, "s", self.kind, self.source)


class Timer:
    """Measures; use as a context manager, which holds models and simulators on disk.

    Parameters
    ----------
    prefill : bool
        Whether the first token is measured too, on this computer.
    seconds : float
        Of decode, and of prefill, for each design on this computer.
    applied : Path, optional
        Where all models after their recipes stay, and are looked for; by default a few do, until the context ends.
    """

    def __init__(self, prefill: bool, seconds: float, report: Report, applied: Path | None = None) -> None:
        self.prefill, self.seconds, self.report, self.applied = prefill, seconds, report, applied
        self._known: dict[str, Times] = {}
        self._applied: OrderedDict[str, Path] = OrderedDict()
        self._loaded: tuple[str, Loaded] | None = None
        self._simulator: Simulator | None = None
        self._stack, self._folder = ExitStack(), Path()

    def __enter__(self) -> Timer:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dovetail-")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loaded = None
        self._stack.__exit__(kind, error, at)

    def __call__(self, model: Model, machine: Machine, recipe: Recipe, work: Workload) -> Times:
        """The times of a design, measured once.

        Raises
        ------
        DovetailError
            Weights that are not here, a recipe that cannot be applied, no Verilator, RTL that is wrong.
        """
        numbers = [int(work.batch), int(work.prompt), int(work.output)]
        where = machine if machine.integer_array else machine.name
        key = digest([_who(model), recipe.content(), where, numbers])
        if key not in self._known:
            batch, prompt, output = numbers
            what = "simulating the RTL of" if machine.integer_array else "measuring"
            self.report(f"{what} {recipe.name} at batch {batch}, prompt {prompt}, output {output}")
            ask = self._count if machine.integer_array else self._run
            self._known[key] = ask(model, machine, recipe, work)
        return self._known[key]

    def _count(self, model: Model, machine: Machine, recipe: Recipe, work: Workload) -> Times:
        from dovetail.design.simulate import Simulator

        if self._simulator is None:
            self._simulator = self._stack.enter_context(Simulator())
        found = self._simulator.count(model, machine, recipe, work).tpot(machine)
        return Times((found.value, found.low, found.high), kind=found.kind, source=found.source)

    def _run(self, model: Model, machine: Machine, recipe: Recipe, work: Workload) -> Times:
        from dovetail.design.shapes import clock
        from dovetail.runtime.speed import decode_speed, prefill_speed

        loaded, batch, prompt = self._load(model, machine, recipe), int(work.batch), int(work.prompt)
        decode = decode_speed(loaded, int(work.mean_context), batch=batch, budget_s=self.seconds, clock=clock())
        tpot = batch / decode.tokens_per_s, batch / decode.high, batch / decode.low
        source = f"{decode.repeats} repeats on this computer"
        if not self.prefill:
            return Times(tpot, source=source)
        read = prefill_speed(loaded, prompt, batch=batch, budget_s=self.seconds, clock=clock())
        tokens = batch * prompt
        return Times(tpot, (tokens / read.tokens_per_s, tokens / read.high, tokens / read.low), source=source)

    def _load(self, model: Model, machine: Machine, recipe: Recipe) -> Loaded:
        from dovetail.runtime.load import load

        path = self.path(model, recipe)
        if self._loaded is None or self._loaded[0] != str(path):
            self._loaded = None  # before the next one is in memory
            self._loaded = str(path), load(path, kernels="dense" if machine.packed is None else "auto")
        return self._loaded[1]

    def path(self, model: Model, recipe: Recipe) -> Path:
        """The model with the recipe applied; the few that were used last stay on disk."""
        if model.folder is None:
            raise DovetailError(f"{model.name} cannot be measured", why="its weights are not here")
        if not recipe.methods:
            return model.folder
        if self.applied is not None:
            made = self.applied / digest([Checkpoint.open(model.folder).content(), recipe.content()])[:16]
            return made if made.exists() else recipe.apply(model.folder, made, report=self.report).path
        key = digest([_who(model), recipe.content()])[:16]
        if key not in self._applied:
            while len(self._applied) >= _KEPT:
                shutil.rmtree(self._applied.popitem(last=False)[1], ignore_errors=True)
            self._applied[key] = recipe.apply(model.folder, self._folder / key, report=self.report).path
        self._applied.move_to_end(key)
        return self._applied[key]


def _who(model: Model) -> str:
    """What tells models apart: their folders, of which several may have one name."""
    return str(model.folder or model.name)
