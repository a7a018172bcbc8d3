"""Prompt lookup (Saxena 2023): what followed the newest tokens the last time they stood in the text is tried again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.model.graph import Graph
from dovetail.recipe.method import method
from dovetail.recipe.speculation.chain import SIZES, check_chain
from dovetail.recipe.speculation.guessing import chain_tokens, verifying

if TYPE_CHECKING:
    from dovetail.runtime.decoding.proposal import Proposer
    from dovetail.runtime.load import Loaded


@method("lookup")
@dataclass(frozen=True, slots=True)
class Lookup:
    """Try `length` tokens that followed the same words before, all in one pass; the text stays the same.

    No model guesses, so a step costs only its longer pass. How often guesses are right depends on the text.
    """

    length: int = 4  # guesses of a step
    # chance of a guess to be right if those before it are: 1 - 1 / 1.73 tokens a step (Vicuna-7B, Spec-Bench, 2024)
    acceptance: float = 0.42

    guesses: ClassVar[bool] = True
    sizes: ClassVar[tuple[int, ...]] = (*SIZES, 10, 12, 16)

    def __post_init__(self) -> None:
        check_chain("lookup", self.length, self.acceptance)

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(), cls(7, 0.8)

    def sized(self, guesses: int) -> Self:
        return replace(self, length=guesses)

    def rewrite(self, graph: Graph) -> Graph:
        return verifying(graph, self.length, chain_tokens(self.acceptance, self.length))

    def on_decoding(self, loaded: Loaded, folder: Path) -> Proposer:
        from dovetail.runtime.decoding.lookup import PromptLookup
        from dovetail.runtime.decoding.runner import runner_of
        from dovetail.runtime.decoding.sizing import PassTime, Sizing
        from dovetail.runtime.decoding.speculation import Speculation

        sizing = Sizing(PassTime.of(runner_of(loaded)), most=self.length)
        return Speculation([PromptLookup(self.length)], sizing)
