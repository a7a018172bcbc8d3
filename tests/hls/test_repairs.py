"""The line of a bug is found by what takes it away, when the reference is another text."""

from __future__ import annotations

from pathlib import Path

import pytest

from dovetail.hls.check.checker import check
from dovetail.hls.check.repairs.copies import copies, other_types
from dovetail.hls.check.repairs.schemata import chosen, places, woven
from dovetail.hls.check.stimulus import stimuli
from dovetail.hls.compile import PROBE
from dovetail.hls.design import Contract, Design, Oracle, Port
from dovetail.hls.harness import build_program

SOURCE = """#include <cstdint>
static const int N = 12;
static void scale(const int16_t in[N], int32_t out[N]) {
    for (int i = 0; i < N; i++) {
        out[i] = in[i] * 3;
    }
}
static void sum(const int32_t in[N], int32_t out[N]) {
    int32_t total = 5;
    for (int i = 0; i < N; i++) {
        total += in[i];
        out[i] = total >> 1;
    }
}
void top(const int16_t a[N], const int16_t b[N], int32_t y[N], int32_t z[N]) {
    int32_t left[N], right[N];
    scale(a, left);
    scale(b, right);
    sum(left, y);
    sum(right, z);
}
"""
OTHER = """#include <cstdint>
#include <vector>
void top(const int16_t a[12], const int16_t b[12], int32_t y[12], int32_t z[12]) {
    long both[2] = {5, 5};
    for (int k = 0; k < 24; k++) {
        const int16_t *from = k % 2 ? b : a;
        both[k % 2] += 3L * from[k / 2];
        (k % 2 ? z : y)[k / 2] = both[k % 2] >= 0 ? both[k % 2] / 2 : -((1 - both[k % 2]) / 2);
    }
}
"""
PORTS = tuple(Port(n, "int16_t", "array", "in", (12,), -900, 900) for n in "ab") + tuple(
    Port(n, "int32_t", "array", "out", (12,)) for n in "yz"
)
CONTRACT = Contract("top", PORTS)


def test_the_text_and_the_other_one_agree() -> None:
    assert check(Design(SOURCE, CONTRACT, Oracle("cpp", OTHER)), tests=8).clean


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("total = 5", "total = 0", 9),
        ("total += in[i]", "total -= in[i]", 11),
        ("in[i] * 3", "in[i > 0 ? i - 1 : i] * 3", 5),
        ("sum(right, z)", "sum(left, z)", 20),
        ("int32_t total", "int8_t total", 9),
        ("total >> 1", "total >> 2", 12),
        ("    scale(b, right);\n    sum(left, y);\n    sum(right, z);", "    sum(right, z);\n    scale(b, right);\n"
         "    sum(left, y);", 18),
    ],
    ids=["first value", "operator", "index", "twin", "type", "constant", "order"],
)  # fmt: skip
def test_what_takes_a_bug_away_says_where_it_is(old: str, new: str, line: int) -> None:
    assert SOURCE.count(old) == 1
    found = check(Design(SOURCE.replace(old, new), CONTRACT, Oracle("cpp", OTHER)), tests=12).findings[0]
    assert line in found.lines[: 3 if line == 18 else 1], found
    if (old, line) != ("total = 5", 9):  # no number of the text is the right one: nearer has to do
        assert "all tests go well with" in found.evidence


def test_a_text_with_variants_is_itself_when_none_is_chosen(work: Path) -> None:
    variants = chosen(places(SOURCE), {}, 60)
    assert len(variants) == 60
    design = Design(SOURCE, CONTRACT)
    plain, _ = build_program(design, work, "plain", PROBE)
    several, said = build_program(design.with_source(woven(SOURCE, variants)), work, "several", PROBE)
    assert plain is not None
    assert several is not None, said.errors
    tests = stimuli(CONTRACT, 4)
    first, _ = plain.run(tests, budget=100_000)
    again, _ = several.run(tests, budget=100_000, choices=(0, 1))
    assert [o.outputs for o in first] == [o.outputs for o in again if o.choice == 0]
    assert len(again) == 2 * len(first)


def test_types_are_widened_and_lose_or_gain_their_sign() -> None:
    assert "unsigned char" in other_types("char")
    assert "int16_t" in other_types("uint16_t")
    assert "ap_uint<7>" in other_types("ap_int<7>")
    assert other_types("ap_ufixed<8, 2>")[-1] == "ap_fixed<8, 2>"
    assert other_types("float") == []
    made = copies("void f(int a[4]) {\n    short b[3];\n    b[0] = a[0];\n}\n", {2: 0.0}, 3)
    assert made[0].line == 2
    assert any("(3) + 1" in copy.source for copy in made)
