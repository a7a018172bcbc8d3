"""What applying a recipe takes: the peak of resident memory above that of the imports, and disk; before any work.

Tensors stream through one at a time. Methods without calibration hold one tensor and its roundings, or what they say
themselves (`Copies`); calibrated ones one decoder layer in fp32, the second moment of the inputs of one matrix with the
copies that factorise it, and one batch of activations; hidden states wait on disk.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.quantity import Quantity
from dovetail.core.units import show
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.method import Copies, OnModel
from dovetail.recipe.packing import rounding_bytes
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.load import available_memory
from dovetail.runtime.tensorfile import TensorInfo

_FP32 = 4
_BASE, _TEXT = 100e6, 100e6  # what libraries load when they are first used; tokenizer and calibration text
_FACTORS = 4  # second moments while one is factorised: itself, its permutation, two factors
_KEPT = 2  # second moments while columns are rounded: itself and its factor
_ROUNDED = 8  # copies of a matrix in fp32 while it is rounded: what is left, what is done, temporaries of a search
_READ = 3  # inputs of a decoder layer's matrices that are as wide as the hidden state
_WIDE, _NARROW = 4, 4  # activations as wide as the widest matrix and as the hidden state that live together
_FACTOR = 1.25  # the interval, either way
_LAYER = re.compile(r"^(.*?\.\d+)\.")

Parts = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Footprint:
    """The peak, by what is there together, and the disk that is used until the result is whole.

    Parameters
    ----------
    phases : tuple of parts
        What memory is for at each stage of the work, in bytes; the largest is the peak.
    disk : float
        Bytes.
    per_token : float
        Bytes that one token of a calibration batch takes.
    batch_tokens : int
        Tokens of a calibration batch; 0 without calibration.
    """

    phases: tuple[Parts, ...]
    disk: float
    per_token: float = 0.0
    batch_tokens: int = 0

    @classmethod
    def of(cls, recipe: Recipe, checkpoint: Checkpoint, calibration: Calibration) -> Footprint:
        """The footprint of a recipe on a checkpoint, from headers alone."""
        stored, out = checkpoint.stored, float(checkpoint.payload_bytes)
        largest = max(stored.values(), key=lambda info: info.bytes)
        base, passing = ("base", _BASE), ("the largest tensor", float(largest.bytes))
        layer = _largest_layer(stored)
        matrix = max(layer, key=lambda info: info.elements)
        if not recipe.calibrated:
            rounded = ("rounding a matrix", rounding_bytes(matrix))
            return cls(((base, passing), (base, rounded), *_copied((base,), recipe, checkpoint)), out)
        base, hidden, context = ("base", _BASE + _TEXT), _hidden(checkpoint), _context(checkpoint)
        wide = [info.shape for info in layer if len(info.shape) == 2] or [(hidden, hidden)]
        inputs, widest = max(shape[1] for shape in wide), max(map(max, wide))
        moment = float(_FP32 * inputs**2)
        weights = ("a layer in fp32", float(sum(info.elements for info in layer) * _FP32))
        rounded = ("rounding a matrix", float(matrix.elements * _FP32 * _ROUNDED))
        moments = ("second moments", moment + _READ * _FP32 * hidden**2)
        tokens, each = calibration.batch_tokens_of(context), float(_FP32 * (_WIDE * widest + _NARROW * hidden))
        activations = ("activations", tokens * each)
        phases = (
            (base, passing, ("hidden states", float(tokens * hidden * _FP32))),
            (base, weights, moments, activations),
            (base, weights, ("factorising a second moment", _FACTORS * moment)),
            (base, weights, ("a second moment and its factor", _KEPT * moment), rounded),
            *_copied((base,), recipe, checkpoint),
            *_copied((base, weights), recipe, checkpoint, layer),
            *((base, *step.training_bytes(checkpoint, calibration).items())
              for step in recipe.methods if isinstance(step, OnModel)),
        )  # fmt: skip
        states = 2.0 * calibration.samples * min(calibration.tokens, context) * hidden * _FP32
        return cls(phases, 2 * out + states, each, tokens)

    @property
    def parts(self) -> Parts:
        """What memory is for at the peak."""
        return max(self.phases, key=_sum)

    @property
    def bytes(self) -> float:
        """The peak."""
        return _sum(self.parts)

    def quantity(self) -> Quantity:
        """The peak with its interval."""
        return Quantity(self.bytes, self.bytes / _FACTOR, self.bytes * _FACTOR, "byte", "modelled", self.words())

    def words(self) -> str:
        """What the memory is for."""
        return f"{show(self.bytes, 'byte')} at the peak: " + ", ".join(f"{n} {show(s, 'byte')}" for n, s in self.parts)

    def check(self, free: float | None = None) -> None:
        """Refuse work that memory does not hold.

        Raises
        ------
        DovetailError
            With what would fit (exit code 3).
        """
        free = available_memory() if free is None else free
        if free is None or self.bytes <= free:
            return
        why = f"{self.words()}; {show(free, 'byte')} are free"
        raise DovetailError("does not fit in memory", where="compress", why=why, hint=self._fits(free),
                            exit_code=INFEASIBLE)  # fmt: skip

    def _fits(self, free: float) -> str:
        """What would fit: fewer tokens in a batch, where it is they that take the room."""
        if not self.batch_tokens:
            return "a machine with more memory"
        watching = next((_sum(p) for p in self.phases if any(name == "activations" for name, _ in p)), 0.0)
        tokens = int((free - watching) / self.per_token + self.batch_tokens) if self.per_token else 0
        others = [_sum(p) for p in self.phases if _sum(p) != watching]
        if tokens >= 1 and max(others) <= free:
            return f"--batch-tokens {tokens} (with --tokens of at most that): fewer tokens at a time"
        return "round-to-nearest, which needs no calibration, or a machine with more memory"

    def check_disk(self, out: Path) -> None:
        """Refuse work whose result does not fit on the disk of `out` (exit code 3)."""
        folder = next(parent for parent in out.absolute().parents if parent.is_dir())
        free = shutil.disk_usage(folder).free
        if self.disk > free:
            why = f"{show(self.disk, 'byte')} until the result is whole, {show(free, 'byte')} are free"
            hint = "free some space or give another --out"
            raise DovetailError("the disk is too small", where=str(folder), why=why, hint=hint, exit_code=INFEASIBLE)


def _sum(parts: Parts) -> float:
    return sum(size for _, size in parts)


def _copied(
    there: Parts, recipe: Recipe, checkpoint: Checkpoint, infos: Sequence[TensorInfo] | None = None
) -> Iterator[Parts]:
    """What methods say that they hold of a tensor, besides what is there and what those before them have made of it."""
    left = 0.0
    for method in recipe.methods:
        if isinstance(method, Copies):
            found = method.copies(checkpoint, list(checkpoint.stored.values()) if infos is None else infos)
            yield (*there, *((("made before", left),) if left else ()), (found.what, found.bytes))
            left += found.left


def _largest_layer(stored: Mapping[str, TensorInfo]) -> list[TensorInfo]:
    """The tensors of the decoder layer with the most elements."""
    layers: dict[str, list[TensorInfo]] = defaultdict(list)
    for name, info in stored.items():
        if found := _LAYER.match(name):
            layers[found[1]].append(info)
    return max(layers.values(), key=lambda infos: sum(i.elements for i in infos), default=list(stored.values()))


def _hidden(checkpoint: Checkpoint) -> int:
    config = checkpoint.config.get("text_config") or checkpoint.config
    return int(config.get("hidden_size") or config.get("n_embd") or 1024)


def _context(checkpoint: Checkpoint) -> int:
    config = checkpoint.config.get("text_config") or checkpoint.config
    return int(config.get("max_position_embeddings") or config.get("n_positions") or 2**31)
