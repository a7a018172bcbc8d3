"""Any decoder that `transformers` runs, over a `KVCache`: its own modules, with masks and positions of ours."""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from dovetail.runtime.activations import unrounded
from dovetail.runtime.decoding.cache import KVCache, seen

_FINE, _COARSE = 1e-4, 0.08  # of the largest logit


class ModuleRunner:
    """Forward passes of a `transformers` module over a `KVCache`.

    Parameters
    ----------
    model : nn.Module
        In eval mode; attention ``sdpa`` or ``eager``.
    """

    def __init__(self, model: Any) -> None:
        self.model, config = model, model.config
        self.count = config.num_hidden_layers
        kinds = set(getattr(config, "layer_types", None) or ())
        self._kinds = kinds if kinds - {"full_attention"} else set()
        self._window = getattr(config, "sliding_window", None)

    @property
    def layers(self) -> range:
        """One for each decoder layer."""
        return range(self.count)

    @property
    def device(self) -> torch.device:
        """Where ids, positions and masks belong."""
        return self.model.device  # type: ignore[no-any-return]

    def forward(
        self, ids: Tensor, cache: KVCache, positions: Tensor | None = None, visible: Tensor | None = None
    ) -> Tensor:
        """Hidden states (B, T, hidden), normed, of new tokens; as `LlamaRunner.forward`."""
        tokens = ids.shape[1]
        cache.reserve(tokens)
        if positions is None:
            positions = cache.following(tokens)
        out = self.model.base_model(
            input_ids=ids, position_ids=positions, past_key_values=_Adapter(cache), use_cache=True,
            attention_mask=self._masks(cache, tokens, visible, positions),
        )  # fmt: skip
        found: Tensor = out.last_hidden_state
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token: (…, vocabulary)."""
        scores: Tensor = self.model.get_output_embeddings()(hidden)
        if cap := getattr(self.model.config, "final_logit_softcapping", None):
            scores = torch.tanh(scores / cap) * cap
        return scores

    def shallow(self, layers: int) -> ModuleRunner:
        """The first layers with the same norm and head behind them, and the same weights in memory."""
        return ModuleRunner(_shallow(self.model, layers))

    def _masks(self, cache: KVCache, tokens: int, visible: Tensor | None, positions: Tensor) -> Any:
        if not self._kinds:
            return self._mask(cache, tokens, visible, positions, self._window)
        windows = {"sliding_attention": self._window}
        return {kind: self._mask(cache, tokens, visible, positions, windows.get(kind)) for kind in self._kinds}

    def _mask(
        self, cache: KVCache, tokens: int, visible: Tensor | None, positions: Tensor, window: int | None
    ) -> Tensor:
        mask = seen(cache, tokens, visible, positions, window)
        shape = (len(cache.lengths), 1, tokens, cache.longest + tokens)
        dtype = self.model.dtype
        added = torch.zeros(shape, dtype=dtype, device=self.device)
        return added if mask is None else added.masked_fill(~mask, torch.finfo(dtype).min)


def _shallow(model: Any, layers: int) -> Any:
    """A module like `model` whose list of layers is shorter; all that it holds is the same object."""
    found, base = _twin(model), _twin(model.base_model)
    [name] = [name for name, part in base._modules.items() if isinstance(part, nn.ModuleList)]
    base._modules[name] = base._modules[name][:layers]
    found._modules[model.base_model_prefix] = base
    found.config = base.config = copy(model.config)
    base.config.num_hidden_layers = layers
    return found


def _twin(module: Any) -> Any:
    """Another module of the same parts, which can be exchanged."""
    found = copy(module)
    found._modules = dict(module._modules)
    return found


class _Adapter:
    """What `transformers`' attention modules ask of a cache."""

    is_compileable = False

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self.cache.write(layer_idx, keys, values)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.cache.longest

    def __len__(self) -> int:
        return len(self.cache.keys)


def agrees(runner: Any, model: Any) -> bool:
    """Whether a runner gives a module's own logits: two sequences of different lengths, in two passes.

    The first pass leaves eight tokens in the cache that are not kept: a mask that shows them is far off.
    """
    source = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (2, 14), generator=source, device="cpu").to(runner.device)
    cache = KVCache(len(runner.layers), 2, device=runner.device)
    with torch.inference_mode(), unrounded(model):
        expected = model(input_ids=ids, use_cache=False).logits
        first = runner.logits(runner.forward(ids[:, :10], cache))
        cache.keep([10, 2])
        later = torch.stack((ids[0, 10:], ids[1, 2:6]))
        second = runner.logits(runner.forward(later, cache))
    found = torch.cat((first[0], first[1, :2], second[0], second[1])).float()
    wanted = torch.cat((expected[0, :10], expected[1, :2], expected[0, 10:], expected[1, 2:6])).float()
    return bool((found - wanted).abs().max() <= _tolerance(model) * wanted.abs().max())


def _tolerance(model: Any) -> float:
    """Of the largest logit, for sums in another order: more where they are rounded to 16 bits, or to integers after."""
    rounds = any(getattr(module, "arithmetic", "exact") != "exact" for module in model.modules())
    return _COARSE if rounds or model.dtype.itemsize < 4 else _FINE
