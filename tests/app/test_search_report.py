"""The report of a search: what is drawn is what was found, by computations of their own, from the SVG itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from dovetail.app.landscape import evaluated, landscape, winners
from dovetail.app.output import finite
from dovetail.app.report import data as d
from dovetail.app.report import searched
from dovetail.app.report.figures import KINDS
from dovetail.app.report.verb import report_of
from dovetail.search.axis import Axis
from dovetail.search.codesign import evaluator
from dovetail.search.exact import search
from dovetail.search.result import Result
from dovetail.search.space import Space

EXAMPLES = Path(__file__).parents[2] / "examples"
TAG = "{http://www.w3.org/2000/svg}"
SMALL: dict[str, dict[str, Any]] = {
    "chat-8b.yaml": {
        "machines": ["h100-sxm", "l4", "mi300x", "rtx-4090"],
        "workload": {"batch": [1, 8, 64, 256], "prompt": [512, 1024, 4096], "output": [256]},
    },
    "study-edge.yaml": {
        "recipes": ["none", "w8a8", "w4a8"],
        "machines": [{
            "template": "overlay", "format": ["int8", "bf16"], "rows": [2, 8], "columns": [16, 64], "lanes": 4,
            "sram": "1 MB", "bandwidth": ["17 GB/s", "68 GB/s"], "capacity": "8 GB",
        }],
        "objectives": ["tpot", "energy_per_token", "area"],
    },
}  # fmt: skip


class Found:
    """A search of an example made small, what surrounds its front, and its figures by their kind."""

    def __init__(self, name: str) -> None:
        self.space = Space.load(EXAMPLES / name, **SMALL[name])
        self.evaluate = evaluator(self.space)
        self.result: Result = search(self.space, self.evaluate)
        self.around = finite(landscape(self.result, self.evaluate))
        self.json = finite({**self.result.to_json(), "landscape": self.around})
        self.sections = list(searched.sections(self.json))

    def figure(self, kind: type, title: str = "") -> Any:
        return next(s for s in self.sections if isinstance(s, kind) and title in s.title)

    def drawn(self, figure: Any) -> list[ElementTree.Element]:
        page = KINDS[type(figure)].charts(figure, "f")
        return [ElementTree.fromstring(text) for text in re.findall(r"<svg\b[^>]*role=.img.*?</svg>", page, re.S)]


@pytest.fixture(scope="module", params=list(SMALL))
def found(request: pytest.FixtureRequest) -> Found:
    return Found(request.param)


def centre(mark: ElementTree.Element) -> tuple[float, float]:
    """Of a circle, or the mean of a regular polygon's corners."""
    if mark.tag == f"{TAG}circle":
        return float(mark.get("cx", "nan")), float(mark.get("cy", "nan"))
    corners = np.asarray(re.findall(r"-?[\d.]+", mark.get("d", "")), float).reshape(-1, 2)
    return float(corners[:, 0].mean()), float(corners[:, 1].mean())


def ends(path: ElementTree.Element) -> list[tuple[float, float]]:
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d", ""))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def is_on_an_axis(values: Sequence[float], pixels: Sequence[float], rising: bool, within: float = 0.35) -> None:
    """Pixels are a straight line over the values, or over their logarithms, in the given direction."""
    order = np.argsort(values)
    x, y = np.asarray(values, float)[order], np.asarray(pixels, float)[order]
    worst = []
    for scaled in (x, np.log(x) if (x > 0).all() else x):
        share = (scaled - scaled[0]) / (scaled[-1] - scaled[0])
        worst.append(np.abs(y - (y[0] + share * (y[-1] - y[0]))).max())
    assert min(worst) < within
    assert (y[-1] > y[0]) == rising


def marks_of(svg: ElementTree.Element) -> list[tuple[str, ElementTree.Element]]:
    return [(g.findtext(f"{TAG}title") or "", g) for g in svg.iter(f"{TAG}g") if g.get("class") == "mark"]


def test_designs_and_their_whiskers_stand_where_their_numbers_are(found: Found) -> None:
    figure = found.figure(d.Pareto)
    svg = found.drawn(figure)[0]
    fills = [m for _, g in marks_of(svg) for m in g if (m.get("class") or "").startswith("fill")]
    names = [o.metric for o in found.result.objectives][:2]
    front = [tuple(float(c[n]) for n in names) for c in found.result.front]
    places = sorted(map(centre, fills))
    assert len(places) == len(front) > 2
    by_x = sorted(front, key=lambda p: p[0])
    is_on_an_axis([p[0] for p in by_x], [x for x, _ in places], rising=True)
    is_on_an_axis(sorted(p[1] for p in front), sorted((y for _, y in places), reverse=True), rising=False)
    # the ends of the whiskers lie on the same axes as the designs
    drawn = {p.label: p for p in figure.points if p.on_front}
    values: dict[str, list[float]] = {"x": [], "y": []}
    pixels: dict[str, list[float]] = {"x": [], "y": []}
    for words, group in marks_of(svg):
        point = next((p for label, p in drawn.items() if words.startswith(f"{label}: ")), None)
        lines = [ends(m) for m in group if (m.get("class") or "").startswith("reach")]
        if point is None or not lines or point.x_interval is None:
            continue
        level = next(line for line in lines if line[0][1] == line[1][1])
        values["x"] += [*point.x_interval, point.x]
        pixels["x"] += [level[0][0], level[1][0], centre(next(m for m in group if m in fills))[0]]
    assert len(values["x"]) >= 3 * min(len(front), 3)
    is_on_an_axis(values["x"], pixels["x"], rising=True)


def test_intervals_of_the_front_are_those_of_the_candidates(found: Found) -> None:
    points = {(p.x, p.y): p for p in found.figure(d.Pareto).points if p.on_front}
    names = [o.metric for o in found.result.objectives][:2]
    for candidate in found.result.front:
        point = points[tuple(float(candidate[n]) for n in names)]  # type: ignore[index]
        assert point.x_interval == (candidate.metrics[f"{names[0]}_low"], candidate.metrics[f"{names[0]}_high"])
        assert point.winner == (candidate is found.result.winner)


def test_what_is_beside_the_front_is_beaten_or_breaks_something(found: Found) -> None:
    names = [o.metric for o in found.result.objectives]
    signs = np.asarray([1 if o.direction == "min" else -1 for o in found.result.objectives])
    front = signs * np.asarray([[float(c[n]) for n in names] for c in found.result.front])
    assert found.around["complete"]
    assert found.around["evaluated"] == found.space.trimmed()[0].size
    feasible = [b for b in found.around["beside"] if b["feasible"]]
    assert len(feasible) == found.result.feasible - len(found.result.front)
    for each in feasible:
        cost = signs * np.asarray([each[n] for n in names])
        assert ((front <= cost).all(axis=1)).any()
    for each in found.around["beside"]:
        assert each["feasible"] != bool(each["binding"])
    shown = {p.broken for p in found.figure(d.Pareto).points} - {""}
    assert shown <= {b["binding"] for b in found.around["beside"]}


def test_every_cell_of_the_map_is_won_by_a_search_of_that_cell(found: Found) -> None:
    around = found.around["map"]
    space = found.space.trimmed()[0]

    def fixed(axes: Sequence[Axis], at: dict[str, float]) -> tuple[Axis, ...]:
        return tuple(Axis(a.name, np.asarray([at[a.name]])) if a.name in at else a for a in axes)

    winners = set()
    for cell in around["cells"]:
        at = {around["x"]: cell["x"], around["y"]: cell["y"]}
        free = tuple(replace(f, axes=fixed(f.axes, at)) for f in space.free)
        one = search(replace(space, axes=fixed(space.axes, at), free=free), found.evaluate).winner
        assert cell["what"] == ([str(getattr(one.structure, part)) for part in around["told"]] if one else [])
        assert cell["value"] == (pytest.approx(float(one[around["metric"]])) if one else None)
        winners.add(tuple(cell["what"]))
    assert len(winners) > 1
    # as drawn: words of each cell, and colours that tell the winners apart
    figure = found.figure(d.Winners)
    told = [
        (words, [t.text for t in group.iter(f"{TAG}text")]) for words, group in marks_of(found.drawn(figure)[0])
    ]  # fmt: skip
    assert len(told) == len(around["cells"])
    for words, lines in told:
        assert lines == ["–"] if "nothing" in words else all(line.rstrip("…") in words for line in lines if line)


def test_strands_cross_each_axis_at_their_values_the_better_end_on_top(found: Found) -> None:
    figure = found.figure(d.Parallel)
    svg = found.drawn(figure)[0]
    lines = {words.partition(": ")[0]: [ends(m) for m in group if "strand" in (m.get("class") or "")]
             for words, group in marks_of(svg)}  # fmt: skip
    strands = [s for s in figure.strands if s.on_front]
    assert len(strands) == len(found.result.front)
    objectives = [x for x in figure.dimensions if x.better]
    assert [x.name for x in objectives] == [o.metric for o in found.result.objectives]
    for i, dimension in enumerate(figure.dimensions):
        values = [float(s.values[dimension.name]) for s in strands if not dimension.names]
        heights = [lines[s.label][0][i][1] for s in strands]
        if len(set(values)) > 1:
            is_on_an_axis(values, heights, rising=dimension.better == "lower")
        for one, other in ((a, b) for a in range(len(strands)) for b in range(a)):
            same = strands[one].values[dimension.name] == strands[other].values[dimension.name]
            assert same <= (heights[one] == heights[other])


def test_bars_are_as_long_as_their_shares(found: Found) -> None:
    figure = found.figure(d.Amounts, "decides")
    shares = {(s["objective"], s["choice"]): s for s in found.around["sensitivity"]}
    assert len(figure.amounts) == sum(s["total"] >= 0.005 for s in shares.values()) > 2
    lengths, totals = [], []
    for svg in found.drawn(figure):
        for words, group in marks_of(svg):
            whole, solid = (float(m.get("width", "nan")) for m in group.iter(f"{TAG}rect"))
            name = svg.findtext(f"{TAG}title", "").partition(", ")[2]
            share = next(s for (o, c), s in shares.items() if searched.title_of(o) == name
                         and searched.title_of(c) == words.partition(": ")[0])  # fmt: skip
            lengths += [whole, solid]
            totals += [share["total"], share["alone"]]
    pixels = np.asarray(lengths) / np.maximum(totals, 1e-9)
    known = np.asarray(totals) > 0.05
    assert np.ptp(pixels[known]) < 0.03 * pixels[known].mean()


def test_the_certificate_adds_up_to_the_space(found: Found) -> None:
    figure = found.figure(d.Amounts, "pruned")
    assert sum(a.value for a in figure.amounts) == found.result.points == figure.full
    assert sum(a.value for a in figure.amounts if a.group == "evaluated") == found.result.evaluated


def test_reasons_hold_when_the_designs_are_evaluated_again(found: Found) -> None:
    asked = found.around["why_not"]
    winner = found.result.winner
    assert winner is not None
    others = [*(m for m in found.space.machines if m != winner.structure.machine),
              *(x for x in found.space.recipes if x != winner.structure.recipe)]  # fmt: skip
    assert [a["asked"].partition(" ")[2] for a in asked] == others
    for each in asked:
        assert each["on_front"] == (not each["broken"] and not each["dominated_by"])
        for beaten in each["dominated_by"]:
            for name, factor in beaten["better"].items():
                best = searched.number(beaten["design"][name])
                assert factor == pytest.approx(each["values"][name] / best)
                assert factor >= 1
    reasons = found.figure(d.Reasons).reasons
    for reason, each in zip(reasons, asked, strict=True):
        assert reason.verdict.startswith(
            "breaks" if each["broken"] else "beaten" if each["dominated_by"] else "it is on"
        )
        if not each["dominated_by"]:
            for o in found.result.objectives:
                own, best = each["values"][o.metric], float(winner[o.metric])
                assert reason.factors[searched.title_of(o.metric)] == pytest.approx(own / best)


def test_markers_of_a_reason_stand_at_their_factors(found: Found) -> None:
    figure = found.figure(d.Reasons)
    factors, pixels = [], []
    for reason, (_, group) in zip(figure.reasons, marks_of(found.drawn(figure)[0]), strict=True):
        marks = [m for m in group if (m.get("class") or "").startswith("fill")]
        assert len(marks) == len(reason.factors)
        factors += list(reason.factors.values())
        pixels += [centre(m)[0] for m in marks]
    logs = np.log(factors)
    slope, start = np.polyfit(logs, pixels, 1)
    assert slope > 0
    assert np.abs(start + slope * logs - pixels).max() < 0.4


def test_words_stay_inside_their_pictures(found: Found) -> None:
    from dovetail.app.report.svg import width_of

    for section in found.sections:
        for svg in found.drawn(section) if type(section) in KINDS else ():
            _, _, width, height = map(float, (svg.get("viewBox") or "").split())
            for text in svg.iter(f"{TAG}text"):
                x, y, words = float(text.get("x", "nan")), float(text.get("y", "nan")), text.text or ""
                room = width_of(words)
                left = x - {"end": room, "middle": room / 2}.get(text.get("text-anchor") or "", 0.0)
                assert left > -12, (section.title, words)
                assert left + room * 0.9 < width + 12, (section.title, words)
                assert 0 < y <= height


def test_the_page_says_the_winner_with_units(found: Found) -> None:
    report = report_of("search", found.json, {"command": "dovetail search"})
    winner = found.result.winner
    assert winner is not None
    assert winner.structure.recipe in report.summary.answer
    assert searched.say(float(winner["tpot"]), "s") in report.summary.answer
    titles = [s.title for s in report.sections]
    assert len(set(titles)) == len(titles) >= 7


def test_a_space_too_large_is_drawn_and_the_map_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dovetail.app.landscape.evaluated.__defaults__", (24,))
    space = Space.load(EXAMPLES / "chat-8b.yaml", **SMALL["chat-8b.yaml"])
    evaluate = evaluator(space)
    around = landscape(search(space, evaluate), evaluate)
    assert not around["complete"]
    assert around["evaluated"] <= 24
    figure = next(s for s in searched.sections({"landscape": around}) if isinstance(s, d.Winners))
    told = around["map"]
    assert told["evaluated"] <= 24 < told["points"]
    assert f"{told['evaluated']} of the {told['points']:,} in these cells were drawn" in figure.note
    assert figure.note.endswith("not exact.")


def test_a_map_whose_cells_were_looked_through_says_so_though_the_space_is_larger() -> None:
    """The cells hold 12 x 10 of 40 x 30 points: all of those are evaluated, of the others only a draw."""
    work = {"batch": {"from": 1, "to": 40, "by": 1}, "prompt": {"from": 16, "to": 480, "by": 16}, "output": 64}
    space = Space.load(EXAMPLES / "chat-8b.yaml", workload=work, machines=["h100-sxm", "l4"], constraints=[])
    evaluate = evaluator(space)
    result, some = search(space, evaluate), list(evaluated(space, evaluate, 2000))
    drawn = winners(result, space, evaluate, some)
    assert sum(len(each.excess) for each in some) < space.size
    assert drawn is not None
    assert (drawn["complete"], drawn["evaluated"]) == (True, drawn["points"])
    assert drawn["points"] == 120 * len(space.recipes) * len(space.machines)
    whole = winners(result, space, evaluate, list(evaluated(space, evaluate)))
    assert whole is not None
    assert [(c["x"], c["y"], c["what"], c["value"]) for c in drawn["cells"]] == [
        (c["x"], c["y"], c["what"], c["value"]) for c in whole["cells"]
    ]


def test_the_map_of_a_long_axis_is_drawn_in_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 batches x 200 prompts twelve columns and ten rows are shown; a draw of the whole would miss them."""
    monkeypatch.setattr("dovetail.app.landscape.evaluated.__defaults__", (2000,))
    work = {"batch": {"from": 1, "to": 200, "by": 1}, "prompt": {"from": 16, "to": 3200, "by": 16}, "output": 64}
    space = Space.load(EXAMPLES / "chat-8b.yaml", workload=work, machines=["h100-sxm", "l4"], constraints=[])
    evaluate = evaluator(space)
    result = search(space, evaluate)
    around = landscape(result, evaluate)
    cells = around["map"]["cells"]
    assert (len(cells), around["complete"], around["why_not"]) == (120, False, [])
    assert sum(bool(cell["what"]) for cell in cells) >= 110
    winner = result.winner
    assert winner is not None
    at = [c for c in cells if (c["x"], c["y"]) == (winner["batch"], winner["prompt"])]
    assert [c["what"] for c in at] == [[winner.structure.recipe, winner.structure.machine]]


def test_without_a_feasible_design_the_report_still_says_what_was_evaluated() -> None:
    keys = SMALL["chat-8b.yaml"] | {"constraints": ["tpot < 1 us"]}
    space = Space.load(EXAMPLES / "chat-8b.yaml", **keys)
    evaluate = evaluator(space)
    result = search(space, evaluate)
    data = finite({**result.to_json(), "landscape": landscape(result, evaluate)})
    report = report_of("search", data, {})
    assert report.summary.answer.startswith("Infeasible")
    assert [type(s) for s in report.sections[:1]] == [d.Amounts]
    assert "pruned" in report.sections[-1].title
    assert "Nothing wins" in KINDS[d.Winners].says(next(s for s in report.sections if isinstance(s, d.Winners)))


def test_the_command_line_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from dovetail.app.cli import main

    (tmp_path / "space.yaml").write_text(
        "models: [Qwen/Qwen3-8B]\nrecipes: [none, w4a16-rtn]\nmachines: [h100-sxm, l4]\n"
        "workload: {batch: [1, 32], prompt: [512, 2048], output: 64}\nobjectives: [tpot, usd_per_mtok]\n"
    )
    assert main(["search", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    kept = json.loads((tmp_path / "out" / "result.json").read_text())
    assert kept["landscape"]["complete"] is True
    for words in ("Pareto front, with intervals", "Every choice", "What decides", "What wins, by batch and prompt",
                  "Why not another", "What was evaluated and pruned"):  # fmt: skip
        assert words in page

    links = re.findall(r"""(?:href|src)=["']([^"']*)""", page)
    assert links
    assert all(link.startswith("#") for link in links)
    for svg in re.findall(r"<svg\b[^>]*role=.img.*?</svg>", page, re.S):
        tree = ElementTree.fromstring(svg)
        assert all(tree.findtext(f"{TAG}{tag}") for tag in ("title", "desc"))
    capsys.readouterr()
    argv = ["why-not", str(tmp_path / "space.yaml"), "machine=l4", "batch=1", "--out", str(tmp_path / "why"), "--quiet"]
    assert main(argv) == 0
    assert "on the front" in (tmp_path / "why" / "report.html").read_text()


@pytest.mark.parametrize(("machine", "again"), [("l4", True), ("{template: overlay, format: integers}", False)])
def test_what_is_next_is_a_command_that_there_is(
    machine: str, again: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine that a template makes has no name for ``--on``; of a plan that nobody asked for no column is shown."""
    from dovetail.app.cli import main

    (tmp_path / "space.yaml").write_text(
        f"models: [embedded]\nrecipes: [w8a8]\nmachines: [{machine}]\n"
        "workload: {batch: 1, prompt: 64, output: 64}\nobjectives: [tpot]\n"
    )
    assert main(["search", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "out")]) == 0
    screen, page = capsys.readouterr().out, (tmp_path / "out" / "report.html").read_text()
    header = next(line for line in screen.splitlines() if line.startswith("model"))
    assert header.split() == ["model", "recipe", "machine", "batch", "prompt", "output", "tpot"]
    command = next((line for line in screen.splitlines() if line.startswith("next ")), "")
    assert (f"dovetail estimate embedded --on {machine}" in command) is again
    assert (f"dovetail build embedded --on {machine} --recipe w8a8" in page) is again
    assert ("dovetail build --help" in page) is not again
