"""What is emitted is plain Verilog-2005 that every tool takes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.emit import emit
from dovetail.accel.simulate.verilator import lint, verilator
from dovetail.core.errors import DovetailError

CHECKS = "hierarchy -check -top overlay; proc; check -assert"
SHAPES = {
    "square": Shape(
        rows=8, columns=8, lanes=4, context=512, operands=300, stream=100, halves=700, constants=90, line=40
    ),
    "wide": Shape(rows=2, columns=32, lanes=8, context=128),
    "maps": Shape(rows=2, columns=8, lanes=4, tile=1, context=64, operands=500, line=200, maps=True),
    "narrow": Shape(rows=4, columns=4, lanes=4, context=64),
    "whole words": Shape(rows=2, columns=16, lanes=16, tile=1),
}


@pytest.fixture(params=SHAPES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    modules = emit(SHAPES[request.param], "gelu")
    (tmp_path / "rtl").mkdir()
    for name, text in modules.items():
        (tmp_path / "rtl" / f"{name}.v").write_text(text)
    (tmp_path / "files.f").write_text("".join(f"rtl/{name}.v\n" for name in modules))
    return tmp_path


def test_verilator_has_nothing_to_say(folder: Path) -> None:
    try:
        verilator()
    except DovetailError as error:
        pytest.skip(str(error))
    lint(folder)
    array = folder / "rtl" / "array.v"
    array.write_text(array.read_text().replace("endmodule", "wire [3:0] narrow = 8'd200;\nendmodule", 1))
    with pytest.raises(DovetailError, match="WIDTH"):
        lint(folder)


@pytest.mark.parametrize("tool", ["iverilog", "yosys"])
def test_other_tools_take_it(folder: Path, tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool}")
    files = (folder / "files.f").read_text().split()
    command = {
        "iverilog": ["iverilog", "-g2005", "-Wall", "-t", "null", "-s", "overlay", *files],
        "yosys": ["yosys", "-q", "-p", f"read_verilog {' '.join(files)}; {CHECKS}"],
    }[tool]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not [
        line for line in done.stderr.splitlines() if "warning" in line.lower() and "list of registers" not in line
    ]


def test_an_array_is_short() -> None:
    modules = emit(Shape(rows=8, columns=8, lanes=4))
    lines = sum(len(modules[name].splitlines()) for name in ("cell_", "array"))
    assert lines <= 250


@pytest.mark.parametrize("given", [{"rows": 3}, {"rows": 1}, {"columns": 8, "lanes": 16}, {"columns": 8, "lanes": 2}])
def test_shapes_that_are_none(given: dict[str, int]) -> None:
    with pytest.raises(DovetailError):
        Shape(**given)
