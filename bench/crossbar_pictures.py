"""Pictures of `bench/crossbar_converters.py`, SVG without scripts: bitlines' sums and converters, accuracy by bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dovetail.app.report.markup import Raw, el, join
from dovetail.app.report.svg import Axis, Plot, line, marker, picture, plot, polyline, width_of, words_at

Curve = tuple[Sequence[int], Sequence[float]]
WIDTH, HEIGHT = 720, 300
LEAST = 5e-4  # share of bitlines at the foot: less than one of the first layer's
COLOURS = ("#1f65b4", "#b8500a", "#14836a", "#6d1468")
STYLE = (
    "svg{background:#fff}text{font:12px system-ui,sans-serif;fill:#1b1f24}.tick,.quiet{fill:#5a626c}"
    ".axis{stroke:#5a626c;fill:none}.grid{stroke:#e6e9ec;fill:none}.adc{stroke:#5a626c;stroke-dasharray:3 3;fill:none}"
    + "".join(
        f".series.c{i}{{stroke:{c};fill:none;stroke-width:2}}.fill.c{i}{{fill:{c}}}" for i, c in enumerate(COLOURS)
    )
)


def draw(folder: Path, sums: Mapping[str, np.ndarray], accuracy: Mapping[str, Curve]) -> None:
    """Write both pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawn in (("column-sums", column_sums(sums)), ("accuracy-by-bits", by_bits(accuracy))):
        (folder / f"{name}.svg").write_text(drawn + "\n", encoding="utf-8")


def column_sums(sums: Mapping[str, np.ndarray]) -> Raw:
    """For each slice, the share of bitlines whose largest sum is above x, with the ranges of converters."""
    slices = len(next(iter(sums.values())))
    cell = WIDTH / 2
    panels = [_panel(sums, k, cell) for k in range(slices)]
    placed = [
        el("g", panel, transform=f"translate({cell * (i % 2):g} {30 + HEIGHT * 0.8 * (i // 2):g})")
        for i, panel in enumerate(panels)
    ]
    title = "Share of bitlines whose largest sum is above x, by slice"
    says = "A converter of N bits holds sums to 2^N - 1. The few largest sums decide."
    height = 30 + HEIGHT * 0.8 * -(-slices // 2)
    return picture(WIDTH, height, "sums", title, says, el("style", Raw(STYLE)), _key(list(sums)), *placed)


def _panel(sums: Mapping[str, np.ndarray], slice_: int, width: float) -> Raw:
    height, last = HEIGHT * 0.76, 384.0
    area = plot(width, height, Axis(f"largest sum, slice {slice_}", "", [1, last], log=True, pad=0.0),
                Axis("bitlines above", "%", [LEAST, 1.0], log=True, pad=0.0, most=4), top=40)  # fmt: skip
    drawn = [polyline(_above(each[slice_], last, area), f"series c{i}") for i, each in enumerate(sums.values())]
    ranges = [_range(area, bits) for bits in range(1, 9)]
    return join([area.axes, *ranges, *drawn])


def _above(values: np.ndarray, last: float, area: Plot) -> list[tuple[float, float]]:
    """The share of values above x, from x = 1 to where none is."""
    shares = {x: float((values > x).mean()) for x in np.unique(np.geomspace(1, last, 90).round())}
    steps = [(x, max(share, LEAST)) for x, share in shares.items()]
    end = next((i for i, share in enumerate(shares.values()) if share < LEAST), len(steps))
    return [area.at(x, y) for x, y in steps[: end + 1]]


def _range(area: Plot, bits: int) -> Raw:
    x = area.x(2.0**bits - 1)
    return join([line(x, area.top, x, area.bottom, "adc"), words_at(x, area.top - 4, f"{bits} b", "middle", "tick")])


def by_bits(accuracy: Mapping[str, Curve]) -> Raw:
    """Wrong answers with the same converters in all slices."""
    accuracy = {name: (xs, [1 - y for y in ys]) for name, (xs, ys) in accuracy.items()}
    bits = [float(b) for xs, _ in accuracy.values() for b in xs]
    shares = [y for _, ys in accuracy.values() for y in ys]
    area = plot(WIDTH, HEIGHT + 30, Axis("bits of all converters", "", bits, pad=0.03, most=8),
                Axis("wrong, test digits", "%", [0.03, *shares], log=True, pad=0.02), top=56)  # fmt: skip
    drawn = []
    for i, (xs, ys) in enumerate(accuracy.values()):
        points = [area.at(float(x), y) for x, y in zip(xs, ys, strict=True)]
        drawn += [polyline(points, f"series c{i}"), *(marker(x, y, i, f"fill c{i}", 3.5) for x, y in points)]
    title = "Wrong answers against bits of the converters"
    says = "Trained for converters a network bears fewer bits than one trained for empty cells."
    key = el("g", _key(list(accuracy)), transform="translate(0 18)")
    return picture(WIDTH, HEIGHT + 30, "bits", title, says, el("style", Raw(STYLE)), key, area.axes, *drawn)


def _key(names: Sequence[str]) -> Raw:
    x, parts = 8.0, []
    for i, name in enumerate(names):
        parts += [line(x, 11, x + 20, 11, f"series c{i}"), marker(x + 10, 11, i, f"fill c{i}", 3.5)]
        parts.append(words_at(x + 26, 15, name))
        x += 26 + width_of(name) + 22
    return join(parts)
