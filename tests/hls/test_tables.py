"""A table with an entry that is zero is found, and what takes a bug away names its class."""

from __future__ import annotations

import pytest

from dovetail.hls.check.checker import check
from dovetail.hls.check.guess import class_of_slip
from dovetail.hls.check.repairs.names import paired
from dovetail.hls.check.repairs.tables import lone_zeros, suspicious, wanted
from dovetail.hls.design import Contract, Design, Oracle, Port

TABLE = "static const int table[8] = {3, 6, 12,\n 0, 48, 96,\n 192, 384};\n"
BODY = "for (int i = 0; i < 8; i++)\n y[i] = x[i] * table[i];\n"
OTHER = "void top(const int x[8], int y[8]) { for (int k = 7; k >= 0; k--) { int by = 3 << k; y[k] = by * x[k]; } }"
PORTS = (Port("x", "int", "array", "in", (8,), -99, 99), Port("y", "int", "array", "out", (8,)))


@pytest.mark.parametrize("within", [True, False])
def test_a_zero_entry_is_found_on_its_line(within: bool) -> None:
    head = "void top(const int x[8], int y[8]) {\n"
    text = head + TABLE + BODY + "}\n" if within else TABLE + head + BODY + "}\n"
    found = check(Design(text, Contract("top", PORTS), Oracle("cpp", OTHER)), tests=6, static=False).findings
    assert (found[0].kind, found[0].line) == ("ZERO", 3 if within else 2)
    assert "all tests go well with '24'" in found[0].evidence


def test_zeros_that_a_table_leads_to_are_not_suspicious() -> None:
    assert not suspicious([0, 1, 2, 3], 0)
    assert not suspicious([3, 2, 1, 0], 3)
    assert not suspicious([0, 5, 0, 7, 0], 2)
    assert suspicious([4, 5, 0, 7], 2)


def test_a_zero_becomes_what_its_neighbours_lead_to() -> None:
    assert wanted([1, 2, 0, 4], 2)[0] == "3"  # between them
    assert "4" in wanted([1, 2, 0, 8], 2)  # as a geometric sequence
    assert "0.75" in wanted([0.25, 0.5, 0.0], 2)  # going on


def test_lone_zeros_are_named_by_line() -> None:
    assert lone_zeros(f"{TABLE}int few[2] = {{0, 1}};\n") == [2]


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ("ping", "pong", True),
        ("buf_left", "buf_right", True),
        ("x0", "x1", True),
        ("row", "col", False),
        ("a", "a", False),
    ],
)
def test_names_of_two_halves(one: str, other: str, are: bool) -> None:
    assert paired(one, other) is are


def test_a_slip_tells_a_class_where_it_can() -> None:
    source = "void f(int a[8]) {\n for (int i = 0; i < 8; i += 2) {\n  a[i] = 1;\n  a[i + 1] = 2;\n }\n a[0] = 3;\n}\n"
    assert class_of_slip("index", source, 4) == "MLU"
    assert class_of_slip("index", source, 6) == ""
    assert class_of_slip("room", source, 1) == "OVERFLOW"
    assert class_of_slip("", source, 1) == ""
