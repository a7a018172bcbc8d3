"""The newest queries of each sequence: what votes when a policy selects again."""

from __future__ import annotations

import torch
from torch import Tensor


class Newest:
    """The last `count` queries of each sequence and layer, each in the place that its position says.

    A pass is only watched where a selection is near enough to need its queries; until then there is no memory for them.

    Parameters
    ----------
    count : int
        0: none are kept.
    """

    def __init__(self, layers: int, count: int) -> None:
        self.layers, self.count = layers, count
        self._ring: Tensor | None = None  # (layers, B, count, heads, channels)
        self._asked: Tensor | None = None  # (layers, B, T, heads, channels), of the pass
        self._watching = False

    @property
    def bytes(self) -> int:
        """Of what is kept between passes."""
        return 0 if self._ring is None else self._ring.nbytes

    def begin(self, layer: int, queries: Tensor, length: int) -> None:
        """The newest queries (heads, n, channels) of a prompt of `length`, the only sequence."""
        heads, newest, channels = queries.shape
        if self._ring is None:
            self._ring = queries.new_zeros(self.layers, 1, self.count, heads, channels)
        self._ring[layer, 0, self._places(length, newest)] = queries.transpose(0, 1)

    def watch(self, watching: bool) -> None:
        """Before a pass: whether its queries may be needed."""
        self._watching, self._asked = watching and self.count > 0, None
        if not watching:
            self._ring = None

    def asked(self, layer: int, queries: Tensor) -> None:
        """Queries (B, heads, T, channels) of the pass."""
        if not self._watching:
            return
        queries = queries.transpose(1, 2)
        if self._asked is None:
            self._asked = queries.new_empty(self.layers, *queries.shape)
        self._asked[layer] = queries

    def room(self, batch: int, tokens: int, heads: int, channels: int) -> Tensor | None:
        """Where the queries of the pass may be written, those of all layers; None where they are not needed."""
        if self._watching:
            self._asked = torch.empty(self.layers, batch, tokens, heads, channels, device="cpu")
        return self._asked

    def keep(self, row: int, path: list[int], length: int) -> None:
        """The queries at `path` belong to a sequence of `length` tokens."""
        if self._asked is None or not path:
            return
        if self._ring is None:
            layers, batch, _, *one = self._asked.shape
            self._ring = self._asked.new_zeros(layers, batch, self.count, *one)
        last = path[-self.count :]
        places = self._places(length + len(path), len(last))
        self._ring[:, row, places] = self._asked[:, row, torch.tensor(last, device=self._ring.device)]

    def of(self, layer: int, row: int, length: int) -> Tensor | None:
        """The newest queries (heads, n, channels) of a sequence, oldest first."""
        if self._ring is None:
            return None
        return self._ring[layer, row, self._places(length, min(self.count, length))].transpose(0, 1)

    def drop(self, kept: list[int]) -> None:
        """Go on with some of the sequences."""
        if self._ring is not None:
            self._ring = self._ring[:, kept]

    def join(self, other: Newest, rows: tuple[int, int]) -> None:
        """Those of other sequences behind these; `rows` are how many there are here and there."""
        rings = (self._ring, other._ring)
        known = next((ring for ring in rings if ring is not None), None)
        if known is not None:
            missing = [known.new_zeros(len(known), count, *known.shape[2:]) for count in rows]
            self._ring = torch.cat(
                [none if ring is None else ring for ring, none in zip(rings, missing, strict=True)], 1
            )

    def _places(self, length: int, newest: int) -> Tensor:
        device = None if self._ring is None else self._ring.device
        return torch.arange(length - newest, length, device=device) % self.count
