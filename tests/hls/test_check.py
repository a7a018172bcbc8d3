"""Each way a kernel can go wrong is found, with class, line and inputs that show it; a right one is clean."""

import json
from pathlib import Path

import pytest

from dovetail.app.cli import main
from dovetail.core.errors import DovetailError
from dovetail.hls.check.checker import check
from dovetail.hls.check.report import Report
from dovetail.hls.check.sarif import sarif
from dovetail.hls.compile import FAST, PROBE
from dovetail.hls.design import Contract, Design, Oracle, Port
from dovetail.hls.harness import Elements, build_program

PORTS = (
    Port("x", "sample", "array", "in", (24,)), Port("taps", "sample", "array", "in", (6,)),
    Port("y", "sum", "array", "out", (24,)),
)  # fmt: skip
PYTHON = """import numpy as np
def fir(x, taps):
    return {"y": np.convolve(x.astype(object), taps.astype(object))[:24] + 7}
"""


def checked(source: str, reference: str = "", *, ports: tuple[Port, ...] = PORTS, top: str = "fir") -> Report:
    oracle = Oracle("cpp", reference) if reference else None
    return check(Design(source, Contract(top, ports), oracle), tests=12)


def replayed(source: str, report: Report, work: Path, top: str = "fir") -> str:
    """How the design ends on the witness of the first finding, run by the harness alone."""
    program, made = build_program(Design(source, Contract(top)), work, "replay", PROBE)
    assert program is not None, made.errors
    witness = report.findings[0].witness
    assert witness is not None
    calls = [{name: Elements.of(values, 1) for name, values in call.items()} for call in witness["calls"]]
    outcomes, _ = program.run([calls], budget=2_000_000)
    return outcomes[0].end


def test_a_right_kernel_is_clean_with_and_without_an_oracle(fir: str) -> None:
    assert checked(fir, fir).clean
    alone = checked(fir)
    assert alone.clean
    assert any("no reference" in limit for limit in alone.limits)
    assert check(Design(fir, Contract("fir", PORTS), Oracle("python", PYTHON, "fir")), tests=8).clean


@pytest.mark.parametrize(
    ("kind", "old", "new", "line", "end"),
    [
        ("OOB", "j < 6", "j <= 6", 16, "fault"),
        ("INF", "j > 0; j--", "j > 0;", 11, "budget"),
        ("SHFT", "acc += line[j] * taps[j]", "acc += (1 << (30 + j)) * taps[j]", 17, "fault"),
    ],
)
def test_without_a_reference_faults_are_found_on_their_line_and_replay(
    fir: str, work: Path, kind: str, old: str, new: str, line: int, end: str
) -> None:
    report = checked(fir.replace(old, new))
    found = report.findings[0]
    assert (found.kind, found.line) == (kind, line)
    assert replayed(fir.replace(old, new), report, work) == end


def test_an_uninitialised_variable_is_found_without_a_reference(fir: str) -> None:
    found = checked(fir.replace("line[6] = {0, 0, 0, 0, 0, 0}", "line[6]")).findings[0]
    assert (found.kind, found.line) == ("INIT", 7)


def test_a_wrong_value_is_found_with_a_small_counter_example(fir: str) -> None:
    wrong = fir.replace("sum acc = 7", "sum acc = 0")
    found = checked(wrong, fir).findings[0]
    assert (found.kind, found.line) == ("ZERO", 15)
    assert found.witness is not None
    assert not any(found.witness["calls"][0]["x"])
    told = check(Design(wrong, Contract("fir", PORTS), Oracle("python", PYTHON, "fir")), tests=8).findings[0]
    assert told.by == "differential"
    assert "24 elements differ" in told.message


def test_streams_that_starve_and_streams_left_unread(streams: str) -> None:
    ports = (Port("in", "int", "stream", "in", (8,)), Port("out", "int", "stream", "out", (0,)))
    assert checked(streams, ports=ports, top="top").clean
    starved = checked(streams.replace("i < 8", "i < 7"), ports=ports, top="top").findings[0]
    assert starved.kind == "DEADLOCK"
    assert "'mid' is read when it is empty" in starved.message
    assert starved.line == 3
    left = checked(streams.replace("i < 4", "i < 3"), ports=ports, top="top").findings[0]
    assert left.kind == "DEADLOCK"
    assert "2 elements of stream 'mid'" in left.message


COPY = "for (int i = 0; i < 4; i++) b[i] = a[i]; }"
TOP = "void top(int a[4], int b[4]) {"


@pytest.mark.parametrize("reference", ["", f"{TOP} {COPY}"])
@pytest.mark.parametrize(
    ("source", "said"),
    [
        (f"#include <cstdlib>\nstatic int x = (abort(), 1);\n{TOP} {COPY}", "ends before 'top' is called"),
        (f"#include <cstdlib>\nstatic int x = (exit(0), 1);\n{TOP} {COPY}", "ends before 'top' is called"),
        (f"#include <cstdlib>\n{TOP} exit(0); }}", "ends the program"),
        (f'#include <unistd.h>\n{TOP} unlink("design.out"); {COPY}', "without an answer"),
    ],
)
def test_a_program_that_says_nothing_is_no_clean_one(source: str, said: str, reference: str) -> None:
    ports = (Port("a", "int", "array", "in", (4,)), Port("b", "int", "array", "out", (4,)))
    found = checked(source, reference, ports=ports, top="top").findings
    assert [finding.kind for finding in found] == ["FAULT"]
    assert said in found[0].message


def test_what_cannot_be_checked_is_said(tmp_path: Path) -> None:
    broken = check(Design("void f(int a) { return b; }", Contract("f")))
    assert broken.findings[0].kind == "COMPILE"
    missing = check(Design('#include "no_such.h"\nvoid f(int *a) { *a = 1; }', Contract("f")), tests=4)
    assert missing.clean
    assert "no_such.h" in missing.limits[0] or any("no_such.h" in limit for limit in missing.limits)
    with pytest.raises(DovetailError, match="is a template"):
        check(Design("template <int N> void f(int a[N]) { a[0] = 1; }", Contract("f")), static=False)
    with pytest.raises(DovetailError, match=r"not C\+\+|no function"):
        check(Design("once upon a time", Contract("")))
    with pytest.raises(DovetailError, match="too long"):
        check(Design("// " + "x" * (5 << 20), Contract("")))


def test_a_template_is_checked_as_the_instance_that_is_asked_for() -> None:
    source = "template <int N> void f(const int a[8], int b[8]) { for (int i = 0; i < N; i++) b[i] = a[i]; }"
    assert check(Design(source, Contract("f", call="f<8>")), tests=4, static=False).clean
    assert not check(Design(source, Contract("f", call="f<9>")), tests=4, static=False).clean


def test_the_command_line_answers_with_stable_keys_and_sarif(
    fir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    design, golden = tmp_path / "fir.cpp", tmp_path / "golden.cpp"
    design.write_text(fir.replace("x[i];", "x[i + 1];"))
    golden.write_text(fir)
    log = tmp_path / "fir.sarif"
    code = main(
        ["hls", "check", str(design), "--reference", str(golden), "--sarif", str(log), "--tests", "6", "--json"]
    )
    assert code == 4
    told = json.loads(capsys.readouterr().out)
    assert told["clean"] is False
    assert {"class", "line", "message", "evidence", "witness"} <= set(told["findings"][0])
    assert told["findings"][0]["class"] == "OOB"
    assert told["findings"][0]["line"] == 14
    result = json.loads(log.read_text())["runs"][0]["results"][0]
    assert result["ruleId"] == "OOB"
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 14


def test_sarif_has_what_the_format_asks_for() -> None:
    log = sarif(Report("f.cpp", "f"))
    assert log["version"] == "2.1.0"
    assert log["runs"][0]["results"] == []
    assert FAST.flags[0] == "-std=c++17"


@pytest.mark.parametrize("answer", ['{"y": [object()]}', '{"y": "words"}', "7", '{"y": [[1, 2], [3]]}'])
def test_an_oracle_that_answers_nonsense_is_one_sentence(fir: str, answer: str) -> None:
    oracle = Oracle("python", f"def fir(x, taps):\n    return {answer}\n", "fir")
    with pytest.raises(DovetailError, match="the oracle"):
        check(Design(fir, Contract("fir", PORTS), oracle), tests=4, static=False)
