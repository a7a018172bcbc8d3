"""Witnesses are real: known bugs end as they must, models agree, data sets replay and are the same twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("tree_sitter_cpp")

if shutil.which("g++") is None or find_spec("hls4ml") is None:
    pytest.skip("needs g++ and the open headers of the hls4ml wheel", allow_module_level=True)

from dovetail.app.cli import main
from dovetail.core.errors import DovetailError
from dovetail.hls.design import Contract, Design, Oracle, Port
from dovetail.hls.inject.dataset import build, write
from dovetail.hls.inject.inject import inject
from dovetail.hls.inject.inputs import drawn_for
from dovetail.hls.inject.judge import judge
from dovetail.hls.inject.performance.analytic import analytic
from dovetail.hls.inject.performance.traced import traced
from dovetail.hls.inject.replay import load, replay_rows
from dovetail.hls.inject.shelf import shipped
from dovetail.hls.inject.splits import grouped, split_of

SUM = """#include <cstdint>
#include <hls_stream.h>
void total(const uint8_t x[8], hls::stream<int> &s, int &y) {
    int acc = 0;
    for (int i = 0; i < 8; i++) {
        acc += x[i] << 1;
    }
    for (int i = 0; i < 2; i++) acc += s.read();
    y = acc;
}
"""
REFERENCE = """#include <cstdint>
#include <hls_stream.h>
void total(const uint8_t x[8], hls::stream<int> &s, int &y) {
    y = s.read() + s.read();
    for (int i = 0; i < 8; i++) y += 2 * x[i];
}
"""
PORTS = (
    Port("x", "uint8_t", "array", "in", (8,), 0, 255),
    Port("s", "int", "stream", "in", (2,), -9, 9),
    Port("y", "int", "pointer", "out"),
)
DESIGN = Design(SUM, Contract("total", PORTS), Oracle("cpp", REFERENCE, "total"), name="total")


def test_known_bugs_end_as_they_must() -> None:
    bugs = {
        "fault": SUM.replace("i < 8", "i <= 8"),
        "shift": SUM.replace("<< 1", "<< 40"),
        "unset": SUM.replace("acc = 0", "acc"),
        "budget": SUM.replace("i < 8; i++", "i < 8; i += 0").replace("acc += x[i] << 1", "acc ^= x[i]"),
        "starved": SUM.replace("i < 2", "i < 3"),
        "count": SUM.replace("i < 2", "i < 1"),
        "different": SUM.replace("acc += x", "acc += (int8_t)x"),
        "same": SUM.replace("x[i] << 1", "2 * x[i]"),
        "uncompiled": SUM.replace("acc = 0", "acc = nothing"),
        "other type": SUM.replace("int &y", "long &y"),
    }
    seen = dict(zip(bugs, judge(DESIGN, list(bugs.values()), drawn_for(DESIGN.contract, "t"), [True] * len(bugs))))
    assert seen["fault"].end == "fault"
    assert "buffer-overflow" in seen["fault"].detail
    assert (seen["shift"].end, seen["shift"].line) == ("fault", 6)
    assert "shift exponent 40" in seen["shift"].detail
    assert seen["unset"].unset
    assert seen["budget"].end == "budget"
    assert (seen["starved"].end, seen["starved"].detail) == ("starved", "read-empty s")
    assert seen["count"].wrong
    assert seen["different"].end == "different"
    assert not seen["same"].wrong
    assert not seen["same"].unset
    assert seen["uncompiled"].end == seen["other type"].end == "uncompiled"


def test_a_design_that_fails_its_reference_is_refused() -> None:
    wrong = replace(DESIGN, oracle=Oracle("cpp", REFERENCE.replace("2 * x[i]", "3 * x[i]"), "total"))
    with pytest.raises(DovetailError, match="the clean design misbehaves"):
        judge(wrong, [SUM], drawn_for(wrong.contract, "t"))


def test_inputs_stay_in_the_contract_and_repeat() -> None:
    contract = Contract(
        "f",
        (
            Port("a", "int", "array", "in", (50,), -3, 4),
            Port("b", "float", "array", "in", (9,), 0.5, 2.0),
            Port("c", "int", "array", "in", (6,), 2, 7, order="permutation"),
            Port("d", "int", "array", "in", (5,), 0, 9, order="sorted"),
            Port("e", "int", "scalar", "in", (), 0, 9, values=(2.0, 5.0)),
        ),
        calls=2,
    )
    tests = drawn_for(contract, "one")
    assert tests == drawn_for(contract, "one") != drawn_for(contract, "two")
    for test in tests:
        for a, b, c, d, e in (test[:5], test[5:]):
            assert all(-3 <= v <= 4 and v == int(v) for v in a)
            assert all(0.5 <= v <= 2.0 for v in b)
            assert sorted(c) == [2, 3, 4, 5, 6, 7]
            assert list(d) == sorted(d)
            assert e[0] in (2.0, 5.0)
    assert {v for test in tests for v in test[0]} == set(range(-3, 5))


@pytest.mark.parametrize("name", ["llm/gemm_stream", "dsp/fir_shift"])
def test_two_models_built_differently_agree(name: str) -> None:
    design = shipped(name)
    one, other = analytic(design.source, design.contract.top), traced(design, design.source)
    assert (one.intervals, one.carried, one.tasks) == (other.intervals, other.carried, other.tasks)
    assert one.bursts == other.bursts


def test_a_small_data_set_replays_and_is_the_same_twice(tmp_path: Path) -> None:
    shelf = {"total": DESIGN, "fir": shipped("dsp/fir_shift")}
    built = build(24, 3, shelf)
    summary = write(built, tmp_path, 24, 3, shelf)
    assert summary["bugs"] == 24 == sum(summary["splits"].values())
    again = build(24, 3, shelf)
    assert json.dumps(built.rows, sort_keys=True) == json.dumps(again.rows, sort_keys=True)
    designs, rows = load(tmp_path)
    assert replay_rows(designs, rows).held == 24
    for row in rows:
        assert row["source"] != designs[row["design"]].source
    broken = [{**row, "source": designs[row["design"]].source} for row in rows if "execution" in row["witness"]]
    assert replay_rows(designs, broken).held == 0


def test_a_folder_of_other_things_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert main(["hls", "dataset", "build", "--count", "1", "--out", str(tmp_path), "--quiet"]) != 0
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("README.md", "mine")]


def test_the_first_of_equal_scores_is_kept_however_they_come() -> None:
    """Few values in many places: scores that are equal are pushed down the list by larger ones."""
    design = shipped("llm/topk")
    few = replace(design.contract.port("score"), low=-2, high=2)
    contract = replace(design.contract, ports=(few, *design.contract.ports[1:]))
    tests = drawn_for(contract, "ties")
    assert [seen.end for seen in judge(replace(design, contract=contract), [design.source], tests)] == ["done"]


def test_only_the_classes_asked_for_are_injected() -> None:
    found = inject(DESIGN, 3, ["SHFT"])
    assert {p.mutant.bug for p in found.proven} == {"SHFT"}
    with pytest.raises(DovetailError, match="did you mean 'SHFT'"):
        inject(DESIGN, 3, ["SHIFT"])
    with pytest.raises(DovetailError, match="no place"):
        inject(DESIGN, 3, ["APT"])


def test_designs_that_resemble_each_other_share_a_split() -> None:
    renamed = SUM.replace("total", "adder").replace("acc", "sum").replace("8", "16")
    groups = grouped({"a": SUM, "b": renamed, "c": shipped("llm/topk").source})
    assert groups["a"] == groups["b"] != groups["c"]
    assert [split_of(str(n)) for n in range(400)].count("train") in range(240, 320)


def test_a_test_bench_passes_the_design_and_fails_a_bug() -> None:
    from dovetail.hls.compile import compile_to, link
    from dovetail.hls.inject.judge import BUILD
    from dovetail.hls.inject.testbench import bench_of
    from dovetail.hls.sandbox import run, workplace

    bug = SUM.replace("<< 1", "<< 2")
    for source, code, said in ((SUM, 0, "PASS"), (bug, 1, "FAIL")):
        with workplace() as work:
            (work / "design.cpp").write_text(source)
            (work / "bench.cpp").write_text(bench_of(DESIGN))
            done = compile_to(work / "bench.cpp", work / "b.o", BUILD, defines=('-DDESIGN="design.cpp"',))
            assert done.output is not None, done.errors
            link([work / "b.o"], work / "b", BUILD)
            ran = run([work / "b"], work, env={"ASAN_OPTIONS": "detect_leaks=0"})
            assert (ran.code, ran.out.split(":")[0].strip()) == (code, said), ran.err
