"""How many patches an image becomes: sides brought to whole tokens, and windows laid over the grid."""

from __future__ import annotations

from math import sqrt

from dovetail.core.formats import Number


def whole_tokens(height: int, width: int, unit: int, least: int, most: int) -> tuple[int, int]:
    """Sides in pixels, each a multiple of `unit`, nearest to the image's own within [least, most] pixels of area.

    `smart_resize` of Qwen2-VL's image processor (arXiv 2409.12191, section 2.1).
    """
    down, across = (max(unit, round(edge / unit) * unit) for edge in (height, width))
    if down * across > most:
        scale = (height * width / most) ** 0.5
        down, across = (max(unit, int(edge / scale / unit) * unit) for edge in (height, width))
    elif down * across < least:
        scale = (least / (height * width)) ** 0.5
        down, across = (-int(-edge * scale // unit) * unit for edge in (height, width))
    return down, across


def filled(height: int, width: int, unit: int, area: int) -> tuple[int, int]:
    """Sides in pixels, multiples of `unit`, of the largest image of this aspect ratio within `area` pixels.

    What Gemma 4's image processor does; an image so narrow that a side would vanish becomes a strip one `unit` wide.
    """
    scale = sqrt(area / (height * width))
    down, across = (int(scale * edge / unit) for edge in (height, width))
    longest = area // unit**2
    if down == 0:
        down, across = 1, min(width // height, longest)
    elif across == 0:
        down, across = min(height // width, longest), 1
    return down * unit, across * unit


def mean_window(down: Number, across: Number, side: int) -> Number:
    """Cells that a cell shares its window with, on average, when windows of `side` x `side` tile a grid from a corner.

    Windows at the far edges are cut off: with ``r = down mod side``, the cells of a column see
    ``((down - r) side + r²) / down`` rows on average, and rows and columns multiply.
    """
    return _mean_edge(down, side) * _mean_edge(across, side)


def _mean_edge(cells: Number, side: int) -> Number:
    rest = cells % side
    return ((cells - rest) * side + rest**2) / cells
