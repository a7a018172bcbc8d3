"""Units on their own against the arithmetic, with inputs that pause at random."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from dovetail.accel.arithmetic import gate, product, rotary, rsqrt, softmax
from dovetail.accel.arithmetic.rounding import round_shift, saturate
from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.emit import emit
from dovetail.accel.simulate.icarus import packed, run_unit, signed, unpacked

pytestmark = pytest.mark.skipif(shutil.which("iverilog") is None, reason="units run on their own in Icarus Verilog")

SHAPE = Shape(rows=2, columns=4, lanes=4, context=64)
MODULES = emit(SHAPE)
RANDOM = np.random.default_rng(0)


def only(*names: str) -> dict[str, str]:
    return {name: MODULES[name] for name in names}


def edges(bits: int, count: int) -> np.ndarray:
    """Signed integers of all magnitudes, the extremes among them."""
    top = 1 << (bits - 1)
    wide = RANDOM.integers(-top, top, count) >> RANDOM.integers(0, bits, count)
    wide[:4] = -top, top - 1, 0, -1
    return wide


def test_cell_adds_over_pauses() -> None:
    """Sums of products that begin, pause and end at random; the result stays until the next one."""
    count, lanes = 400, SHAPE.lanes
    weights, operands = RANDOM.integers(-128, 128, (count, lanes)), RANDOM.integers(-127, 128, (count, lanes))
    enable, first, last = (RANDOM.random(count) < share for share in (0.7, 0.2, 0.3))
    first[0] = enable[0] = True
    got = run_unit(only("cell_"), "cell_", {
        "enable": (1, enable), "first": (1, first), "last": (1, last), "weights": (lanes * 8, packed(weights, 8)),
        "operands": (lanes * 8, packed(operands, 8)),
    }, {"result": 32})["result"]  # fmt: skip
    total, wanted = 0, None
    for cycle in range(count):
        assert got[cycle] == (None if wanted is None else wanted & 0xFFFFFFFF)
        if enable[cycle]:
            total = (0 if first[cycle] else total) + int(weights[cycle] @ operands[cycle])
            wanted = total if last[cycle] else wanted


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_requantise(bits: int) -> None:
    count = 600
    sums, bias, add = edges(32, count), edges(24, count), edges(24, count)
    mantissa, shift = RANDOM.integers(0, 1 << 15, count), RANDOM.integers(0, 63, count)
    got = run_unit(only("requantise"), "requantise", {
        "sum": (32, sums), "mantissa": (17, mantissa), "shift": (6, shift), "bias": (24, bias), "add": (24, add),
        "width": (2, [(bits - 8) // 8] * count),
    }, {"result": 24})["result"]  # fmt: skip
    wanted = product.requantise(sums, mantissa, shift, bits, bias, add)
    assert np.array_equal(signed(got[3:], 24), wanted[:-3])


def test_inverse_root() -> None:
    x = np.concatenate([1 << np.arange(10, 62), (1 << np.arange(11, 62)) - 1, RANDOM.integers(1 << 10, 1 << 62, 60)])
    start = np.tile([1, 0, 0, 0, 0, 0, 0], len(x))
    got = run_unit(only("root_table", "inverse_root"), "inverse_root", {
        "start": (1, start), "x": (63, np.repeat(x, 7)),
    }, {"mantissa": 17, "half": 5, "valid": 1})  # fmt: skip
    mantissa, half = rsqrt.rsqrt(x)
    assert got["mantissa"][6::7] == list(mantissa)
    assert got["half"][6::7] == list(half)
    assert got["valid"][6::7] == [1] * len(x)


LANE = {
    "source": 24, "mean": 24, "square": 1, "root": 17, "root_shift": 5, "norm": 1, "weight": 16, "weight_shift": 6,
    "bias": 24, "partner": 16, "rotate": 1, "odd": 1, "angle": 32, "gate": 2, "gate_shift": 6, "multiply": 1,
    "second": 16, "multiply_shift": 6,
}  # fmt: skip


def lane(count: int, latest: int, **inputs: np.ndarray | int) -> np.ndarray:
    """Results of the vector unit's lane for inputs that stay for all its stages."""
    held = {name: np.repeat(np.broadcast_to(inputs.get(name, 0), count), latest) for name in LANE}
    modules = only("gate_table", "vector_lane")
    found = run_unit(modules, "vector_lane", {name: (LANE[name], held[name]) for name in LANE}, {"result": 24})
    return signed(found["result"][latest - 1 :: latest], 24)


def test_lane_norm() -> None:
    count = 200
    x, mean, weight, bias = edges(24, count), edges(20, count), edges(16, count), edges(16, count)
    centred = saturate(x - mean, 24)
    total = np.maximum(centred * centred, 1 << 30) + RANDOM.integers(0, 1 << 30, count)
    root, half = rsqrt.rsqrt(total)
    unit = round_shift(centred * root, half - 5)
    shift = RANDOM.integers(4, 24, count)
    wanted = saturate(round_shift(unit * weight, shift) + bias, 16)
    got = lane(count, 12, source=x, mean=mean, root=root, root_shift=half - 5, norm=1, weight=weight,
               weight_shift=shift, bias=bias)  # fmt: skip
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("odd", [0, 1])
def test_lane_rotary(odd: int) -> None:
    count = 200
    pair = np.stack([edges(16, count), edges(16, count)[::-1]], axis=1)
    cosine, sine = RANDOM.integers(-16384, 16385, (2, count))
    wanted = rotary.rotate(pair, cosine[:, None], sine[:, None])[:, odd]
    angle = (cosine & 0xFFFF) | (sine & 0xFFFF) << 16
    got = lane(count, 12, source=pair[:, odd], partner=pair[:, 1 - odd], rotate=1, odd=odd, angle=angle)
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("fraction", [3, 10, 14])
def test_lane_gate_and_product(fraction: int) -> None:
    count = 400
    x, second, shift = edges(16, count), edges(16, count), RANDOM.integers(0, 20, count)
    wanted = gate.multiply(gate.activate(x, fraction, "silu"), second, shift)
    got = lane(count, 12, source=x, gate=1, gate_shift=fraction + 4, multiply=1, second=second, multiply_shift=shift)
    assert np.array_equal(got, wanted)


def test_choose_takes_the_first_of_equals() -> None:
    columns, blocks, limit = SHAPE.columns, 12, 45
    logits = RANDOM.integers(-5, 6, (6, blocks, columns)) - 20
    logits[:, -1, limit - 44 :] = 100  # what pads the last word is never chosen
    rows = np.repeat(logits.reshape(-1, columns), 2, axis=0)
    number = np.repeat(np.tile(np.arange(blocks), 6), 2)
    valid = np.tile([0, 1], blocks * 6)
    got = run_unit(only("choose"), "choose", {
        "valid": (1, valid), "first": (1, number == 0), "block": (16, number), "logits": (96, packed(rows, 24)),
        "limit": (20, [limit] * len(rows)),
    }, {"token": 20})["token"]  # fmt: skip
    ends = [2 * blocks * (at + 1) for at in range(5)]
    assert [got[end] for end in ends] == [int(np.argmax(each.reshape(-1)[:limit])) for each in logits[:5]]


def test_queue_keeps_order() -> None:
    """Entries come and go at random, also in the same cycle; the first cycle clears what was there."""
    model: list[int] = []
    states, push, pop = [(0, 0, None)], [0], [0]
    for cycle in range(1, 300):
        states.append((len(model) == 8, len(model) > 0, model[0] if model else None))
        push.append(len(model) < 8 and RANDOM.random() < 0.6)
        pop.append(bool(model) and RANDOM.random() < 0.5)
        model = [*model[pop[-1] :], *[cycle] * push[-1]]
    got = run_unit(only("fifo"), "fifo", {
        "clear": (1, [1, *[0] * 299]), "push": (1, push), "data": (16, range(300)), "pop": (1, pop),
    }, {"full": 1, "valid": 1, "front": 16}, {"WIDTH": 16})  # fmt: skip
    for cycle, (full, valid, front) in enumerate(states[1:], 1):
        assert (got["full"][cycle], got["valid"][cycle]) == (full, valid)
        assert not valid or got["front"][cycle] == front


def test_softmax_with_pauses() -> None:
    """Two buffers, written with pauses, taken late: weights and reciprocals of each row group."""
    groups, rows, columns = 5, SHAPE.rows, SHAPE.columns
    events = SoftmaxInputs(groups)
    outputs = {"ready": 2, "weights": rows * columns * 8, "reciprocals": rows * 17, "reciprocal_bits": rows * 5}
    got = run_unit(only("memory", "power_table", "softmax"), "softmax", events.inputs, outputs)
    for at, cycle in enumerate(events.looks):
        blocks, seen, scores = events.blocks[at], events.seen[at], events.scores[at]
        wanted = softmax.weights(scores, np.arange(blocks * columns) <= seen[:, None])
        found = np.stack([
            unpacked([got["weights"][cycle + 1 + block]], 8, rows * columns)[0].reshape(rows, columns)
            for block in range(blocks)
        ], axis=1).reshape(rows, -1)  # fmt: skip
        assert np.array_equal(found, wanted)
        reciprocal, bits = softmax.reciprocal(wanted.sum(axis=1))
        assert [int(got["reciprocals"][cycle]) >> (17 * r) & 0x1FFFF for r in range(rows)] == list(reciprocal)
        assert [int(got["reciprocal_bits"][cycle]) >> (5 * r) & 31 for r in range(rows)] == list(bits)


class SoftmaxInputs:
    """Inputs of `softmax` by cycle, and the cycles at which a group's weights are read."""

    def __init__(self, groups: int) -> None:
        rows, columns = SHAPE.rows, SHAPE.columns
        self.seen = [RANDOM.integers(0, 60, rows) for _ in range(groups)]
        self.blocks = [int(seen.max()) // columns + 1 for seen in self.seen]
        self.scores = [edges(24, rows * n * columns).reshape(rows, -1) // 4096 for n in self.blocks]
        self.looks: list[int] = []
        widths = {
            "rst": 1, "write": 1, "write_address": 6, "write_data": columns * 24, "write_position": 16,
            "scores_done": 1, "scores_buffer": 1, "scores_rows": 2, "scores_blocks": 5, "taken": 2, "read": 1,
            "read_address": 5, "mix_buffer": 1,
        }  # fmt: skip
        self.table: dict[str, list[int]] = {name: [] for name in widths}
        self.cycle(rst=1)
        self.cycle(rst=1)
        for at in range(groups):
            buffer = at % 2
            self.write(at, buffer)
            for _ in range(rows * (self.blocks[at] + 22) + 8):
                self.cycle(read=1, mix_buffer=buffer)
            self.looks.append(len(self.table["rst"]))
            for block in range(self.blocks[at] + 1):
                self.cycle(read=1, read_address=buffer << 4 | min(block, 15), mix_buffer=buffer)
            self.cycle(taken=1 << buffer)
        self.inputs = {name: (widths[name], values) for name, values in self.table.items()}

    def write(self, at: int, buffer: int) -> None:
        for block in range(self.blocks[at]):
            for row in range(SHAPE.rows):
                for _ in range(RANDOM.integers(0, 3)):
                    self.cycle()
                data = self.scores[at][row, block * SHAPE.columns :][: SHAPE.columns]
                self.cycle(write=1, write_address=buffer << 5 | row << 4 | block, write_data=packed(data[None], 24)[0],
                           write_position=int(self.seen[at][row]))  # fmt: skip
        self.cycle(scores_done=1, scores_buffer=buffer, scores_rows=SHAPE.rows, scores_blocks=self.blocks[at])

    def cycle(self, **values: int) -> None:
        for name, column in self.table.items():
            column.append(values.get(name, 0))
