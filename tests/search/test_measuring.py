"""Measurements of a front on this computer: the winner and the least certain, as many as asked for."""

from typing import Any

import pytest

from dovetail.core.errors import DovetailError
from dovetail.search import Space, search
from dovetail.search.codesign import evaluator
from dovetail.search.measuring import measure_front

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
