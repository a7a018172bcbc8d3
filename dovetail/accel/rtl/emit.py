"""All modules of an overlay."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl import (
    array,
    choose,
    dispatch,
    inverse_root,
    matrix,
    memory,
    operands,
    requantise,
    softmax,
    stream,
    table,
    top,
    vector,
    vector_lane,
    window,
)

# Units take whole words and instructions and use the bits they need; what rounding cuts off is computed and unused
QUIET = "/* verilator lint_off UNUSEDSIGNAL */ /* verilator lint_off UNUSEDPARAM */\n"


def emit(shape: Shape, gate: str = "silu") -> dict[str, str]:
    """Verilog-2005 of every module by name, the smallest first and the top, `overlay`, last.

    Parameters
    ----------
    shape : Shape
    gate : str
        Whose table the vector unit holds: ``silu``, ``gelu`` or ``gelu_tanh``.
    """
    modules = {
        "memory": memory.memory(shape),
        "fifo": dispatch.fifo(shape),
        "cell_": array.cell(shape),
        "array": array.array(shape),
        "requantise": requantise.requantise(shape),
        "operands": operands.operands(shape),
        "exponents": operands.exponents(shape),
        "power_table": table.power_table(),
        "root_table": table.root_table(),
        "gate_table": table.gate_table(gate),
        "softmax": softmax.softmax(shape),
        "choose": choose.choose(shape),
        "inverse_root": inverse_root.inverse_root(shape),
        "vector_lane": vector_lane.vector_lane(shape),
        **({"window": window.window(shape), "pool_lane": window.pool_lane(shape)} if shape.maps else {}),
        "vector": vector.vector(shape),
        "stream": stream.stream(shape),
        "matrix": matrix.matrix(shape),
        "dispatch": dispatch.dispatch(shape),
        "overlay": top.overlay(shape),
    }
    return {name: QUIET + text for name, text in modules.items()}
