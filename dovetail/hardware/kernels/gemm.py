"""Matrix products: what is measured of them once for a chip, a dtype and a software stack."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.hardware.kernels.chip import ChipFacts


@dataclass(frozen=True, slots=True, eq=False)
class GemmConstants(ByContent):
    """What is measured once for a chip, a dtype and a stack's matrix products. None has a unit of the chip's size.

    Parameters
    ----------
    launch_s : Number
        Seconds from one call to the next beyond the kernel's own work (1e-6 to 1e-5).
    host_s : Number
        Seconds that the software takes to issue a call; a shorter kernel waits for it (0 to 1e-4).
    compute : Number
        Share of the matrix peak that full tiles reach, power limit included (0.3 to 1).
    memory : Number
        Share of the main memory's bandwidth that streaming reaches (0.5 to 1).
    load : Number
        Bytes of operands that a core takes in for each FLOP of its peak (1e-3 to 1e-1): small tiles need more.
    step_s : Number
        Least seconds of one step of 128 bytes along the inputs, the latency of its loads (2e-8 to 6e-7).
    epilogue : Number
        Time to finish a tile over the time to write it at a core's share of the bandwidth (0.01 to 3).
    split_s : Number
        Seconds to combine partial sums where the inputs are split over cores (5e-7 to 1e-5); infinite for kernels that
        never split.
    overlap : Number
        Exponent p of ``(compute^p + memory^p)^(1/p)``: 1 adds them, infinity hides the shorter (1 to 8).
    smooth : Number
        0: tiles and waves come whole; 1: kernels cut the last ones to size, as persistent ones do (0 to 1).
    resident : Number
        Share of the cache that keeps operands from one call to the next when a call is repeated (0 to 1).
    call_s : Number
        Seconds that a call by itself takes beyond one in a captured sequence of calls: an engine's plugin around the
        kernel (0 to 2e-5).
    row_s, piece_s : Number
        Seconds to quantise one row of activations before the product, and each piece of 2,048 of its elements (0 to
        1e-8); 0 where they come quantised.
    spread : float
        A measured call lies within a factor 1 + spread of the model in nine cases of ten.
    """

    launch_s: Number
    compute: Number
    memory: Number
    load: Number
    step_s: Number
    epilogue: Number
    split_s: Number
    overlap: Number
    smooth: Number
    resident: Number = 0.0
    host_s: Number = 0.0
    call_s: Number = 0.0
    row_s: Number = 0.0
    piece_s: Number = 0.0
    spread: float = 0.3


def carried(constants: GemmConstants, source: ChipFacts, target: ChipFacts) -> GemmConstants:
    """Constants measured on one chip, for another: starting a kernel and a load's latency take as many clocks.

    Shares of peaks stay, as do times of the host and of passes over memory. Of the constants fitted alone on an A100
    and on an H100, the launch is 4.0 and 4.5 thousand clocks.
    """
    return at_clock(constants, source.clock / target.clock)


def at_clock(constants: GemmConstants, ratio: Number) -> GemmConstants:
    """`carried`, where the clock they were measured at is `ratio` times the other chip's."""
    return replace(constants, launch_s=constants.launch_s * ratio, step_s=constants.step_s * ratio)
