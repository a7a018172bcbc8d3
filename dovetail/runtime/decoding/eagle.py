"""A draft of features (EAGLE, Li et al., arXiv 2401.15077): one decoder layer guesses the next hidden state of a model.

It reads, for each token of a text, the model's hidden state before it and the token itself, and says what the hidden
state after it will be; the model's own output head makes a token of that. Its own guess takes the place of the hidden
state where the model has not been yet. The layer is of the Llama type whatever the model is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dovetail.core.errors import DovetailError
from dovetail.runtime.decoding.cache import KVCache, seen
from dovetail.runtime.decoding.drafting import DraftedPass, Drafter, DraftSizing, Rows
from dovetail.runtime.decoding.passes import clock_of
from dovetail.runtime.decoding.proposal import Text
from dovetail.runtime.decoding.runner import Runner, runner_of
from dovetail.runtime.decoding.sizing import PassTime
from dovetail.runtime.decoding.speculator import Speculator
from dovetail.runtime.kernels.dense import DenseProduct
from dovetail.runtime.load import Loaded

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, keys, values (B, heads, T, channels) to (B, heads, T, …)
_EPSILON = 1e-6
_CHUNK = 512  # tokens of a text in one pass
_HINT = "a folder of kind 'eagle' that was trained for this model"


@dataclass(frozen=True, slots=True)
class EagleShape:
    """Sizes of the layer.

    Parameters
    ----------
    hidden, heads, kv_heads, head_dim, intermediate : int
    theta : float
        Base of rotary angles.
    """

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    theta: float = 10000.0

    def __post_init__(self) -> None:
        least = min(self.hidden, self.heads, self.kv_heads, self.head_dim, self.intermediate)
        if least < 1 or self.heads % self.kv_heads or self.head_dim % 2 or self.theta <= 0:
            hint = "positive sizes, an even head_dim, and heads that are a multiple of kv_heads"
            raise DovetailError(f"no layer has the shape {asdict(self)}", where="eagle", hint=hint)

    @classmethod
    def of(cls, config: Any) -> EagleShape:
        """That of a layer of a `transformers` configuration."""
        hidden, heads = config.hidden_size, config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        head_dim = getattr(config, "head_dim", None) or hidden // heads
        return cls(hidden, heads, kv_heads, head_dim, getattr(config, "intermediate_size", None) or 4 * hidden)

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all weights by name."""
        mixed = self.heads * self.head_dim
        return {
            "enter.weight": (self.hidden, 2 * self.hidden),
            "norm_in.weight": (self.hidden,),
            "qkv.weight": (mixed + 2 * self.kv_heads * self.head_dim, self.hidden),
            "out.weight": (self.hidden, mixed),
            "norm_post.weight": (self.hidden,),
            "gate_up.weight": (2 * self.intermediate, self.hidden),
            "down.weight": (self.hidden, self.intermediate),
        }


@dataclass(frozen=True, slots=True)
class EagleLayer:
    """``x = W [h, e]`` of a hidden state h and the embedding e of the token it led to, then one decoder layer.

    Parameters
    ----------
    shape : EagleShape
    weights : mapping of str to Tensor
        As `EagleShape.tensors` has it.
    accuracy : tuple (depth) of tuple (ranks) of float
        How often a guess was right on text it was not trained on, given that the likeliest ones before it were; empty
        before that is measured.
    """

    shape: EagleShape
    weights: Mapping[str, Tensor]
    accuracy: tuple[tuple[float, ...], ...] = ()
    products: Mapping[str, DenseProduct] = field(default_factory=dict)

    @classmethod
    def new(cls, shape: EagleShape, seed: int = 0) -> EagleLayer:
        """A layer that guesses the hidden state it is given: nothing learned yet."""
        source = torch.Generator().manual_seed(seed)
        found = {}
        for name, size in shape.tensors().items():
            if len(size) == 1:
                found[name] = torch.ones(size)
            elif name in ("out.weight", "down.weight"):
                found[name] = torch.zeros(size)
            else:
                found[name] = torch.randn(size, generator=source) * size[1] ** -0.5
        found["enter.weight"] = torch.eye(shape.hidden, 2 * shape.hidden)
        return cls(shape, found)

    @classmethod
    def of(cls, stored: Speculator, loaded: Loaded) -> EagleLayer:
        """The layer of a folder, for a model. Raises `DovetailError` for one of another model, or another kind."""
        if stored.kind != "eagle":
            raise DovetailError(f"holds a draft of kind '{stored.kind}'", where=stored.where, hint=_HINT)
        stored.check(loaded.folder)
        try:
            shape = EagleShape(**stored.about["shape"])
        except (KeyError, TypeError) as error:
            raise DovetailError("is no draft layer", where=stored.where, why=str(error), hint=_HINT) from error
        sizes = {name: tuple(tensor.shape) for name, tensor in stored.tensors.items()}
        if sizes != shape.tensors() or shape.hidden != loaded.model.config.hidden_size:
            why = "its weights have other shapes than it says, or than the model has"
            raise DovetailError("is no draft layer", where=stored.where, why=why, hint=_HINT)
        return cls(shape, stored.tensors, stored.accuracy()).to(loaded.device, loaded.model.dtype)

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> EagleLayer:
        """The layer elsewhere: new layers are on the CPU."""
        return replace(self, weights={name: tensor.to(device, dtype) for name, tensor in self.weights.items()})

    def frozen(self) -> EagleLayer:
        """The layer with products that are made for few tokens, and know no gradient."""
        weights = {name: tensor.detach() for name, tensor in self.weights.items()}
        products = {name: DenseProduct(tensor) for name, tensor in weights.items() if tensor.dim() == 2}
        return replace(self, weights=weights, products=products)

    def stored(self, base: str, **about: Any) -> Speculator:
        """As a `Speculator` for the model whose weights have the SHA-256 `base`."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.weights.items()}
        known = {"shape": asdict(self.shape), "accuracy": [list(row) for row in self.accuracy], **about}
        return Speculator("eagle", base, weights, known)

    def forward(self, states: Tensor, newest: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Guessed hidden states (B, T, hidden) after tokens.

        Parameters
        ----------
        states : Tensor (B, T, hidden)
            Hidden states before the tokens, behind the model's final norm.
        newest : Tensor (B, T, hidden)
            Embeddings of the tokens.
        positions : Tensor (B, T) or (T,)
            Of the tokens.
        attend : callable
            Attention; keys and values are new ones.
        """
        shape = self.shape
        scale = torch.rsqrt(newest.float().pow(2).mean(-1, keepdim=True) + _EPSILON).to(newest.dtype)
        x = self._times(torch.cat((states, newest * scale), -1), "enter.weight")
        mixed = self._times(self._norm(x, "norm_in.weight"), "qkv.weight")
        mixed = mixed.view(*x.shape[:2], -1, shape.head_dim).transpose(1, 2)
        q, k, v = torch.split(mixed, [shape.heads, shape.kv_heads, shape.kv_heads], 1)
        cos, sin = self._angles(positions, x.dtype)
        attended = attend(turned(q, cos, sin), turned(k, cos, sin), v)
        x = x + self._times(attended.transpose(1, 2).flatten(2), "out.weight")
        gate, up = self._times(self._norm(x, "norm_post.weight"), "gate_up.weight").chunk(2, -1)
        return x + self._times(functional.silu(gate) * up, "down.weight")

    def _times(self, x: Tensor, name: str) -> Tensor:
        product = self.products.get(name)
        return functional.linear(x, self.weights[name]) if product is None else product(x)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return functional.rms_norm(x, [self.shape.hidden], self.weights[name], _EPSILON)

    def _angles(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines (B or none, 1, T, channels / 2)."""
        half = torch.arange(0, self.shape.head_dim, 2, device=positions.device, dtype=torch.float32)
        speeds = self.shape.theta ** (-half / self.shape.head_dim)
        angles = (positions.unsqueeze(-1) * speeds).unsqueeze(-3)
        return angles.cos().to(dtype), angles.sin().to(dtype)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Channels (…, T, channels) turned by rotary angles (arXiv 2104.09864): the first half with the second."""
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def guessed(layer: EagleLayer, states: Tensor, newest: Tensor, cache: KVCache) -> Tensor:
    """`EagleLayer.forward` behind the tokens that a cache of one layer holds; what is then kept is the caller's."""
    tokens = states.shape[1]
    cache.reserve(tokens)
    positions = cache.following(tokens)
    mask = seen(cache, tokens, None, positions, None)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = cache.write(0, k, v)
        return functional.scaled_dot_product_attention(q, keys, values, mask, enable_gqa=q.shape[1] != k.shape[1])

    return layer.forward(states, newest, positions, attend)


@dataclass(slots=True, kw_only=True)
class Eagle(Drafter):
    """Guesses chains of hidden states, and the tokens that the model's head makes of them, with leaves beside.

    Parameters
    ----------
    layer : EagleLayer
    runner : Runner
        Of the model.
    embedding : Tensor (vocabulary, hidden)
        Of input tokens.
    """

    observes = True

    layer: EagleLayer
    runner: Runner
    embedding: Tensor
    _rows: Rows = field(init=False)
    _waiting: dict[int, _Waiting] = field(default_factory=dict)
    _state: Tensor = field(init=False)  # (B, hidden), the last guess
    _ahead: int = 0  # guesses in the cache, for which the model's own hidden states will come

    def __post_init__(self) -> None:
        self._rows = Rows(1, self.runner.device)

    @classmethod
    def of(cls, loaded: Loaded, layer: EagleLayer, *, always: int = 0) -> Eagle:
        """A layer for the model that it was trained for, sized by measured passes and accuracies.

        Parameters
        ----------
        always : int
            So many guesses in every step; 0: as many as pay.
        """
        if not layer.accuracy:
            raise DovetailError("a draft layer that was not tried", where=str(loaded.folder), hint=_HINT)
        layer, runner, embedding = layer.frozen(), runner_of(loaded), loaded.model.get_input_embeddings().weight
        timed = PassTime.of(_Alone(layer, runner, embedding))
        seconds = DraftedPass.by(PassTime.of(runner), timed, len(layer.accuracy))
        rates = [list(row) for row in layer.accuracy]
        return cls(
            sizing=DraftSizing(seconds, always=always), rates=rates, layer=layer, runner=runner, embedding=embedding
        )

    def observe(self, text: Text, states: Tensor) -> None:
        """Hidden states wait until guesses are asked for."""
        self._waiting.setdefault(id(text), _Waiting(text)).states.append(states)

    def leave(self, texts: Sequence[Text]) -> None:
        """Forgets hidden states that were not asked for."""
        for text in texts:
            self._waiting.pop(id(text), None)

    def start(self, texts: Sequence[Text]) -> Tensor:
        """Scores after each text, once the layer has read all hidden states that came."""
        if self._ahead:
            self._rows.cache.shorten([length - self._ahead for length in self._rows.cache.lengths])
            self._ahead = 0
        cache = self._rows.follow(texts)
        waiting = [self._waiting.pop(id(text)).all() for text in texts]
        tokens = [t.tokens[n + 1 : n + 1 + len(w)] for t, n, w in zip(texts, cache.lengths, waiting, strict=True)]
        self._state = self._read(waiting, tokens, cache)
        return self.runner.logits(self._state)

    def _read(self, waiting: list[Tensor], tokens: list[list[int]], cache: KVCache) -> Tensor:
        """Guessed states (B, hidden) after texts; shorter ones are followed by nothing of meaning."""
        clock, counts = clock_of(self.runner.device), [len(states) for states in waiting]
        began = clock()
        width, found = max(counts), []
        states = nn.utils.rnn.pad_sequence(waiting, batch_first=True)
        ids = torch.tensor([row + [0] * (width - len(row)) for row in tokens], device=self.runner.device)
        for begin in range(0, width, _CHUNK):
            part = slice(begin, begin + _CHUNK)
            found.append(guessed(self.layer, states[:, part], self.embedding[ids[:, part]], cache))
            cache.keep([min(max(count - begin, 0), _CHUNK) for count in counts])
        last = torch.tensor(counts, device=self.runner.device) - 1
        state = torch.cat(found, 1)[torch.arange(len(counts), device=self.runner.device), last]
        if width > len(self.rates) + 1:  # more than a step adds
            float(state[0, 0])  # waits until it is done
            self.sizing.aside_s = clock() - began
        return state

    def go_on(self, tokens: Tensor) -> Tensor:
        """Scores after a guess: the guessed state stands for the model's own."""
        cache = self._rows.cache
        newest = self.embedding[tokens].unsqueeze(1)
        self._state = guessed(self.layer, self._state.unsqueeze(1), newest, cache)[:, 0]
        cache.keep([1] * len(tokens))
        self._ahead += 1
        return self.runner.logits(self._state)


@dataclass(slots=True)
class _Waiting:
    """Hidden states of a text that the layer has not read."""

    text: Text  # held, so that no other gets its id
    states: list[Tensor] = field(default_factory=list)

    def all(self) -> Tensor:
        return torch.cat(self.states)


@dataclass(slots=True, weakref_slot=True, eq=False)
class _Alone:
    """The layer as a runner, so that its passes can be timed."""

    layer: EagleLayer
    runner: Runner
    embedding: Tensor
    layers: tuple[int] = (1,)

    @property
    def device(self) -> torch.device:
        return self.runner.device

    def forward(
        self, ids: Tensor, cache: KVCache, positions: Tensor | None = None, visible: Tensor | None = None
    ) -> Tensor:
        newest = self.embedding[ids]
        return guessed(self.layer, torch.zeros_like(newest), newest, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.runner.logits(hidden)
