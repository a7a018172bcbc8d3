"""Medusa heads (Cai et al., arXiv 2401.10774): each guesses one of the tokens to come, all in one small pass.

A head turns the last hidden state, and what the newest token is, into a state for the model's own output head. The
paper's heads see the hidden state alone; the newest token, known by then, costs one more product and says which way the
text went (as in Hydra, arXiv 2402.05109).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dovetail.core.errors import DovetailError
from dovetail.runtime.decoding.grown import Grown, grown
from dovetail.runtime.decoding.proposal import Text
from dovetail.runtime.decoding.runner import Runner, runner_of
from dovetail.runtime.decoding.sampling import Chooser
from dovetail.runtime.decoding.speculation import Guess, Source
from dovetail.runtime.decoding.speculator import Speculator
from dovetail.runtime.decoding.whole_guess import WholeGuess
from dovetail.runtime.kernels.dense import DenseProduct
from dovetail.runtime.kernels.library import Library, find
from dovetail.runtime.kernels.linear import PackedLinear
from dovetail.runtime.kernels.model import rounded
from dovetail.runtime.load import Loaded

MOST = 12  # guesses of one sequence in a step: more are rarely worth the time to rank them
RANKS = 8  # guesses of one head that a tree may take
_EPSILON = 1e-6
_GROUP = 128  # columns that share a scale of the head in 8 bits


@dataclass(frozen=True, slots=True)
class MedusaHeads:
    """``state_k = h + silu(W_k [h, e])``: h the hidden state, e the newest token's embedding over its root mean square.

    Parameters
    ----------
    weight : Tensor (heads, hidden, 2 hidden)
        Head k guesses the token k + 2 after that of the hidden state, which is k + 1 after the newest.
    accuracy : tuple (heads) of tuple (ranks) of float
        How often a head's guess of each rank was right on text it was not trained on; empty before that is measured.
    product : DenseProduct or None
        All heads' weights as one product for few tokens; None while they are trained.
    """

    weight: Tensor
    accuracy: tuple[tuple[float, ...], ...] = ()
    product: DenseProduct | None = None

    @classmethod
    def new(cls, heads: int, hidden: int) -> MedusaHeads:
        """Heads that guess what the model itself would say next: nothing learned yet."""
        if heads < 1:
            raise DovetailError(f"{heads} heads", where="medusa", hint="at least one; 4 is common")
        return cls(torch.zeros(heads, hidden, 2 * hidden))

    def states(self, hidden: Tensor, newest: Tensor) -> Tensor:
        """States (n, heads, hidden) for the output head.

        Parameters
        ----------
        hidden : Tensor (n, hidden)
            Of the token before the newest, behind the final norm.
        newest : Tensor (n, hidden)
            Embedding of the newest token.
        """
        scale = torch.rsqrt(newest.float().pow(2).mean(-1, keepdim=True) + _EPSILON).to(newest.dtype)
        both = torch.cat((hidden, newest * scale), -1)
        heads, width = self.weight.shape[:2]
        turned = (self.product or _by_torch(self.weight))(both).view(-1, heads, width)
        return hidden.unsqueeze(1) + functional.silu(turned)

    @classmethod
    def of(cls, stored: Speculator, loaded: Loaded) -> MedusaHeads:
        """The heads of a folder, for a model. Raises `DovetailError` for those of another model."""
        stored.check(loaded.folder)
        weight, hidden = stored.tensors.get("heads.weight"), loaded.model.config.hidden_size
        if stored.kind != "medusa" or weight is None or weight.shape[1:] != (hidden, 2 * hidden):
            what, why = "holds no Medusa heads", f"kind '{stored.kind}'"
            if weight is not None:
                why += f", weights {tuple(weight.shape)}; the model is {hidden} wide"
            raise DovetailError(what, where=stored.where, why=why, hint="dovetail medusa train")
        if len(accuracy := stored.accuracy()) != len(weight):
            raise DovetailError(f"accuracies of {len(accuracy)} heads, {len(weight)} are stored", where=stored.where)
        weight = weight.to(loaded.device, loaded.model.dtype)
        return cls(weight, accuracy, DenseProduct(weight.flatten(0, 1)))


def _by_torch(weight: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: functional.linear(x, weight.flatten(0, 1))


def rough_head(model: Any) -> Callable[[Tensor], Tensor] | None:
    """A model's output head in 8 bits, read in a quarter of the time; None where that would not be its logits."""
    head, config = model.get_output_embeddings(), model.config
    capped = getattr(config, "final_logit_softcapping", None)
    plain = type(head) is nn.Linear and head.weight.is_cpu and head.weight.dtype is torch.float32
    if capped or not plain or not isinstance(find(), Library):
        return None
    steps, scale = rounded(head.weight.detach(), _GROUP)
    bias = None if head.bias is None else head.bias.detach()
    return PackedLinear(steps, scale, 8, _GROUP, bias, arithmetic="exact")


@dataclass(slots=True)
class Medusa(Source):
    """A tree of what the heads hold likely.

    Parameters
    ----------
    embedding : Tensor (vocabulary, hidden)
        Of input tokens.
    logits : callable or None
        The output head for guesses; the runner's by default. They need not be exact: the model checks them.
    most : int
        Guesses in a tree.
    fixed : bool
        One tree for all steps, from the measured accuracies, as the paper has it; else a tree for each step and
        sequence, from what the heads say at that place.
    """

    heads: MedusaHeads
    runner: Runner
    embedding: Tensor
    logits: Callable[[Tensor], Tensor] | None = None
    most: int = MOST
    fixed: bool = False
    _tree: Grown | None = None
    _whole: WholeGuess | None = None

    def __post_init__(self) -> None:
        head = self.logits or getattr(self.runner, "head", None)
        if head is not None and not self.fixed:
            self._whole = WholeGuess.of(self.heads.product, self.embedding, head, RANKS, _EPSILON)

    @classmethod
    def of(cls, folder: str | Path, loaded: Loaded, *, most: int = MOST, fixed: bool = False) -> Medusa:
        """With the heads of a folder. Raises `DovetailError` for those of another model."""
        heads = MedusaHeads.of(Speculator.open(folder), loaded)
        embedding = loaded.model.get_input_embeddings().weight
        return cls(heads, runner_of(loaded), embedding, rough_head(loaded.model), most, fixed)

    def guess(self, texts: Sequence[Text]) -> list[Guess]:
        """A tree for each text."""
        greedy, hidden = all(text.choose.sampling.greedy for text in texts), [text.hidden for text in texts]
        if self._whole is not None and greedy and self._whole.takes(hidden):
            return self._whole(hidden, [text.tokens[-1] for text in texts], self.most)
        newest = torch.tensor([text.tokens[-1] for text in texts], device=self.runner.device)
        states = self.heads.states(torch.stack(hidden), self.embedding[newest])
        logits = (self.logits or self.runner.logits)(states).float()
        chances, tokens = likely(logits, [text.choose for text in texts])
        if self.fixed:
            self._tree = self._tree or grown(self.heads.accuracy, self.most)
            trees = [self._tree] * len(texts)
        else:
            trees = [grown(chance, self.most) for chance in chances]
        return [
            Guess(one.tree, [row[head][rank] for head, rank in one.guesses], one.chances)
            for one, row in zip(trees, tokens, strict=True)
        ]


def likely(logits: Tensor, choosers: Sequence[Chooser]) -> tuple[list[list[list[float]]], list[list[list[int]]]]:
    """Chances and tokens (n, heads, `RANKS`) of what logits (n, heads, vocabulary) say of the tokens after the next."""
    if all(choose.sampling.greedy for choose in choosers):
        best = logits.topk(RANKS, -1)
        return torch.exp(best.values - logits.logsumexp(-1, keepdim=True)).tolist(), best.indices.tolist()
    scores = torch.stack([_wanted(choose, row) for choose, row in zip(choosers, logits, strict=True)])
    best = scores.topk(RANKS, -1)
    return (best.values / scores.sum(-1, keepdim=True)).tolist(), best.indices.tolist()


def _wanted(choose: Chooser, logits: Tensor) -> Tensor:
    """How much each token (heads, vocabulary) is wanted: the chances, over the noise to come where one is drawn."""
    if choose.sampling.greedy:
        return torch.softmax(logits.double().cpu(), -1)
    return torch.stack([choose.scores(row, ahead) for ahead, row in enumerate(logits)])
