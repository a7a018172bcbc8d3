"""The report: whatever the numbers and labels are, one safe, offline, readable page."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import itertools
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovetail.app import report as r
from dovetail.app.report import crossover, measured, memory, scales, screen
from dovetail.app.report.data import (
    Amount,
    Amounts,
    Bar,
    Block,
    Blocks,
    Dimension,
    Parallel,
    Reason,
    Reasons,
    Strand,
    Timeline,
    Winners,
    Won,
)
from dovetail.app.report.labels import Placer, spread
from dovetail.app.report.markup import el
from dovetail.app.report.svg import shorten, width_of
from dovetail.app.report.verb import keep
from dovetail.core.errors import DovetailError

GB = 1e9
SVG = "{http://www.w3.org/2000/svg}"
BATCHES = [1, 2, 4, 8, 16, 32, 64, 128]
SUMMARY = r.Summary("Serve w4a16-rtn", "memory", "$0.2/Mtok", "within 9 %", "dovetail build out", (("TPOT", "14 ms"),))


def falling(method: str, context: float, crossing: float, power: float = 0.5) -> r.CrossoverSeries:
    """A gain that is a straight line on log axes and passes 1 exactly at `crossing`."""
    return r.CrossoverSeries(method, context, BATCHES, [(b / crossing) ** -power for b in BATCHES])


def sections() -> tuple[r.Section, ...]:
    """One realistic section of each kind."""
    return (
        r.Crossover("Crossover", "bf16", [falling(m, c, x) for m, x in (("w4", 40), ("w8", 90)) for c in (512, 4096)]),
        r.Pareto(
            "Pareto", "TPOT", "s", "Price", "USD/Mtok",
            [r.ParetoPoint(f"d{i}", 0.001 * 2**i, 8 / 2**i, f"g{i % 3}", i != 2, i == 1, (0.0009 * 2**i, 0.0011 * 2**i))
             for i in range(6)],
        ),
        r.Roofline(
            "Roofline", r.Roof("H100", {"bf16": 989e12, "fp8": 1979e12}, {"HBM": 3.35e12, "L2": 1e13}),
            [r.RooflinePoint("attention", 8, 2e13, "memory", 0.7), r.RooflinePoint("mlp", 900, 7e14, "compute", 0.3)],
        ),
        r.Memory("Memory", [r.MemoryBar("fits", {"weights": 16 * GB, "KV cache": 20 * GB}, 80 * GB),
                            r.MemoryBar("does not", {"weights": 16 * GB, "KV cache": 96 * GB}, 80 * GB)]),
        r.Measured("Measured", [r.MeasuredRow(f"m{i}", "tpot", 100 + 10 * i, 90, 125, 110, "s") for i in range(4)]),
        r.Table("Chips", ("chip", "peak"), [("h100-sxm", "989 TFLOP/s")], (1,)),
        r.Commands("Deploy", [("Serve:", "vllm serve out && echo '<ok>'")]),
        Blocks("Blocks", [Block("array", "4 x 4 x 4", 1, 0), Block("vector unit", "4 lanes", 2, 0)],
               [("array", "vector unit"), ("vector unit", "array")], "the array feeds the vector unit"),
        Timeline("Timeline", "cycles", [Bar("q_proj", "matrix", "product", 0.0, 40.0),
                                        Bar("norm", "vector", "vector", 5.0, 9.0)]),
        Parallel("Parallel", [Dimension("recipe", "recipe", names=("w4", "w8")), Dimension("tpot", "TPOT", "s")],
                 [Strand("a", {"recipe": "w4", "tpot": 0.01}, "w4", True, True), Strand("b", {"recipe": "w8"}, "w8")]),
        Amounts("Amounts", "share", "alone", 1.0, [Amount("tpot", "batch", 0.8, 0.5, "80 %")]),
        Winners("Winners", "batch", "prompt", ("1", "8"), ("512",), ("recipe",), "TPOT", "s",
                [Won("1", "512", ("w4",), 0.01), Won("8", "512", ())]),
        Reasons("Reasons", [Reason("l4", "w4 on l4", "dominated", "beaten by b", {"tpot": 1.4}, "b", "batch 1")]),
    )  # fmt: skip


def page_of(*parts: r.Section, **more: object) -> str:
    return r.render(r.Report("Title", SUMMARY, parts, **more))  # type: ignore[arg-type]


class Reader(HTMLParser):
    """What a browser would see: elements with attributes, and the text of scripts and cells."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "hr", "img", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open and self.open[-1] == "script" else self.text).append(data)


def svgs(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg\b.*?</svg>", page, re.S)]


def check_page(page: str) -> Reader:
    """Balanced HTML, nothing from elsewhere, one script, every SVG well-formed XML, named, with finite coordinates."""
    seen = Reader(page)
    assert seen.open == []
    ids = [a["id"] for _, a in seen.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in seen.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert not [
            name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action", "style")
        ]
        assert (attributes.get("href") or "#").startswith("#")
    assert len(seen.scripts) == 1
    for svg in svgs(page):
        if svg.get("role") == "img":
            names = [svg.find(f".//*[@id='{i}']") for i in (svg.get("aria-labelledby") or "").split()]
            assert len(names) == 2
            assert all(n is not None and (n.text or "").strip() for n in names)
        for node in svg.iter():
            for name, value in node.items():
                if name in ("d", "x", "y", "width", "height", "cx", "cy", "r", "transform", "viewBox"):
                    assert not re.search(r"nan|inf|e[+-]?\d{2}", value, re.I), (name, value)
    return seen


def test_a_report_is_one_valid_offline_page_with_every_section() -> None:
    page = page_of(*sections(), manifest={"dovetail": "0.1", "inputs": {"a": "sha256:1"}}, subtitle="sub")
    seen = check_page(page)
    assert len(page) < 1_000_000
    words = " ".join(seen.text)
    for expected in (
        "Serve w4a16-rtn",
        "within 9",
        "dovetail build out",
        "14 ms",
        "h100-sxm",
        "echo '<ok>'",
        "sha256:1",
    ):
        assert expected in words
    assert [a["href"] for t, a in seen.elements if t == "a" and a["href"] != "#s1"] == [
        f"#s{i}" for i in range(2, len(sections()) + 1)
    ]
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page


def test_the_content_policy_allows_exactly_the_one_script_and_nothing_from_elsewhere() -> None:
    seen = Reader(page_of(*sections()))
    policy = next(a["content"] or "" for t, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(seen.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


EVIL = (
    "<script>alert(1)</script>",
    "\" onload='x' ]]> --> &amp;",
    "模型 – 量子化 🙂 مرحبا",
    "a\x00b\x1b[31mred\ud800",
    "x" * 400,
    "",
)


@pytest.mark.parametrize("label", EVIL)
def test_labels_are_text_whatever_they_contain(label: str) -> None:
    def rename(value: object) -> object:
        if isinstance(value, str):
            return label
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            kept = ("unit", "x_unit", "y_unit", "x_better", "y_better")
            changed = {f.name: rename(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name not in kept}
            return dataclasses.replace(value, **changed)
        if isinstance(value, dict):
            return {rename(k): v for k, v in value.items()}
        return type(value)(map(rename, value)) if isinstance(value, list | tuple) else value

    report = rename(r.Report("t", SUMMARY, sections(), {"k": "v"}, "sub"))
    page = r.render(report)  # type: ignore[arg-type]
    seen = check_page(page)
    page.encode()
    if label.startswith("<script>"):
        assert label in " ".join(seen.text)
    out = io.StringIO()
    screen.show(report, console=screen.terminal(out))  # type: ignore[arg-type]
    assert "\x1b" not in out.getvalue()
    assert "\x00" not in out.getvalue()


ANY = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from(
    [0.0, -1.0, 1e300, 1e-300, 5e-324, math.nan, 1.0]
)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(ANY, ANY, ANY), max_size=7))
def test_every_figure_takes_any_numbers_and_any_count_of_them(rows: list[tuple[float, float, float]]) -> None:
    a = rows[0] if rows else (1.0, 1.0, 1.0)
    page = page_of(
        r.Roofline("r", r.Roof("m", {"bf16": a[0], "fp8": a[1]}, {"HBM": a[2], "L2": a[0]}),
                   [r.RooflinePoint("p", x, y, "memory", z) for x, y, z in rows]),
        r.Pareto("p", "x", "s", "y", "byte", [r.ParetoPoint("p", x, y, "", i % 2 == 0, i == 0, (x, z), (z, y))
                                                for i, (x, y, z) in enumerate(rows)]),
        r.Memory("m", [r.MemoryBar("b", {"w": x, "kv": y}, z) for x, y, z in rows]),
        r.Crossover("c", "bf16", [r.CrossoverSeries("m", c, [x for x, _, _ in rows], [y for _, y, _ in rows])
                                   for c in (a[0], 512.0, 2048.0)]),
        r.Measured("e", [r.MeasuredRow("w", "m", x, min(y, z), max(y, z), z, "s") for x, y, z in rows], goal=0.15),
        Parallel("p", [Dimension("a", "a", "s", (), "lower"), Dimension("b", "b"), Dimension("c", "c", "byte")],
                 [Strand("s", {"a": x, "b": y, "c": z}, "", i % 2 == 0, i == 0) for i, (x, y, z) in enumerate(rows)]),
        Amounts("a", "w", "p", a[0], [Amount("g", "l", x, y, "words") for x, y, _ in rows]),
        Winners("w", "x", "y", ("1",), ("2",), ("recipe",), "m", "s", [Won("1", "2", ("a",), x) for x, _, _ in rows]),
        Reasons("r", [Reason("a", "d", "dominated", "v", {"m": x, "n": y}, "b", "") for x, y, _ in rows]),
    )  # fmt: skip
    check_page(page)


@pytest.mark.parametrize("empty", [
    r.Roofline("e", r.Roof("m", {}, {}), []), r.Pareto("e", "x", "s", "y", "s", []), r.Memory("e", []),
    r.Memory("e", [r.MemoryBar("none", {}, 0.0)]), r.Crossover("e", "bf16", []), r.Measured("e", []),
    Parallel("e", [], []), Amounts("e", "w", "", 0.0, []), Winners("e", "x", "y", (), (), (), "m", "s", []),
    Reasons("e", []), r.Table("e", (), []), r.Commands("e", []), r.Crossover("e", "bf16", [falling("one", 512, 9)]),
    r.Pareto("e", "x", "s", "y", "s", [r.ParetoPoint("one", 1.0, 1.0, on_front=True, winner=True)]),
])  # fmt: skip
def test_nothing_and_one_thing_are_shown_too(empty: r.Section) -> None:
    check_page(page_of(empty))
    screen.show(r.Report("t", SUMMARY, [empty]), console=screen.terminal(io.StringIO()))


POSITIVE = st.floats(min_value=1e-290, max_value=1e290)
LINEAR = st.floats(min_value=-1e299, max_value=1e299)


@settings(max_examples=120, deadline=None)
@given(LINEAR, LINEAR, st.integers(2, 8))
def test_linear_ticks_rise_inside_the_domain(a: float, b: float, most: int) -> None:
    check_ticks(scales.fit([a, b], 50, 450), most)


@settings(max_examples=120, deadline=None)
@given(POSITIVE, st.floats(min_value=0, max_value=300), st.integers(2, 8))
def test_log_ticks_rise_inside_the_domain(low: float, decades: float, most: int) -> None:
    high = min(low * 10**decades, 1e290)
    check_ticks(scales.fit([low, high], 450, 50, log=True), most)


def check_ticks(scale: scales.Scale, most: int) -> None:
    ticks = scale.ticks(most)
    assert 1 <= len(ticks) <= most <= 8
    assert all(scale.low <= t <= scale.high for t in ticks)
    assert all(a < b for a, b in itertools.pairwise(ticks))
    assert len(set(scales.tick_words(ticks, ""))) == len(ticks)
    pixels = [scale(t) for t in ticks]
    assert pixels == sorted(pixels, reverse=scale.start > scale.end)
    assert all(min(scale.start, scale.end) <= p <= max(scale.start, scale.end) for p in pixels)


@pytest.mark.parametrize(("low", "high", "expected"), [
    (0.0, 10.0, (0, 2, 4, 6, 8, 10)), (0.0, 1.0, (0, 0.2, 0.4, 0.6, 0.8, 1)), (-30.0, 30.0, (-20, 0, 20)),
    (96e9, 141e9, (100e9, 110e9, 120e9, 130e9, 140e9)),
])  # fmt: skip
def test_linear_ticks_are_round(low: float, high: float, expected: tuple[float, ...]) -> None:
    assert scales.linear_ticks(low, high, 6) == expected


@pytest.mark.parametrize(("low", "high", "expected"), [
    (1, 1000, (1, 10, 100, 1000)), (1, 60, (1, 2, 5, 10, 20, 50)), (0.7, 3.1, (1, 1.5, 2, 2.5, 3)),
    (1e-3, 1e15, (1e-3, 1, 1e3, 1e6, 1e9, 1e12, 1e15)),
])  # fmt: skip
def test_log_ticks_are_decades_or_1_2_5(low: float, high: float, expected: tuple[float, ...]) -> None:
    assert scales.log_ticks(low, high, 7) == expected


@pytest.mark.parametrize(("value", "unit", "expected"), [
    (0.0141, "s", "14.1 ms"), (3.35e12, "byte/s", "3.35 TB/s"), (0.123, "%", "12.3 %"), (1.8, "x", "1.8×"),
    (math.nan, "s", "–"), (math.inf, "byte", "∞"), (None, "s", "–"), (11.9, "perplexity", "11.9 perplexity"),
    (0.21, "USD/Mtok", "$0.21/Mtok"), (32768.0, "", "32,768"), (1e40, "flop/s", "1e+40 flop/s"),
])  # fmt: skip
def test_numbers_are_said_with_si_prefixes_and_plain_words_without(value: float, unit: str, expected: str) -> None:
    assert scales.say(value, unit) == expected


def test_a_log_axis_puts_decades_at_equal_distances() -> None:
    scale = scales.Scale(1, 1e4, 0, 400, log=True)
    assert [scale(10**k) for k in range(5)] == pytest.approx([0, 100, 200, 300, 400])
    assert scale(1e9) == 400
    assert not scale.holds(0.0)
    assert not scale.holds(math.nan)


@pytest.mark.parametrize(("crossing", "first"), [(40.0, 40), (40.2, 41), (1.5, 2), (127.9, 128)])
def test_a_crossing_is_where_the_straight_line_on_log_axes_meets_one(crossing: float, first: int) -> None:
    for power in (0.2, 1.3):
        (down,) = crossover.crossings(falling("m", 512, crossing, power))
        (up,) = crossover.crossings(falling("m", 512, crossing, -power))
        assert down.batch == pytest.approx(crossing, rel=1e-9)
        assert (down.way, up.way) == ("stops", "starts")
        assert down.first_batch == first
        assert up.first_batch == math.floor(crossing + 1e-9) + 1
        assert down.words == f"stops paying at batch {first}"


def test_a_gain_of_exactly_one_does_not_pay_and_verdicts_say_so() -> None:
    even = r.CrossoverSeries("m", 1, [1, 2, 4], [1.0, 1.0, 1.0])
    touching = r.CrossoverSeries("m", 1, [1, 2, 4], [2.0, 1.0, 0.5])
    twice = r.CrossoverSeries("m", 1, [4, 1, 2, 8], [0.5, 2.0, 0.5, 4.0])
    assert crossover.verdict(even) == "never pays"
    assert crossover.verdict(touching) == "stops at batch 2"
    assert [c.way for c in crossover.crossings(twice)] == ["stops", "starts"]
    assert crossover.verdict(r.CrossoverSeries("m", 1, [1, 2], [3.0, 2.0])) == "pays 3.00× … 2.00×"
    assert crossover.verdict(r.CrossoverSeries("m", 1, [1, 2], [math.nan, 0.0])) == "no data"


def test_the_crossover_page_says_where_each_method_stops_in_chart_and_table() -> None:
    page = page_of(
        r.Crossover("c", "bf16", [falling("w4", 512, 40), falling("w4", 4096, 20.5), falling("w8", 512, 1e6)])
    )
    charts = [" ".join(t for t in svg.itertext()) for svg in svgs(page)]
    assert any("w4 stops paying at batch 40" in words for words in charts)
    assert any("w4 stops paying at batch 21" in words for words in charts)
    table = crossover.brief(r.Crossover("c", "bf16", [falling("w4", 512, 40), falling("w4", 4096, 20.5)]))
    assert list(map(tuple, table.rows)) == [("w4", "stops at batch 40", "stops at batch 21")]


def test_the_heat_map_colours_each_cell_by_its_own_gain_and_draws_the_border_between() -> None:
    figure = r.Crossover("c", "bf16", [falling("w4", c, x) for c, x in ((512, 40), (4096, 6))])
    heat = next(s for s in svgs(page_of(figure)) if "by batch and context" in (s.findtext(f"{SVG}title") or ""))
    cells = {re.sub(r":.*", "", g.findtext(f"{SVG}title") or ""): g for g in heat.iter(f"{SVG}g")}
    assert len(cells) == 2 * len(BATCHES)
    for context, crossing in ((512, 40), (4096, 6)):
        for batch in BATCHES:
            gain = (batch / crossing) ** -0.5
            words = cells[f"context {context:,}, batch {batch}"].findtext(f"{SVG}text")
            assert words == f"{gain:.2f}×"
    pays = np.array([[b < x for b in BATCHES] for x in (6, 40)])  # rows top down: the longer context first
    borders = int((pays[:, 1:] != pays[:, :-1]).sum() + (pays[1:] != pays[:-1]).sum())
    assert sum(p.get("class") == "border" for p in heat.iter(f"{SVG}path")) == borders


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300), st.text("abc ", max_size=30)), max_size=25))
def test_placed_labels_never_touch_each_other_or_leave_the_frame(marks: list[tuple[float, float, str]]) -> None:
    placer = Placer((0, 0, 400, 300))
    drawn = [placer.place(x, y, words) for x, y, words in marks]
    assert len(placer.taken) == sum(label is not None for label in drawn)
    for a, b in itertools.combinations(placer.taken, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert all(left >= 0 and top >= 0 and right <= 400 and low <= 300 for left, top, right, low in placer.taken)


@given(st.lists(st.floats(0, 300), max_size=12))
def test_spread_keeps_order_gap_and_frame_and_moves_nothing_without_need(places: list[float]) -> None:
    spots = spread(places, 14, 0, 300)
    assert all(-1e-6 <= s <= 300 + 1e-6 for s in spots)
    for (a, pa), (b, pb) in itertools.combinations(zip(spots, places, strict=True), 2):
        assert abs(a - b) >= 14 - 1e-6
        assert (a < b) == (pa < pb) or pa == pb
    if all(abs(a - b) >= 14 for a, b in itertools.combinations(places, 2)):
        assert spots == pytest.approx(places)


def test_words_cut_to_a_width_fit_it() -> None:
    assert width_of(shorten("W" * 90, 120)) <= 120
    assert shorten("short", 120) == "short"
    assert width_of("量子化") > 2.9 * 12


def test_the_pareto_edge_is_the_front_of_the_two_axes_shown() -> None:
    rng = np.random.default_rng(3)
    radius, angle = np.sqrt(rng.random(60)), rng.random(60) * 2 * np.pi  # a disc has a front on every side
    xy = 2 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    for sx, sy in itertools.product((1, -1), repeat=2):
        cost = xy * (sx, sy)
        on_front = [not any((q <= p).all() and (q != p).any() for q in cost) for p in cost]
        points = [r.ParetoPoint(f"p{i}", x, y, "", on_front[i] or i % 5 == 0) for i, (x, y) in enumerate(xy)]
        figure = r.Pareto("p", "x", "", "y", "", points, *("lower" if s == 1 else "higher" for s in (sx, sy)))
        (svg,) = (s for s in svgs(page_of(figure)) if s.get("role") == "img")
        assert sum(on_front) > 2
        path = next(p.get("d") or "" for p in svg.iter(f"{SVG}path") if p.get("class") == "front")
        assert path.count("L") == 2 * (sum(on_front) - 1)  # one corner and one point for each step


def test_fifty_thousand_designs_stay_a_small_file_and_keep_the_front() -> None:
    points = [r.ParetoPoint(f"design {i}", 1 + i, 1e5 - i % 977, f"g{i % 9}") for i in range(50_000)]
    points.append(r.ParetoPoint("the best", 0.5, 0.5, "g0", on_front=True, winner=True))
    page = page_of(r.Pareto("p", "x", "s", "y", "s", points))
    assert len(page) < 1_000_000
    assert page.count("the best") >= 3  # sentence, chart and table
    assert "more rows are in result.json" in page


def test_memory_says_what_is_free_and_by_how_much_it_does_not_fit() -> None:
    fits = r.MemoryBar("a", {"weights": 16 * GB, "KV cache": 20 * GB, "odd": math.nan}, 80 * GB)
    late = r.MemoryBar("b", {"weights": 16 * GB, "KV cache": 96 * GB}, 80 * GB)
    assert memory.verdict(fits) == "44 GB free of 80 GB"
    assert memory.verdict(late) == "32 GB too much for 80 GB"
    figure = r.Memory("m", [fits, late])
    assert "1 of 2 designs does not fit: b." in memory.says(figure)
    assert [row[2] for row in memory.table(figure).rows if row[1] == "free"] == ["44 GB", "-32 GB"]


def test_memory_segments_are_as_wide_as_their_bytes() -> None:
    bars = [r.MemoryBar("a", {"weights": 10 * GB, "KV cache": 30 * GB}, 80 * GB)]
    (svg,) = (s for s in svgs(page_of(r.Memory("m", bars))) if s.get("role") == "img")
    widths = {g.findtext(f"{SVG}title"): float(g.find(f"{SVG}rect").get("width")) for g in svg.iter(f"{SVG}g")}  # type: ignore[union-attr,arg-type]
    assert widths["KV cache: 30 GB"] == pytest.approx(3 * widths["weights: 10 GB"], abs=0.3)
    assert widths["40 GB free of 80 GB"] == pytest.approx(8 * widths["weights: 10 GB"], abs=0.5)


def test_errors_are_signed_and_the_interval_is_judged() -> None:
    rows = [r.MeasuredRow("a", "t", 1.2, 1.1, 1.3, 1.0, "s"), r.MeasuredRow("b", "t", 0.9, 0.8, 1.1, 1.0, "s")]
    rows += [
        r.MeasuredRow("c", "t", 5.0, 4.0, 6.0, 5.0, "s", error=0.0),
        r.MeasuredRow("d", "t", 1, 1, 1, math.nan, "s"),
    ]
    table = measured.table(r.Measured("m", rows))
    assert [row[5] for row in table.rows] == ["+20 %", "−10 %", "0 %", "–"]
    assert [row[6] for row in table.rows] == ["no", "yes", "yes", "no"]
    assert table.rows[0][3] == "1.1 … 1.3 s"
    says = measured.says(r.Measured("m", rows))
    assert "Median error 10 %, largest 20 %, over 3 measured numbers; 2 of 3" in says


def test_the_terminal_twin_fits_one_hundred_characters_and_eight_columns() -> None:
    wide = r.Table("wide", [f"c{i}" for i in range(12)], [[f"value {i}" for i in range(12)]] * 30)
    report = r.Report("t", SUMMARY, (*sections(), wide))
    out = io.StringIO()
    screen.show(report, console=screen.terminal(out))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert "16 more rows and 4 more columns in report.html" in out.getvalue()
    assert not any("c8" in line for line in lines)
    assert any("stops at batch 40" in line for line in lines)
    assert lines[-1].endswith("dovetail build out")


def test_quiet_prints_the_answer_on_one_line_and_markup_is_only_text() -> None:
    out = io.StringIO()
    report = r.Report("t", dataclasses.replace(SUMMARY, answer="use [red]w4[/red]\nnow"), sections())
    screen.show(report, quiet=True, console=screen.terminal(out))
    assert out.getvalue() == "use [red]w4[/red] now\n"


def test_writing_replaces_in_one_step_and_a_refusal_is_a_sentence(tmp_path: Path) -> None:
    target = r.write_report(r.Report("one", SUMMARY), tmp_path / "out" / "report.html")
    assert "<title>one</title>" in target.read_text(encoding="utf-8")
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]
    with pytest.raises(DovetailError):
        r.write_report(r.Report("two", SUMMARY), target / "inside-a-file" / "report.html")


def test_markup_escapes_text_and_attributes() -> None:
    assert el("p", "a<b & 'c'", title='"x"') == '<p title="&quot;x&quot;">a&lt;b &amp; &#39;c&#39;</p>'
    assert el("p", el("b", "<"), None) == "<p><b>&lt;</b></p>"


def test_importing_the_report_loads_nothing_heavy() -> None:
    code = (
        "import dovetail.app.report, sys; print(sorted({'torch', 'rich', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# Colours: WCAG 2 contrast, and the full-dichromacy matrices of Machado, Oliveira and Fernandes (IEEE TVCG 15(6), 2009).
DICHROMACY = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    value = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a: str, b: str) -> float:
    dark, light = sorted(float(XYZ[1] @ linear(c)) + 0.05 for c in (a, b))
    return light / dark


def themes() -> dict[str, dict[str, str]]:
    css = resources.files("dovetail.app.report").joinpath("style.css").read_text(encoding="utf-8")
    found = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6});", block)) for block in re.findall(r":root \{(.*?)\}", css, re.S)
    ]
    return dict(zip(("light", "dark"), found, strict=True))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_can_be_read_and_told_apart_with_any_colour_vision(theme: str) -> None:
    colours = themes()[theme]
    series = [colours[f"c{i}"] for i in range(7)]
    for words in (*series, colours["cx"], colours["ink"], colours["muted"], colours["link"]):
        assert contrast(words, colours["paper"]) >= 4.5, words
    for i in range(7):
        assert contrast(colours[f"h{i}t"], colours[f"h{i}"]) >= 4.5, i
        assert contrast(colours["on"], series[i]) >= 4.5, i
    for matrix in (np.eye(3), *map(np.array, DICHROMACY.values())):
        seen = [lab(matrix @ linear(c)) for c in series]
        assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) >= 12


def quantity(value: float | None, unit: str) -> dict[str, object]:
    return {"value": value, "low": value, "high": value, "unit": unit, "kind": "modelled", "source": "here"}


ESTIMATE = {
    "model": "m", "machine": "h100-sxm", "chips": 2, "recipe": "none", "feasible": True, "why": [],
    "workload": {"batch": 8.0, "prompt": 64.0, "output": 9.0},
    "tpot": quantity(0.012, "s"), "throughput": quantity(2400.0, "tok/s"), "usd_per_mtok": quantity(0.4, "USD/Mtok"),
    "memory": {"weights": quantity(16e9, "byte"), "kv_cache": quantity(4e9, "byte"), "total": quantity(20e9, "byte")},
    "memory_capacity": quantity(80e9, "byte"), "bottleneck": {"prefill": "compute", "decode": "memory"},
}  # fmt: skip
MEASURE = {"rows": [
    {"what": "w4", "metric": "tpot", "predicted": quantity(1.1, "s"), "measured": quantity(1.0, "s"), "error": 0.1},
    {"what": "w4", "metric": "energy", "predicted": quantity(1.1, "J"), "measured": None, "error": None},
]}  # fmt: skip
SEARCH = {
    "space": "s", "points": 12, "objectives": ["min tpot", "max quality"], "feasible": True, "why": "",
    "winner": {"model": "m", "recipe": "w4", "machine": "l4", "tpot": quantity(0.01, "s"), "quality": 3.0},
    "front": [{"model": "m", "recipe": "w4", "machine": "l4", "tpot": quantity(0.01, "s"), "quality": 3.0},
              {"model": "m", "recipe": "bf16", "machine": "l4", "tpot": quantity(0.02, "s"), "quality": 4.0}],
}  # fmt: skip


@pytest.mark.parametrize(("verb", "data", "expected"), [
    ("estimate", ESTIMATE, ("m on 2 x h100-sxm with recipe none: 12 ms a token", "decode: memory", "60 GB free")),
    ("estimate", ESTIMATE, ("dovetail explain --help",)),  # a name in an answer may stand for a file
    ("estimate", {**ESTIMATE, "feasible": False, "why": ["KV cache is too big"]}, ("Infeasible: KV cache is too big",)),
    ("measure", MEASURE, ("Median error 10", "0 of 1 lie within", "calibrate --host")),
    ("search", SEARCH, ("m: w4 on l4 – time per output token 10 ms", "2 of 12 designs are on", "--recipe w4 --out")),
    ("search", {**SEARCH, "winner": None, "front": [], "feasible": False, "why": "slow"}, ("Infeasible: slow",)),
    ("ls", {"models": [{"model": "a", "layers": 3}, {"model": "<b>", "layers": None}]}, ("<b>", "layers")),
    ("show", {}, ("show",)),
])  # fmt: skip
def test_every_verb_keeps_a_report_beside_its_json(
    tmp_path: Path, verb: str, data: dict[str, object], expected: tuple[str, ...]
) -> None:
    source = tmp_path / "space.yaml"
    source.write_text("x: 1")
    page = keep(verb, data, tmp_path / "out", [source]).read_text(encoding="utf-8")
    words = " ".join(" ".join(check_page(page).text).replace("\u00a0", " ").split())
    for part in expected:
        assert part in words
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == data
    made = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert made["inputs"][str(source)] == hashlib.sha256(b"x: 1").hexdigest()


@pytest.mark.parametrize("name", ["report.html", "result.json", "manifest.json"])
@pytest.mark.parametrize("manifest", [None, "", "[]", "{}", '{"versions": 1}', '{"versions": {"another": "1"}}'])
def test_results_of_somebody_else_are_not_replaced(tmp_path: Path, name: str, manifest: str | None) -> None:
    (tmp_path / name).write_text("theirs")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    before = {p.name: p.read_text() for p in tmp_path.iterdir()}
    with pytest.raises(DovetailError, match="holds another"):
        keep("measure", MEASURE, tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == before


def test_our_own_results_are_replaced_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    keep("measure", MEASURE, tmp_path)
    keep("search", SEARCH, tmp_path)
    assert json.loads((tmp_path / "result.json").read_text()) == SEARCH
    assert (tmp_path / "thesis.tex").read_text() == "mine"
