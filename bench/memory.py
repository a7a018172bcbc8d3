"""Predicted against measured memory of real processes on this computer: weights, KV cache and workspace.

    python bench/memory.py [--models gpt2 …]

Every case is a process of its own: it builds the model with random weights in fp32, runs one prefill, and reports how
far its resident memory rose at most, from before the weights (a one-layer model of the same family has run by then, so
that libraries are loaded). The allocator returns large blocks at once (``MALLOC_MMAP_THRESHOLD_``), so that what is
measured is what is alive; the last column is the same process with the allocator as it comes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from statistics import median
from typing import Any

from dovetail.design.estimate import estimate
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.workload import Workload

CASES = {
    "openai-community/gpt2": (256, 512, 1024),
    "facebook/opt-125m": (512, 1024, 2048),
    "HuggingFaceTB/SmolLM2-135M": (512, 2048, 6000),
    "Qwen/Qwen3-0.6B": (512, 1024, 4096),
}
RETURNING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
SMALL = {
    "hidden_size": 64, "n_embd": 64, "num_hidden_layers": 1, "n_layer": 1, "num_attention_heads": 4, "n_head": 4,
    "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 64, "ffn_dim": 64, "word_embed_proj_dim": 64,
}  # fmt: skip


def grown(name: str, tokens: int) -> int:
    """Bytes by which this process grows: the model once built, and the prefill's peak on top; for a fresh process."""
    import gc

    import torch
    import transformers

    from dovetail.runtime.memory import PeakMemory, resident_bytes

    torch.manual_seed(0)
    fields = dict(Model.load(name).config)
    kind = str(fields.pop("model_type"))
    fields = {k: v for k, v in fields.items() if k not in ("dtype", "torch_dtype")}

    def build(fields: dict[str, Any]) -> Any:
        config = transformers.AutoConfig.for_model(kind, **fields)
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()

    def prefill(module: Any, tokens: int) -> Any:
        return module(torch.randint(3, 1000, (1, tokens)), use_cache=True, logits_to_keep=1)

    with torch.inference_mode():
        prefill(build({k: SMALL.get(k, v) for k, v in fields.items() if k != "layer_types"}), 64)
        gc.collect()
        before = resident_bytes() or 0
        module = build(fields)
        built = resident_bytes() or 0
        with PeakMemory() as peak:
            kept = prefill(module, tokens)
        del kept
    return built - before + int(peak.bytes or 0)


def measured(name: str, tokens: int, settings: dict[str, str]) -> int:
    """`grown` in a process of its own, with these settings of the allocator."""
    command = [sys.executable, __file__, "--case", name, str(tokens)]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print one row for each model and context, and the errors' extremes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(CASES))
    parser.add_argument("--case", nargs=2, metavar=("NAME", "TOKENS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(grown(given.case[0], int(given.case[1]))))
        return
    host, errors = load_machine("host"), []
    print(f"{'model':28s} tokens  weights     KV  work   predicted  measured  error  as it comes")
    for name in given.models:
        for tokens in CASES[name]:
            held = estimate(name, host, Workload(prompt=tokens, output=1)).metrics.memory
            seen, plain = (measured(name, tokens, settings) for settings in (RETURNING, {}))
            total = float(held.total)
            errors.append(total / seen - 1)
            parts = (float(held.weights), float(held.kv_cache), total - float(held.weights) - float(held.kv_cache))
            sizes = " ".join(f"{p / 1e6:6.0f}" for p in parts)
            print(f"{name:28s} {tokens:6d}   {sizes}  {total / 1e6:8.0f}  {seen / 1e6:8.0f}  {errors[-1]:+6.1%}"
                  f"  {plain / 1e6:8.0f} MB", flush=True)  # fmt: skip
    sizes = [abs(e) for e in errors]
    print(f"median error {median(sizes):.1%}, worst {max(sizes):.1%}, of {len(sizes)}")


if __name__ == "__main__":
    main()
