"""One module on its own in Icarus Verilog: inputs of every cycle in, outputs of every cycle out."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dovetail.accel.arithmetic.rounding import Ints
from dovetail.core.errors import CHECK_FAILED, DovetailError

BENCH = """`timescale 1ns/1ns
module bench;
    reg clk = 0;
    integer given, made, cycle, got;
@DECLARATIONS
    @TOP #(@PARAMETERS) unit (.clk(clk)@CONNECTIONS);
    initial begin
        given = $fopen("given.hex", "r");
        made = $fopen("made.hex", "w");
        for (cycle = 0; cycle < @CYCLES; cycle = cycle + 1) begin
            got = $fscanf(given, "@FORMAT\\n"@INPUTS);
            #1;
            $fwrite(made, "@SHOWN\\n"@OUTPUTS);
            #1 clk = 1;
            #1 clk = 0;
        end
        $finish;
    end
endmodule
"""


def run_unit(
    modules: Mapping[str, str],
    top: str,
    inputs: Mapping[str, tuple[int, Sequence[int]]],
    outputs: Mapping[str, int],
    parameters: Mapping[str, int] | None = None,
) -> dict[str, list[int | None]]:
    """Outputs of each cycle, before its clock edge; None where a bit is unknown.

    Parameters
    ----------
    modules : dict of str to str
        Verilog by name.
    top : str
        The module to run. Its clock is `clk`.
    inputs : dict of str to (bits, values of each cycle)
    outputs : dict of str to bits
    """
    if shutil.which("iverilog") is None:
        why, hint = "no iverilog", "install Icarus Verilog; Verilator runs whole models without it"
        raise DovetailError("a unit cannot be run on its own", where=top, why=why, hint=hint)
    cycles = len(next(iter(inputs.values()))[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = _bench(top, inputs, outputs, parameters or {}, cycles)
        (folder / "bench.v").write_text("\n".join([*modules.values(), text]))
        rows = zip(*(values for _, values in inputs.values()), strict=True)
        masks = [(1 << bits) - 1 for bits, _ in inputs.values()]
        lines = [" ".join(f"{int(v) & mask:x}" for v, mask in zip(row, masks, strict=True)) for row in rows]
        (folder / "given.hex").write_text("\n".join(lines) + "\n")
        for command in (["iverilog", "-g2005", "-o", "bench", "bench.v"], ["vvp", "-n", "bench"]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise DovetailError(f"{command[0]} failed", where=top, why=done.stderr[-1000:], exit_code=CHECK_FAILED)
        made = [line.split() for line in (folder / "made.hex").read_text().splitlines()]
    return {name: [_number(line[at]) for line in made] for at, name in enumerate(outputs)}


def _bench(
    top: str,
    inputs: Mapping[str, tuple[int, Sequence[int]]],
    outputs: Mapping[str, int],
    parameters: Mapping[str, int],
    cycles: int,
) -> str:
    declared = [f"    reg [{bits - 1}:0] {name};" for name, (bits, _) in inputs.items()]
    declared += [f"    wire [{bits - 1}:0] {name};" for name, bits in outputs.items()]
    names = [*inputs, *outputs]
    values = {
        "DECLARATIONS": "\n".join(declared), "TOP": top, "CYCLES": str(cycles),
        "PARAMETERS": ", ".join(f".{name}({value})" for name, value in parameters.items()),
        "CONNECTIONS": "".join(f", .{name}({name})" for name in names),
        "FORMAT": " ".join(["%h"] * len(inputs)), "INPUTS": "".join(f", {name}" for name in inputs),
        "SHOWN": " ".join(["%h"] * len(outputs)), "OUTPUTS": "".join(f", {name}" for name in outputs),
    }  # fmt: skip
    text = BENCH
    for name, value in values.items():
        text = text.replace(f"@{name}", value)
    return text.replace(" #() ", " ")


def _number(text: str) -> int | None:
    return None if any(each in "xXzZ" for each in text) else int(text, 16)


def signed(values: Sequence[int | None], bits: int) -> Ints:
    """Numbers as two's complement. Unknown ones raise `DovetailError`."""
    if any(each is None for each in values):
        raise DovetailError("an unknown value", where="simulation", why="something is read before it is written")
    found = np.array(values, np.int64)
    return found - ((found >> (bits - 1)) << bits)


def packed(values: Ints, bits: int) -> list[int]:
    """Rows of integers (rows, n) as one number a row, the first lowest."""
    mask = (1 << bits) - 1
    return [sum((int(v) & mask) << (bits * at) for at, v in enumerate(row)) for row in values]


def unpacked(values: Sequence[int | None], bits: int, count: int) -> Ints:
    """The reverse of `packed`, signed: (rows, count)."""
    rows = [[None if row is None else row >> (bits * at) & ((1 << bits) - 1) for at in range(count)] for row in values]
    return np.stack([signed(row, bits) for row in rows])
