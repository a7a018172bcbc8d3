"""A causal model on disk whose decoder layers come into memory one at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.lazy import require
from dovetail.recipe.arithmetic.rounding import check_finite
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.load import skeleton

if TYPE_CHECKING:
    from torch import Tensor, nn

Call = Mapping[str, Any]  # what a decoder layer is called with besides the hidden states


@dataclass(frozen=True, slots=True, eq=False)
class Decoder:
    """The module without weights, and where its weights are.

    Parameters
    ----------
    checkpoint : Checkpoint
        Dense; its transforms are applied to what is read.
    model : nn.Module
        Of `transformers`, on the meta device.
    stem : str
        Name of the list of decoder layers (``model.layers``).
    """

    checkpoint: Checkpoint
    model: Any
    stem: str

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Decoder:
        """Raises `DovetailError` for a model without one list of decoder layers whose tensors the checkpoint names."""
        model = skeleton(checkpoint)
        kinds = lists_of_layers(model)
        found = cls(checkpoint, model, kinds[0] if kinds else "")
        needed = found.layers[0].state_dict() if kinds else ()
        lost = [name for name in needed if f"{found.prefix(0)}{name}" not in checkpoint.stored]
        if not kinds or lost:
            why = f"no tensor '{found.prefix(0)}{lost[0]}'" if lost else "it has no list of decoder layers"
            hint = "round-to-nearest works on it; or a dense model of the Llama, Mistral, Qwen or Gemma families"
            raise DovetailError(
                "cannot be calibrated layer by layer", where=str(checkpoint.folder), why=why, hint=hint,
                exit_code=INFEASIBLE,
            )  # fmt: skip
        return found

    @property
    def layers(self) -> Any:
        """The decoder layers, without weights."""
        return self.model.get_submodule(self.stem)

    def prefix(self, index: int) -> str:
        """What the names of the tensors of a layer begin with."""
        return f"{self.stem}.{index}."

    def layer(self, index: int) -> nn.Module:
        """One decoder layer with its weights, in fp32. Raises `DovetailError` where one is not finite."""
        torch = require("torch", "torch", to="run a model")
        layer = copy.deepcopy(self.layers[index])
        prefix = self.prefix(index)
        names = [n for n in self.checkpoint.stored if n.startswith(prefix)]
        read = {n: t.to(torch.float32) for name in names for n, t in self.checkpoint.read(name).items()}
        for name, tensor in read.items():
            check_finite(name, tensor)
        layer.load_state_dict({n.removeprefix(prefix): t for n, t in read.items()}, assign=True)
        found: nn.Module = layer.eval()
        return found.requires_grad_(False)

    def begin(self, batches: Sequence[Tensor]) -> tuple[Iterator[Tensor], list[Call]]:
        """The hidden states (B, T, hidden) before the first layer, batch by batch, and how each layer is called.

        The model's own forward pass decides, with layers that only look. All batches have the same shape.
        """
        torch = require("torch", "torch", to="run a model")
        from dovetail.recipe.layerwise.watch import Watch

        inside, _, last = self.stem.rpartition(".")
        base = copy.deepcopy(self.model.get_submodule(inside))
        watched = [Watch(layer) for layer in self.layers]
        base.set_submodule(last, torch.nn.ModuleList(watched))
        embedded = self._embedding(base, inside)
        self._fill(base, inside, last)

        def before(ids: Tensor) -> Tensor:
            with torch.inference_mode():  # never around a yield: the mode would stay on for whoever reads
                base(inputs_embeds=embedded(ids), use_cache=False)
            return watched[0].seen

        before(batches[0])
        return map(before, batches), [watch.call for watch in watched]

    def _embedding(self, base: Any, inside: str) -> Callable[[Tensor], Tensor]:
        """From ids to fp32 vectors: the table stays in its dtype, rows are widened when they are looked up."""
        module = base.get_input_embeddings()
        name = next(n for n, m in base.named_modules() if m is module)
        full = f"{inside}.{name}.weight".lstrip(".")
        table, scale = self.checkpoint.read(full)[full], float(getattr(module, "scalar_embed_scale", 1.0))
        return lambda ids: table[ids].float() * scale

    def _fill(self, base: Any, inside: str, layers: str) -> None:
        """Give weights to what is neither a decoder layer nor the embedding: position tables, the final norm."""
        torch = require("torch", "torch", to="run a model")
        table = base.get_input_embeddings()
        for name, module in list(base.named_modules()):
            if module is table or name.startswith(layers):
                continue
            for key, _ in list(module.named_parameters(recurse=False)):
                full = ".".join(part for part in (inside, name, key) if part)
                tensor = self.checkpoint.read(full)[full].float()
                setattr(module, key, torch.nn.Parameter(tensor, requires_grad=False))
            if list(module.named_buffers(recurse=False)):
                if "rotary" not in type(module).__name__.lower():
                    why = f"how the buffers of '{name}' are made is not known"
                    raise DovetailError("cannot be calibrated layer by layer", why=why, exit_code=INFEASIBLE)
                base.set_submodule(name, type(module)(config=base.config))


def lists_of_layers(model: Any) -> list[str]:
    """Names of the lists of decoder layers that a model of `transformers` has: one in most."""
    torch = require("torch", "torch", to="run a model")
    lists = ((name, part) for name, part in model.named_modules() if isinstance(part, torch.nn.ModuleList))
    return [name for name, part in lists if len(part) and type(part[0]).__name__.endswith(("DecoderLayer", "Block"))]
