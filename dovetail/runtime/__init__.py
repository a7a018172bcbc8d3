"""Do it here: checkpoints as streams of tensors, loading, decoding, and measuring quality, speed, memory and energy."""
