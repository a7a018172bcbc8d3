"""A whole pass through a Llama-type decoder in one call of the kernels, where all of its parts are what they read.

A step of a small model spends most of its time between operations: each has tensors to make and a language to leave.
Where weights are fp32 or packed and there are few new tokens, none of that is left between embedding and last norm.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dovetail.core.errors import DovetailError
from dovetail.runtime.cache import attention
from dovetail.runtime.cache.held import HeldCache
from dovetail.runtime.decoding.cache import KVCache, View
from dovetail.runtime.kernels.dense import DenseProduct
from dovetail.runtime.kernels.fused import GatedMLP
from dovetail.runtime.kernels.library import Library, find
from dovetail.runtime.kernels.linear import PackedLinear, refuse_failure
from dovetail.runtime.kernels.step import Decoder, DecoderLayer, Norm, Pass, Sight, Weights

Product = Callable[[Tensor], Tensor]
_ROWS = 256  # new tokens of all sequences, as `DenseProduct` has it
_CHANNELS = 512  # of a head at most, as attention has it
_KNOWN = (KVCache.attend, HeldCache.attend)


@dataclass(slots=True)
class FeedForward:
    """``down(act(gate) * up)``, with `both` the joined outputs of gate and up."""

    both: Product
    down: Product
    act: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        """`x` (…, hidden) to the same shape."""
        gate, up = self.both(x).chunk(2, -1)
        return self.down(self.act(gate) * up)


@dataclass(slots=True)
class Layer:
    """One decoder layer: norms, products, and the norms of heads where there are some."""

    norm_in: tuple[Tensor, float]
    qkv: Product
    out: Product
    norm_post: tuple[Tensor, float]
    feed_forward: Product
    q_norm: tuple[Tensor, float] | None
    k_norm: tuple[Tensor, float] | None
    window: int | None


class Parts(Protocol):
    """What a decoder consists of, as `LlamaRunner` has it."""

    heads: int
    kv_heads: int
    head_dim: int
    embedding: Tensor
    norm: tuple[Tensor, float]
    layers: list[Layer]


class CannotStepError(Exception):
    """A part is not what the kernels read."""


class WholeStep:
    """Passes of up to 64 new tokens of each sequence; made by `of`.

    Attributes
    ----------
    windows : tuple of int or None
        Of the layers, each once.
    """

    def __init__(self, parts: Parts, found: Library) -> None:
        self.windows = tuple(dict.fromkeys(layer.window for layer in parts.layers))
        self.heads, self.kv_heads, self.channels = parts.heads, parts.kv_heads, parts.head_dim
        self._kept: list[Any] = list(parts.layers)  # whose memory is pointed to
        layers = (DecoderLayer * len(parts.layers))(*map(self._layer, parts.layers))
        vocabulary, hidden = parts.embedding.shape
        width = max(_rows(_halves(layer.feed_forward)[0]) // 2 for layer in parts.layers)
        self._decoder = Decoder(
            len(layers), hidden, self.heads, self.kv_heads, self.channels, width, vocabulary,
            memory_of(parts.embedding), ctypes.addressof(layers), _norm(parts.norm),
        )  # fmt: skip
        self._hidden = hidden
        self._kept += [layers, parts.embedding, parts.norm]
        self._run, self._index = found.step, found.variant()

    @classmethod
    def of(cls, parts: Parts) -> WholeStep | None:
        """None where there are no kernels, or not for all parts."""
        found, channels = find(), parts.head_dim
        if not isinstance(found, Library) or not parts.layers or channels % 2 or channels > _CHANNELS:
            return None
        try:
            return cls(parts, found)
        except CannotStepError:
            return None

    def takes(self, ids: Tensor, cache: KVCache) -> bool:
        """Whether tokens (B, T) are few enough, and the cache attends as the kernels do."""
        fits = ids.shape[1] <= attention.MOST and 0 < ids.numel() <= _ROWS and not torch.is_grad_enabled()
        return fits and type(cache).attend in _KNOWN and (cache.windows or self.windows == (None,))

    def __call__(self, ids: Tensor, cache: KVCache, view: View, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Normed hidden states (B, T, hidden) of new tokens; their keys and values are in the cache.

        Parameters
        ----------
        angles : (Tensor, Tensor)
            Cosines, and sines whose first half is negative, of each position: (positions, channels).
        """
        batch, tokens = ids.shape
        table = cache.laid(self.kv_heads, self.channels)
        queries, paid = cache.asked(self.heads, tokens, self.channels), cache.paid(self.kv_heads, tokens)
        seen = [view.seen(window) for window in self.windows]
        sights = (Sight * len(seen))(*(Sight(*one.pointers()) for one in seen))
        ids, positions = ids.contiguous(), view.positions.contiguous()
        states = torch.empty(batch, tokens, self._hidden, dtype=torch.float32, device="cpu")
        places, pitches = _weights_of(paid)
        packing = attention.packing(cache.groups, self.channels)
        asked = Pass(
            batch, tokens, ids.data_ptr(), positions.data_ptr(), len(angles[0]), angles[0].data_ptr(),
            angles[1].data_ptr(), *packing, table.ctypes.data, ctypes.addressof(sights),
            None if queries is None else queries.data_ptr(), places, pitches, states.data_ptr(),
        )  # fmt: skip
        failed = self._run(
            ctypes.addressof(self._decoder), ctypes.addressof(asked), self._index, torch.get_num_threads()
        )
        if failed:
            _refuse(failed, batch * tokens)
        return states

    def _layer(self, layer: Layer) -> DecoderLayer:
        pair, down = _halves(layer.feed_forward)
        norms = [_norm(one) for one in (layer.norm_in, layer.norm_post, layer.q_norm, layer.k_norm)]
        products = [weights_at(one) for one in (layer.qkv, layer.out, pair, down)]
        return DecoderLayer(*norms, *products, self.windows.index(layer.window))


def _weights_of(paid: Sequence[Tensor]) -> tuple[Any, Any]:
    if not paid:
        return None, None
    places = (ctypes.c_void_p * len(paid))(*(one.data_ptr() for one in paid))
    pitches = (ctypes.c_int64 * len(paid))(*(one.shape[3] for one in paid))
    return ctypes.cast(places, ctypes.c_void_p), ctypes.cast(pitches, ctypes.c_void_p)


def _halves(feed_forward: Product) -> tuple[Product, Product]:
    """What makes gate and up, and what reads their product."""
    if isinstance(feed_forward, GatedMLP) and not (feed_forward._forward_hooks or feed_forward._forward_pre_hooks):
        return feed_forward.pair, feed_forward.down
    if isinstance(feed_forward, FeedForward) and "SiLU" in type(feed_forward.act).__name__:
        return feed_forward.both, feed_forward.down
    raise CannotStepError


def weights_at(product: object) -> Weights:
    """Where the kernels find the weights of a product; `CannotStepError` where they do not read them."""
    if isinstance(product, DenseProduct) and product.address is not None:
        return Weights(product.address, None, 0)
    if isinstance(product, PackedLinear) and not product.hooked:
        return Weights(None, product._address, product._how)
    raise CannotStepError


def _rows(product: Product) -> int:
    return int(product.out_features if isinstance(product, PackedLinear) else product.weight.shape[0])  # type: ignore[attr-defined]


def _norm(norm: tuple[Tensor, float] | None) -> Norm:
    return Norm(None, 0.0) if norm is None else Norm(memory_of(norm[0]), norm[1])


def memory_of(tensor: Tensor) -> int:
    """Its address; `CannotStepError` where it is no fp32 in one stretch of the CPU's memory."""
    if not tensor.is_cpu or tensor.dtype is not torch.float32 or not tensor.is_contiguous():
        raise CannotStepError
    return tensor.data_ptr()


def _refuse(failed: int, tokens: int) -> None:
    if failed == 3:
        raise IndexError("a token that the model does not have")
    if failed == 4:
        raise DovetailError("a position beyond the model's angles", where="decoding", hint="a shorter text")
    refuse_failure(failed, tokens)
