"""Medusa (Cai et al., arXiv 2401.10774): small heads guess the tokens to come, and one pass verifies a tree of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Format, plain
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear, Operator, Scan, Weight
from dovetail.model.step import ACTIVATION_FLOPS
from dovetail.recipe.method import method
from dovetail.recipe.speculation.accuracy import (
    PUBLISHED,
    Accuracies,
    as_accuracies,
    check_width,
    measured,
    tokens_per_step,
)
from dovetail.recipe.speculation.guessing import Guessing, head_operator, logits, pointwise, verifying

if TYPE_CHECKING:
    from dovetail.runtime.decoding.proposal import Proposer
    from dovetail.runtime.load import Loaded

MOST = 256  # guesses of one sequence in a step
_STORED = {"F32": "fp32", "BF16": "bf16", "F16": "fp16"}


@method("medusa")
@dataclass(frozen=True, slots=True)
class Medusa:
    """Verify a tree of up to `nodes` guesses a step, grown from what heads hold likely: lossless, unless `relaxed`.

    Relaxed is typical acceptance: guesses that are likely enough are kept, where tokens are drawn. It is predicted with
    the chances of exact acceptance.

    How often heads are right is theirs where `heads` is a folder of trained ones, else `accuracy`, else as published
    for Vicuna-7B. Decoding takes the heads in the folder `medusa` beside the weights where none is named.
    """

    nodes: int = 16  # guesses of one sequence in a step
    heads: str = ""  # a folder that `dovetail medusa train` wrote
    accuracy: Accuracies = ()  # for each head, how often its first guess is right, its second, …
    shared: bool = (
        True  # heads share the model's output head; false: each has its own, as in the paper (predicted only)
    )
    relaxed: bool = False  # typical acceptance, where tokens are drawn: not the model's distribution

    guesses: ClassVar[bool] = True
    sizes: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64)

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MOST:
            raise DovetailError(f"cannot guess {self.nodes} tokens", where="medusa.nodes", hint=f"16: 1 to {MOST}")
        as_accuracies(self.accuracy, "medusa.accuracy")

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(), cls(4, accuracy=((0.7, 0.1), (0.5, 0.1)))

    def known(self) -> Accuracies:
        """How often each head's guess of each rank is right."""
        return self.accuracy or (measured(self.heads) if self.heads else PUBLISHED)

    def expected(self) -> tuple[float, ...]:
        """Tokens of a step with 0, 1, … `nodes` guesses."""
        return tokens_per_step(self.known(), self.nodes)

    def sized(self, guesses: int) -> Self:
        return replace(self, nodes=guesses)

    def rewrite(self, graph: Graph) -> Graph:
        if any(isinstance(o, Scan) for o in graph.operators):
            what = "a tree of guesses needs a state of the model's recurrence for every branch"
            raise DovetailError(what, where="medusa", hint="lookup: a chain", exit_code=INFEASIBLE)
        expected = self.expected()
        if self.heads:
            check_width("medusa", self.heads, "heads.weight", graph)
        return verifying(graph, len(expected) - 1, expected[-1], self.guessing(graph))

    def guessing(self, graph: Graph) -> Guessing:
        """The heads, for the newest token of each sequence."""
        made = self._together(graph) if self.shared else self._apart(graph)
        return Guessing(tuple(made))

    def _together(self, graph: Graph) -> Iterator[Operator]:
        """All heads in one product of the hidden state and the newest token's embedding; then the model's own head."""
        count, hidden, batch = len(self.known()), graph.hidden, graph.batch
        act, rows = head_operator(graph).act, graph.batch * count
        weight = Weight("medusa.heads.weight", count * hidden, 2 * hidden, self._stored(act), linear=False)
        yield Linear("medusa", (), (weight,), batch, 2 * hidden, count * hidden, act, split="whole")
        yield _states(rows * hidden, act)
        yield logits(graph, rows, "medusa")

    def _apart(self, graph: Graph) -> Iterator[Operator]:
        """The paper's heads: a product of the hidden state and an output head for each."""
        count, hidden, batch, head = len(self.known()), graph.hidden, graph.batch, head_operator(graph)
        form, act = self._stored(head.act), head.act
        weight = Weight("medusa.heads.weight", count * hidden, hidden, form, linear=False)
        yield Linear("medusa", (), (weight,), batch, hidden, count * hidden, act, split="whole")
        yield _states(batch * count * hidden, act)
        for index in range(count):
            own = Weight(f"medusa.{index}.lm_head.weight", head.n, hidden, form, linear=False)
            yield replace(head, name=f"lm_head@medusa{index}", weights=(own,), m=batch, act=act)

    def _stored(self, act: str) -> Format:
        """As the folder stores them; without one in the model's own 16 or 32 bits."""
        if self.heads:
            from dovetail.runtime.checkpoint import WEIGHTS
            from dovetail.runtime.tensorfile import read_header

            header = read_header(Path(self.heads).expanduser() / WEIGHTS)
            return plain(next((_STORED[x.dtype] for x in header.values() if x.dtype in _STORED), "fp32"))
        return plain(act if act in _STORED.values() else "bf16")

    def on_decoding(self, loaded: Loaded, folder: Path) -> Proposer:
        from dovetail.runtime.decoding.medusa import Medusa as Heads
        from dovetail.runtime.decoding.runner import runner_of
        from dovetail.runtime.decoding.sizing import PassTime, Sizing
        from dovetail.runtime.decoding.speculation import Speculation
        from dovetail.runtime.decoding.speculator import trained
        from dovetail.runtime.decoding.typical import Typical

        if not self.shared:
            raise DovetailError("heads with output heads of their own are only predicted", where="medusa.shared")
        named = Path(self.heads).expanduser() if self.heads else None
        place = trained("medusa", named, folder, "medusa:heads=HEADS")
        source = Heads.of(place, loaded, most=self.nodes)
        sizing = Sizing(PassTime.of(runner_of(loaded)), most=self.nodes)
        return Speculation([source], sizing, Typical() if self.relaxed else None)


def _states(elements: object, act: str) -> Operator:
    """``h + silu(x)`` for every head."""
    return pointwise("medusa_states", 2 * elements, elements, ACTIVATION_FLOPS["silu"] + 1.0, act)  # type: ignore[operator]
