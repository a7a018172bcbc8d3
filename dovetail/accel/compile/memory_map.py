"""The image of memory: named regions, one after the other, in words of the port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dovetail.accel.compile.image import Words
from dovetail.core.errors import DovetailError


@dataclass(frozen=True, slots=True)
class Region:
    """Words of memory.

    Parameters
    ----------
    name : str
    address : int
        Of its first word.
    words : int
    """

    name: str
    address: int
    words: int


@dataclass(slots=True)
class MemoryMap:
    """Regions as they are added; each holds given words or zeros."""

    word: int
    regions: dict[str, Region] = field(default_factory=dict)
    contents: dict[str, Callable[[], Words]] = field(default_factory=dict)
    end: int = 0

    def add(self, name: str, words: int, make: Callable[[], Words] | None = None) -> Region:
        """A region of so many words, which `make` makes when the image is written; zeros without it.

        The region of that name where there is one.
        """
        if name not in self.regions:
            self.regions[name] = Region(name, self.end, words)
            self.end += words
            if make is not None:
                self.contents[name] = make
        return self.regions[name]

    def image(self) -> Words:
        """All words (words, bytes of a word)."""
        found = np.zeros((self.end, self.word), np.uint8)
        for name, make in self.contents.items():
            region, words = self.regions[name], make()
            if len(words) > region.words:
                raise DovetailError(f"{len(words)} words in {region.words}", where=name)
            found[region.address : region.address + len(words)] = words
        return found
