"""Twenty bugs to plant: a module, a line of it, and what is written there instead."""

from __future__ import annotations

MUTANTS: dict[str, tuple[str, str, str]] = {
    "a sum is not cleared": ("cell_", "next = first ? 32'sd0 : sum;", "next = sum;"),
    "weights are read without their sign": ("cell_", "{{24{weights[i*8+7]}}, weights", "{24'd0, weights"),
    "halves are rounded down": ("requantise", "(almost + 50'sd1) >>> 1", "almost >>> 1"),
    "a shift of nothing shifts": ("requantise", "(shift_1 == 6'd0) ? product : (almost", "(almost"),
    "the residual is not added": ("matrix", ".add(add_1 ? add_data", ".add(1'b0 ? add_data"),
    "biases of the block before": ("matrix", "leave_biases <= biases;", "leave_biases <= leave_biases;"),
    "the last group has all rows": ("matrix", "(rows_left < 16'd2) ? rows_left : 16'd2", "16'd2"),
    "rows stand one word apart": (
        "matrix",
        "if (kind == PRODUCT) leave_address <= leave_address + {4'd0, i_stride};",
        "if (kind == PRODUCT) leave_address <= leave_address + 16'd1;",
    ),
    "codes without their step": ("matrix", "{{4{code[3]}}, code} * by", "{{4{code[3]}}, code}"),
    "halves of a word of codes change places": ("matrix", "one_high ? slice", "!one_high ? slice"),
    "words are given back too early": (
        "matrix",
        "ring_begin <= ring_next;\n                            block",
        "ring_begin <= ring_next + 1'b1;\n                            block",
    ),
    "the exponent is added": ("matrix", "i_offset - {3'd0, row_exponent}", "i_offset + {3'd0, row_exponent}"),
    "later tokens are seen": ("softmax", "one_first + c <= one_position &&", "1'b1 &&"),
    "the maximum forgets its sign": (
        "softmax",
        "$signed(write_data[i*24 +: 24]) > $signed(top)",
        "write_data[i*24 +: 24] > top",
    ),
    "the divider stops early": ("softmax", "count <= 5'd17;", "count <= 5'd16;"),
    "sine with the wrong sign": (
        "vector_lane",
        "odd ? by_cosine + by_sine : by_cosine - by_sine",
        "odd ? by_cosine - by_sine : by_cosine + by_sine",
    ),
    "Newton's step is left out": ("inverse_root", "mantissa <= better[32:16];", "mantissa <= {1'b0, seed_2};"),
    "magnitudes of the last word only": (
        "vector",
        "magnitude = in_head_first ? 24'd0 : magnitude_before;",
        "magnitude = 24'd0;",
    ),
    "keys in the neighbour's slot": (
        "vector",
        "{LANES{(absolute & (COLUMNS - 1)) == c}}",
        "{LANES{((absolute + 1) & (COLUMNS - 1)) == c}}",
    ),
    "the ring overflows": ("stream", "wire room = (asked - ring_begin) != {1'b1, 9'd0};", "wire room = 1'b1;"),
    "keys are fetched before they are written": ("stream", "queue_valid && vector_done >= q_fetch_wait", "queue_valid"),
    "the last of equals is chosen": (
        "choose",
        "$signed(logits[i*24 +: 24]) > $signed(top) &&",
        "$signed(logits[i*24 +: 24]) >= $signed(top) &&",
    ),
}  # fmt: skip


def plant(modules: dict[str, str], name: str) -> dict[str, str]:
    """Modules with one of the bugs in them."""
    module, before, after = MUTANTS[name]
    text = modules[module]
    if text.count(before) != 1:
        raise ValueError(f"{name}: the line is there {text.count(before)} times")
    return {**modules, module: text.replace(before, after)}
