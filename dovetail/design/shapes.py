"""Random Llamas that a calibration measures, and their measured steps as graphs with arrays.

None of them is a model anybody runs, so that predictions for real models stay predictions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.core.lazy import require
from dovetail.design.fit import Observation
from dovetail.model import Model
from dovetail.model.architecture import AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.load import Loaded
from dovetail.runtime.speed import decode_speed, prefill_speed

Step = tuple[int, int, int]
"""Batch, new tokens, context: a prefill where the context is 0, else one decode step."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A random Llama to measure."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocab: int = 1024

    @property
    def config(self) -> dict[str, Any]:
        return {
            "model_type": "llama", "hidden_size": self.hidden, "num_hidden_layers": self.layers,
            "intermediate_size": self.intermediate, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "vocab_size": self.vocab, "max_position_embeddings": 4096,
            "tie_word_embeddings": True, "dtype": "float32",
        }  # fmt: skip

    def __str__(self) -> str:
        return f"{self.hidden}x{self.layers}"


Timed = tuple[Shape, Step, float]


def random_model(shape: Shape) -> Loaded:
    """A module of this shape. Raises `DovetailError` without torch and transformers."""
    torch = require("torch", "torch", to="calibrate this computer")
    transformers = require("transformers", "torch", to="calibrate this computer")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{k: v for k, v in shape.config.items() if k != "model_type"})
    return Loaded(transformers.LlamaForCausalLM(config).eval(), None, Path(f"random-{shape}"))


def time_of(loaded: Loaded, step: Step, budget_s: float) -> float:
    """Seconds of one step."""
    batch, tokens, context = step
    if context:
        return decode_speed(loaded, context, batch=batch, budget_s=budget_s, least=1, clock=clock()).step_s
    return prefill_speed(loaded, tokens, batch=batch, budget_s=budget_s, least=1, clock=clock()).step_s


def clock() -> Callable[[], float]:
    """What a calibration reads the time from: this thread's own where it works alone, lest others count."""
    torch = require("torch", "torch", to="calibrate this computer")
    return time.perf_counter if torch.get_num_threads() > 1 else time.thread_time


def observations(rows: Sequence[Timed], recipe: Recipe | None = None) -> list[Observation]:
    """One for each number of layers, after a recipe."""
    by_layers: dict[int, list[Timed]] = {}
    for row in rows:
        by_layers.setdefault(row[0].layers, []).append(row)
    return [observation(group, recipe) for group in by_layers.values()]


def observation(rows: Sequence[Timed], recipe: Recipe | None = None) -> Observation:
    """Steps of models with equally many layers, as one graph whose widths are arrays."""
    steps = np.array([step for _, step, _ in rows])
    model = Model.load(rows[0][0].config)

    def column(name: str) -> np.ndarray:
        return np.array([getattr(shape, name) for shape, _, _ in rows])

    head_dim = column("hidden") // column("heads")
    attention = AttentionSpec(heads=column("heads"), kv_heads=column("kv_heads"), head_dim=head_dim)
    layer = LayerSpec(attention, FeedForwardSpec(column("intermediate")))
    widened = replace(
        model.architecture, hidden=column("hidden"), vocab=column("vocab"), layers=(layer,) * rows[0][0].layers
    )
    graph = replace(model, architecture=widened).graph(batch=steps[:, 0], tokens=steps[:, 1], context=steps[:, 2])
    labels = np.array([str(shape) for shape, _, _ in rows])
    graph = graph if recipe is None else recipe.rewrite(graph)
    return Observation(graph, np.array([seconds for _, _, seconds in rows]), labels)
