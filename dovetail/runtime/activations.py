"""Inputs of linear layers rounded per token when they come, as kernels that multiply integers or fp8 round them.

The rounding is real, the product that follows is in floats: integers up to 2**24 and sums of e4m3 products are exact
or nearly so in fp32, hence quality is that of the kernels, speed is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor

_FLOAT8_MAX = 448.0  # e4m3


def rounded(x: Tensor, dtype: str) -> Tensor:
    """`x` (…, channels) as `dtype` keeps it with one scale per token.

    Integers are symmetric, ``absmax / ((2**bits - 1) / 2)`` a step, as compressed-tensors has it.

    Parameters
    ----------
    dtype : str
        ``int8``, ``int4`` or ``fp8``.
    """
    torch = require("torch", "torch", to="run a model")
    wide = x.float()
    peak = wide.abs().amax(-1, keepdim=True)
    bits = 4 if dtype == "int4" else 8
    scale = peak / (_FLOAT8_MAX if dtype == "fp8" else (2**bits - 1) / 2)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    steps = wide / scale
    if dtype == "fp8":
        kept = steps.clamp(-_FLOAT8_MAX, _FLOAT8_MAX).to(torch.float8_e4m3fn).float()
    else:
        kept = steps.round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    found: Tensor = (kept * scale).to(x.dtype)
    return found


def round_inputs(model: Any, act: Callable[[str], str]) -> int:
    """Make the linear layers of `model` round their inputs; `act` gives the dtype of a module's, or ``""``.

    Returns how many do.
    """
    torch = require("torch", "torch", to="run a model")
    done = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and (dtype := act(name)):
            round_layer(module, dtype)
            done += 1
    return done


def round_layer(module: Any, dtype: str) -> None:
    """Make one layer round its inputs."""
    module.register_forward_pre_hook(_hook(dtype))


def _hook(dtype: str) -> Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]:
    return lambda module, given: (rounded(given[0], dtype), *given[1:])
