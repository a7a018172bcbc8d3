"""`Model`: a config, its architecture, and where it came from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.formats import Number, dtype_bytes
from dovetail.model import find
from dovetail.model.architecture import Architecture
from dovetail.model.build import decoder_graph, number
from dovetail.model.config import Config, read_fields
from dovetail.model.families import FAMILIES
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear
from dovetail.model.storage import Storage, as_stored, storage_of

if TYPE_CHECKING:
    import torch

    from dovetail.model.vision import Tower


@dataclass(frozen=True, slots=True, eq=False)
class Model(ByContent):
    """A language model: what it is, and the graph of any step of it.

    Parameters
    ----------
    name : str
        Hub id, folder name, or ``model_type`` of a config given as a dict.
    architecture : Architecture
        Its numbers, family quirks resolved.
    config : mapping
        The fields of its ``config.json``.
    folder : Path or None
        The folder of its ``config.json`` on this disk, where its weights and tokenizer are too.
    storage : Storage
        How its checkpoint stores weights.

    Notes
    -----
    Graphs hold weights in the config's `dtype`, or as its ``quantization_config`` says that the checkpoint stores them.
    """

    name: str
    architecture: Architecture
    config: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    storage: Storage = field(default_factory=Storage)

    @staticmethod
    def load(source: str | os.PathLike[str] | Mapping[str, Any] | Model) -> Model:
        """The model of a zoo name or hub id, a folder, a config file, or the fields of a config; a model is itself.

        A hub id is looked for in the zoo, then as a path, then in the local Hugging Face cache; nothing is downloaded.

        Raises
        ------
        DovetailError
            No such model, an unknown architecture, or a field that is missing or does not fit.
        """
        if isinstance(source, Model):
            return source
        if isinstance(source, Mapping):
            name = str(source.get("_name_or_path") or source.get("model_type") or "config")
            return _from_fields(name, source, "config")
        name, file, folder = find.locate(source)
        return _from_fields(name, read_fields(file), str(file), folder)

    @staticmethod
    def from_module(
        module: torch.nn.Module,
        inputs: Any = None,
        *,
        name: str = "",
        max_context: int | None = None,
        dtype: str | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> Model:
        """The model of any torch module that `torch.export` can trace: a language model, or a stack of its blocks.

        Sizes stay symbolic in batch and tokens. Caches are derived, not traced: keys and values of each causal
        attention, before any repetition over heads; a mask is read at 1,024 positions (fewer where the module has
        fewer), so a longer sliding window passes for none. Logits are the last product, with one output for each row
        of the token table; like any graph, a step has those of `logit_tokens` positions.

        Parameters
        ----------
        module : torch.nn.Module
            On any device; built on the meta device it takes no memory, but masks kept as buffers then have no values.
        inputs : Tensor or sequence of Tensor, optional
            An example of the positional arguments, (batch, tokens, ...) and more than one of each; by default token
            ids. No value is looked at.
        name : str
            What to call it; by default the module's class.
        max_context : int, optional
            Longest context in tokens. Tables of positions bound it too; without either it is taken as unbounded.
        dtype : str, optional
            How parameters and activations are stored and computed (``"bf16"``); by default as the module has them.
        keywords : mapping, optional
            Further arguments of ``forward``, which stay as they are. ``use_cache`` is False unless given.

        Raises
        ------
        DovetailError
            The module cannot be traced for all sizes, or has an operator, a mask or a size that is not understood:
            named, with the path of the submodule.
        """
        from dovetail.model.traced.read import read

        called = name or type(module).__name__
        return Model(called, read(module, inputs, keywords, called, max_context, dtype))

    @staticmethod
    def names() -> list[str]:
        """Hub ids of the zoo, and ``embedded`` and ``recall``, the models that ship."""
        return find.names()

    def graph(
        self,
        batch: Number = 1,
        tokens: Number = 1,
        context: Number = 0,
        logit_tokens: Number = 1,
        kv_dtype: str | None = None,
        absorb: bool | None = None,
    ) -> Graph:
        """The operators of one step: see `decoder_graph`. Lengths beyond `max_context` are the caller's to judge.

        Weights have the formats the checkpoint stores them in, and products the dtype of their inputs (`Storage`);
        `kv_dtype` None is the dtype of the cache that the checkpoint asks for, bf16 where it says nothing.

        Raises
        ------
        DovetailError
            A batch or number of tokens below 1, a context below 0, or anything that is not a number.
        """
        graph = decoder_graph(
            self.architecture,
            _at_least("batch", batch, 1),
            _at_least("tokens", tokens, 1),
            _at_least("context", context, 0),
            _at_least("logit_tokens", logit_tokens, 0),
            kv_dtype or self.storage.kv_dtype,
            absorb,
        )
        absorbed = bool(np.ndim(tokens) == 0 and tokens == 1) if absorb is None else absorb
        origin = _Pass(self, batch, context, kv_dtype, absorbed)
        return replace(as_stored(graph, self.storage), origin=origin)

    def training_graph(self, batch: Number = 1, tokens: Number = 1) -> Graph:
        """The operators of one training step, forward and backward: see `dovetail.model.training`.

        Raises
        ------
        DovetailError
            A batch or number of tokens below 1, or anything that is not a number.
        """
        from dovetail.model.training import training_graph

        return training_graph(self.architecture, _at_least("batch", batch, 1), _at_least("tokens", tokens, 1))

    def image_tokens(self, height: int, width: int) -> int:
        """Tokens that one image of `height` x `width` pixels takes.

        Raises
        ------
        DovetailError
            The model has no image encoder, or a side is below 1.
        """
        _at_least("image", min(height, width), 1)
        return self._tower().tokens(height, width)

    def vision_graph(self, images: Number = 1, height: int = 448, width: int = 448) -> Graph:
        """The operators that turn `images` images of `height` x `width` pixels into tokens of the language model.

        Raises
        ------
        DovetailError
            The model has no image encoder, or a number is below 1.
        """
        _at_least("image", min(height, width), 1)
        return self._tower().encoding(_at_least("images", images, 1), height, width)

    def _tower(self) -> Tower:
        if self.architecture.vision is None:
            raise DovetailError(f"{self.name} has no image encoder", hint="a vision-language model such as llava")
        return self.architecture.vision

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return len(self.architecture.layers)

    @property
    def max_context(self) -> int:
        """Longest context in tokens."""
        return self.architecture.max_context

    @property
    def parameters(self) -> int:
        """What the Hugging Face module holds: tied heads once."""
        return int(self.graph().parameters())

    @property
    def active_parameters(self) -> int:
        """Parameters that one token meets: in a mixture, `top_k` of the experts."""
        graph = self.graph()
        idle = sum(
            weight.elements * (1.0 - operator.top_k / operator.experts) * operator.repeat
            for operator in graph.operators if isinstance(operator, Linear) and operator.experts > 1
            for weight in operator.weights
        )  # fmt: skip
        return self.parameters - round(float(idle))

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one more token adds to the KV cache, in the dtype for it, below any sliding window."""
        growing = (cache for cache in self.graph().caches if cache.grows)
        return int(sum(dtype_bytes(cache.format) * cache.elements_per_token for cache in growing))


@dataclass(frozen=True, slots=True)
class _Pass:
    """What a graph was made from, but for its new tokens: `dovetail.model.graph.Origin`."""

    model: Model
    batch: Number
    context: Number
    kv_dtype: str | None
    absorb: bool

    def graph(self, tokens: Number, logit_tokens: Number) -> Graph:
        return self.model.graph(self.batch, tokens, self.context, logit_tokens, self.kv_dtype, self.absorb)


def _from_fields(name: str, fields: Mapping[str, Any], where: str, folder: Path | None = None) -> Model:
    config = Config(fields, where)
    kind = config.text("model_type")
    if kind not in FAMILIES:
        found = _unknown(config, kind, name)
    else:
        found = FAMILIES[kind](config, name)
    return Model(name, found, dict(fields), folder, storage_of(config, found.dtype, folder))


def _unknown(config: Config, kind: str, name: str) -> Architecture:
    """The architecture of an unknown `model_type`, where its fields can only be a Llama's."""
    from dovetail.model.families.by_fields import by_fields, unlike

    if reason := unlike(config):
        known = list(FAMILIES)
        why = f"not read as a Llama: {reason}; the families known are {', '.join(known)}"
        raise DovetailError(
            f"unknown architecture '{kind}'", where=config.where, why=why, hint=did_you_mean(kind, known)
        )
    return by_fields(config, name)


def _at_least(name: str, value: Any, low: int) -> Number:
    try:
        value = number(value)
        # an array's extremes are not finite when any of its points is not
        least, most = (value, value) if isinstance(value, int | float) else (value.min(), value.max())
        good = low <= least and most < math.inf
    except (TypeError, ValueError):
        raise DovetailError(f"{value!r} is not a number", where=name, hint=f"a whole number from {low}") from None
    if not good:
        raise DovetailError(f"{least:g} is out of range", where=name, why=f"at least {low}, and finite")
    return value
