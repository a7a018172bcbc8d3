"""Self-speculation (LayerSkip, arXiv 2404.16710; Draft & Verify, arXiv 2309.08168): the first layers guess for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model.graph import Graph
from dovetail.recipe.method import method
from dovetail.recipe.speculation.chain import SIZES, check_chain
from dovetail.recipe.speculation.drafting import drafted, first_layers, layer_count
from dovetail.recipe.speculation.guessing import chain_tokens, verifying

if TYPE_CHECKING:
    from dovetail.runtime.decoding.proposal import Proposer
    from dovetail.runtime.load import Loaded


@method("early-exit")
@dataclass(frozen=True, slots=True)
class EarlyExit:
    """The first `layers` of the model and its output head guess `length` tokens in a row; all layers verify them.

    No weight is held twice; the first layers have a cache of their own. How often they are right depends on the model:
    one that was not trained to exit early seldom is, so there is no default.
    """

    layers: int = 8  # that guess
    length: int = 4  # guesses of a step
    acceptance: float = -1.0  # chance of a guess to be right if those before it are

    guesses: ClassVar[bool] = True
    sizes: ClassVar[tuple[int, ...]] = SIZES

    def __post_init__(self) -> None:
        if self.acceptance == -1.0:
            why = "it depends on the model and how it was trained; nothing is assumed"
            hint = "early-exit:layers=8,acceptance=0.6"
            raise DovetailError("no acceptance is given", where="early-exit.acceptance", why=why, hint=hint)
        check_chain("early-exit", self.length, self.acceptance)
        if self.layers < 1:
            raise DovetailError(f"an exit after {self.layers} layers", where="early-exit.layers", hint="1 or more")

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return (cls(1, 3, 0.5),)

    def sized(self, guesses: int) -> Self:
        return replace(self, length=guesses)

    def rewrite(self, graph: Graph) -> Graph:
        if self.layers >= (count := layer_count(graph)):
            what = f"an exit after {self.layers} of {count} layers"
            raise DovetailError(what, where="early-exit.layers", hint=f"1 to {count - 1}", exit_code=INFEASIBLE)
        guessing = drafted(graph, *first_layers(graph, self.layers), self.length, "exit")
        return verifying(graph, self.length, chain_tokens(self.acceptance, self.length), guessing)

    def on_decoding(self, loaded: Loaded, folder: Path) -> Proposer:
        from dovetail.runtime.decoding.draft import early_exit

        return early_exit(loaded, self.layers, deepest=self.length).alone()
