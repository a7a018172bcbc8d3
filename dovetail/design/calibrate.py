"""`calibrate --host`: measure small random Llamas on this computer and fit the machine's constants to them.

The shapes are chosen to separate the constants: narrow ones are all launch, wide ones all arithmetic or memory, long
contexts all cache. None of them is a model anybody runs, so that predictions for real models stay predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.core.files import write_text
from dovetail.core.lazy import require
from dovetail.core.quantity import exact
from dovetail.design.fit import CONSTANTS, Observation, fit, held_out
from dovetail.hardware import Machine, Source, machine_to_yaml
from dovetail.hardware.host import calibration_path, host_machine
from dovetail.model import Model
from dovetail.model.architecture import AttentionSpec, FeedForwardSpec, LayerSpec
from dovetail.runtime.load import Loaded
from dovetail.runtime.speed import decode_speed, prefill_speed

Report = Callable[[str], None]


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


SHAPES = (
    Shape(64, 2, 192, 4, 2),
    Shape(96, 5, 256, 6, 3),
    Shape(192, 5, 512, 6, 6),
    Shape(320, 5, 896, 5, 5),
    Shape(512, 2, 1408, 8, 4, 8192),
    Shape(768, 5, 2048, 12, 6, 8192),
)
# (batch, new tokens, context): prefill where context is 0, else one decode step
STEPS = (
    (1, 64, 0),
    (1, 224, 0),
    (1, 512, 0),
    (4, 96, 0),
    (1, 1, 64),
    (1, 1, 768),
    (1, 1, 2048),
    (8, 1, 64),
    (8, 1, 448),
)
ROUNDS = 3
TIMED_SHARE = 0.3  # of the time given: warm-ups, caches and the largest steps take the rest

Timed = tuple[Shape, tuple[int, int, int], float]


@dataclass(frozen=True, slots=True)
class Named:
    """A fitted constant, for a reader."""

    name: str
    value: float
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibrated machine, its constants, its held-out error and where it was written."""

    machine: Machine
    constants: tuple[Named, ...]
    error: float
    spread: float
    held_out: int
    path: Path

    def to_json(self) -> dict[str, Any]:
        source = self.machine.source("efficiency")
        return {
            "machine": self.machine.name, "title": self.machine.title, "path": str(self.path),
            "constants": {c.name: exact(c.value, c.unit, source.kind, source.text).to_json() for c in self.constants},
            "held_out_median_error": self.error, "held_out_90th_percentile": self.spread,
            "held_out_steps": self.held_out,
        }  # fmt: skip


def calibrate_host(seconds: float = 20.0, path: Path | None = None, report: Report = lambda line: None) -> Calibration:
    """Measure this computer for about `seconds` (imports not counted) and keep its constants as a machine YAML.

    Parameters
    ----------
    path : Path
        The YAML to write; by default where ``load_machine("host")`` looks for it.

    Raises
    ------
    DovetailError
        torch or transformers is not installed, or the file cannot be written.
    """
    observations = observe(seconds, report)
    start = _unhindered(host_machine())
    fitted = fit(start, observations)
    errors = np.abs(held_out(start, observations))
    error, spread = float(np.median(errors)), float(np.quantile(errors, 0.9))
    machine = _signed(fitted, len(errors), error, spread)
    target = write_text(path or calibration_path(), machine_to_yaml(machine))
    constants = tuple(
        Named(c.name, c.get(machine), c.unit, c.meaning) for c in CONSTANTS if machine.caches or "cache" not in c.name
    )
    return Calibration(machine, constants, error, spread, len(errors), target)


def observe(seconds: float, report: Report = lambda line: None) -> list[Observation]:
    """Time every step of `STEPS` on every shape of `SHAPES`; one observation for each number of layers.

    The steps go round `ROUNDS` times and the median round counts, so that a busy moment of the computer spreads over
    all of them instead of falling on one.
    """
    budget = TIMED_SHARE * seconds / (len(SHAPES) * len(STEPS) * ROUNDS)
    models = [_random_model(shape) for shape in SHAPES]
    times = np.empty((ROUNDS, len(SHAPES), len(STEPS)))
    for turn in range(ROUNDS):
        report(f"measuring {len(STEPS)} steps of {len(SHAPES)} random Llamas here, round {turn + 1} of {ROUNDS}")
        for i, loaded in enumerate(models):
            times[turn, i] = [_time(loaded, *step, budget) for step in STEPS]
    seconds_of = np.median(times, axis=0)
    rows: dict[int, list[Timed]] = {}
    for i, shape in enumerate(SHAPES):
        rows.setdefault(shape.layers, []).extend((shape, step, seconds_of[i, j]) for j, step in enumerate(STEPS))
    return [_observation(group) for group in rows.values()]


def _time(loaded: Loaded, batch: int, tokens: int, context: int, budget_s: float) -> float:
    """Seconds of one step."""
    if context:
        return decode_speed(loaded, context, batch=batch, budget_s=budget_s, least=1).step_s
    return prefill_speed(loaded, tokens, batch=batch, budget_s=budget_s, least=1).step_s


def _observation(rows: Sequence[Timed]) -> Observation:
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
    return Observation(graph, np.array([seconds for _, _, seconds in rows]), labels)


def _random_model(shape: Shape) -> Loaded:
    torch = require("torch", "torch", to="calibrate this computer")
    transformers = require("transformers", "torch", to="calibrate this computer")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{k: v for k, v in shape.config.items() if k != "model_type"})
    return Loaded(transformers.LlamaForCausalLM(config).eval(), None, Path(f"random-{shape}"))


def _unhindered(machine: Machine) -> Machine:
    """The guessed machine with efficiencies of one: what is reached is fitted itself, not as a share of a guess."""
    return replace(machine, efficiency=replace(machine.efficiency, compute=1.0, memory=1.0))


def _signed(machine: Machine, steps: int, error: float, spread: float) -> Machine:
    """The machine with its interval set and every fitted number's source replaced by this measurement."""
    text = f"dovetail calibrate --host, {steps} steps of {len(SHAPES)} random Llamas, {date.today()}; "
    text += f"held-out median error {error:.0%}"
    source = Source("calibrated", text)
    fitted = ("efficiency", "stack", "caches", "memory.bandwidth", f"peak.{machine.stack.compute}")
    named = {path: source for path in fitted if path != "caches" or machine.caches}
    kept = {p: s for p, s in machine.sources.items() if not any(p == n or p.startswith(f"{n}.") for n in named)}
    return replace(machine, efficiency=replace(machine.efficiency, spread=spread), sources=kept | named)
