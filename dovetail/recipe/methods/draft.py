"""Speculative decoding with a smaller model (Leviathan et al., arXiv 2211.17192; Chen et al., arXiv 2302.01318)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.recipe.method import method
from dovetail.recipe.speculation.chain import SIZES, check_chain
from dovetail.recipe.speculation.drafting import behind, drafted
from dovetail.recipe.speculation.guessing import Guessing, chain_tokens, head_operator, owned, verifying

if TYPE_CHECKING:
    from dovetail.runtime.decoding.proposal import Proposer
    from dovetail.runtime.load import Loaded


@method("draft")
@dataclass(frozen=True, slots=True)
class Draft:
    """A smaller model of the same vocabulary guesses `length` tokens in a row; the model verifies them in one pass.

    Both models are held in memory, each with its cache, and both read the prompt.
    """

    model: str = ""  # a name of the zoo, or a folder
    length: int = 4  # guesses of a step
    # chance of a guess to be right if those before it are: 1 - 1 / 2.28 tokens a step (a draft of 68 M parameters for
    # Vicuna-7B, Spec-Bench, 2024)
    acceptance: float = 0.56

    guesses: ClassVar[bool] = True
    sizes: ClassVar[tuple[int, ...]] = SIZES

    def __post_init__(self) -> None:
        check_chain("draft", self.length, self.acceptance)
        if not self.model:
            raise DovetailError("no draft is named", where="draft.model", hint="draft:model=Qwen/Qwen3-0.6B")

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return ()  # a draft for one model is none for another

    def sized(self, guesses: int) -> Self:
        return replace(self, length=guesses)

    def rewrite(self, graph: Graph) -> Graph:
        tokens = chain_tokens(self.acceptance, self.length)
        return verifying(graph, self.length, tokens, self._guessing(graph))

    def _guessing(self, graph: Graph) -> Guessing:
        made = Model.load(self.model).graph(graph.batch, graph.tokens, graph.context)
        mine, other = (head_operator(each).n for each in (graph, made))
        if not _alike(mine, other):
            why = f"{self.model} has {other:,} tokens, the model {mine:,}"
            hint = "a draft of the same family"
            raise DovetailError("a draft of another vocabulary", why=why, hint=hint, exit_code=INFEASIBLE)
        operators, caches = behind(made.operators, made.caches, graph, partial(owned, by="draft"))
        return drafted(graph, operators, caches, self.length, "draft")

    def on_decoding(self, loaded: Loaded, folder: Path) -> Proposer:
        from dovetail.runtime.decoding.draft import DraftModel
        from dovetail.runtime.load import load

        model = Model.load(self.model)
        if model.folder is None:
            hint = "a Hugging Face folder with safetensors"
            raise DovetailError(f"the weights of {self.model} are not here", where="draft.model", hint=hint)
        return DraftModel.of(loaded, load(model.folder), deepest=self.length).alone()


def _alike(mine: object, other: object) -> bool:
    """Whether two numbers of tokens may be of one vocabulary: as many, or a few more that make the larger even.

    Qwen2.5 has 151,936 rows at 3 B parameters, 152,064 at 7 B, and one tokenizer. Decoding compares the tokens.
    """
    if not isinstance(mine, int) or not isinstance(other, int):
        return mine == other
    return mine == other or (abs(mine - other) <= _PADDING and max(mine, other) % _EVEN == 0)


_PADDING, _EVEN = 512, 64
