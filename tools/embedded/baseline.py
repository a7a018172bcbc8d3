"""Interpolated byte n-gram model with Witten-Bell smoothing: what the embedded model must beat by far.

The order-k estimate leans on the order below with the weight of a context's distinct successors (Witten & Bell 1991):
`P_k(c|h) = (C(hc) + T(h) P_{k-1}(c|h')) / (C(h) + T(h))`, down to uniform over 256 bytes. Order 3 sees three bytes.

    python -m tools.embedded.baseline
"""

from dataclasses import dataclass

import numpy as np

from dovetail.runtime.corpus import documents

ORDER = 3


@dataclass(frozen=True, slots=True)
class Counts:
    """Occurrences of byte strings of one length, as sorted integer codes."""

    codes: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, codes: np.ndarray) -> "Counts":
        """Count equal codes."""
        return cls(*np.unique(codes, return_counts=True))

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """Return the count of each code, zero where unseen."""
        at = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        return np.where(self.codes[at] == codes, self.counts[at], 0)


def byte_codes(texts: list[str], length: int) -> np.ndarray:
    """Return for every byte of every text the integer of the `length` bytes that end there, zeros before the start."""
    padded = [np.frombuffer(bytes(ORDER) + text.encode(), np.uint8).astype(np.int64) for text in texts]
    return np.concatenate([_codes_of(one, length) for one in padded])


def _codes_of(padded: np.ndarray, length: int) -> np.ndarray:
    codes = np.zeros(len(padded) - ORDER, np.int64)
    for back in range(length):
        codes |= padded[ORDER - back : len(padded) - back] << 8 * back
    return codes


class WittenBell:
    """Witten-Bell interpolation of orders 0 to 3 over bytes."""

    def __init__(self, texts: list[str]) -> None:
        self._strings = [Counts.of(byte_codes(texts, order + 1)) for order in range(ORDER + 1)]
        self._contexts = [self._sums(strings) for strings in self._strings]

    @staticmethod
    def _sums(strings: Counts) -> tuple[Counts, Counts]:
        """Return total and distinct successors of every context."""
        contexts, first, distinct = np.unique(strings.codes >> 8, return_index=True, return_counts=True)
        return Counts(contexts, np.add.reduceat(strings.counts, first)), Counts(contexts, distinct)

    def probabilities(self, texts: list[str]) -> np.ndarray:
        """Return the probability of every byte of `texts` given up to three bytes before it."""
        estimate = np.full(len(byte_codes(texts, 0)), 1 / 256)
        for order, (total, distinct) in enumerate(self._contexts):
            codes = byte_codes(texts, order + 1)
            successors, seen = distinct(codes >> 8), total(codes >> 8)
            blended = (self._strings[order](codes) + successors * estimate) / np.maximum(seen + successors, 1)
            estimate = np.where(seen > 0, blended, estimate)
        return estimate

    def bits_per_byte(self, texts: list[str]) -> float:
        """Return the mean code length of `texts` in bits per byte."""
        return float(-np.log2(self.probabilities(texts)).mean())


def main() -> None:
    """Train on the training split, print bits per byte of the other two."""
    model = WittenBell([document.text for document in documents("train")])
    for split in ("validation", "test"):
        texts = [document.text for document in documents(split)]
        print(f"order-{ORDER} bytes, {split}: {model.bits_per_byte(texts):.3f} bits per byte")


if __name__ == "__main__":
    main()
