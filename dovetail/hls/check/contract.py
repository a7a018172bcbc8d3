"""A design's contract by probing it alone: what `dovetail hls contract` prints."""

from __future__ import annotations

from dovetail.core.errors import DovetailError
from dovetail.hls.check.infer import Probed, infer
from dovetail.hls.compile import PROBE
from dovetail.hls.design import Design
from dovetail.hls.harness import build_program
from dovetail.hls.sandbox import workplace


def infer_contract(design: Design) -> Probed:
    """The contract under which a design, taken as right, runs clean.

    Raises
    ------
    DovetailError
        It does not compile; the message carries the compiler's first error.
    """
    with workplace() as work:
        program, made = build_program(design, work, "design", PROBE)
        if program is None:
            first = next(iter(made.errors), None)
            why = f"line {first.line}: {first.message}" if first else "the compiler was stopped"
            raise DovetailError("it does not compile", where=str(design.path or design.name), why=why,
                                hint="dovetail hls check says more")  # fmt: skip
        return infer(program, program.shapes(), design.source, design.contract.call)
