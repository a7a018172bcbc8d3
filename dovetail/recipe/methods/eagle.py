"""EAGLE (Li et al., arXiv 2401.15077): one decoder layer guesses the next hidden state, the model's head its token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from operator import mul
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import plain
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Attention, Linear, Weight
from dovetail.recipe.method import method
from dovetail.recipe.speculation.accuracy import check_width, measured
from dovetail.recipe.speculation.chain import SIZES, check_chain
from dovetail.recipe.speculation.drafting import behind, drafted
from dovetail.recipe.speculation.guessing import (
    Guessing,
    chain_tokens,
    head_operator,
    is_decode,
    logits,
    owned,
    verifying,
)

if TYPE_CHECKING:
    from dovetail.runtime.decoding.proposal import Proposer
    from dovetail.runtime.load import Loaded

T = TypeVar("T")


@method("eagle")
@dataclass(frozen=True, slots=True)
class Eagle:
    """A layer of the Llama type, as wide as the model, guesses `length` tokens in a row by their hidden states.

    It reads hidden states beside tokens, has a cache of its own, and shares the model's output head. How often it is
    right is its own where `heads` is a folder of a trained one, else `acceptance`. Decoding takes the layer in the
    folder `eagle` beside the weights where none is named.
    """

    length: int = 4  # guesses of a step
    # chance of a guess to be right if those before it are: 1 - 1 / 3.61 tokens a step, which EAGLE reaches with trees
    # (Vicuna-7B, Spec-Bench, 2024)
    acceptance: float = 0.72
    heads: str = ""  # a folder that `dovetail medusa train --kind eagle` wrote

    guesses: ClassVar[bool] = True
    sizes: ClassVar[tuple[int, ...]] = SIZES

    def __post_init__(self) -> None:
        check_chain("eagle", self.length, self.acceptance)

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return (cls(),)

    def sized(self, guesses: int) -> Self:
        return replace(self, length=guesses)

    def rewrite(self, graph: Graph) -> Graph:
        expected = self.expected()
        if self.heads:
            check_width("eagle", self.heads, "enter.weight", graph)
        return verifying(graph, self.length, expected, self._guessing(graph))

    def expected(self) -> float:
        """Tokens of a step: of a chain whose guesses are each right as they were found to be, if those before are."""
        if not self.heads:
            return float(chain_tokens(self.acceptance, self.length))
        first = [row[0] for row in measured(self.heads, "eagle")]
        return sum(accumulate(_as_long(first, self.length), mul), start=1.0)

    def _guessing(self, graph: Graph) -> Guessing:
        head, hidden = head_operator(graph), graph.hidden
        layer = _layer(graph)
        inside = [o for o in layer.operators if o.layers]
        operators, caches = behind(inside, layer.caches, graph, partial(owned, by="eagle"))
        rows = graph.batch * graph.tokens
        form = plain(head.act if head.act in ("fp32", "bf16", "fp16") else "bf16")
        weight = Weight("eagle.enter.weight", hidden, 2 * hidden, form, linear=False)
        enter = Linear("enter", (), (weight,), rows, 2 * hidden, hidden, head.act, split="whole")
        last = replace(logits(graph, graph.batch, "eagle"), name="lm_head")  # drafted() names it
        return drafted(graph, (enter, *operators, last), caches, self.length, "eagle")

    def on_decoding(self, loaded: Loaded, folder: Path) -> Proposer:
        from dovetail.runtime.decoding.eagle import Eagle as Drafting
        from dovetail.runtime.decoding.eagle import EagleLayer
        from dovetail.runtime.decoding.speculator import Speculator, trained

        named = Path(self.heads).expanduser() if self.heads else None
        place = trained("eagle", named, folder, "eagle:heads=HEADS")
        layer = EagleLayer.of(Speculator.open(place), loaded)
        chain = tuple(row[:1] for row in _as_long(layer.accuracy, self.length))
        return Drafting.of(loaded, replace(layer, accuracy=chain)).alone()


def _as_long(rows: Sequence[T], length: int) -> list[T]:
    """The first rows; the last again where there are fewer."""
    return [rows[min(place, len(rows) - 1)] for place in range(length)]


def _layer(graph: Graph) -> Graph:
    """One layer with the heads of the model's attention, as wide inside as its feed-forward, or 4 times the model."""
    attention = next((o for o in graph.operators if isinstance(o, Attention)), None)
    if attention is None or attention.latents is not None:
        why = "its heads are those of ordinary attention, of which the model has none"
        raise DovetailError("no EAGLE layer for this model", why=why, exit_code=INFEASIBLE)
    down = (o for o in graph.operators if isinstance(o, Linear) and o.name.partition("@")[0] == "down")
    inner = next((o.k for o in down if o.experts == 1), 4 * graph.hidden)
    config = {
        "model_type": "llama", "hidden_size": graph.hidden, "num_hidden_layers": 1, "vocab_size": 2,
        "intermediate_size": inner, "num_attention_heads": attention.heads, "num_key_value_heads": attention.kv_heads,
        "head_dim": attention.head_dim, "torch_dtype": _DTYPES.get(head_operator(graph).act, "bfloat16"),
    }  # fmt: skip
    before = np.maximum(graph.context - 1, 0) if is_decode(graph) else graph.context  # the first token has no state
    return Model.load(config).graph(graph.batch, graph.tokens, before)


_DTYPES = {"fp32": "float32", "fp16": "float16"}
