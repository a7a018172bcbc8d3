"""Inputs of linear layers rounded per token when they come, as kernels that multiply integers or fp8 round them.

The rounding is real, the product that follows is in floats: integers up to 2**24 and sums of e4m3 products are exact
or nearly so in fp32, hence quality is that of the kernels, speed is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.core.lazy import require
from dovetail.runtime import fp4

if TYPE_CHECKING:
    from torch import Tensor

_FLOAT8_MAX = 448.0  # e4m3
_BLOCK = 128  # channels of a token that share a scale, where weights have one for each 128 x 128


def rounded(x: Tensor, dtype: str, whole: Tensor | None = None) -> Tensor:
    """`x` (…, channels) as `dtype` keeps it, with one scale per token, or for each group of its channels.

    Integers are symmetric, ``absmax / ((2**bits - 1) / 2)`` a step, as compressed-tensors has it.

    Parameters
    ----------
    dtype : str
        ``int8``, ``int4`` or ``fp8``; in groups of channels ``fp8_block`` (128), ``mxfp4`` (32) or ``nvfp4`` (16).
    whole : Tensor (1,)
        Of ``nvfp4``: the number of the whole tensor.
    """
    torch = require("torch", "torch", to="run a model")
    if dtype in fp4.GROUPS:
        return fp4.rounded(x, dtype, whole)
    if dtype == "fp8_block":
        return rounded(x.reshape(*x.shape[:-1], -1, _BLOCK), "fp8").reshape(x.shape)
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


def round_inputs(model: Any, act: Callable[[str], str], whole: Callable[[str], Tensor | None]) -> int:
    """Make the linear layers of `model` round their inputs; `act` gives the dtype of a module's, or ``""``.

    `whole` gives the number of the whole tensor where NVFP4 has one. Returns how many do.
    """
    torch = require("torch", "torch", to="run a model")
    done = 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and (dtype := act(name)):
            round_layer(module, dtype, whole(name))
            done += 1
    return done


def round_layer(module: Any, dtype: str, whole: Tensor | None = None) -> None:
    """Make one layer round its inputs."""
    module.register_forward_pre_hook(_Rounding(dtype, whole))


@contextmanager
def unrounded(model: Any) -> Iterator[None]:
    """Within the block no layer rounds its inputs: what is compared then differs by the order of sums alone."""
    hooks = [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]
    found = [hook for hook in hooks if isinstance(hook, _Rounding) and hook.on]
    try:
        for hook in found:
            hook.on = False
        yield
    finally:
        for hook in found:
            hook.on = True


@dataclass(slots=True, eq=False)
class _Rounding:
    """What a layer calls before its product."""

    dtype: str
    whole: Tensor | None
    on: bool = True

    def __call__(self, module: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (rounded(given[0], self.dtype, self.whole), *given[1:]) if self.on else given
