"""Resources: by the model of units and by Yosys, on the same Verilog."""

from __future__ import annotations

from pathlib import Path

import pytest

from dovetail.accel.compile.schedule import schedule
from dovetail.accel.compile.shape import Shape
from dovetail.accel.resources import yosys
from dovetail.accel.resources.memories import blocks, buffers, bytes_on_chip
from dovetail.accel.resources.modelled import UNITS, modelled
from dovetail.accel.resources.yosys import modules, synthesise, totals
from dovetail.accel.simulate.verilator import write
from dovetail.core.errors import DovetailError
from tests.accel.simulate.models import small

STAT = """
=== leaf ===

   Number of cells:                  5
     LUT4                            3
     TRELLIS_FF                      2

=== middle ===

   Number of cells:                  3
     CCU2C                           1
     leaf                            2

=== top ===

   Number of cells:                  4
     middle                          3
     MULT18X18D                      1

=== design hierarchy ===

   top                               1
     middle                          3
       leaf                          2

   Number of cells:                 34
     LUT4                            7
"""


def test_instances_multiply_down_the_hierarchy() -> None:
    assert modules(STAT)["middle"] == {"CCU2C": 1, "leaf": 2}
    assert totals(STAT) == {"LUT4": 18, "TRELLIS_FF": 12, "CCU2C": 3, "MULT18X18D": 1}


def test_buffers_are_those_of_the_verilog() -> None:
    shape = schedule(small("llama"), Shape(2, 4, 4, tile=4)).shape
    each = {one.name: one for one in buffers(shape)}
    assert each["weight ring"].words * each["weight ring"].bits == shape.ring * shape.word * 8
    assert each["halves"].words >= shape.halves > each["halves"].words // 2
    assert bytes_on_chip(shape) == sum(one.count * one.words * one.bits for one in buffers(shape)) / 8


@pytest.mark.parametrize("family", ["ecp5", "xcup", "asic"])
def test_more_of_anything_takes_no_less(family: str) -> None:
    base = Shape(4, 8, 4, tile=16, context=64)
    small_one = modelled(base, family)
    for other in (
        Shape(8, 8, 4, tile=16, context=64),
        Shape(4, 16, 4, tile=16, context=64),
        Shape(4, 8, 8, tile=16, context=64),
    ):
        found = modelled(other, family)
        assert all(getattr(found, kind) >= getattr(small_one, kind) for kind in ("dsp", "lut", "ff", "bram"))
    assert blocks(Shape(4, 8, 4, tile=16, context=64, halves=9000), family) > small_one.bram


def test_units_take_in_yosys_what_the_model_says(tmp_path: Path) -> None:
    if yosys.yosys() is None:
        pytest.skip(yosys.HINT)
    write(schedule(small("llama"), Shape(2, 4, 4, tile=4)), tmp_path)
    cell, lane = (synthesise(tmp_path, "ecp5", top) for top in ("cell_", "requantise"))
    known = UNITS["ecp5"]
    assert cell.dsp == 4 * known["dsp"].product
    assert cell.ff == known["ff"].cell
    assert known["lut"].cell + 4 * known["lut"].product == pytest.approx(cell.lut, rel=0.15)
    assert 0 < lane.lut < known["lut"].column


def test_yosys_that_is_not_there_takes_too_long_or_is_told_nonsense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files.f").write_text("a.v\n")
    with pytest.raises(DovetailError, match="library of cells"):
        synthesise(tmp_path, "asic")
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    with pytest.raises(DovetailError, match="apt install yosys"):
        synthesise(tmp_path, "ecp5")
    fake = tmp_path / "slow"
    fake.write_text("#!/bin/sh\nsleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("YOSYS", str(fake))
    with pytest.raises(DovetailError, match="too long"):
        synthesise(tmp_path, "ecp5", limit_s=0.2)
    fake.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    with pytest.raises(DovetailError, match="broken"):
        synthesise(tmp_path, "ecp5")
