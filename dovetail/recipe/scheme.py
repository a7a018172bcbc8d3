"""How matrices and their inputs are quantised, and the ``quantization_config`` that says so.

The config is the one description of a quantised model: it is written beside the weights, and the graph of a recipe is
the graph of the model with that config. So the two faces of a method cannot disagree about bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Number

_LEAST_GROUP = 8  # smaller groups than this would be more scale than weight


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one matrix (rows: outputs, columns: inputs) and its inputs are quantised.

    Parameters
    ----------
    bits : int
        Of a weight, 2 to 8; 8 where `kind` is ``float``.
    group : int
        Inputs that share a scale; 0 for one scale per row. See `fitted` for columns that it does not divide.
    symmetric : bool
        Whether zero is in the middle; otherwise each scale has a zero point.
    act_bits : int
        Of an input, rounded per token when it comes: 16 leaves inputs as they are.
    kind : str
        ``int``, or ``float``: e4m3.
    """

    bits: int = 4
    group: int = 128
    symmetric: bool = True
    act_bits: int = 16
    kind: Literal["int", "float"] = "int"

    def __post_init__(self) -> None:
        least = 8 if self.kind == "float" else 2
        if not least <= self.bits <= 8:
            raise DovetailError(f"{self.bits} bits cannot be packed", where="bits", hint=f"{least} to 8")
        if self.group < 0:
            raise DovetailError(f"a group of {self.group} inputs", where="group", hint="0 (per row), 32, 64 or 128")
        if self.act_bits not in (4, 8, 16) or self.act_bits < self.bits or (self.kind, self.act_bits) == ("float", 4):
            hint = "16 (as they are), 8 or 4, and not below those of weights"
            raise DovetailError(f"inputs of {self.act_bits} bits", where="act_bits", hint=hint)

    @property
    def packed(self) -> bool:
        """Whether elements are packed into 32-bit words, rather than stored as bytes that kernels multiply."""
        return self.kind == "int" and (self.bits < 8 or self.act_bits == 16)

    @property
    def format(self) -> str:
        """The name of compressed-tensors for how this is stored."""
        return "pack-quantized" if self.packed else f"{self.kind}-quantized"

    def fitted(self, cols: Number, where: str) -> Scheme:
        """The scheme for matrices with these columns: the group, or the largest divisor of the columns below it.

        compressed-tensors, and every engine that reads it, has no partial groups.

        Raises
        ------
        DovetailError
            The group is larger than the layer, or the columns have no divisor between 8 and the group.
        """
        if not self.group:
            return self
        shared = int(np.gcd.reduce(np.ravel(cols).astype(int)))
        if self.group > shared:
            why = f"it has {shared} columns"
            hint = f"group={shared} or less, or group=0 for one scale per row"
            raise DovetailError(
                f"a group of {self.group} is larger than the layer", where=where, why=why, hint=hint,
                exit_code=INFEASIBLE,
            )  # fmt: skip
        found = next((size for size in range(self.group, 0, -1) if shared % size == 0), 1)
        if found < min(_LEAST_GROUP, self.group):
            why = f"its {shared} columns have no divisor from {_LEAST_GROUP} to {self.group}"
            hint = "group=0 for one scale per row"
            raise DovetailError("cannot be grouped", where=where, why=why, hint=hint, exit_code=INFEASIBLE)
        return replace(self, group=found)

    def weights(self) -> dict[str, Any]:
        """The ``weights`` of a scheme of compressed-tensors."""
        return {
            "num_bits": self.bits, "type": self.kind, "symmetric": self.symmetric, "dynamic": False,
            "strategy": "group" if self.group else "channel", "group_size": self.group or None,
        }  # fmt: skip

    def inputs(self) -> dict[str, Any] | None:
        """The ``input_activations`` of a scheme of compressed-tensors: one scale per token, made as it comes."""
        if self.act_bits == 16:
            return None
        return {
            "num_bits": self.act_bits, "type": self.kind, "symmetric": True, "dynamic": True, "strategy": "token",
            "group_size": None,
        }  # fmt: skip


def quantization_config(targets: Iterable[tuple[str, Scheme, int]], ignored: Iterable[str]) -> dict[str, Any]:
    """The ``quantization_config`` of a checkpoint.

    Parameters
    ----------
    targets : iterable of (pattern, Scheme, int)
        Linear modules that are quantised, their scheme, and how many matrices they are.
    ignored : iterable of str
        The linear modules left dense.
    """
    found: dict[Scheme, list[str]] = {}
    counts: Counter[Scheme] = Counter()
    for pattern, scheme, count in targets:
        found.setdefault(scheme, []).append(pattern)
        counts[scheme] += count
    # the scheme of most matrices comes last and is that of all others: readers take the first that names a module
    ordered = sorted(found, key=lambda scheme: (counts[scheme], repr(scheme)))
    groups = {
        f"group_{index}": _group(scheme, ["Linear"] if scheme == ordered[-1] else sorted(found[scheme]))
        for index, scheme in enumerate(ordered)
    }
    formats = {scheme.format for scheme in found}
    return {
        "quant_method": "compressed-tensors",
        "format": formats.pop() if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": sorted(set(ignored)),
        "kv_cache_scheme": None,
    }


def _group(scheme: Scheme, targets: list[str]) -> dict[str, Any]:
    return {
        "targets": targets, "weights": scheme.weights(), "input_activations": scheme.inputs(),
        "output_activations": None, "format": scheme.format,
    }  # fmt: skip
