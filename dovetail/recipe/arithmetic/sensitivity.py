"""What a changed matrix does to a model's predictions: measured, or to second order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor


def divergence(reference: Tensor, changed: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the distributions of `changed` from those of `reference`, in nats.

    Parameters
    ----------
    reference, changed : Tensor (..., vocabulary)
        Logits; any constant may be added to those of one place.

    Returns
    -------
    Tensor (...)
        ``sum p (log p - log q)``, at least 0.
    """
    torch = require("torch", "torch", to="compare models")
    p, q = torch.log_softmax(reference, -1), torch.log_softmax(changed, -1)
    found: Tensor = (p.exp() * (p - q)).sum(-1).clamp(min=0)
    return found


def second_order(change: Tensor, moment: Tensor, curvature: Tensor) -> float:
    """Divergence that a small change of a matrix causes, to second order: ``tr(G dW H dW^T) / 2``, G diagonal.

    H is the second moment of the layer's inputs; G that of the gradients of the log likelihood by its outputs, with
    tokens drawn from the model itself: together the Fisher information with inputs and gradients taken as independent
    (Martens and Grosse, arXiv 1503.05671), of which the divergence is the quadratic form.

    Parameters
    ----------
    change : Tensor (rows, cols)
    moment : Tensor (cols, cols)
        Mean of ``x x^T`` over tokens.
    curvature : Tensor (rows,)
        Mean square of the gradient of a sequence's log likelihood by each output, over tokens.
    """
    wide = change.double()
    losses = ((wide @ moment.double()) * wide).sum(1)
    return float((losses * curvature.double()).sum()) / 2
