"""A candidate simulated: tokens decoded by the Verilog, every tensor beside the golden model's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from dovetail.accel.arithmetic.rounding import Ints
from dovetail.accel.choose.candidates import Candidate
from dovetail.accel.choose.port import port_of
from dovetail.accel.cycles.predict import predict
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.simulate.compare import Comparison, compare
from dovetail.accel.simulate.verilator import build, run, write

WORTH_OPTIMISING = 1_000_000  # cycles, from which on a compiler's optimisation costs less than it saves


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulation.

    Parameters
    ----------
    tokens : tuple of int
        The prompt and what was chosen.
    passes : list of dict
        ``position, tokens, simulated, predicted, words``: cycles of each pass, and words that the port moved.
    comparison : Comparison
    seconds, build_seconds : float
        Wall time of the simulation with its comparison left out, and of making the simulator.
    """

    tokens: tuple[int, ...]
    passes: list[dict[str, Any]]
    comparison: Comparison
    seconds: float
    build_seconds: float

    @property
    def cycles_per_token(self) -> tuple[float, float]:
        """Predicted and simulated, the mean over passes of one token (over all where there is none)."""
        one = [each for each in self.passes if each["tokens"] == 1] or self.passes
        return fmean(each["predicted"] for each in one), fmean(each["simulated"] for each in one)

    @property
    def first_difference(self) -> str:
        """Where the first bit differs; "" for nowhere."""
        found = self.comparison.differences
        return f"{found[0].tensor} at position {found[0].position}: {found[0].first}" if found else ""


def simulate(
    model: IntegerModel, chosen: Candidate, prompt: Sequence[int], count: int, folder: Path,
    report: Callable[[str], None] = lambda line: None, inputs: Ints | None = None,
) -> Simulated:  # fmt: skip
    """Decode `count` tokens after a prompt in Verilator; of a model without tokens, classify as many `inputs`.

    Parameters
    ----------
    prompt : sequence of int
        Any one token for a model without tokens.
    inputs : (count, channels), optional
        Integers of 16 bits.

    Raises
    ------
    DovetailError
        No Verilator, a simulator that does not build, or a simulation that does not end.
    """
    report("building the simulator")
    begin = time.monotonic()
    write(chosen.program, folder)
    expected = chosen.prefill_cycles(len(prompt)) + count * chosen.decode_cycles(len(prompt))
    build(folder, fast=expected > WORTH_OPTIMISING)
    built = time.monotonic() - begin
    report(f"simulating {count} tokens after {len(prompt)}" if inputs is None else f"simulating {count} inputs")
    return replace(simulated(model, chosen, prompt, count, folder, inputs), build_seconds=built)


def simulated(
    model: IntegerModel, chosen: Candidate, prompt: Sequence[int], count: int, folder: Path,
    inputs: Ints | None = None,
) -> Simulated:  # fmt: skip
    """As `simulate`, in a folder whose simulator is built: of the same Verilog, whatever its memory holds."""
    begin = time.monotonic()
    total = len(prompt) + count
    found = run(folder, chosen.program, list(prompt), total, chosen.memory, folder / "trace", inputs=inputs)
    ended = time.monotonic()
    same = compare(model, chosen.program, found.tokens, folder / "trace", inputs)
    port = port_of(chosen.memory, chosen.program.shape.word)
    passes = [
        {
            "position": each.position, "tokens": each.tokens, "simulated": each.cycles, "words": each.words,
            "predicted": predict(
                chosen.program, each.position, each.tokens, port,
                chooses=each.position + each.tokens >= len(prompt),
            ).cycles,
        } for each in found.passes
    ]  # fmt: skip
    return Simulated(found.tokens, passes, same, ended - begin, 0.0)
