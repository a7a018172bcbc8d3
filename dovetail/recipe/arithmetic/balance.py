"""How far each channel is scaled so that its inputs and its weights share the difficulty of being rounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor

_LEAST = 1e-5  # of the largest channel: what is below counts as this, for a text may have missed it


def balance(inputs: Tensor, weights: Tensor, alpha: float) -> Tensor:
    """By what to divide each channel of the inputs, and to multiply the weights that read it.

    ``s = inputs**alpha / weights**(1 - alpha)`` (SmoothQuant, arXiv 2211.10438, eq. 4). At alpha 0 all weights, at 1
    all inputs end equally large. A channel that no input or no weight uses stays as it is.

    Parameters
    ----------
    inputs, weights : Tensor (channels,)
        How large each channel is: its largest or its mean absolute value.
    alpha : float
        0 to 1.

    Raises
    ------
    DovetailError
        A channel without end, or that is not a number.
    """
    torch = require("torch", "torch", to="scale channels")
    if not (inputs.isfinite().all() and weights.isfinite().all()):
        why = "the model overflows on the calibration text"
        raise DovetailError("channels are not finite", where="scaling", why=why)
    used = (inputs > 0) & (weights > 0)
    x, w = (size.float().clamp(min=_LEAST * float(size.max())) for size in (inputs, weights))
    found: Tensor = torch.where(used, x.pow(alpha) / w.pow(1 - alpha), 1.0)
    return found


class Searched(NamedTuple):
    """The best scale (channels,), its alpha (None: no scaling is best), and its loss over that of no scaling."""

    scale: Tensor
    alpha: float | None
    ratio: float


def searched(inputs: Tensor, weights: Tensor, loss: Callable[[Tensor], float], alphas: Sequence[float]) -> Searched:
    """The scale of least loss among those of `balance` (AWQ, arXiv 2306.00978, eq. 5), and no scaling.

    Scales are divided by their geometric mean: a factor that all channels share changes no rounding.
    """
    torch = require("torch", "torch", to="scale channels")
    none = torch.ones_like(inputs, dtype=torch.float32)
    plain = loss(none)
    best = Searched(none, None, 1.0)
    for alpha in alphas:
        scale = balance(inputs, weights, alpha)
        scale = scale / scale.log().mean().exp()
        ratio = loss(scale) / plain if plain else 1.0
        if ratio < best.ratio:
            best = Searched(scale, alpha, ratio)
    return best
