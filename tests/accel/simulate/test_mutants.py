"""Bugs planted in the Verilog are found: by a unit's own bench, or by whole tokens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dovetail.accel.compile.schedule import schedule
from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.emit import emit
from dovetail.accel.simulate.compare import compare
from dovetail.accel.simulate.verilator import Memory, build, run, verilator, write
from dovetail.core.errors import DovetailError
from tests.accel.rtl import test_units as units
from tests.accel.simulate.models import small
from tests.accel.simulate.mutants import MUTANTS, plant
from tests.accel.simulate.test_tokens import PROMPT, TOTAL, overlay

BENCHES = {
    "cell_": [units.test_cell_adds_over_pauses], "choose": [units.test_choose_takes_the_first_of_equals],
    "requantise": [lambda: units.test_requantise(24)], "inverse_root": [units.test_inverse_root],
    "softmax": [units.test_softmax_with_pauses], "vector_lane": [lambda: units.test_lane_rotary(0)],
}  # fmt: skip
MEMORIES = (Memory(latency=20), Memory(latency=9, stall=5))


def found_by_bench(name: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(units, "MODULES", plant(emit(units.SHAPE), name))
    try:
        for bench in BENCHES[MUTANTS[name][0]]:
            bench()
    except (AssertionError, DovetailError):
        return True
    return False


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built simulator, for what of it no mutant changes: Verilator's own library."""
    try:
        verilator()
    except DovetailError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("library")
    model = small("llama")
    write(schedule(model, overlay([model])), folder)
    return build(folder, fast=False).parent


def found_by_tokens(name: str, folder: Path, library: Path) -> bool:
    (folder / "build").mkdir()
    for part in library.glob("verilated*"):
        shutil.copy2(part, folder / "build")
    models = [small("llama"), small("llama", "w4a8")]
    shape = overlay(models)
    programs = [schedule(model, shape) for model in models]
    write(programs[0], folder)
    for module, text in plant(emit(programs[0].shape), name).items():
        (folder / "rtl" / f"{module}.v").write_text(text)
    build(folder, fast=False)
    for model, program in zip(models, programs, strict=True):
        for memory in MEMORIES:
            try:
                made = run(folder, program, PROMPT, TOTAL, memory, folder / "trace.bin", limit=1_000_000)
                if compare(model, program, made.tokens, folder / "trace.bin").differences:
                    return True
            except DovetailError:
                return True
    return False


def test_there_are_twenty_and_each_changes_a_line() -> None:
    assert len(MUTANTS) >= 20
    for name, (module, _, _) in MUTANTS.items():
        shape = units.SHAPE if module in BENCHES else Shape(rows=2, columns=4, lanes=4, tile=4, context=64)
        assert plant(emit(shape), name)[module] != emit(shape)[module]


@pytest.mark.parametrize("name", [name for name, (module, _, _) in MUTANTS.items() if module in BENCHES])
def test_benches_find(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("units run on their own in Icarus Verilog")
    assert found_by_bench(name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (module, _, _) in MUTANTS.items() if module not in BENCHES])
def test_whole_tokens_find(name: str, tmp_path: Path, library: Path) -> None:
    assert found_by_tokens(name, tmp_path, library)
