"""What a training of the whole model takes, before any work."""

from __future__ import annotations

from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.runtime.checkpoint import Checkpoint

_FP32 = 4
_COPIES = 6  # teacher; student, its codes' values, gradients, two moments of Adam
_CODING = 10  # copies of one matrix while its codes are chosen
_LOGITS = 4  # tensors of all logits that live together
_LIVE = 16  # activations of a layer that wait for the way back, in hidden states


def training_bytes(checkpoint: Checkpoint, calibration: Calibration, batch: int) -> dict[str, float]:
    """Bytes at the peak by what they are for."""
    config = checkpoint.config.get("text_config") or checkpoint.config
    elements = [info.elements for info in checkpoint.stored.values()]
    hidden = int(config.get("hidden_size") or config.get("n_embd") or 1024)
    layers = int(config.get("num_hidden_layers") or config.get("n_layer") or 32)
    context = int(config.get("max_position_embeddings") or config.get("n_positions") or 2**31)
    tokens = batch * min(calibration.tokens, context)
    logits = float(_FP32 * _LOGITS * tokens * int(config.get("vocab_size") or 32_000))
    return {
        "the model, its teacher, gradients, moments": float(_FP32 * _COPIES * sum(elements)),
        "codes of a matrix": float(_FP32 * _CODING * max(elements, default=0)),
        "activations": float(_FP32 * tokens * hidden * layers * _LIVE) + logits,
    }
