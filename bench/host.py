"""Predicted against measured tokens per second on this computer, after one calibration, for three sizes of model.

    python bench/host.py [--seconds 0.5] [--rounds 3]

The calibration sees only random Llamas of other shapes (`dovetail.design.calibrate.SHAPES`). Judged on: stories260K
(shared data, skipped where absent), the embedded model, and a random Llama of 110 million parameters. Run it on an idle
machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.core.lazy import require
from dovetail.design.calibrate import calibrate_host
from dovetail.design.estimate import estimate
from dovetail.design.measure import speed_rows, speeds
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.speed import Speed
from dovetail.workload import Workload

LARGE: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 2048,
    "num_attention_heads": 12,
    "num_key_value_heads": 12, "vocab_size": 32000, "max_position_embeddings": 4096,
    "tie_word_embeddings": True, "dtype": "float32",
}  # fmt: skip
WORK = ((1, 128), (1, 400), (4, 256), (8, 100))  # (batch, prompt); decode follows at that batch and context


def models() -> Iterator[tuple[str, Model, Loaded]]:
    """Name, model and loaded module of each size."""
    data = Path(os.environ.get("DOVETAIL_DATA", Path(__file__).parents[1] / "../shared/data"))
    folder = data / "models" / "stories260K" / "hf"
    if folder.exists():
        yield "stories260K, 0.26 M", Model.load(str(folder)), load(folder)
    else:
        print(f"stories260K left out: no {folder}")
    embedded = Model.load("embedded")
    yield f"embedded, {embedded.parameters / 1e6:.1f} M", embedded, load(weights_of(embedded))
    import torch

    torch.manual_seed(0)
    transformers = require("transformers", "torch")
    config = transformers.LlamaConfig(**{k: v for k, v in LARGE.items() if k != "model_type"})
    module = transformers.LlamaForCausalLM(config).eval()
    model = Model.load(LARGE)
    yield f"random Llama, {model.parameters / 1e6:.0f} M", model, Loaded(module, None, Path("random"))


def measured(seconds: float, rounds: int) -> Iterator[tuple[str, Model, Workload, Speed, Speed]]:
    """Every model and workload with the median round of its prefill and of its decode.

    All figures go round together, so that a busy moment of the computer spreads over them.
    """
    loaded = list(models())
    works = [Workload(prompt=prompt, output=2, batch=batch) for batch, prompt in WORK]
    turns = [[[speeds(work, module, seconds) for work in works] for _, _, module in loaded] for _ in range(rounds)]
    for i, (name, model, _) in enumerate(loaded):
        for j, work in enumerate(works):
            prefill, decode = zip(*(turn[i][j] for turn in turns), strict=True)
            yield name, model, work, _median(prefill), _median(decode)


def _median(found: Sequence[Speed]) -> Speed:
    return sorted(found, key=lambda speed: speed.tokens_per_s)[len(found) // 2]


def main() -> None:
    """Calibrate, measure, print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = calibrate_host(path=Path(scratch) / "host.yaml", report=print)
    print(f"\n{found.machine.title}; held-out error {found.error:.0%} (90th percentile {found.spread:.0%})")
    for c in found.constants:
        print(f"  {c.name:<22}{c.value:.4g} {c.unit}")
    print(f"\n{'model':<24}{'step':<34}{'predicted':>12}{'measured':>12}{'error':>8}  tok/s")
    errors: dict[str, list[float]] = {"prefill": [], "decode": []}
    for name, model, work, prefill, decode in measured(given.seconds, given.rounds):
        for row in speed_rows(estimate(model, found.machine, work), prefill, decode):
            if row.measured is None or row.error is None or row.predicted.unit != "tok/s":
                continue
            errors[row.metric.split(",")[0]].append(abs(row.error))
            figures = f"{row.predicted.value:>12,.0f}{row.measured.value:>12,.0f}{row.error:>+8.0%}"
            print(f"{name:<24}{row.metric:<34}{figures}")
    print()
    for phase, found_errors in {**errors, "both": [e for some in errors.values() for e in some]}.items():
        print(f"median error, {phase:<8} {np.median(found_errors):.1%}  (asked: 15 %)")


if __name__ == "__main__":
    main()
