"""Bits per byte of the shipped folder, plain and with its linears rounded to few bits.

    python -m tools.embedded.evaluate --split validation --contexts 512 8192 --bits 8 4 3 2

Every document is scored alone, led by `<|endoftext|>`, in windows of `context` tokens that move by half of it; a token
counts once, with at least half a context (or all of the document so far) before it. Bits are divided by bytes of text.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from dovetail.runtime.corpus import Split, documents
from tools.embedded.data import encoded_documents

FOLDER = Path("dovetail/model/embedded")
GROUP = 128


def windows(length: int, context: int) -> Iterator[tuple[int, int, int]]:
    """Yield `(start, end, first scored)` so that the targets `1 .. length - 1` are each scored once."""
    scored, end = 1, min(length, context + 1)
    while True:
        yield max(0, end - context - 1), end, scored
        if end == length:
            return
        scored, end = end, min(length, end + context // 2)


@torch.no_grad()
def document_nats(model: nn.Module, ids: Tensor, context: int) -> float:
    """Return the code length in nats of `ids[1:]` given what comes before each."""
    total = 0.0
    for start, end, scored in windows(len(ids), context):
        logits = model(ids[None, start : end - 1]).logits[0, scored - start - 1 :]
        total += F.cross_entropy(logits, ids[scored:end], reduction="sum").item()
    return total


def bits_per_byte(model: nn.Module, split: Split, context: int) -> float:
    """Return bits per byte of a split."""
    pieces = encoded_documents(split, FOLDER)
    nats = sum(document_nats(model, torch.from_numpy(ids.astype("int64")), context) for ids in pieces)
    return nats / math.log(2) / sum(len(document.text.encode()) for document in documents(split))


def rounded(weight: Tensor, bits: int) -> Tensor:
    """Return symmetric round-to-nearest of `weight` `(rows, columns)`, one scale per row and group of 128 columns."""
    grouped = weight.unflatten(-1, (-1, GROUP))
    top = 2 ** (bits - 1) - 1
    scale = grouped.abs().amax(-1, keepdim=True).clamp_min(1e-12) / top
    return ((grouped / scale).round().clamp(-top - 1, top) * scale).flatten(-2)


def load(bits: int = 16) -> nn.Module:
    """Return the shipped model in float32, its linears (not the embedding) rounded to `bits` when below 16."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    if bits < 16:
        for module in model.model.layers.modules():
            if isinstance(module, nn.Linear):
                module.weight.data = rounded(module.weight.data, bits)
    return model


def main() -> None:
    """Print one line per context and per number of bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="validation", choices=["validation", "test"])
    parser.add_argument("--contexts", type=int, nargs="*", default=[512, 8192])
    parser.add_argument("--bits", type=int, nargs="*", default=[])
    parser.add_argument("--bits-context", type=int, default=1024)
    options = parser.parse_args()
    for context in options.contexts:
        print(f"{options.split}, context {context}: {bits_per_byte(load(), options.split, context):.4f}", flush=True)
    for bits in options.bits:
        value = bits_per_byte(load(bits), options.split, options.bits_context)
        print(f"{options.split}, context {options.bits_context}, int{bits} group {GROUP}: {value:.4f}", flush=True)


if __name__ == "__main__":
    main()
