"""What no sanitizer sees of `ap_` types: shifts outside the width, unset values; nothing of it where code is right."""

from __future__ import annotations

import pytest

from dovetail.hls.check.checker import check
from dovetail.hls.check.faults import fault_of, watched
from dovetail.hls.check.report import Report
from dovetail.hls.design import Contract, Design, Oracle, Port
from dovetail.hls.flags import flags_raised
from dovetail.hls.harness import Outcome
from dovetail.hls.headers import watched as observed

HEAD = "#include <ap_fixed.h>\n#include <ap_int.h>\n"


def blind(kind: str, body: str, oracle: str = "") -> Report:
    """A check of a function of eight elements in and out."""
    ports = (Port("x", kind, "array", "in", (8,)), Port("y", kind, "array", "out", (8,)))
    texts = [f"{HEAD}void top(const {kind} x[8], {kind} y[8]) {{\n{text}\n}}\n" for text in (body, oracle) if text]
    reference = Oracle("cpp", texts[1]) if oracle else None
    return check(Design(texts[0], Contract("top", ports), reference), tests=6, static=False)


LOOP = "for (int i = 0; i < 8; i++)\n"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("ap_fixed<16, 4>", "y[i] = x[i] >> (i + 16);"),
        ("ap_ufixed<12, 2>", "y[i] = x[i] << -(i + 1);"),
        ("ap_int<20>", "y[i] = x[i] << (i + 20);"),
        ("ap_uint<9>", "y[i] = x[i] >> ap_uint<6>(i + 9);"),
        ("ap_int<70>", "y[i] = x[i] >> ap_int<8>(-1 - i);"),
        ("ap_int<20>", "{ y[i] = x[i]; y[i] <<= ap_uint<6>(i + 20); }"),
    ],
)
def test_a_shift_outside_the_width_is_found_without_a_reference(kind: str, change: str) -> None:
    found = blind(kind, LOOP + change).findings
    assert [(f.kind, f.line, f.by) for f in found] == [("SHFT", 5, "shift watch")]
    assert "shift exponent" in found[0].message


@pytest.mark.parametrize("change", ["y[i] = x[i] >> i;", "y[i] = (x[i] << 15) >> ap_uint<4>(15);"])
def test_shifts_within_the_width_are_right(change: str) -> None:
    assert blind("ap_fixed<16, 4>", LOOP + change).clean


def test_a_shift_that_the_reference_makes_too_is_meant() -> None:
    body = LOOP + "y[i] = x[i] >> (2 * i);"
    assert blind(
        "ap_int<8>", body, LOOP + "y[i] = i < 4 ? ap_int<8>(x[i] >> (2 * i)) : ap_int<8>(x[i] < 0 ? -1 : 0);"
    ).clean


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("ap_fixed<16, 1>", f"{LOOP}{{\nap_fixed<16, 1> held; y[i] = x[i] * held; }}"),
        ("ap_uint<8>", f"{LOOP}{{\nap_uint<1> bit; y[i] = x[i] ^ bit; }}"),
        ("ap_int<24>", f"{LOOP}{{\nap_int<24> part[2]; part[0] = 1; y[i] = x[i] + part[i & 1]; }}"),
        ("ap_int<24>", f"{LOOP}{{\nbool flag; if (i > 3) flag = false; y[i] = flag ? x[i] : ap_int<24>(0); }}"),
    ],
)
def test_unset_values_are_found_without_a_reference(kind: str, body: str) -> None:
    found = blind(kind, body).findings
    assert found
    assert found[0].kind == "INIT"
    assert found[0].line == 6


def test_statics_hold_zero_and_are_right() -> None:
    body = f"static ap_fixed<16, 1> line[8];\nstatic bool flag;\n{LOOP}{{ y[i] = line[i]; if (flag) line[i] = x[i]; }}"
    assert blind("ap_fixed<16, 1>", body).clean


def test_only_local_flags_without_a_value_are_raised() -> None:
    text = "bool a;\nvoid f() {\n bool b, c = false;\n static bool d;\n bool e[2];\n int g;\n}\n"
    assert flags_raised(text) == text.replace("bool b,", "bool b = true,")


def test_a_header_that_looks_different_is_left_alone() -> None:
    assert observed("ap_fixed_base.h", "#include <ap_int.h>\n") == ""


def test_a_fault_after_a_report_is_not_placed_at_the_report() -> None:
    frame = "    #0 0x1 in top(int) /w/design.cpp:{}\n"
    said = f"@@shift\nshift exponent -3 of a 16-bit type is negative\n{frame.format(7)}@@watched\n"
    text = f"{said}ERROR: AddressSanitizer: stack-buffer-overflow\nWRITE of size 4\n{frame.format(9)}"
    outcome = Outcome(0, "fault", stderr=text, shifts=1)
    assert (fault_of(outcome).kind, fault_of(outcome).frames) == ("OOB", (9,))
    assert (watched(outcome, "shift").kind, watched(outcome, "shift").frames) == ("SHFT", (7,))
