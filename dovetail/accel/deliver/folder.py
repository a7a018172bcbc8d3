"""Everything that makes an accelerator, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dovetail.accel.compile.matrix_steps import INPUTS
from dovetail.accel.compile.schedule import Program
from dovetail.accel.deliver import classifier, decoder
from dovetail.accel.deliver.listing import listing, memory_map
from dovetail.accel.deliver.makefile import classifying, makefile
from dovetail.accel.deliver.vocabulary import vocabulary_text
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.simulate.verilator import Memory, write

FILES = {
    "rtl/": "Verilog-2005, one module a file; files.f lists them",
    "memory.bin": "the image of memory: program, weights, tables, room for caches",
    "memory.map": "what stands where in it",
    "program.txt": "the instructions",
    "harness.cpp": "the test bench: memory with bandwidth and latency around the overlay",
    "decode.cpp": "prompt in, text out (a network: classify.cpp, inputs.npy in, classes out)",
    "vocabulary.txt": "the tokenizer, for it (a network: places.txt, where the numbers of an input stand)",
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
    _design(program, folder)
    (folder / "decode.cpp").write_text(decoder.TEXT, encoding="utf-8")
    (folder / "vocabulary.txt").write_text(vocabulary_text(tokenizer), encoding="utf-8")
    text = makefile(program, memory, prompt, tokens, context)
    (folder / "Makefile").write_text(text, encoding="utf-8")


def write_classifier(
    model: IntegerModel, program: Program, folder: Path, memory: Memory, inputs: npt.NDArray[np.float32]
) -> None:
    """Write the folder of a model without tokens.

    Parameters
    ----------
    inputs : (inputs, ...)
        What ``make sim`` classifies where nothing else is given; the integer model's classes lie beside them.
    """
    _design(program, folder)
    classes = model.infer(inputs.reshape(len(inputs), -1)).argmax(axis=-1)
    np.save(folder / "inputs.npy", inputs.astype(np.float32))
    texts = {
        "classify.cpp": classifier.TEXT,
        "places.txt": classifier.places_text(model, program, program.memory.regions[INPUTS].address),
        "classes.txt": "".join(f"{each}\n" for each in classes), "Makefile": classifying(program, memory),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _design(program: Program, folder: Path) -> None:
    write(program, folder)
    (folder / "memory.map").write_text(memory_map(program), encoding="utf-8")
    (folder / "program.txt").write_text(listing(program), encoding="utf-8")
