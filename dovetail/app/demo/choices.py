"""What the demo asks: the model, the recipes, the chips, the space, and the constraint the winner must meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODEL = "embedded"
RECIPES = ("none", "w8a16", "w4a16-rtn", "w3a16-rtn", "w2a16-rtn", "prune50")
CHIPS = (
    "a100-sxm", "a100-sxm-40gb", "b200-sxm", "h100-pcie", "h100-sxm", "h200-sxm",
    "l4", "l40s", "mi300x", "rtx-4090", "tpu-v5e", "tpu-v6e",
)  # fmt: skip
WORKLOAD: Mapping[str, Any] = {"prompt": 512, "output": 128, "batch": 1}  # one request, as it is measured here
CHECKS = ((1, 128), (1, 2048), (4, 512), (8, 1024))  # (batch, prompt) at which prediction and measurement meet besides
SECONDS = 1.0  # spent on each speed figure
CALIBRATION_SECONDS = 20.0

SPACE: dict[str, Any] = {
    "name": "demo",
    "models": [MODEL],
    "recipes": list(RECIPES),
    "machines": [*CHIPS, "host"],
    "workload": {
        "batch": {"from": 1, "to": 256, "steps": "log2"},
        "prompt": [128, 256, 512, 1024, 2048, 3072, 4096, 6144, 8000],
        "output": [128],
    },
    "constraints": ["weights < 6 MB", "perplexity < 1.03x", "tpot < 20 ms", "prompt > 1000"],
    "objectives": ["perplexity", "tpot", "energy_per_token", "usd_per_mtok"],
    "pick": "min usd_per_mtok",
}
WORDS = "at most 6 MB of weights, perplexity within 3 %, under 20 ms a token, prompts above 1,000 tokens; the cheapest"

# A model of a usual size, for the crossover plot: where four million parameters are all launch, this shows the physics.
LARGE_MODEL, LARGE_CHIP = "Qwen/Qwen3-8B", "h100-sxm"
CROSSOVER_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CROSSOVER_CONTEXTS = (512, 2048, 8000)
CROSSOVER_RECIPES = ("w8a16", "w4a16-rtn")
