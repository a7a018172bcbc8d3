"""How images are cut into the pictures that a tower sees, where that is more than one rounding of its sides."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import NamedTuple, Protocol

from dovetail.core.content import ByContent


class View(NamedTuple):
    """Pictures of one size that a tower sees of an image: how many, and their patches down and across."""

    pictures: int
    down: int
    across: int


class Cut(Protocol):
    """A rule from the size of an image to views of it."""

    def views(self, height: int, width: int) -> tuple[View, ...]:
        """The views of an image of so many pixels."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Native(ByContent):
    """Native resolution (MoonViT, arXiv 2504.07491): shrunk to a budget, never enlarged, padded to whole tokens.

    Parameters
    ----------
    side, merge : int
        Pixels of a patch's side; patches along each side of a token.
    most, most_per_side : int
        Patches that an image may have, in all and along a side; Kimi K2.5's processor allows 16,384 and 512.
    """

    side: int
    merge: int
    most: int = 16_384
    most_per_side: int = 512

    def views(self, height: int, width: int) -> tuple[View, ...]:
        """One picture; whole patches are counted against the budget before any are cut off."""
        held = max(1, height // self.side) * max(1, width // self.side)
        edge = self.most_per_side * self.side
        scale = min(1.0, (self.most / held) ** 0.5, edge / height, edge / width)
        unit = self.side * self.merge
        tokens = [-(-min(max(1, int(pixels * scale)), edge) // unit) for pixels in (height, width)]
        return (View(1, tokens[0] * self.merge, tokens[1] * self.merge),)


@dataclass(frozen=True, slots=True, eq=False)
class Tiles(ByContent):
    """Llama 4's tiles: the canvas of at most `most` squares that wastes least, and the whole image once more.

    The image keeps its shape. If it fits into canvases without shrinking, the one where it is enlarged least is taken,
    else the one where it shrinks least; of equals the smallest, of which there is but one.

    Parameters
    ----------
    size, side : int
        Pixels of a tile's side and of a patch's.
    most : int
        Tiles beside the whole image; Llama 4's processor allows 16.
    """

    size: int
    side: int
    most: int = 16

    def views(self, height: int, width: int) -> tuple[View, ...]:
        """The tiles and the whole image, all of one size; a single tile is the whole image."""
        down, across = self.canvas(height, width)
        tiles, edge = down * across, self.size // self.side
        return (View(tiles + 1 if tiles > 1 else 1, edge, edge),)

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """Tiles down and across."""
        canvases = [(down, tiles // down) for tiles in range(1, self.most + 1)
                    for down in range(1, tiles + 1) if tiles % down == 0]  # fmt: skip
        scales = [min(down * self.size / height, across * self.size / width) for down, across in canvases]
        enlarging = [scale for scale in scales if scale >= 1]
        best = min(enlarging) if enlarging else max(scales)
        fit = [canvas for canvas, scale in zip(canvases, scales, strict=True) if scale == best]
        return min(fit, key=lambda canvas: canvas[0] * canvas[1])


@dataclass(frozen=True, slots=True, eq=False)
class WholeAndWindows(ByContent):
    """Step 3.7's views: the whole image in one square, and windows cut from it, all brought to a smaller square.

    An image that fits into the square is cut only when it is long (over 1.5 : 1), into squares of its short side; a
    larger one into windows of `window` pixels, or of its short side where that is less and the image longer than 4 : 1.
    A rest of more than a fifth of a window gets a window of its own.

    Parameters
    ----------
    size, window, side : int
        Pixels of the square's side, of a window's, of a patch's.
    most : int
        Pixels of the longer side, beyond which an image is shrunk first.
    """

    size: int
    window: int
    side: int
    most: int = 3024

    def views(self, height: int, width: int) -> tuple[View, ...]:
        """The whole image, then its windows where there are any."""
        edge, part = self.size // self.side, self.window // self.side
        down, across = self.windows(height, width)
        whole = View(1, edge, edge)
        return (whole, View(down * across, part, part)) if down else (whole,)

    def windows(self, height: int, width: int) -> tuple[int, int]:
        """Windows down and across; (0, 0) where the whole image is all."""
        if min(height, width) < 32 and max(height, width) > 4 * min(height, width):
            height = width = max(height, width)  # slivers are padded to a square
        if max(height, width) > self.most:
            scale = self.most / max(height, width)
            height, width = int(height * scale), int(width * scale)
        short, long = min(height, width), max(height, width)
        side = self.window if long > self.size else short
        if long <= self.size and long / short <= 1.5:
            return 0, 0
        if long > self.size and long / short > 4:
            side = min(short, self.window)
        down, across = (max(1, floor(edge / side) + (edge % side > 0.2 * side)) for edge in (height, width))
        return down, across
