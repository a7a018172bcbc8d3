"""A design picked from a study is built, and the study alone says what was found."""

from pathlib import Path

import pytest

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.hardware import load_machine
from dovetail.search import Space, Study, search
from dovetail.search.codesign import evaluator
from dovetail.search.realise import build_from, found_in

CHIP = {"template": "gpu-like", "sms": [66, 132], "bandwidth": ["2 TB/s", "4 TB/s"]}
KEYS = {
    "models": ["Qwen/Qwen3-8B"], "recipes": ["none", "w4a16-rtn"], "machines": ["h100-sxm", CHIP],
    "objectives": ["tpot", "usd_per_mtok"], "workload": {"batch": [1, 8], "prompt": 512, "output": 64},
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "a.study"
    space = Space.of(**KEYS)
    with Study(path) as kept:
        search(space, evaluator(space), kept)
    return path


def test_a_study_holds_its_result(study: Path) -> None:
    space = Space.of(**KEYS)
    with Study(study) as kept:
        found = found_in(kept)
    assert found.front == search(space, evaluator(space)).front
    assert found.hash == space.hash


def test_without_weights_the_machine_and_the_prediction_are_written(study: Path, tmp_path: Path) -> None:
    made = build_from(study, "min tpot", tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"design.json", "machine.yaml", "manifest.json"}
    chosen = made["design"]
    assert chosen["bandwidth"] == {"value": 4e12, "unit": "byte/s"}
    machine = load_machine(tmp_path / "out" / "machine.yaml")
    assert machine.cores == chosen["sms"]
    assert machine.memory.bandwidth == 4e12
    assert made["prediction"]["tpot"]["value"] == pytest.approx(chosen["tpot"]["value"])


def test_a_rule_that_nothing_meets(study: Path, tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match="no design of the front meets") as caught:
        build_from(study, "tpot < 1 us", tmp_path / "out")
    assert caught.value.exit_code == INFEASIBLE


def test_an_empty_study(tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match="this study is empty"):
        build_from(tmp_path / "new.study", "knee", tmp_path / "out")


def test_a_study_is_exported_as_parquet(study: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is in the 'bench' extra")
    with Study(study) as kept:
        table = parquet.read_table(kept.export(tmp_path / "rows.parquet"))
        rows = sum(len(t["feasible"]) for _, t in kept.tables() if t)
    assert table.num_rows == rows > 0
    assert {"model", "sms", "tpot", "feasible"} <= set(table.column_names)
