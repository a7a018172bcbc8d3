"""From an architecture to the operators of one step, once for each *kind* of layer.

Letters: B sequences, T new tokens of each, D hidden channels; ``rows = B T``. Shapes may be arrays and broadcast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from dovetail.core.formats import Number, plain
from dovetail.model.architecture import Architecture, LayerSpec
from dovetail.model.graph import Cache, Graph
from dovetail.model.operators import Operator
from dovetail.model.step import Step


def decoder_graph(
    arch: Architecture,
    batch: Number,
    tokens: Number,
    context: Number,
    logit_tokens: Number = 1,
    kv_dtype: str = "bf16",
    absorb: bool | None = None,
) -> Graph:
    """The operators of one forward pass over `tokens` new tokens for each of `batch` sequences that hold `context`.

    Parameters
    ----------
    arch : Architecture
        Its widths may be arrays too; the numbers of layers and experts are the graph's structure and may not.
    batch, tokens, context : Number
        Scalars or arrays that broadcast. Prefill is ``context=0``, decode is ``tokens=1``.
    logit_tokens : Number
        Positions of each sequence that get logits: 1 in serving, `tokens` for perplexity.
    kv_dtype : str
        Dtype of the KV cache.
    absorb : bool or None
        Whether latent attention (MLA) multiplies queries into the latents instead of expanding the cache; None for
        what engines do: in decode (one new token), not in prefill.

    Returns
    -------
    Graph
        Identical layers share one operator. Where layers differ, names carry the first layer of their kind (``qkv@0``).
    """
    batch, tokens, context, logit_tokens = number(batch), number(tokens), number(context), number(logit_tokens)
    if arch.traced is not None:
        return arch.traced.graph(batch, tokens, context, logit_tokens, kv_dtype)
    if absorb is None:
        absorb = bool(np.ndim(tokens) == 0 and tokens == 1)
    kinds = layer_kinds(arch.layers)
    once = Step(arch, (), "", plain(arch.dtype), batch, tokens, context, kv_dtype, absorb)
    operators: list[Operator] = [*embedding(once)]
    caches: list[Cache] = []
    for spec, layers in kinds:
        step = replace(once, layers=layers, suffix=f"@{layers[0]}" if len(kinds) > 1 else "")
        operators += layer(step, spec)
        for block in (spec.mixer, spec.feed_forward):
            caches += block.caches(step) if block is not None else ()
    operators += head(once, batch * logit_tokens)
    return Graph(
        tuple(operators), tuple(caches), batch, tokens, context, arch.hidden, others=arch.others,
        streams=arch.streams.count if arch.streams else 1,
    )  # fmt: skip


def number(value: Any) -> Number:
    """`value` as something arithmetic on points cannot overflow: a Python scalar, or an array of 64 bits.

    Raises `TypeError` for what is not a number.
    """
    if isinstance(value, int | float):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "iubf":
        raise TypeError(f"{value!r} is not a number")
    if array.ndim == 0:
        return array.item()
    return array.astype(np.int64) if array.dtype.kind in "iub" else array.astype(float, copy=False)


def layer_kinds(layers: tuple[LayerSpec, ...]) -> list[tuple[LayerSpec, tuple[int, ...]]]:
    """Layers grouped by content, in order of first appearance; the same object is compared once."""
    if len(set(map(id, layers))) == 1:
        return [(layers[0], tuple(range(len(layers))))]
    objects: dict[int, list[int]] = {}
    for index, each in enumerate(layers):
        objects.setdefault(id(each), []).append(index)
    kinds: dict[LayerSpec, list[int]] = {}
    for indices in objects.values():
        kinds.setdefault(layers[indices[0]], []).extend(indices)
    return [(spec, tuple(sorted(indices))) for spec, indices in kinds.items()]


def embedding(step: Step) -> Iterator[Operator]:
    """Rows gathered from the token table, and from the table of positions where there is one."""
    arch = step.arch
    width = arch.hidden if arch.embed_dim is None else arch.embed_dim
    tables = tuple(step.weights("embed", arch.vocab, width, linear=False))
    if arch.learned_positions:
        tables += tuple(step.weights("positions", arch.learned_positions, arch.hidden, linear=False))
    yield step.pointwise("embed", len(tables) * step.flow, step.flow, float(len(tables) - 1), tables, split=True)
    if arch.embed_dim is not None:
        yield step.linear("project_in", {"project_in": arch.hidden}, width, split="whole")
    yield from step.norm("norm_embed", "norm_embed")
    if arch.beside_embed is not None:
        yield from arch.beside_embed.operators(step)
    if arch.streams is not None:
        yield arch.streams.opened(step)


def layer(step: Step, spec: LayerSpec) -> Iterator[Operator]:
    """Norm, mixer, residual; norm, feed-forward, residual; one residual when both run side by side."""
    streams = step.arch.streams
    if spec.mixer:
        yield from streams.read(step, "mixer") if streams else ()
        yield from step.norm("norm_in", "norm_in")
        yield from spec.mixer.operators(step)
        yield from step.norm("norm_mixer_out", "norm_mixer_out")
        yield from step.scale("scale_mixer_out", "scale_mixer_out")
        if not spec.parallel:
            yield streams.written(step, "mixer") if streams else step.residual("residual_attention")
    if spec.feed_forward:
        yield from streams.read(step, "ffn") if streams else ()
        yield from step.norm("norm_post", "norm_post")
        yield from spec.feed_forward.operators(step)
        yield from step.norm("norm_ffn_out", "norm_ffn_out")
        yield from step.scale("scale_ffn_out", "scale_ffn_out")
        yield streams.written(step, "ffn") if streams else step.residual("residual_mlp", 2 if spec.parallel else 1)
    if spec.after:
        yield from spec.after.operators(step)


def head(step: Step, rows: Number) -> Iterator[Operator]:
    """Final norm on every token and logits for `rows` of them; a tied head reads the embedding table."""
    arch = step.arch
    if arch.streams is not None:
        yield from arch.streams.closed(step)
    yield from step.norm("norm_out", "norm_out")
    if arch.before_head is not None:
        yield from arch.before_head.operators(replace(step, batch=rows, tokens=1))
    width = arch.hidden if arch.embed_dim is None else arch.embed_dim
    if arch.embed_dim is not None:
        yield step.linear("project_out", {"project_out": width}, arch.hidden, split="whole")
    weights = tuple(step.weights("embed" if arch.tied else "head", arch.vocab, width, linear=not arch.tied))
    found = step.linear("lm_head", {}, width, m=rows)
    if arch.head_bias:
        weights += tuple(step.vectors("head_bias", arch.vocab))
    yield replace(found, weights=weights, n=arch.vocab)
