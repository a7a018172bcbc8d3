"""The image of memory: named regions, one after the other, in words of the port."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dovetail.accel.compile.image import Words


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
    contents: dict[str, Words] = field(default_factory=dict)
    end: int = 0

    def add(self, name: str, words: Words | int) -> Region:
        """A region of these words, or of so many zeros. The one of that name where there is one."""
        if name not in self.regions:
            count = words if isinstance(words, int) else len(words)
            self.regions[name] = Region(name, self.end, count)
            self.end += count
            if not isinstance(words, int):
                self.contents[name] = words
        return self.regions[name]

    def image(self) -> Words:
        """All words (words, bytes of a word)."""
        found = np.zeros((self.end, self.word), np.uint8)
        for name, words in self.contents.items():
            at = self.regions[name].address
            found[at : at + len(words)] = words
        return found
