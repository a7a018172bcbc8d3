"""Everything that makes an accelerator, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dovetail.accel.compile.schedule import Program
from dovetail.accel.deliver import decoder
from dovetail.accel.deliver.listing import listing, memory_map
from dovetail.accel.deliver.makefile import makefile
from dovetail.accel.deliver.vocabulary import vocabulary_text
from dovetail.accel.simulate.verilator import Memory, write

FILES = {
    "rtl/": "Verilog-2005, one module a file; files.f lists them",
    "memory.bin": "the image of memory: program, weights, tables, room for caches",
    "memory.map": "what stands where in it",
    "program.txt": "the instructions",
    "harness.cpp": "the test bench: memory with bandwidth and latency around the overlay",
    "decode.cpp": "prompt in, text out",
    "vocabulary.txt": "the tokenizer, for it",
    "Makefile": "make sim",
}


def write_folder(
    program: Program, folder: Path, memory: Memory, tokenizer: Any, prompt: Sequence[int], tokens: int, context: int
) -> None:
    """Write an accelerator's folder.

    Parameters
    ----------
    tokenizer : of transformers
    prompt : sequence of int
        What ``make sim`` starts from where no prompt is given, and the `tokens` that it makes.
    context : int
        Most tokens of a sequence.
    """
    write(program, folder)
    (folder / "memory.map").write_text(memory_map(program), encoding="utf-8")
    (folder / "program.txt").write_text(listing(program), encoding="utf-8")
    (folder / "decode.cpp").write_text(decoder.TEXT, encoding="utf-8")
    (folder / "vocabulary.txt").write_text(vocabulary_text(tokenizer), encoding="utf-8")
    text = makefile(program, memory, prompt, tokens, context)
    (folder / "Makefile").write_text(text, encoding="utf-8")
