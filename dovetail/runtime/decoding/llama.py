"""Llama-type decoders executed by few large operations: the modules' own weights without their bookkeeping.

A step of a small model spends most of its time in Python between small operations. Queries, keys and values are one
product, so are gate and up, both halves of a rotary angle are turned at once, and the cache is written in place.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dovetail.runtime.cache.attention import unplanned
from dovetail.runtime.decoding.cache import KVCache, View
from dovetail.runtime.decoding.step import FeedForward, Layer, Product, WholeStep
from dovetail.runtime.kernels.dense import DenseProduct
from dovetail.runtime.kernels.linear import PackedLinear

_KINDS = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_DEVICES = ("cpu", "cuda")


class LlamaRunner:
    """Forward passes of a Llama-type module over a `KVCache`.

    Parameters
    ----------
    model : nn.Module
        Of `transformers`, in eval mode. Its weights become views of joined ones: nothing is held twice.
    """

    def __init__(self, model: Any) -> None:
        base, config = model.model, model.config
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.embedding, self.head = base.embed_tokens.weight, _single(model.get_output_embeddings())
        self.norm = _norm(base.norm)
        self.layers = [_layer(layer, config, index) for index, layer in enumerate(base.layers)]
        self._rotary = base.rotary_emb
        self._cos = self._sin = torch.empty(0, self.head_dim, device=self.device)
        self._step = WholeStep.of(self)

    @property
    def device(self) -> torch.device:
        """Where ids, positions and masks belong."""
        return self.embedding.device  # type: ignore[no-any-return]

    def forward(
        self, ids: Tensor, cache: KVCache, positions: Tensor | None = None, visible: Tensor | None = None
    ) -> Tensor:
        """Hidden states (B, T, hidden), normed, of new tokens `ids` (B, T); their keys and values are in the cache.

        Parameters
        ----------
        positions : Tensor (B, T)
            Of the new tokens; those behind the cached ones by default.
        visible : Tensor (T, T) or (B, T, T) of bool
            Which new tokens each new token sees; those up to itself by default.
        """
        tokens = ids.shape[1]
        cache.reserve(tokens)
        if positions is None:
            positions = cache.following(tokens)
        view, longest = View(tokens, visible, positions), cache.longest + tokens
        if self._step is not None and self._step.takes(ids, cache):
            return self._step(ids, cache, view, self._known_angles(longest))
        angles = self._angles(positions, longest)
        x = self.embedding[ids]
        with unplanned(self.device):
            for index, layer in enumerate(self.layers):
                q, k, v = self._projected(layer, functional.rms_norm(x, *_of(layer.norm_in)), *angles)
                x = _finished(layer, x, cache.attend(index, q, k, v, view, layer.window))
        return self.normed(x)

    def projected(self, index: int, x: Tensor, positions: Tensor, longest: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, T, channels) that a layer makes of hidden states (B, T, hidden).

        Parameters
        ----------
        longest : int
            Positions that the text may come to.
        """
        layer = self.layers[index]
        return self._projected(layer, functional.rms_norm(x, *_of(layer.norm_in)), *self._angles(positions, longest))

    def finished(self, index: int, x: Tensor, attended: Tensor) -> Tensor:
        """Hidden states behind a layer, from those before it and its attention (…, heads * channels)."""
        return _finished(self.layers[index], x, attended)

    def normed(self, x: Tensor) -> Tensor:
        """Hidden states behind the last layer as the head takes them."""
        return functional.rms_norm(x, *_of(self.norm))

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token: (…, vocabulary)."""
        return self.head(hidden)

    def shallow(self, layers: int) -> LlamaRunner:
        """The first layers with the same norm and head behind them, and the same weights in memory."""
        found = copy(self)
        found.layers = self.layers[:layers]
        found._step = WholeStep.of(found)
        return found

    def _projected(self, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, tokens, _ = x.shape
        turned = self.heads + self.kv_heads
        mixed = layer.qkv(x).view(batch, tokens, turned + self.kv_heads, self.head_dim).transpose(1, 2)
        qk, values = mixed[:, :turned], mixed[:, turned:]
        if layer.q_norm is not None and layer.k_norm is not None:
            q = functional.rms_norm(qk[:, : self.heads], *_of(layer.q_norm))
            qk = torch.cat((q, functional.rms_norm(qk[:, self.heads :], *_of(layer.k_norm))), 1)
        halves = qk.roll(self.head_dim // 2, -1)
        qk = torch.addcmul(qk * cos, halves, sin)
        return qk[:, : self.heads], qk[:, self.heads :], values

    def _angles(self, positions: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        """Cosines, and sines whose first half is negative: (B, 1, T, channels)."""
        cos, sin = self._known_angles(longest)
        return cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)

    def _known_angles(self, longest: int) -> tuple[Tensor, Tensor]:
        """As `_angles`, of all positions up to `longest` and more: (positions, channels)."""
        if len(self._cos) < longest:
            every = torch.arange(max(longest, 2 * len(self._cos)), device=self.device).unsqueeze(0)
            cos, sin = self._rotary(self.embedding[:1].unsqueeze(0), every)
            half = self.head_dim // 2
            self._cos, self._sin = cos[0], torch.cat((-sin[0, :, :half], sin[0, :, half:]), -1)
        return self._cos, self._sin


def known(model: Any) -> bool:
    """Whether a module is of a kind that `LlamaRunner` executes."""
    return type(model).__name__ in _KINDS and _plain(model)


def _plain(model: Any) -> bool:
    """Rotary angles that are a function of the position alone, on a device that this was tried on."""
    kind = getattr(model.model.rotary_emb, "rope_type", "default")
    return kind not in ("dynamic", "longrope") and model.device.type in _DEVICES


def _layer(layer: Any, config: Any, index: int) -> Layer:
    attention, kinds = layer.self_attn, getattr(config, "layer_types", None)
    sliding = kinds[index] == "sliding_attention" if kinds else True
    window = getattr(config, "sliding_window", None) if sliding else None
    return Layer(
        _norm(layer.input_layernorm), _joined([attention.q_proj, attention.k_proj, attention.v_proj]),
        _single(attention.o_proj), _norm(layer.post_attention_layernorm), _feed_forward(layer.mlp),
        _norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        _norm(attention.k_norm) if hasattr(attention, "k_norm") else None, window,
    )  # fmt: skip


def _finished(layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
    x = x + layer.out(attended)
    return x + layer.feed_forward(functional.rms_norm(x, *_of(layer.norm_post)))


def _norm(module: Any) -> tuple[Tensor, float]:
    """The weight and epsilon of transformers' norms and of ours; an `AttributeError` where there is none."""
    return module.weight, float(module.variance_epsilon)


def _of(norm: tuple[Tensor, float]) -> tuple[list[int], Tensor, float]:
    return [norm[0].shape[0]], norm[0], norm[1]


def _feed_forward(mlp: Any) -> Product:
    dense = all(type(getattr(mlp, name, None)) is nn.Linear for name in ("gate_proj", "up_proj", "down_proj"))
    if not dense:
        return mlp  # type: ignore[no-any-return]
    return FeedForward(_joined([mlp.gate_proj, mlp.up_proj]), _single(mlp.down_proj), mlp.act_fn)


def _joined(layers: list[Any]) -> Product:
    """One product for layers that read the same tensor; their outputs side by side."""
    if all(isinstance(layer, PackedLinear) for layer in layers):
        if (whole := PackedLinear.joined(layers)) is not None:
            return whole
    elif all(type(layer) is nn.Linear and not layer._forward_pre_hooks for layer in layers):
        return _stacked(layers)
    return lambda x: torch.cat([layer(x) for layer in layers], -1)


def _stacked(layers: list[nn.Linear]) -> Product:
    """Dense layers whose weights become views of one matrix."""
    weight = torch.cat([layer.weight.detach() for layer in layers])
    bias = torch.cat([_bias(layer) for layer in layers]) if any(la.bias is not None for la in layers) else None
    begin = 0
    for layer in layers:
        layer.weight = nn.Parameter(weight[begin : begin + layer.out_features], requires_grad=False)
        begin += layer.out_features
    return DenseProduct(weight, bias)


def _single(layer: Any) -> Product:
    """A layer as it is, or by its weights where it does nothing else."""
    plain = type(layer) is nn.Linear and not layer._forward_pre_hooks and not layer._forward_hooks
    return DenseProduct(layer.weight, layer.bias) if plain else layer


def _bias(layer: nn.Linear) -> Tensor:
    return layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias.detach()
