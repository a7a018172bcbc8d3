"""Measurements of a front on this computer: the winner and the least certain, as many as asked for."""

from dataclasses import replace
from typing import Any

import pytest

import dovetail.accel.simulate.verilator
from dovetail.core.errors import DovetailError
from dovetail.design.simulate import Counted, Simulator
from dovetail.search import Space, search
from dovetail.search.codesign import evaluator
from dovetail.search.measuring import HERE, SIMULATED, measure, measure_front

pytest.importorskip("torch", reason="measuring runs the model")
KEYS: dict[str, Any] = {
    "models": ["embedded"], "machines": ["host"], "objectives": ["tpot", "throughput"],
    "workload": {"batch": [1, 2, 4], "prompt": 32, "output": 8}, "pick": "min tpot",
}  # fmt: skip


def test_the_winner_is_measured_first_and_no_more_than_asked() -> None:
    space = Space.of(**KEYS)
    found = search(space, evaluator(space))
    rows = measure_front(found, 2, seconds=0.05)
    assert rows[0].candidate == found.winner
    assert len(rows) == 2
    for row in rows:
        assert row.measured.low <= row.measured.value <= row.measured.high
        assert row.measured.kind == "measured"
        assert row.predicted.value == pytest.approx(float(row.candidate["tpot"]))
        assert row.error == pytest.approx(row.predicted.value / row.measured.value - 1)


def test_a_front_of_other_machines_cannot_be_measured_here() -> None:
    space = Space.of(**{**KEYS, "machines": ["l4"]})
    with pytest.raises(DovetailError, match="no design of the front can be measured"):
        measure_front(search(space, evaluator(space)), 2)


ARRAY = {
    "template": "overlay", "format": "integers", "rows": 4, "columns": [8, 16], "lanes": 4, "bandwidth": "8 GB/s",
    "clock": "200 MHz",
}  # fmt: skip


def without_verilator(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise DovetailError("no Verilator", why="neither a command nor a package")

    monkeypatch.setattr(dovetail.accel.simulate.verilator, "verilator", missing)


def test_without_verilator_the_designs_of_this_computer_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    without_verilator(monkeypatch)
    space = Space.of(**{**KEYS, "recipes": ["none", "w8a8"], "machines": ["host", ARRAY]})
    said: list[str] = []
    found, plain = search(space, evaluator(space)), Space.of(**KEYS)
    front = (*search(plain, evaluator(plain)).front, *(c for c in found.front if c.structure.machine == "overlay"))
    assert {c.structure.machine for c in front} == {"host", "overlay"}
    rows = measure_front(replace(found, front=front), 20, said.append, seconds=0.02)
    assert rows
    assert {row.machine for row in rows} == {HERE}
    assert any("the overlay are left out" in line and "no Verilator" in line for line in said)


def test_an_overlay_alone_without_verilator(monkeypatch: pytest.MonkeyPatch) -> None:
    without_verilator(monkeypatch)
    space = Space.of(**{**KEYS, "recipes": ["w8a8"], "machines": [ARRAY]})
    with pytest.raises(DovetailError, match="no Verilator"):
        measure_front(search(space, evaluator(space)), 2)


def test_designs_of_the_overlay_are_counted_by_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    class Counting(Simulator):
        def __enter__(self) -> "Counting":
            return self

        def count(self, model: Any, machine: Any, recipe: Any, work: Any) -> Counted:
            seen.append((recipe.name, int(machine.integer_array.columns)))
            return Counted((1000, 3000), 2000.0, 8)

    monkeypatch.setattr("dovetail.design.simulate.Simulator", Counting)
    space = Space.of(
        **{
            **KEYS,
            "recipes": ["w4a8", "w8a8"],
            "machines": [ARRAY],
            "workload": {"batch": 1, "prompt": 32, "output": 8},
        }
    )
    found = search(space, evaluator(space))
    rows = list(measure(space, list(found.front), seconds=0.02))
    assert len(rows) == len(seen) == len(found.front) > 0
    for row in rows:
        assert (row.machine, row.measured.kind) == (SIMULATED, "modelled")
        assert (row.measured.low, row.measured.value, row.measured.high) == (5e-6, 1e-5, 1.5e-5)
        assert "simulated RTL" in row.measured.source
        assert row.to_json()["machine"] == "simulated RTL"
