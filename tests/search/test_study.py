"""Studies: killed, shared, damaged or mistaken for another, they lose nothing and say what happened."""

import contextlib
import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.search import Result, Space, Structure, Study, search


@pytest.fixture(scope="module")
def expected(toy: ModuleType) -> Result:
    return search(Space.of(**toy.KEYS), toy.evaluate)


def run(toy: ModuleType, study: Path, **changes: Any) -> Result:
    with Study(study) as kept:
        return search(Space.of(**{**toy.KEYS, **changes}), toy.evaluate, kept, block=5)


def start(root: Path, study: Path, pause: float) -> "subprocess.Popen[str]":
    command = [sys.executable, str(root / "tests" / "search" / "toy.py"), str(study), str(pause)]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)


def held(study: Path) -> int:
    """Blocks that another process has committed; -1 while there is no file or table yet."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{study}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM blocks").fetchone()[0])
    except sqlite3.Error:
        return -1


def test_a_study_changes_nothing_and_resumes_everything(toy: ModuleType, expected: Result, tmp_path: Path) -> None:
    first, second = run(toy, tmp_path / "a.study"), run(toy, tmp_path / "a.study")
    assert first.to_json() == second.to_json() == expected.to_json()
    assert (first.resumed, second.resumed) == (0, 48)


def test_resumed_blocks_are_not_evaluated_again(toy: ModuleType, tmp_path: Path) -> None:
    run(toy, tmp_path / "a.study")

    def forbidden(structure: Structure, columns: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        raise RuntimeError("evaluated again")

    with Study(tmp_path / "a.study") as study:
        assert search(Space.of(**toy.KEYS), forbidden, study, block=5).resumed == 48


def test_killed_at_any_moment_it_resumes_to_the_same_result(
    toy: ModuleType, expected: Result, tmp_path: Path, root: Path
) -> None:
    study, chance = tmp_path / "killed.study", random.Random(7)
    for blocks in (0, 12, 30):
        process = start(root, study, 0.003)
        patience = time.monotonic() + 30
        while held(study) < blocks and time.monotonic() < patience and process.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.01)  # anywhere between two commits, or within one
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    result = run(toy, study)
    assert json.dumps(result.to_json()) == json.dumps(expected.to_json())
    assert result.notes == ()
    assert result.resumed >= 30


def test_two_writers_at_once_agree(toy: ModuleType, expected: Result, tmp_path: Path, root: Path) -> None:
    processes = [start(root, tmp_path / "shared.study", 0.002) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(json.loads(output) == expected.to_json() for output in outputs)
    with Study(tmp_path / "shared.study") as study:
        assert study.blocks == 48


@pytest.mark.parametrize("damage", ["noise", "cut", "pages", "note", "head"])
def test_a_damaged_file_is_kept_aside_and_never_overwritten(
    damage: str, toy: ModuleType, expected: Result, tmp_path: Path
) -> None:
    path = tmp_path / "a.study"
    run(toy, path)
    whole = path.read_bytes()
    broken = {
        "noise": b"\x13not a database" * 500, "cut": whole[: len(whole) // 2], "note": b"not a study",
        "head": whole[:300],
        "pages": whole[:4096] + b"\xff" * (len(whole) - 8192) + whole[-4096:],
    }[damage]  # fmt: skip
    path.write_bytes(broken)
    result = run(toy, path)
    (aside,) = tmp_path.glob("a.study.corrupt-*")
    assert aside.read_bytes() == broken
    assert aside.name in result.notes[0]
    assert result.to_json() | {"notes": []} == expected.to_json()
    assert run(toy, path).notes == ()


def test_a_block_with_a_flipped_bit_is_evaluated_again(toy: ModuleType, expected: Result, tmp_path: Path) -> None:
    run(toy, tmp_path / "a.study")
    with sqlite3.connect(tmp_path / "a.study") as db:
        (blob,) = db.execute("SELECT kept FROM blocks WHERE structure = 3 AND start = 0").fetchone()
        flipped = blob[:-9] + bytes([blob[-9] ^ 1]) + blob[-8:]
        db.execute("UPDATE blocks SET kept = ? WHERE structure = 3 AND start = 0", (flipped,))
    db.close()
    result = run(toy, tmp_path / "a.study")
    assert result.resumed == 47
    assert result.to_json() == expected.to_json()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"models": ["small"]}, "other models"),
        ({"constraints": ["tpot < 40 ms"]}, "other constraints"),
        ({"objectives": ["tpot"], "pick": "knee"}, "other objectives"),
        ({"workload": {"batch": 1, "prompt": 128, "output": 128}}, "other batch"),
    ],
)
def test_another_space_is_refused(changes: dict[str, Any], named: str, toy: ModuleType, tmp_path: Path) -> None:
    run(toy, tmp_path / "a.study")
    with pytest.raises(DovetailError, match=named):
        run(toy, tmp_path / "a.study", **changes)
    assert run(toy, tmp_path / "a.study").resumed == 48


def test_another_pick_is_the_same_study(toy: ModuleType, tmp_path: Path) -> None:
    run(toy, tmp_path / "a.study")
    assert run(toy, tmp_path / "a.study", pick="min tpot").resumed == 48


def test_an_evaluator_with_other_numbers_is_refused(toy: ModuleType, tmp_path: Path) -> None:
    class Calibrated:
        fingerprint = "another calibration"

        def __call__(self, structure: Structure, columns: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
            return dict(toy.evaluate(structure, columns))

    run(toy, tmp_path / "a.study")
    with Study(tmp_path / "a.study") as study, pytest.raises(DovetailError, match="other evaluator"):
        search(Space.of(**toy.KEYS), Calibrated(), study, block=5)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(DovetailError, match="another program's database"):
        Study(path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.db"]


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match="could not use the study"):
        Study(tmp_path)


def test_export_holds_every_row(toy: ModuleType, expected: Result, tmp_path: Path) -> None:
    run(toy, tmp_path / "a.study")
    with Study(tmp_path / "a.study") as study:
        rows = json.loads(study.export(tmp_path / "all.json").read_text())
        with study.export(tmp_path / "all.csv").open() as file:
            table = list(csv.DictReader(file))
        with pytest.raises(DovetailError, match="ending in"):
            study.export(tmp_path / "all.xlsx")
    assert len(rows) == len(table) == expected.points
    assert sum(row["feasible"] for row in rows) == expected.feasible
    assert {row["tpot"] for row in rows} == {float(row["tpot"]) for row in table}
    winner = expected.to_json()["winner"]
    assert any(row["recipe"] == winner["recipe"] and row["tpot"] == winner["tpot"]["value"] for row in rows)


def test_large_spaces_keep_the_fronts_only(
    toy: ModuleType, expected: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dovetail.search.study.KEEP_ALL", 10)
    assert run(toy, tmp_path / "a.study").to_json() == expected.to_json()
    with Study(tmp_path / "a.study") as study:
        rows = [dict(zip(t, values)) for _, t in study.tables() for values in zip(*(v.tolist() for v in t.values()))]
    assert len(expected.front) <= len(rows) < expected.points
    assert all(row["feasible"] for row in rows)
