"""Figures of `compress`: loss recovered by GPTQ, peak memory of large checkpoints, predicted against measured speed.

    python bench/compress.py              # loss recovered
    python bench/compress.py --memory     # peak memory: 7 GB of disk, a quarter of an hour

Asked: GPTQ recovers half of what round-to-nearest loses; at most 1.5 GiB above imports for a checkpoint of 4 GB; a
median error of 15 % of predicted speed ratios here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.bootstrap import interval, resampled
from dovetail.runtime.comparison import Interval
from dovetail.runtime.corpus import held_out_documents
from dovetail.runtime.load import load
from dovetail.runtime.perplexity import perplexity

GIB = 2**30
TEXT_BYTES = 200_000
CONTEXT = 512
SHAPE = {  # Llama with the shape of TinyLlama: 1.1e9 parameters, 4.4 GB in fp32
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32000, "hidden_size": 2048,
    "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4,
    "head_dim": 64, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
MEASURE = """
import json, sys
import torch, transformers
from pathlib import Path
from dovetail.design.compress import Check, compress
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.runtime.memory import resident_bytes
start = resident_bytes("VmHWM")
found = compress(sys.argv[1], sys.argv[2], Path(sys.argv[3]), calibration=Calibration(samples=8, tokens=128),
                 check=Check(quality=False, speed=False, machines=()), report=lambda line: print(line, file=sys.stderr))
print(json.dumps({"peak": resident_bytes("VmHWM") - start, "forecast": found["memory"]["predicted"]["value"],
                  "rise": found["memory"]["measured"]["value"], "seconds": found["seconds"],
                  "after": found["bytes_after"]["value"], "before": found["bytes_before"]["value"]}))
"""


def synthetic(folder: Path, layers: int) -> Path:
    """A checkpoint of random weights in fp32, written tensor by tensor, with the embedded model's tokenizer."""
    import shutil

    import torch

    import dovetail.model
    from dovetail.recipe.targets import graph_of
    from dovetail.runtime.tensorfile import TensorInfo, TensorWriter

    config = {**SHAPE, "num_hidden_layers": layers, "dtype": "float32"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    infos = {}
    for weight, where in graph_of(config)[0].weights():
        for layer in where or (0,):
            name, rows, cols = weight.name.format(layer=layer), int(weight.rows), int(weight.cols)
            infos[name] = TensorInfo(name, "F32", (cols,) if rows == 1 else (rows, cols))
    source = torch.Generator().manual_seed(1)
    with TensorWriter(folder / "model.safetensors", infos) as writer:
        for name, info in infos.items():
            wide = len(info.shape) > 1
            tensor = torch.randn(info.shape, generator=source) * 0.02 if wide else torch.ones(info.shape)
            writer.add(name, tensor)
    embedded = Path(dovetail.model.__file__).parent / "embedded"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(embedded / name, folder / name)
    return folder


def memory(folder: Path, recipe: str, out: Path) -> dict[str, float]:
    """Peak above imports, in a process of its own: layers, then the whole."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), recipe, str(out)], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def memory_table(layers: int, recipes: list[str]) -> None:
    """Peak memory against its forecast, for each recipe."""
    with tempfile.TemporaryDirectory(prefix="dovetail-bench-") as scratch:
        folder = synthetic(Path(scratch) / "large", layers)
        size = (folder / "model.safetensors").stat().st_size
        print(f"checkpoint of {size / 1e9:.2f} GB, 8 x 128 tokens of calibration")
        for recipe in recipes:
            found = memory(folder, recipe, Path(scratch) / recipe)
            print(
                f"{recipe:12} peak {found['peak'] / GIB:.2f} GiB above imports (asked: 1.5), "
                f"forecast {found['forecast'] / GIB:.2f} GiB, {found['seconds']:.0f} s"
            )


def recovered(recipe: str, baseline: str, group: int, documents: list[str]) -> Interval:
    """Share of the baseline's loss of perplexity that a recipe has back, with its 95 % interval over documents."""
    folder = weights_of(Model.load("embedded"))
    found = []
    with tempfile.TemporaryDirectory(prefix="dovetail-bench-") as scratch:
        for name in ("", baseline, recipe):
            applied = Path(scratch) / name if name else folder
            if name:
                Recipe.load(f"{name}:group={group}").apply(folder, applied)
            found.append(perplexity(load(applied), documents, CONTEXT))
    nats = np.array([[n for n, _ in quality.documents] for quality in found]).T
    tokens = np.array([t for _, t in found[0].documents], float)

    def share(means: np.ndarray) -> np.ndarray:
        dense, rounded, calibrated = np.exp(means).T
        gained: np.ndarray = (rounded - calibrated) / (rounded - dense)
        return gained

    value = float(share((nats.sum(0) / tokens.sum())[None])[0])
    print("  perplexity " + ", ".join(f"{quality.perplexity:.3f}" for quality in found), file=sys.stderr)
    return value, *interval(resampled(nats, tokens, share), value)


def recovered_table() -> None:
    """GPTQ against round-to-nearest on the embedded model."""
    documents = held_out_documents(TEXT_BYTES)
    print(
        f"share of the loss of perplexity recovered, embedded model, {len(documents)} held-out documents (asked: 50 %)"
    )
    for bits, group in ((3, 32), (4, 128)):
        value, low, high = recovered(f"w{bits}a16-gptq", f"w{bits}a16-rtn", group, documents)
        print(f"int{bits} g{group:<4} GPTQ {value:.1%}  [{low:.1%} – {high:.1%}]")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--memory", action="store_true", help="peak memory of a large checkpoint")
    options.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"], help="of that checkpoint")
    options.add_argument("--recipes", nargs="+", default=["w4a16-rtn", "w4a16-gptq"], help="for that checkpoint")
    asked = options.parse_args()
    if asked.memory:
        memory_table(asked.layers, asked.recipes)
    else:
        recovered_table()


if __name__ == "__main__":
    main()
