"""Continue a prompt: the decode loop for one text, and single steps through a model's own modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.runtime.load import Loaded

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.cache.plan import CachePlan
    from dovetail.runtime.decoding.proposal import Proposer


@dataclass(frozen=True, slots=True)
class Generation:
    """What `generate` made, and how long it took.

    `steps` forward passes followed the prefill; `cache_bytes` is what the KV cache held at the end.
    """

    tokens: tuple[int, ...]
    prefill_s: float
    decode_s: float
    steps: int
    cache_bytes: int

    @property
    def tokens_per_s(self) -> float:
        """Decoded tokens per second without the prefill and the token it yields; of the prefill where that is all."""
        if self.steps:
            return (len(self.tokens) - 1) / self.decode_s
        return len(self.tokens) / self.prefill_s

    @property
    def tokens_per_step(self) -> float:
        """Tokens that one decode step yields: 1 without speculation."""
        return (len(self.tokens) - 1) / self.steps if self.steps else 1.0


def generate(
    loaded: Loaded,
    prompt_ids: Sequence[int],
    max_new: int,
    *,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: frozenset[int] | None = None,
    on_token: Callable[[int], None] | None = None,
    ended: Callable[[], bool] | None = None,
    proposer: Proposer | None = None,
    plan: CachePlan | None = None,
) -> Generation:
    """Continue a prompt.

    Parameters
    ----------
    prompt_ids : sequence of int
        At least one token.
    max_new : int
        Most tokens to make, at least one.
    temperature, top_k, top_p, seed
        As `dovetail.runtime.decoding.sampling.Sampling` has them; 0 takes the likeliest token.
    stop : set of int
        Tokens that end the text (and belong to it); by default the model's own end tokens.
    on_token : callable
        Called with every token as it comes.
    ended : callable
        Asked after every token whether the text is over for another reason (`decoding.streaming.TextStream.stopped`).
    proposer : Proposer
        Guesses the tokens to come (`decoding.modes.speculation`): the tokens stay the same, in fewer steps.
    plan : CachePlan
        What the cache keeps, and how; by default all of it as it is.

    Raises
    ------
    DovetailError
        An empty prompt, a token outside the vocabulary, more tokens than the model's context holds, a temperature
        below 0, a model that the loop cannot execute, or more memory for the prompt than is free.
    """
    require("torch", "torch", to="run a model")
    from dovetail.runtime.decoding.loop import Loop
    from dovetail.runtime.decoding.runner import runner_of
    from dovetail.runtime.decoding.sampling import Sampling

    check_context(loaded, prompt_ids, max_new)
    sampling = Sampling(temperature, top_k, top_p, seed)
    ends = end_tokens(loaded) if stop is None else stop
    told = None if on_token is None else (lambda _, token: on_token(token))
    over = None if ended is None else (lambda _: ended())
    loop = Loop(runner_of(loaded), max_new, sampling, ends, over, proposer, told, plan)
    made = loop.run([prompt_ids])
    return Generation(made.tokens[0], made.prefill_s, made.decode_s, made.steps[0], made.cache_bytes)


def new_cache(loaded: Loaded) -> Any:
    """An empty KV cache; layers with a sliding window keep their window only."""
    cache_type = require("transformers", "torch", to="run a model").DynamicCache
    return cache_type(config=loaded.model.config)


def step(loaded: Loaded, ids: Tensor, cache: Any) -> tuple[Tensor, Any]:
    """One forward pass over `ids` (B, T): logits (B, 1, V) of the last position, and the cache, T longer."""
    out = loaded.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return out.logits, out.past_key_values


def cache_bytes(cache: Any) -> int:
    """Bytes of the keys and values a cache holds."""
    held = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values) if tensor is not None]
    return sum(tensor.numel() * tensor.element_size() for tensor in held)


def end_tokens(loaded: Loaded) -> frozenset[int]:
    """Tokens after which the model's text is over."""
    ends = loaded.model.generation_config.eos_token_id
    return frozenset([ends] if isinstance(ends, int) else ends or ())


def check_context(loaded: Loaded, prompt_ids: Sequence[int], max_new: int) -> None:
    """Raise `DovetailError` unless prompt and output fit the model's vocabulary and context."""
    if not prompt_ids or max_new < 1:
        what = "the prompt has no token" if not prompt_ids else f"cannot make {max_new} tokens"
        raise DovetailError(
            what, where=str(loaded.folder), hint="a prompt of at least one token, --max-new of at least 1"
        )
    if (worst := max(prompt_ids, key=lambda t: abs(t - loaded.vocabulary / 2))) not in range(loaded.vocabulary):
        why = f"the vocabulary has {loaded.vocabulary} tokens"
        raise DovetailError(f"token {worst} does not exist", where=str(loaded.folder), why=why)
    if (asked := len(prompt_ids) + max_new) > loaded.max_context:
        held = loaded.max_context
        why = f"{len(prompt_ids)} of the prompt and {max_new} new are {asked} tokens, the model holds {held}"
        hint = f"--max-new {held - len(prompt_ids)}" if len(prompt_ids) < held else "a shorter prompt"
        raise DovetailError("beyond the model's context", where=str(loaded.folder), why=why, hint=hint)
