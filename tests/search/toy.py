"""A toy evaluator with real trade-offs, and a search that a test kills: ``python toy.py STUDY SECONDS_PER_BLOCK``."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from dovetail.search import Space, Structure, Study, search

KEYS: dict[str, Any] = {
    "models": ["small", "big"],
    "recipes": ["none", "int4", "int2"],
    "machines": ["slow", "fast"],
    "workload": {"batch": {"from": 1, "to": 256, "steps": "log2"}, "prompt": [128, 1024], "output": 128},
    "constraints": ["perplexity < 1.01x and tpot < 50 ms"],
    "pick": "min usd_per_mtok",
}
SIZE, BITS, SPEED = {"small": 1.0, "big": 2.0}, {"none": 1.0, "int4": 0.4, "int2": 0.25}, {"slow": 1.0, "fast": 3.0}
WORSE = {"none": 1.0, "int4": 1.008, "int2": 1.3}


def evaluate(structure: Structure, columns: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
    """Metrics of every row; 20 GB of memory on every machine."""
    size, bits, speed = SIZE[structure.model], BITS[structure.recipe], SPEED[structure.machine]
    batch, prompt = columns["batch"], columns["prompt"]
    tpot = (size * bits * 1e-2 + batch * prompt * 1e-7) / speed
    memory = size * bits * 9e9 + batch * (prompt + columns["output"]) * 1e5
    return {
        "quality": 10 / size * WORSE[structure.recipe],
        "tpot_s": tpot,
        "tpot_low": 0.9 * tpot,
        "tpot_high": 1.1 * tpot,
        "energy_per_token": tpot * 100 * speed / batch,
        "usd_per_mtok": tpot / batch * speed**2 * 100,
        "memory": memory,
        "feasible": memory < 20e9,
        "limit": "memory",
        "excess": memory / 20e9,
        "why": lambda row: f"it needs {memory[row] / 1e9:.3g} GB and 20 GB are free",
        "kinds": {"tpot_s": "calibrated"},
        "source": "toy",
    }


def main() -> None:
    """Search into a study, slowly; print the result."""
    pause = float(sys.argv[2])

    def slowly(structure: Structure, columns: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        time.sleep(pause)
        return evaluate(structure, columns)

    space = Space.of(**KEYS)
    with Study(sys.argv[1]) as study:
        print(json.dumps(search(space, slowly, study, block=5).to_json()))


if __name__ == "__main__":
    main()
