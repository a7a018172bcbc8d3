"""The next token: the largest logit, the first of equals."""

from __future__ import annotations

import numpy as np

from dovetail.accel.arithmetic.rounding import Ints


def argmax(logits: Ints) -> Ints:
    """Index of the largest along the last axis; the lowest index where several are."""
    return np.asarray(np.argmax(logits, axis=-1), np.int64)
