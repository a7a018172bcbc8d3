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

Kind = Literal["int", "float", "block", "nvfp4", "mxfp4"]
_LEAST_GROUP = 8  # smaller groups than this would be more scale than weight
_FIXED = {"block": (8, 128), "nvfp4": (4, 16), "mxfp4": (4, 32)}  # bits and group of kinds that have no others
_SCALES = {"nvfp4": "torch.float8_e4m3fn", "mxfp4": "torch.uint8"}


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one matrix (rows: outputs, columns: inputs) and its inputs are quantised.

    Parameters
    ----------
    bits : int
        Of a weight, 2 to 8; 8 or 4 where it is a float.
    group : int
        Inputs that share a scale; 0 for one scale per row. See `fitted` for columns that it does not divide.
    symmetric : bool
        Whether zero is in the middle; otherwise each scale has a zero point.
    act_bits : int
        Of an input, rounded per token when it comes: 16 leaves inputs as they are.
    kind : str
        ``int``; ``float``: e4m3; ``block``: e4m3 with a scale for each 128 x 128, and for each 128 of an input
        (DeepSeek-V3, arXiv 2412.19437); ``nvfp4`` and ``mxfp4``: e2m1 in groups of 16 and 32 (`runtime.fp4`).
    """

    bits: int = 4
    group: int = 128
    symmetric: bool = True
    act_bits: int = 16
    kind: Kind = "int"

    def __post_init__(self) -> None:
        if self.kind in _FIXED:
            if (self.bits, self.group) != _FIXED[self.kind] or self.act_bits not in (self.bits, 16):
                bits, group = _FIXED[self.kind]
                hint = f"{bits} bits, groups of {group}, inputs of {bits} or 16 bits"
                raise DovetailError(f"{self.kind} of other bits or groups", where=self.kind, hint=hint)
            return
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
    def fp4(self) -> bool:
        """Whether elements are e2m1, two in a byte."""
        return self.kind in _SCALES

    @property
    def format(self) -> str:
        """The name of compressed-tensors for how this is stored."""
        if self.fp4:
            return f"{self.kind}-pack-quantized"
        return "pack-quantized" if self.packed else "int-quantized" if self.kind == "int" else "float-quantized"

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
        if self.kind in _FIXED and shared % self.group:
            why = f"its {shared} columns are no multiple of {self.group}"
            hint = "rtn or gptq, whose groups are free" if self.fp4 else "fp8 with a scale for each output"
            raise DovetailError(
                f"cannot be stored as {self.kind}", where=where, why=why, hint=hint, exit_code=INFEASIBLE
            )
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
        if self.kind == "block":
            whole = {"strategy": "block", "block_structure": [self.group, self.group], "group_size": None}
            return {"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False, **whole}
        if self.fp4:
            return {**self._groups(), "dynamic": False}
        return {
            "num_bits": self.bits, "type": self.kind, "symmetric": self.symmetric, "dynamic": False,
            "strategy": "group" if self.group else "channel", "group_size": self.group or None,
        }  # fmt: skip

    def inputs(self) -> dict[str, Any] | None:
        """The ``input_activations`` of a scheme of compressed-tensors: scales per token, or group, made as it comes.

        NVFP4's have a number of the whole tensor beside them, which is fixed.
        """
        if self.act_bits == 16:
            return None
        if self.kind in _FIXED:
            return {**self._groups(), "dynamic": "local" if self.kind == "nvfp4" else True}
        return {
            "num_bits": self.act_bits, "type": self.kind, "symmetric": True, "dynamic": True, "strategy": "token",
            "group_size": None,
        }  # fmt: skip

    def _groups(self) -> dict[str, Any]:
        """Symmetric floats in groups; scales of e2m1 have a dtype of their own."""
        strategy = "tensor_group" if self.kind == "nvfp4" else "group"
        found = {
            "num_bits": self.bits,
            "type": "float",
            "symmetric": True,
            "strategy": strategy,
            "group_size": self.group,
        }
        dtype = _SCALES.get(self.kind)
        return {**found, "scale_dtype": dtype, "zp_dtype": dtype} if dtype else found


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
