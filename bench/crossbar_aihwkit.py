"""aihwkit as an independent simulator of the same arrays: a tile for each sign and slice, an input bit at a time.

    pip install --no-deps aihwkit==1.1.0   # its own requirements would bring another torch

Weights are digits over the largest digit, inputs bits; its converter of `2 * top` steps over both signs, cut off at
`top`, takes whole sums up to 2**bits - 1, as `Adc("saturating", bits)` does.
"""

from __future__ import annotations

import os
import time
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.adc import Adc
from dovetail.crossbar.codes import Codes, FixedPoint
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.layer import Setup, write

ROUNDS, DIGIT = 3, 3  # the largest digit of a 2-bit cell


class Emulated:
    """Codes (outputs, inputs) of eight bits and a sign on aihwkit's analog tiles of 128 x 128."""

    def __init__(self, codes: NDArray[np.int64], bits: int) -> None:
        import torch
        from aihwkit.nn import AnalogLinearMapped

        outputs, inputs = codes.shape
        self.tiles = {}
        for sign in (1, -1):
            for k in range(4):
                layer = AnalogLinearMapped(inputs, outputs, bias=False, rpu_config=_config(bits))
                digits = np.maximum(sign * codes, 0) >> 2 * k & 3
                layer.set_weights(torch.tensor(digits / DIGIT, dtype=torch.float32))
                self.tiles[sign * 4**k] = layer.eval()

    def multiply(self, x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Products of inputs (vectors, inputs) of eight bits, (vectors, outputs)."""
        import torch

        total = 0
        with torch.no_grad():
            for i in range(8):
                on = torch.tensor(x >> i & 1, dtype=torch.float32)
                total = total + sum(2**i * place * (tile(on) * DIGIT).round() for place, tile in self.tiles.items())
        return np.asarray(total, np.float64)


def _config(bits: int) -> object:
    from aihwkit.simulator.configs import TorchInferenceRPUConfig
    from aihwkit.simulator.parameters.enums import BoundManagementType, NoiseManagementType

    config, top = TorchInferenceRPUConfig(), 2**bits - 1
    mapping, forward = config.mapping, config.forward
    mapping.max_input_size = mapping.max_output_size = 128
    mapping.weight_scaling_omega, mapping.weight_scaling_columnwise = 0.0, False
    forward.inp_res, forward.inp_bound, forward.inp_noise = -1, 1.0, 0.0
    forward.w_noise = forward.out_noise = 0.0
    forward.out_bound, forward.out_res = top / DIGIT, 1 / (2 * top)
    forward.noise_management, forward.bound_management = NoiseManagementType.NONE, BoundManagementType.NONE
    return config


def rows() -> list[list[str]]:
    """Differences and vectors per CPU second, both in this process on one thread."""
    try:
        import aihwkit
        import torch
    except ImportError as error:
        return [[f"beside aihwkit: not run, {error}", "", ""]]
    torch.set_num_threads(1)
    rng, found = np.random.default_rng(0), []
    for size, bits, vectors in ((512, 3, 64), (1024, 3, 64), (1024, 5, 64), (1024, 9, 64)):
        codes, x = rng.integers(-255, 256, (size, size)), rng.integers(0, 256, (vectors, size))
        layer = write(Codes(codes.astype(np.int32), np.ones((1, 1)), FixedPoint(8)), Setup(adc=Adc("saturating", bits)))
        theirs, ours = Emulated(codes, bits), Engine.of(layer)
        worst = np.abs(theirs.multiply(x) - ours.multiply(x)).max()
        pair = [vectors / _seconds(lambda one=one, x=x: one.multiply(x)) for one in (theirs, ours)]
        found.append([
            f"aihwkit {aihwkit.__version__} / ours, {size:,} x {size:,}, {bits}-bit converters: largest difference; "
            "vectors/s", "0", f"{worst:g}; {pair[0]:,.0f} / {pair[1]:,.0f}: {pair[1] / pair[0]:.0f}x",
        ])  # fmt: skip
    return found


def _seconds(run: object) -> float:
    """Median CPU seconds of several calls, after one that warms up."""
    run()  # type: ignore[operator]
    found = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        run()  # type: ignore[operator]
        found.append(time.process_time() - begin)
    return median(found)


if __name__ == "__main__":
    for row in rows():
        print("  ".join(row))
