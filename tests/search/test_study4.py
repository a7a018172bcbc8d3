"""The figures of study 4: recall and regret by hand, and a run that was stopped goes on with what is missing."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module("search_study4")
    sys.modules.pop("search_study4", None)


def test_recall_and_regret_by_hand(bench: ModuleType) -> None:
    # predicted: design 1 dominates all; measured: 0 is fastest, 2 has the best throughput; quality is alike
    known = bench.Figures(
        np.asarray([2.0, 1.0, 4.0]), np.asarray([1.0, 2.0, 2.0]), np.asarray([1.0, 1.0, 3.0]), np.full(3, 7.0)
    )
    assert known.front(known.measured) == {0, 2}
    assert known.front(known.predicted) == {1}
    assert known.recall == 0.0
    assert known.regret == pytest.approx(1 - 0.5 / 1.5)
    same = bench.Figures(known.measured, known.measured, known.batch, known.perplexity)
    assert (same.recall, same.regret) == (1.0, 0.0)


def test_a_line_that_was_cut_off_is_measured_again(bench: ModuleType, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    assert bench.read(kept) == {}
    kept.write_text('{"design": "a", "measured": 1.0}\n{"design": "b", "mea')
    assert list(bench.read(kept)) == ["a"]


def test_the_designs_of_one_machine_and_what_the_fastest_pick_costs(bench: ModuleType) -> None:
    known = bench.Figures(
        np.asarray([1.0, 2.0, 3.0]), np.asarray([2.0, 1.6, 3.0]), np.ones(3), np.asarray([7.0, 7.0, 6.0])
    )
    assert known.delay == pytest.approx(2.0 / 1.6 - 1)
    rows = dict(bench.told(known, np.asarray(["host", "overlay", "overlay"])))
    assert rows["study 4, 3 designs measured: recall of the measured front"] == "50% of 2"
    assert rows["study 4, 2 designs on overlay measured: recall of the measured front"] == "100% of 2"
    assert rows["error of predicted tpot on host: median, worst"] == "50.0%, 50.0%"


def test_every_feasible_point_of_the_study_is_a_design(bench: ModuleType) -> None:
    pytest.importorskip("torch", reason="perplexity of the embedded model is measured")
    from dovetail.search import Space

    space = Space.of(
        models=["embedded"], recipes=["none", "w8a16"], machines=["host"], objectives=["tpot"],
        workload={"batch": [1, 4], "prompt": [32, 64], "output": 8},
    )  # fmt: skip
    found = bench.designs(space)
    assert len({str(c) for c in found}) == space.size == len(found)
    assert all(float(c["tpot"]) > 0 for c in found)
