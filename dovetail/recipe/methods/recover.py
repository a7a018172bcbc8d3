"""Recovery: a short training after rounding, in which what is stored learns to say what the dense model says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.crossbar.cells import Cells
from dovetail.model.graph import Graph
from dovetail.recipe.arithmetic.slices import Price
from dovetail.recipe.method import Form, method
from dovetail.recipe.targets import map_targets

if TYPE_CHECKING:
    from dovetail.model.operators import Weight
    from dovetail.recipe.layerwise.calibration import Calibration
    from dovetail.recipe.layerwise.job import Job
    from dovetail.runtime.checkpoint import Checkpoint

_PRICED = ("balanced", "differential")


@method("recover")
@dataclass(frozen=True, slots=True)
class Recover:
    """Train integers after they were rounded, until they predict a calibration text as the dense model does.

    Quantisation-aware distillation of the whole model: the forward pass computes with what is stored, gradients pass
    the rounding; scales, norms and the embedding learn as well. What is stored keeps its size and form. With a `price`,
    codes that leave cells of a crossbar empty are chosen before and while it trains, at the least cost to predictions
    (`bit-slice` rounds so, by the errors of single layers, and trains nothing).
    """

    steps: int = 300  # 0: priced codes are chosen, and nothing is trained
    batch: int = 4  # sequences of a step
    rate: float = 0.001  # of Adam at its highest, in root mean squares of each matrix
    price: float = 0.0  # of a cell that is not empty, in what a weight contributes to predictions; 0: no matter
    level: float = 0.0  # of each level of a cell, in prices of a cell
    bits: int = 0  # of priced codes with their sign, 3 to 8: fewer take fewer slices; 0: as stored
    encoding: str = "differential"  # of codes in cells, where they have a price; balanced: smaller sums, more cells
    cell: int = 2  # bits of a cell: 1, 2 or 4
    seed: int = 0  # of the order of sequences

    takes: ClassVar[Form] = "packed"
    leaves: ClassVar[Form] = "packed"

    def __post_init__(self) -> None:
        if self.steps < (self.price == 0):
            raise DovetailError(f"{self.steps} steps", where="recover.steps", hint="300; 0 with a price of cells")
        if self.batch < 1:
            raise DovetailError(f"{self.batch} sequences", where="recover.batch", hint="4: 1 or more")
        if not 0 < self.rate < 1:
            raise DovetailError(f"a rate of {self.rate}", where="recover.rate", hint="0.001: above 0, below 1")
        if not 0 <= self.price < inf:
            raise DovetailError(f"a price of {self.price}", where="recover.price", hint="0 or more; 0.01 is mild")
        if self.bits and not 3 <= self.bits <= 8:
            raise DovetailError(f"codes of {self.bits} bits", where="recover.bits", hint="3 to 8; 0: as stored")
        Cells(self.cell, self.encoding)
        if self.encoding not in _PRICED:
            raise DovetailError(f"no prices of cells in '{self.encoding}'", where="recover.encoding",
                                hint="balanced or differential")  # fmt: skip
        self.prices(8)

    def prices(self, bits: int) -> Price:
        """What codes of so many bits, the sign among them, cost."""
        return Price(
            self.price, self.level, min(bits, self.bits or bits) - 1, self.cell, balanced=self.encoding == "balanced"
        )

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(2, 2), cls(2, 1, price=0.05, encoding="balanced")

    def rewrite(self, graph: Graph) -> Graph:
        seen: list[bool] = []

        def look(weight: Weight) -> Weight:
            seen.append(weight.format.dtype.startswith("int"))
            return weight

        map_targets(graph, look)
        if not any(seen):
            hint = "gptq, rtn or bit-slice before it"
            raise DovetailError("nothing to recover", why="no weights are integers", hint=hint, exit_code=INFEASIBLE)
        return graph

    def training_bytes(self, checkpoint: Checkpoint, calibration: Calibration) -> Mapping[str, float]:
        """Most memory while it trains, by what it is for."""
        from dovetail.recipe.recovery.memory import training_bytes

        return training_bytes(checkpoint, calibration, self.batch)

    def on_model(self, checkpoint: Checkpoint, job: Job) -> Checkpoint:
        from dovetail.recipe.recovery.run import recovered
        from dovetail.recipe.recovery.training import Schedule

        schedule = Schedule(self.steps, self.batch, self.rate, seed=self.seed)
        return recovered(checkpoint, job, schedule, self.prices)
