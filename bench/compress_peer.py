"""Our GPTQ and SmoothQuant against those of llm-compressor: the same text, the same settings, the same measurement.

    python bench/compress_peer.py [BYTES]

Asked: perplexity within 0.5 % for GPTQ. The embedded model, calibrated on the same 64 sequences of 512 tokens, token by
token; both folders are measured by us on held-out files of the Python standard library (BYTES of them, 200,000 by
default). Both calibrate a layer on what rounded layers before it give, round columns in the order of their inputs with
groups as they were, and take scales of the largest weight; ours is shown with searched scales too, its default.
SmoothQuant is compared on a copy of the model with outliers.

llm-compressor is the extra `ptq`, imported where it is installed: by this Python, or by that of DOVETAIL_PEER_PYTHON.
Its AWQ asks for an accelerator.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from outliers import EMBEDDED, W8A8

from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.methods.gptq import GPTQ
from dovetail.recipe.methods.smoothquant import SmoothQuant
from dovetail.recipe.outliers import with_outliers
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.corpus import held_out_text
from dovetail.runtime.load import load
from dovetail.runtime.perplexity import perplexity

ASKED, BYTES, CALIBRATION = 0.005, 200_000, Calibration(samples=64)
PEER = """
import sys
import numpy as np
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

model, tokens, out, method, bits, group = sys.argv[1:]
bits, group = int(bits), int(group)
form = dict(num_bits=bits, strategy="group" if group else "channel", group_size=group or None)
inputs = None if group else QuantizationArgs(num_bits=8, strategy="token", dynamic=True)
scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**form), input_activations=inputs)
rest = dict(config_groups={"group_0": scheme}, ignore=["lm_head"])
recipe = {
    "gptq": lambda: [GPTQModifier(**rest, actorder="static", dampening_frac=0.01)],
    "smoothquant": lambda: [SmoothQuantModifier(smoothing_strength=0.5), QuantizationModifier(**rest)],
}[method]()
ids = np.load(tokens)
data = Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": np.ones_like(ids).tolist()})
oneshot(model=model, dataset=data, recipe=recipe, output_dir=out, max_seq_length=ids.shape[1],
        num_calibration_samples=len(ids), shuffle_calibration_samples=False, pipeline="sequential")
"""


def peer() -> str:
    """The Python that has llm-compressor; empty where there is none."""
    python = os.environ.get("DOVETAIL_PEER_PYTHON", sys.executable)
    found = subprocess.run([python, "-c", "import llmcompressor"], capture_output=True, check=False)
    return python if found.returncode == 0 else ""


def peer_perplexity(python: str, model: Path, work: Path, text: str, words: tuple[str, ...]) -> float:
    """What llm-compressor's folder measures; its output is shown where it fails."""
    tokens, out = work / "tokens.npy", work / f"peer-{'-'.join(words)}"
    np.save(tokens, np.concatenate([batch.numpy() for batch in CALIBRATION.batches(model, 2**31)]))
    done = subprocess.run(
        [python, "-c", PEER, str(model), str(tokens), str(out), *words], cwd=work, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"llm-compressor failed:\n{done.stderr[-3000:]}")
    return perplexity(load(out), text).perplexity


def our_perplexity(model: Path, work: Path, text: str, *steps: object) -> float:
    """What our folder measures."""
    out = Recipe.load(list(steps)).apply(model, work / "ours", calibration=CALIBRATION).path
    return perplexity(load(out), text).perplexity


def line(name: str, ours: float, theirs: float) -> None:
    """One line of the table."""
    print(f"{name:42}{ours:10.3f}{theirs:10.3f}{ours / theirs - 1:+10.2%}", flush=True)


def main() -> None:
    """Print the table."""
    python = peer()
    if not python:
        print("skipped: llm-compressor is not installed; pip install 'dovetail[ptq]', or set DOVETAIL_PEER_PYTHON")
        return
    text = held_out_text(int(sys.argv[1]) if len(sys.argv) > 1 else BYTES)
    print(f"perplexity on {len(text.encode()):,} bytes; asked: ours at most {ASKED:.1%} above llm-compressor's")
    print(f"{'':42}{'ours':>10}{'theirs':>10}{'ours is':>10}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for bits, group in ((4, 128), (3, 32)):
            theirs = peer_perplexity(python, EMBEDDED, work, text, ("gptq", str(bits), str(group)))
            same = our_perplexity(EMBEDDED, work, text, GPTQ(bits, group, search=False))
            line(f"gptq, int{bits} g{group}, scales of the largest", same, theirs)
            line(
                f"gptq, int{bits} g{group}, searched scales",
                our_perplexity(EMBEDDED, work, text, GPTQ(bits, group)),
                theirs,
            )
        copy = with_outliers(EMBEDDED, work / "outliers")
        theirs = peer_perplexity(python, copy, work, text, ("smoothquant", "8", "0"))
        line("smoothquant, int8 x int8, with outliers", our_perplexity(copy, work, text, SmoothQuant(), W8A8), theirs)


if __name__ == "__main__":
    main()
