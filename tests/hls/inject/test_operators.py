"""Operators change what they say they change; the analytic reading of a design is right."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("tree_sitter_cpp")

from dovetail.hls.classes import CLASSES, LOGICAL, PRAGMA
from dovetail.hls.inject.mutant import OPERATORS, all_of
from dovetail.hls.inject.performance.hints import Split, bank_of, hints
from dovetail.hls.inject.performance.profile import conflicts, mean_run, order_of
from dovetail.hls.inject.shelf import names, shipped
from dovetail.hls.inject.syntax import Edit, Source, apply, read, value_of

UNMADE = {"MISMATCH", "COMPILE", "FAULT"}  # what a check may say, and no operator makes


def test_the_shelf_is_full_and_has_a_place_for_every_class() -> None:
    assert len(names()) >= 60
    found = Counter(m.bug for name in names() for m in all_of(read(shipped(name).source)))
    assert set(found) == set(CLASSES) - UNMADE
    assert min(found.values()) >= 10


@pytest.mark.parametrize("name", names()[::9])
def test_mutants_are_different_and_change_only_their_edits(name: str) -> None:
    source = shipped(name).source
    mutants = all_of(read(source))
    texts = [" ".join(m.of(source).split()) for m in mutants]
    assert len(set(texts)) == len(texts)
    assert " ".join(source.split()) not in texts
    for mutant in mutants:
        kept = [line for line in source.splitlines() if line in mutant.of(source).splitlines()]
        assert len(kept) >= len(source.splitlines()) - 3
        assert 1 <= mutant.line <= len(source.splitlines()) + 1


def test_pragma_mutants_change_no_statement_but_the_order_of_loops() -> None:
    for name in names()[::5]:
        source = shipped(name).source
        bare = [line for line in source.splitlines() if "#pragma" not in line and line.strip()]
        for mutant in all_of(read(source)):
            if mutant.bug in PRAGMA and mutant.operator != "loop-interchange":
                assert [x for x in mutant.of(source).splitlines() if "#pragma" not in x and x.strip()] == bare
            if mutant.bug in LOGICAL:
                assert [x.strip() for x in mutant.of(source).splitlines() if "#pragma" in x] == [
                    x.strip() for x in source.splitlines() if "#pragma" in x
                ]


def test_every_operator_has_work_on_the_shelf() -> None:
    used = {m.operator for name in names() for m in all_of(read(shipped(name).source))}
    assert set(OPERATORS) <= used


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("N * 2 + 1", 17),
        ("7 / -2", -3),
        ("-7 % 3", -1),
        ("1u << 4", 16),
        ("0x1F & ~1", 30),
        ("f(3)", None),
        ("a.b", None),
        ("1 << -1", None),
        ("__import__('os')", None),
    ],
)
def test_constants_are_c_arithmetic_and_nothing_else(expression: str, value: int | None) -> None:
    found = value_of(expression, {"N": 8})
    assert found == value


def test_trip_counts_against_running_the_loop() -> None:
    for start, compare, bound, step in [
        (0, "<", 7, 1),
        (0, "<=", 7, 2),
        (9, ">", 0, -3),
        (9, ">=", 0, -1),
        (3, "<", 3, 1),
        (1, "<", 10, 4),
    ]:
        sign = f"+= {step}" if step > 0 else f"-= {-step}"
        loop = Source(f"void f() {{ for (int i = {start}; i {compare} {bound}; i {sign}) {{ g(i); }} }}").loops[0]
        seen, i = [], start
        while eval(f"{i} {compare} {bound}"):
            seen.append(i)
            i += step
        assert loop.values() == seen


def test_overlapping_edits_are_refused() -> None:
    assert apply("abc", [Edit(1, 2, "X"), Edit(0, 0, "<")]) == "<aXc"
    with pytest.raises(ValueError, match="overlap"):
        apply("abcdef", [Edit(0, 3, "x"), Edit(2, 4, "y")])


def test_banks_by_brute_force() -> None:
    shape = (12, 8)
    for splits in [
        (Split(1, "cyclic", 4),),
        (Split(2, "block", 2),),
        (Split(1, "block", 3), Split(2, "cyclic", 4)),
        (Split(0, "cyclic", 2),),
    ]:
        banks: dict[tuple[int, ...] | None, int] = {}
        for i in range(12):
            for j in range(8):
                bank = bank_of((i, j), shape, splits)
                banks[bank] = banks.get(bank, 0) + 1
        assert len(set(banks.values())) == 1
        wanted = {
            1: (4, 2, 12, 4)[
                [
                    (Split(1, "cyclic", 4),),
                    (Split(2, "block", 2),),
                    (Split(1, "block", 3), Split(2, "cyclic", 4)),
                    (Split(0, "cyclic", 2),),
                ].index(splits)
            ]
        }
        assert len(banks) == wanted[1]
    assert bank_of((3, 3), shape, (Split(0, "complete", 0),)) is None
    assert conflicts([(0, j) for j in range(8)], shape, ()) == 4
    assert conflicts([(0, j) for j in range(8)], shape, (Split(2, "cyclic", 4),)) == 1
    assert conflicts([(0, j) for j in range(8)], shape, (Split(2, "complete", 0),)) == 1


def test_runs_and_orders() -> None:
    assert mean_run([0, 1, 2, 3, 8, 9, 10, 11]) == 4
    assert mean_run([0, 4, 8]) == 1
    assert order_of([0, 1, 2], 3) == "once in order"
    assert order_of([0, 2, 1], 3) == "out of order"
    assert order_of([0, 1, 1], 3) == "more than once"
    assert order_of([0, 1], 3) == "not all"


def test_hints_are_read_in_any_case_and_spacing() -> None:
    asked = hints(
        Source(
            "void f(int a[8]) {\n#pragma HLS interface mode = m_axi port = a\n"
            "#pragma hls array_partition variable = a type=cyclic factor = 2\n"
            "for (int i = 0; i < 8; i++) {\n#pragma HLS pipeline II = 3\n a[i] = i; } }"
        )
    )
    assert asked.modes == {"a": "m_axi"}
    assert asked.splits == {("f", "a"): (Split(1, "cyclic", 2),)}
    assert asked.pipelined == {0: 3}
